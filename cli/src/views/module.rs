use littoral_model::time::Timestamp;
use littoral_proto::v1 as pb;
use serde::Serialize;

use super::{short_actor, short_digest};
use crate::output::listing::{Column, Listed, Tone, Value, col, restless, wide};
use crate::output::plain;
use crate::output::sections::Sections;
use crate::output::units;

/// One immutable version of a module.
#[derive(Debug, Serialize)]
pub(crate) struct ModuleView {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    pub(crate) kind: &'static str,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    message: String,
    pushed_by: String,
    pushed_at: Option<String>,
    #[serde(skip)]
    pushed_at_ms: u64,
}

impl From<pb::ModuleVersion> for ModuleView {
    fn from(module: pb::ModuleVersion) -> Self {
        Self {
            kind: super::kind(module.kind()),
            name: module.name,
            version: module.version,
            digest: module.digest,
            size_bytes: module.size_bytes,
            imports: module.imports,
            exports: module.exports,
            message: module.message,
            pushed_by: module.pushed_by,
            pushed_at: units::time(module.pushed_at_ms),
            pushed_at_ms: module.pushed_at_ms,
        }
    }
}

impl ModuleView {
    /// NAME@VERSION.
    pub(crate) fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    pub(crate) fn fields(&self, sections: &mut Sections) {
        sections
            .field("Module", self.reference())
            .field("Digest", &self.digest)
            .field("Kind", self.kind)
            .field("Size", units::size(self.size_bytes));
        if !self.message.is_empty() {
            sections.field("Message", &self.message);
        }
        sections.list("Imports", &or_none(&self.imports)).list("Exports", &or_none(&self.exports));
    }
}

fn or_none(names: &[String]) -> Vec<String> {
    if names.is_empty() { vec!["(none)".into()] } else { names.to_vec() }
}

impl Listed for ModuleView {
    const COLUMNS: &'static [Column] = &[
        col("NAME"),
        col("VERSION"),
        col("KIND"),
        col("SIZE"),
        restless("AGE"),
        wide("DIGEST"),
        wide("PUSHED-BY"),
        wide("IMPORTS"),
        wide("MESSAGE"),
    ];

    fn name(&self) -> String {
        self.reference()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        vec![
            self.name.clone().into(),
            self.version.clone().into(),
            self.kind.into(),
            units::size(self.size_bytes).into(),
            units::age(now, self.pushed_at_ms).into(),
            short_digest(&self.digest).into(),
            short_actor(&self.pushed_by).into(),
            self.imports.len().to_string().into(),
            self.message.clone().into(),
        ]
    }
}

/// Native code for one kind of CPU.
#[derive(Debug, Serialize)]
struct ArtifactView {
    target: String,
    digest: String,
    size_bytes: u64,
    engine: String,
    compiled_at: Option<String>,
    compile_ms: u64,
}

#[derive(Debug, Serialize)]
struct FailureView {
    target: String,
    engine: String,
    message: String,
    failed_at: Option<String>,
}

/// Everything that is known about a module.
#[derive(Debug, Serialize)]
pub(crate) struct ModuleDetails {
    module: ModuleView,
    artifacts: Vec<ArtifactView>,
    failures: Vec<FailureView>,
    compiling: Vec<String>,
    used_by: Vec<String>,
}

impl ModuleDetails {
    pub(crate) fn new(module: pb::ModuleVersion, answer: pb::GetModuleResponse) -> Self {
        let artifact = |artifact: pb::Artifact| ArtifactView {
            target: artifact.target,
            digest: artifact.digest,
            size_bytes: artifact.size_bytes,
            engine: artifact.engine,
            compiled_at: units::time(artifact.compiled_at_ms),
            compile_ms: artifact.compile_ms,
        };
        let failure = |failure: pb::CompileFailure| FailureView {
            target: failure.target,
            engine: failure.engine,
            message: failure.message,
            failed_at: units::time(failure.failed_at_ms),
        };
        Self {
            module: module.into(),
            artifacts: answer.artifacts.into_iter().map(artifact).collect(),
            failures: answer.failures.into_iter().map(failure).collect(),
            compiling: answer.compiling,
            used_by: answer.used_by,
        }
    }

    pub(crate) fn text(&self, now: Timestamp, color: bool) -> String {
        let mut sections = Sections::new(color);
        self.module.fields(&mut sections);
        let pushed = units::age(now, self.module.pushed_at_ms);
        sections.field("Pushed", format!("{pushed} ago by {}", short_actor(&self.module.pushed_by)));
        let used_by = self.used_by.join(", ");
        sections.field("Used by", if used_by.is_empty() { "no function" } else { &used_by });
        let mut rows: Vec<Vec<Value>> = self.artifacts.iter().map(artifact_row).collect();
        rows.extend(self.compiling.iter().map(|target| state_row(target, "compiling", Tone::Warning)));
        rows.extend(self.failures.iter().map(|failure| state_row(&failure.target, "failed", Tone::Bad)));
        sections.table("Artifacts", &["TARGET", "STATE", "SIZE", "COMPILED-IN", "DIGEST"], &rows);
        let failures: Vec<String> =
            self.failures.iter().map(|f| format!("{}: {}", f.target, f.message)).collect();
        sections.lines("Failures", &failures);
        sections.finish()
    }
}

impl Listed for ModuleDetails {
    const COLUMNS: &'static [Column] = ModuleView::COLUMNS;

