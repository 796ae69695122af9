//! A disk that fills up: writes are refused in time and in words, reading goes on, and room makes it well again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use harness::fleet::{Fleet, example};

/// A file system of its own, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, mib: usize) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m,mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success(), "this test mounts a file system: run it as root");
        Self(at.to_owned())
    }

    fn fill(&self, mib: usize) {
        let mut file = File::create(self.0.join("ballast")).unwrap();
        for _ in 0..mib {
            file.write_all(&[1; 1024 * 1024]).unwrap();
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what still has files open there ends with the test.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "mounts a file system, for which it has to be root; the gate runs it"]
fn a_full_disk_refuses_writes_keeps_reading_and_recovers() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::mount(&dir.path().join("control"), 256);
    let fleet = Fleet::start_in(dir, 0);
    let push = |name: &str| {
        let wasm = example("hello-http");
        fleet.cli(["module", "push", wasm.to_str().unwrap(), "--name", name, "--version", "1"])
    };
    push("before").ok();
    disk.fill(225);
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
