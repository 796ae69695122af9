//! What is to be compiled, from what there is. Pure.

use std::collections::{BTreeSet, HashSet};

use littoral_model::digest::Digest;
use littoral_model::target::Target;
use littoral_proto::store::{CompileRequestRecord, FunctionRecord};
use littoral_proto::v1::ModuleVersion;

use super::Job;
use crate::records::Stored;

/// Everything that the decision looks at.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) modules: Vec<Stored<ModuleVersion>>,
    pub(super) functions: Vec<FunctionRecord>,
    pub(super) requests: Vec<CompileRequestRecord>,
    /// What has been compiled, or has failed, with the engine of today.
    pub(super) done: HashSet<Job>,
}

/// Jobs that are missing, most urgent first, each once: what functions use, what operators asked for, then the newest
/// version of each module, since a push is usually followed by an apply. Older versions that nobody uses wait until
/// somebody does.
pub(super) fn wanted(records: &Records, targets: &BTreeSet<Target>) -> Vec<Job> {
    let known: HashSet<Digest> = records.modules.iter().filter_map(|m| m.value.digest.parse().ok()).collect();
    let mut jobs = Jobs { records, known, seen: HashSet::new(), jobs: Vec::new() };
    for function in &records.functions {
        for spec in [&function.spec, &function.stable_spec].into_iter().flatten() {
            jobs.add(&spec.module_digest, targets);
        }
    }
    for request in &records.requests {
        let target: Option<Target> = request.target.parse().ok();
        jobs.add(&request.source_digest, &target.into_iter().collect());
    }
    for module in newest_of_each(&records.modules) {
        jobs.add(&module.digest, targets);
    }
    jobs.jobs
}

struct Jobs<'a> {
    records: &'a Records,
    known: HashSet<Digest>,
    seen: HashSet<Job>,
    jobs: Vec<Job>,
}

impl Jobs<'_> {
    fn add(&mut self, source: &str, targets: &BTreeSet<Target>) {
        let Ok(source) = source.parse::<Digest>() else { return };
        if !self.known.contains(&source) {
            return;
        }
        for target in targets {
            let job = Job { source, target: *target };
            if !self.records.done.contains(&job) && self.seen.insert(job) {
                self.jobs.push(job);
            }
        }
    }
}

/// The last pushed version of each module, the last push first.
fn newest_of_each(modules: &[Stored<ModuleVersion>]) -> Vec<&ModuleVersion> {
    let mut newest: Vec<&Stored<ModuleVersion>> = modules.iter().collect();
    newest.sort_by_key(|module| std::cmp::Reverse(module.revision));
    let mut names = HashSet::new();
    newest.retain(|module| names.insert(module.value.name.as_str()));
    newest.into_iter().map(|module| &module.value).collect()
}

#[cfg(test)]
mod tests {
    use littoral_proto::v1::FunctionSpec;

    use super::*;
    use crate::store::Revision;

    fn digest(n: u8) -> Digest {
        Digest::from_bytes([n; 32])
    }

    fn module(name: &str, n: u8) -> Stored<ModuleVersion> {
        let value =
            ModuleVersion { name: name.into(), digest: digest(n).to_string(), ..ModuleVersion::default() };
        Stored { value, revision: Revision(u64::from(n)) }
    }

    fn function(current: u8, stable: u8) -> FunctionRecord {
        let spec = |n| Some(FunctionSpec { module_digest: digest(n).to_string(), ..FunctionSpec::default() });
        FunctionRecord { spec: spec(current), stable_spec: spec(stable), ..FunctionRecord::default() }
    }

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn records() -> Records {
        Records {
            modules: vec![module("a", 1), module("a", 2), module("a", 3), module("b", 4)],
            functions: vec![function(2, 1)],
            requests: Vec::new(),
            done: HashSet::new(),
        }
    }

    fn sources(jobs: &[Job]) -> Vec<u8> {
        jobs.iter().map(|job| job.source.as_bytes()[0]).collect()
    }

    #[test]
    fn used_versions_come_first_then_the_newest_and_no_others() {
        let targets = [target("x86_64-v1-wide")].into();
        assert_eq!(sources(&wanted(&records(), &targets)), [2, 1, 4, 3]);
    }

    #[test]
    fn what_is_done_or_gone_is_not_wanted() {
        let targets: BTreeSet<Target> = [target("x86_64-v1-wide"), target("aarch64-v8.0-wide")].into();
        let mut records = records();
        records.done.insert(Job { source: digest(2), target: target("x86_64-v1-wide") });
        records.modules.retain(|module| module.value.digest != digest(1).to_string());
        let jobs = wanted(&records, &targets);
        assert_eq!(sources(&jobs), [2, 4, 4, 3, 3]);
        assert_eq!(jobs[0].target, target("aarch64-v8.0-wide"));
        records.done.extend(jobs);
        assert_eq!(wanted(&records, &targets), []);
    }

    #[test]
    fn a_request_names_its_own_target() {
        let mut records = records();
        records.functions.clear();
        records.requests.push(CompileRequestRecord {
            source_digest: digest(1).to_string(),
            target: "aarch64-v8.1-narrow".into(),
            ..CompileRequestRecord::default()
        });
        let jobs = wanted(&records, &[target("x86_64-v1-wide")].into());
        assert_eq!(jobs[0], Job { source: digest(1), target: target("aarch64-v8.1-narrow") });
        assert_eq!(sources(&jobs), [1, 4, 3]);
    }
}
