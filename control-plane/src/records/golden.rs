//! One record of each kind, as its bytes must stay: what an older release wrote is read by every newer one.
//!
//! A line of `golden.txt` changes only when a field was added to the sample here; never for an old sample.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use littoral_proto::store::{
    AssignmentRecord, AuditRecord, ClusterRecord, CompileRequestRecord, FunctionRecord, ModuleUseRecord,
    NodeNameRecord, NodeRecord, TokenRecord, UserRecord,
};
use littoral_proto::v1::{
    Artifact, Capabilities, CompileFailure, Event, FunctionSpec, HttpTrigger, Limits, ModuleKind,
    ModuleVersion, NodeAssignment, NodeCapacity, Placement, Role, RolloutState, Workload, placement,
};

use super::Record;

const GOLDEN: &str = include_str!("golden.txt");
const DIGEST: &str = "sha256:00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

#[test]
fn every_record_keeps_its_key_and_its_bytes() {
    let mut found = String::new();
    line(&mut found, &ClusterRecord { name: "edge".into(), epoch: 1, created_at_ms: 1_700_000_000_000 });
    line(&mut found, &module());
    line(&mut found, &artifact());
    line(&mut found, &failure());
    line(&mut found, &request());
    line(
        &mut found,
        &ModuleUseRecord { name: "resize".into(), version: "1.4.0".into(), function: "thumbs".into() },
    );
    line(&mut found, &function());
    line(&mut found, &node());
    line(&mut found, &NodeNameRecord { name: "shop-3".into(), node_id: "n-1".into() });
    line(&mut found, &assignment());
    line(&mut found, &token());
    line(&mut found, &user());
    line(&mut found, &audit());
    for (found, kept) in found.lines().zip(GOLDEN.lines()) {
        assert_eq!(found, kept);
    }
    assert_eq!(found.lines().count(), GOLDEN.lines().count(), "\n{found}");
}

fn line<R: Record + PartialEq + std::fmt::Debug>(out: &mut String, record: &R) {
    let bytes = record.encode_to_vec();
    assert_eq!(&R::decode(bytes.as_slice()).unwrap(), record);
    writeln!(out, "{} {}", record.key(), hex::encode(bytes)).unwrap();
}

fn labels() -> BTreeMap<String, String> {
    [("zone".to_owned(), "eu-1".to_owned()), ("site".to_owned(), "oslo".to_owned())].into()
}

fn module() -> ModuleVersion {
    ModuleVersion {
        name: "resize".into(),
        version: "1.4.0".into(),
        digest: DIGEST.into(),
        size_bytes: 104_000,
        kind: ModuleKind::Http.into(),
        imports: vec!["wasi:http/types@0.2.3".into()],
        exports: vec!["wasi:http/incoming-handler@0.2.3".into()],
        message: "smaller".into(),
        pushed_by: "spiffe://edge/user/ada".into(),
        pushed_at_ms: 1_700_000_000_001,
    }
}

fn artifact() -> Artifact {
    Artifact {
        source_digest: DIGEST.into(),
        target: "x86_64-v3-wide".into(),
        engine: "0123456789abcdef".into(),
        digest: DIGEST.into(),
        size_bytes: 400_000,
        statement_digest: DIGEST.into(),
        compiled_at_ms: 1_700_000_000_002,
        compile_ms: 250,
    }
}

fn failure() -> CompileFailure {
    CompileFailure {
        source_digest: DIGEST.into(),
        target: "aarch64-v8.0-narrow".into(),
        engine: "0123456789abcdef".into(),
        message: "out of memory".into(),
        failed_at_ms: 1_700_000_000_003,
    }
}

fn request() -> CompileRequestRecord {
    CompileRequestRecord {
        source_digest: DIGEST.into(),
        target: "aarch64-v8.1-wide".into(),
        requested_at_ms: 1_700_000_000_009,
        requested_by: "spiffe://edge/user/ada".into(),
    }
}

fn spec() -> FunctionSpec {
    FunctionSpec {
        name: "thumbs".into(),
        module: "resize@1.4.0".into(),
        module_digest: DIGEST.into(),
        kind: ModuleKind::Http.into(),
        http_triggers: vec![HttpTrigger { host: "*".into(), path: "/resize/*".into() }],
        placement: Some(Placement {
            replicas: Some(placement::Replicas::Every(true)),
            constraints: vec!["arch == aarch64".into()],
            spread: "label.zone".into(),
        }),
        limits: Some(Limits {
            timeout_ms: 1000,
            memory_bytes: 64 << 20,
            concurrency: 64,
            output_bytes: 8 << 20,
        }),
        args: vec!["-v".into()],
        capabilities: Some(Capabilities { env: [("LOG".to_owned(), "info".to_owned())].into() }),
    }
}

fn function() -> FunctionRecord {
    FunctionRecord {
        spec: Some(spec()),
        revision: 2,
        spec_digest: DIGEST.into(),
        applied_at_ms: 1_700_000_000_004,
        applied_by: "spiffe://edge/user/ada".into(),
        stable_spec: Some(spec()),
        stable_revision: 1,
        stable_spec_digest: DIGEST.into(),
        rollout: RolloutState::Progressing.into(),
        rollout_message: "1 of 3 nodes".into(),
    }
}

fn node() -> NodeRecord {
    NodeRecord {
        id: "n-1".into(),
        name: "shop-3".into(),
        labels: labels(),
        joined_at_ms: 1_700_000_000_005,
        capacity: Some(NodeCapacity {
            target: "x86_64-v3-wide".into(),
            cores: 4,
            memory_bytes: 8 << 30,
            engine: "0123456789abcdef".into(),
            agent_version: "0.1.0".into(),
            ingress_address: "10.0.0.7:8080".into(),
            confinement: "landlock".into(),
            memory_budget_bytes: 4 << 30,
        }),
        revoked: true,
        revoked_reason: "stolen".into(),
        certificate_expires_at_ms: 1_700_000_086_400,
    }
}

fn assignment() -> AssignmentRecord {
    AssignmentRecord {
        assignment: Some(NodeAssignment {
            node_id: "n-1".into(),
            cluster_epoch: 1,
            generation: 9,
            workloads: vec![Workload {
                function: "thumbs".into(),
                revision: 2,
                spec_digest: DIGEST.into(),
                artifact_digest: DIGEST.into(),
                statement_digest: DIGEST.into(),
                target: "x86_64-v3-wide".into(),
                weight: 100,
            }],
        }),
    }
}

fn token() -> TokenRecord {
    TokenRecord {
        id: "0123456789abcdef".into(),
        secret_hash: vec![7; 32],
        created_at_ms: 1_700_000_000_006,
        expires_at_ms: 1_700_000_600_006,
        uses_left: 1,
        labels: labels(),
        created_by: "spiffe://edge/user/ada".into(),
    }
}

fn user() -> UserRecord {
    UserRecord {
        name: "ada".into(),
        role: Role::Deployer.into(),
        created_at_ms: 1_700_000_000_007,
        certificate_serial: "0badcafe".into(),
        created_by: "spiffe://edge/user/admin".into(),
    }
}

fn audit() -> AuditRecord {
    AuditRecord {
        event: Some(Event {
            at_ms: 1_700_000_000_008,
            subject: "function/thumbs".into(),
            reason: "Applied".into(),
            message: "revision 1 -> 2".into(),
            actor: "spiffe://edge/user/ada".into(),
            request_id: "018f".into(),
            audit: true,
        }),
    }
}
