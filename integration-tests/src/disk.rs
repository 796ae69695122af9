//! A file system that a test can fill.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BALLAST: &str = "ballast";

/// A file system of its own in memory, unmounted at the end.
pub struct Disk(PathBuf);

impl Disk {
    /// With these options beside its size.
    pub fn mount(at: &Path, mib: usize, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={mib}m,{options}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success(), "this test mounts a file system: run it as root");
        Self(at.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves this much.
    pub fn fill_but(&self, mib: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize / (1024 * 1024);
        let mut file = File::create(self.0.join(BALLAST)).unwrap();
        for _ in mib..free {
            file.write_all(&[1; 1024 * 1024]).unwrap();
        }
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.0.join(BALLAST)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what still has files open there ends with the test.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
