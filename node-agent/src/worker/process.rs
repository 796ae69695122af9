//! What the worker asks of its own process. Opened before it confines itself.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Resident memory of this process.
#[derive(Debug)]
pub(crate) struct Resident(Option<File>);

impl Resident {
    pub(crate) fn open() -> Self {
        Self(File::open("/proc/self/statm").ok())
    }

    /// 0 where the kernel does not tell.
    pub(crate) fn bytes(&self) -> u64 {
        let mut text = [0; 128];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..read]);
        let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or(0) * rustix::param::page_size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_resident_and_the_figure_is_read_anew() {
        let resident = Resident::open();
        let before = resident.bytes();
        assert!(before > 1 << 20, "{before}");
        let grown = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident.bytes() > before + (32 << 20));
        drop(grown);
    }
}
