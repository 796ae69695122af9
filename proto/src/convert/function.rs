use std::time::Duration;

use littoral_model::digest::Digest;
use littoral_model::function::{
    Capabilities, FunctionSpec, HttpTrigger, Limits, Placement, Replicas, ResolvedModule,
};
use littoral_model::label::check_key;
use littoral_model::quantity::Bytes;
use prost::Message as _;

use super::{BadMessage, bad, kind_from_pb, kind_to_pb, parse};
use crate::v1;
use crate::v1::placement::Replicas as PbReplicas;

pub fn spec_to_pb(spec: &FunctionSpec) -> v1::FunctionSpec {
    let trigger = |t: &HttpTrigger| v1::HttpTrigger { host: t.host.clone(), path: t.path.clone() };
    let kind = spec.resolved.map_or(v1::ModuleKind::Unspecified, |resolved| kind_to_pb(resolved.kind));
    v1::FunctionSpec {
        name: spec.name.to_string(),
        module: spec.module.to_string(),
        module_digest: spec.resolved.map(|resolved| resolved.digest.to_string()).unwrap_or_default(),
        kind: kind.into(),
        http_triggers: spec.triggers.iter().map(trigger).collect(),
        placement: Some(v1::Placement {
            replicas: Some(match spec.placement.replicas {
                Replicas::Count(count) => PbReplicas::Count(count),
                Replicas::Every => PbReplicas::Every(true),
            }),
            constraints: spec.placement.constraints.iter().map(ToString::to_string).collect(),
            spread: spec.placement.spread.as_ref().map(|key| format!("label.{key}")).unwrap_or_default(),
        }),
        limits: Some(v1::Limits {
            timeout_ms: u64::try_from(spec.limits.timeout.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: spec.limits.memory.0,
            concurrency: spec.limits.concurrency,
            output_bytes: spec.limits.output.0,
        }),
        args: spec.args.clone(),
        capabilities: Some(v1::Capabilities { env: spec.capabilities.env.clone() }),
    }
}

/// Reads and validates a spec. The module may be unresolved.
pub fn spec_from_pb(pb: &v1::FunctionSpec) -> Result<FunctionSpec, BadMessage> {
    let resolved = match pb.module_digest.as_str() {
        "" => None,
        digest => {
            Some(ResolvedModule { digest: parse("module_digest", digest)?, kind: kind_from_pb(pb.kind)? })
        }
    };
    let trigger = |t: &v1::HttpTrigger| HttpTrigger { host: t.host.clone(), path: t.path.clone() };
    let spec = FunctionSpec {
        name: parse("function.name", &pb.name)?,
        module: parse("function.module", &pb.module)?,
        resolved,
        triggers: pb.http_triggers.iter().map(trigger).collect(),
        placement: placement_from_pb(pb.placement.as_ref())?,
        limits: limits_from_pb(pb.limits.as_ref()),
        args: pb.args.clone(),
        capabilities: Capabilities {
            env: pb.capabilities.as_ref().map(|c| c.env.clone()).unwrap_or_default(),
        },
    };
    spec.validate().map_err(|e| bad(e.key, e.why))?;
    Ok(spec)
}

fn placement_from_pb(pb: Option<&v1::Placement>) -> Result<Placement, BadMessage> {
    let Some(pb) = pb else {
        return Ok(Placement { replicas: Replicas::Count(1), constraints: Vec::new(), spread: None });
    };
    let spread = match pb.spread.as_str() {
        "" => None,
        text => {
            let key = text.strip_prefix("label.").filter(|key| check_key(key).is_ok());
            Some(
                key.ok_or_else(|| bad("placement.spread", format!("`{text}` must be `label.KEY`")))?
                    .to_owned(),
            )
        }
    };
    Ok(Placement {
        replicas: match pb.replicas {
            None => Replicas::Count(1),
            Some(PbReplicas::Count(count)) => Replicas::Count(count),
            Some(PbReplicas::Every(_)) => Replicas::Every,
        },
        constraints: pb
            .constraints
            .iter()
            .map(|text| parse("placement.constraints", text))
            .collect::<Result<_, _>>()?,
        spread,
    })
}

fn limits_from_pb(pb: Option<&v1::Limits>) -> Limits {
    pb.map_or_else(Limits::default, |pb| Limits {
        timeout: Duration::from_millis(pb.timeout_ms),
        memory: Bytes(pb.memory_bytes),
        concurrency: pb.concurrency,
        output: Bytes(pb.output_bytes),
    })
}

/// The bytes that stand for a spec, and their digest. Maps are in key order, so equal specs have equal bytes.
pub fn encode_spec(spec: &FunctionSpec) -> (Vec<u8>, Digest) {
    let bytes = spec_to_pb(spec).encode_to_vec();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

#[cfg(test)]
mod tests {
    use littoral_model::manifest::{Manifest, ModuleSource};

    use super::*;

    fn spec() -> FunctionSpec {
        let text = r#"
            [function]
            name = "resize"
            module = "resize@1.4.0"
            args = ["-v"]
            [[trigger.http]]
            path = "/resize/*"
            [placement]
            replicas = "every"
            constraints = ["arch == aarch64", "memory >= 512MiB"]
            spread = "label.zone"
            [capabilities]
            env = { B = "2", A = "1" }
        "#;
        let manifest = Manifest::parse(text).unwrap();
        let ModuleSource::Registry(module) = manifest.module.clone() else { panic!("a registry module") };
        manifest.into_spec(module)
    }

    #[test]
    fn a_spec_survives_the_way_there_and_back() {
        let spec = spec();
        assert_eq!(spec_from_pb(&spec_to_pb(&spec)).unwrap(), spec);
        assert_eq!(encode_spec(&spec), encode_spec(&spec.clone()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |change: fn(&mut v1::FunctionSpec)| {
            let mut pb = spec_to_pb(&spec());
            change(&mut pb);
            spec_from_pb(&pb).unwrap_err().to_string()
        };
        assert!(with(|pb| pb.name = "A".into()).starts_with("function.name"));
        assert!(with(|pb| pb.module_digest = "sha256:1".into()).starts_with("module_digest"));
        assert!(with(|pb| pb.limits = Some(v1::Limits::default())).starts_with("limits.timeout"));
        let colour = |pb: &mut v1::FunctionSpec| {
            pb.placement.as_mut().unwrap().constraints = vec!["colour == red".into()];
        };
        assert!(with(colour).starts_with("placement.constraints: constraint `colour == red`"));
    }
}
