//! Modules to measure with: never twice the same, so that nothing is there already.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

const GREETING: &str = "Hello from Littoral\n";
/// What a component in Rust that does something has.
pub(crate) const SIZE: usize = 100_000;
/// A section's id, the length of its content in five bytes, and the length of its name.
const SECTION_HEAD: usize = 1 + 5 + 1;
const SECTION_NAME: &[u8] = b"padding";

/// A module, and what it answers.
pub(crate) struct Guest {
    pub(crate) wasm: Vec<u8>,
    pub(crate) greeting: String,
}

pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join(format!("{name}.wasm"))
}

fn read(name: &str) -> Result<Vec<u8>> {
    let path = example(name);
    std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))
}

/// The HTTP hello with another greeting, and 100 kB large.
pub(crate) fn hello(number: usize) -> Result<Guest> {
    let mut wasm = read("hello-http")?;
    // As long as the one in its place: no length anywhere changes. The native code holds it too.
    let greeting = format!("Hello number {number:06}\n");
    ensure!(greeting.len() == GREETING.len(), "at most a million modules");
    let at = wasm.windows(GREETING.len()).position(|bytes| bytes == GREETING.as_bytes());
    let at = at.context("the example's greeting is not in its module")?;
    wasm[at..at + greeting.len()].copy_from_slice(greeting.as_bytes());
    ensure!(wasm.len() + SECTION_HEAD + SECTION_NAME.len() <= SIZE, "the example has grown beyond 100 kB");
    let padding = SIZE - wasm.len() - SECTION_HEAD - SECTION_NAME.len();
    add_section(&mut wasm, 0, &[&[SECTION_NAME.len() as u8], SECTION_NAME, &vec![b'.'; padding]].concat());
    Ok(Guest { wasm, greeting: greeting.trim_end().to_owned() })
}

/// The image resizer, different from all others by a section that nobody reads.
pub(crate) fn resize(number: usize) -> Result<Vec<u8>> {
    let mut wasm = read("resize")?;
    let content = [&[SECTION_NAME.len() as u8], SECTION_NAME, number.to_string().as_bytes()].concat();
    add_section(&mut wasm, 0, &content);
    Ok(wasm)
}

/// A core module whose native code has at least so many bytes.
pub(crate) fn large(bytes: usize) -> Result<Vec<u8>> {
    let pages = bytes.div_ceil(64 << 10);
    let mut wasm = wat::parse_str(format!("(module (memory {pages}) (func (export \"f\")))"))?;
    // One active segment at address 0. The bytes are of no kind that anything could make smaller.
    let mut content = vec![1, 0, 0x41, 0, 0x0b];
    content.extend(leb128(bytes));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    content.extend((0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    }));
    add_section(&mut wasm, 11, &content);
    Ok(wasm)
}

fn add_section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    wasm.extend(leb128(content.len()));
    wasm.extend(content);
}

/// In five bytes, whatever the number.
fn leb128(number: usize) -> [u8; 5] {
    std::array::from_fn(|index| (number >> (7 * index)) as u8 & 0x7f | if index < 4 { 0x80 } else { 0 })
}
