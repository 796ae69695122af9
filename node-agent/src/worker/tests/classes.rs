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

/// Addresses for two tests at once. qemu keeps some memory for each that was ever used, so it is to use the same again; others
/// do not know the variable.
const EMULATED_ADDRESSES: (&str, &str) = ("QEMU_RESERVED_VA", "0x4000000000");

/// The class is chosen once in a process, so these tests run once more in another one.
#[test]
fn the_other_class_passes_the_same_tests() {
    let other = match memory_class() {
        MemoryClass::Wide => MemoryClass::Narrow,
        MemoryClass::Narrow => MemoryClass::Wide,
    };
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["worker::tests::", "--skip", "the_other_class", "--test-threads", "2"]);
    tests.env(CLASS, other.to_string()).env(EMULATED_ADDRESSES.0, EMULATED_ADDRESSES.1);
    let output = tests.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && !said.contains(" 0 passed"), "{other}: {said}");
}
