//! Everything holds in both memory classes.

use std::process::Command;

use littoral_model::target::MemoryClass;

use super::*;

/// `wide` or `narrow`: the class of a whole run of the tests, in the place of the one that this machine would choose.
const CLASS: &str = "LITTORAL_TEST_MEMORY_CLASS";

pub(super) fn memory_class() -> MemoryClass {
    static CHOSEN: OnceLock<MemoryClass> = OnceLock::new();
    *CHOSEN.get_or_init(|| match std::env::var(CLASS) {
        Ok(class) => super::super::memory_class(&class).unwrap(),
        Err(_) => littoral_engine::probe_memory_class(),
    })
}

/// An engine is chosen once in a process, so these tests run once more in another one.
#[test]
fn the_other_class_passes_the_same_tests() {
    let other = match memory_class() {
        MemoryClass::Wide => MemoryClass::Narrow,
        MemoryClass::Narrow => MemoryClass::Wide,
    };
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["worker::tests::", "--skip", "the_other_class"]).env(CLASS, other.to_string());
    let output = tests.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && !said.contains(" 0 passed"), "{other}: {said}");
}
