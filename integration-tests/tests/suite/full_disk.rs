//! A disk that fills up: writes are refused in time and in words, reading goes on, and room makes it well again.

use tempfile::TempDir;

use harness::disk::Disk;
use harness::fleet::{Fleet, example};

#[test]
#[ignore = "mounts a file system, for which it has to be root; the gate runs it"]
fn a_full_disk_refuses_writes_keeps_reading_and_recovers() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::mount(&dir.path().join("control"), 256, "mode=0700");
    let fleet = Fleet::start_in(dir, 0);
    let push = |name: &str| {
        let wasm = example("hello-http");
        fleet.cli(["module", "push", wasm.to_str().unwrap(), "--name", name, "--version", "1"])
    };
    push("before").ok();
    disk.fill_but(25);
    push("during").fails(1, &["disk"]);
    fleet.cli(["token", "create"]).fails(1, &["disk"]);
    let names = |fleet: &Fleet| fleet.cli(["module", "list", "-o", "name"]).ok();
    assert!(names(&fleet).contains("before"));
    disk.make_room();
    push("after").ok();
    assert!(
        names(&fleet).contains("before")
            && names(&fleet).contains("after")
            && !names(&fleet).contains("during")
    );
}