    fn name(&self) -> String {
        self.module.name()
    }

    fn values(&self, now: Timestamp) -> Vec<Value> {
        self.module.values(now)
    }
}

fn artifact_row(artifact: &ArtifactView) -> Vec<Value> {
    vec![
        artifact.target.clone().into(),
        Value::toned("ready", Tone::Good),
        units::size(artifact.size_bytes).into(),
        units::micros(artifact.compile_ms.saturating_mul(1000)).into(),
        short_digest(&artifact.digest).into(),
    ]
}

fn state_row(target: &str, state: &str, tone: Tone) -> Vec<Value> {
    vec![target.into(), Value::toned(state, tone), "".into(), "".into(), "".into()]
}

/// What changed between two modules, for those who decide whether to let it out.
#[derive(Debug, Serialize)]
pub(crate) struct DiffView {
    a: ModuleView,
    b: ModuleView,
    imports_added: Vec<String>,
    imports_removed: Vec<String>,
    exports_added: Vec<String>,
    exports_removed: Vec<String>,
}

impl DiffView {
    pub(crate) fn new(a: pb::ModuleVersion, b: pb::ModuleVersion, diff: pb::DiffModulesResponse) -> Self {
        Self {
            a: a.into(),
            b: b.into(),
            imports_added: diff.imports_added,
            imports_removed: diff.imports_removed,
            exports_added: diff.exports_added,
            exports_removed: diff.exports_removed,
        }
    }

    pub(crate) fn text(&self) -> String {
        let side = |sign: char, m: &ModuleView| {
            format!(
                "{sign}{sign}{sign} {}   {}, {}, {}\n",
                m.reference(),
                m.kind,
                units::size(m.size_bytes),
                m.digest
            )
        };
        let mut text = side('-', &self.a) + &side('+', &self.b);
        if self.a.digest == self.b.digest {
            return text + "the same bytes\n";
        }
        for (title, added, removed) in [
            ("imports", &self.imports_added, &self.imports_removed),
            ("exports", &self.exports_added, &self.exports_removed),
        ] {
            if added.is_empty() && removed.is_empty() {
                text.push_str(&format!("{title}: the same\n"));
                continue;
            }
            text.push_str(&format!("{title}:\n"));
            let lines = removed.iter().map(|name| ('-', name)).chain(added.iter().map(|name| ('+', name)));
            for (sign, name) in lines {
                text.push_str(&format!("  {sign} {}\n", plain(name)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, listing};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_300_000);

    fn module(version: &str, imports: &[&str]) -> pb::ModuleVersion {
        pb::ModuleVersion {
            name: "hello".into(),
            version: version.into(),
            digest: format!("sha256:{}", version.repeat(64)),
            size_bytes: 70_063,
            kind: pb::ModuleKind::Http.into(),
            imports: imports.iter().map(|name| (*name).to_owned()).collect(),
            exports: vec!["wasi:http/incoming-handler@0.2.4".into()],
            message: String::new(),
            pushed_by: "spiffe://edge/user/ada".into(),
            pushed_at_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_list_of_modules() {
        let rows: Vec<ModuleView> =
            vec![module("1", &[]).into(), module("2", &["wasi:io/streams@0.2.4"]).into()];
        assert_eq!(
            listing::render(&rows, Format::Table, NOW, false),
            "NAME    VERSION   KIND   SIZE       AGE\n\
             hello   1         http   68.4 KiB   5m\n\
             hello   2         http   68.4 KiB   5m"
        );
        assert_eq!(listing::render(&rows, Format::Name, NOW, false), "hello@1\nhello@2");
        let wide = listing::render(&rows, Format::Wide, NOW, false);
        assert!(wide.contains("sha256:222222222222   user/ada    1"), "{wide}");
    }

    #[test]
    fn details_show_every_target_and_why_one_failed() {
        let answer = pb::GetModuleResponse {
            artifacts: vec![pb::Artifact {
                target: "x86_64-v3-wide".into(),
                digest: format!("sha256:{}", "a".repeat(64)),
                size_bytes: 400_000,
                compile_ms: 412,
                ..Default::default()
            }],
            failures: vec![pb::CompileFailure {
                target: "aarch64-v8.0-wide".into(),
                message: "out of memory".into(),
                ..Default::default()
            }],
            compiling: vec!["aarch64-v8.1-wide".into()],
            used_by: vec!["hello".into()],
            module: None,
        };
        let text = ModuleDetails::new(module("1", &[]), answer).text(NOW, false);
        assert!(text.contains("Imports:   (none)\n"), "{text}");
        assert!(text.contains("Pushed:    5m ago by user/ada\nUsed by:   hello\n"), "{text}");
        assert!(
            text.contains(
                "  x86_64-v3-wide      ready       390.6 KiB   412.0 ms      sha256:aaaaaaaaaaaa\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("Failures:\n  aarch64-v8.0-wide: out of memory\n"), "{text}");
    }

    #[test]
    fn a_diff_reads_like_a_diff() {
        let diff =
            pb::DiffModulesResponse { imports_added: vec!["wasi:sockets/tcp".into()], ..Default::default() };
        let text = DiffView::new(module("1", &[]), module("2", &[]), diff).text();
        assert!(text.starts_with("--- hello@1   http, 68.4 KiB, sha256:1111"), "{text}");
        assert!(text.ends_with("imports:\n  + wasi:sockets/tcp\nexports: the same\n"), "{text}");
    }
}
