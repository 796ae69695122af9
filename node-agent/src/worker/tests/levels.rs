//! Code for a higher CPU level than this machine's never runs here.

use littoral_model::target::Cpu;

use super::guests::{NOTHING, http};
use super::verification::refused;
use super::*;

/// The same guest for each level of this architecture, as functions of their own.
fn samples() -> impl Iterator<Item = (Cpu, Sample)> {
    let wasm = wat::parse_str(http("1", NOTHING)).unwrap();
    let levels = Cpu::ALL.into_iter().filter(|cpu| cpu.arch() == host().cpu.arch());
    levels.map(move |cpu| {
        let target = Target { cpu, memory: memory_class() };
        let sample = Sample::compiled_for(target, ModuleKind::Http, &wasm);
        (cpu, sample.named(cpu.as_str(), &format!("/{cpu}")))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_up_to_this_machines_own_runs() {
    let fixture = Fixture::start().await;
    let runs: Vec<Sample> = samples().filter(|(cpu, _)| host().cpu.runs(*cpu)).map(|(_, s)| s).collect();
    fixture.run(&runs).await;
    for sample in runs {
        assert_eq!(fixture.get(&sample.spec.http_triggers[0].path).await.error(), "guest_error");
    }
}

/// Run on machines of every level: `integration-tests/arm` emulates them.
#[tokio::test(flavor = "multi_thread")]
async fn every_higher_level_is_refused_whatever_its_statement_says() {
    let fixture = Fixture::start().await;
    for (cpu, honest) in samples().filter(|(cpu, _)| !host().cpu.runs(*cpu)) {
        let says = format!("the artifact is for {cpu}-{} and this node runs {}", memory_class(), host());
        refused(&fixture, &honest, LoadFailure::Incompatible, &says).await;

        let mut lying = honest;
        lying.statement.target = target().to_string();
        refused(&fixture, &lying, LoadFailure::Incompatible, "the engine does not accept the artifact").await;
    }
}
