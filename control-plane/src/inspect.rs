//! What a module is, before anything else is done with it: its kind, what it wants and what it offers.

mod component;
mod core;
mod wasi;

use littoral_proto::v1::ModuleKind;
use wasmparser::{Parser, Validator, WasmFeatures};

/// More names than this are noise in a record and in a list; the limit of a value in the store is far away.
const MAX_NAMES: usize = 1000;
/// Of one name, for the same reason.
const MAX_NAME: usize = 256;
/// A component may have more imports than fit into an answer: the first show what is wrong.
const MAX_MISSING: usize = 12;

/// What was found in a module that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub kind: ModuleKind,
    /// Instances, or `module.field`; sorted.
    pub imports: Vec<String>,
    /// Sorted.
    pub exports: Vec<String>,
}

/// Why a module cannot be run here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("this is not WebAssembly: it does not begin as a module or a component does")]
    NotWasm,
    #[error("the WebAssembly ends in the middle (at byte {offset}): was the file copied whole?")]
    Truncated { offset: usize },
    #[error("the WebAssembly is not valid: {reason} (at byte {offset})")]
    Invalid { reason: String, offset: usize },
    /// One line for each import.
    #[error("nobody provides what the module imports: {}", list(.0))]
    Missing(Vec<String>),
    #[error("the component uses {0}, which is not yet supported: build it for WASI 0.2")]
    NotYet(String),
    #[error(
        "nothing can be called in the component: it exports neither wasi:http/incoming-handler nor wasi:cli/run (0.2), \
         nor a function of its own; its exports are: {}", list(.0)
    )]
    NoEntry(Vec<String>),
    #[error("nothing can be called in the module: it exports neither `_start` nor another function")]
    NoFunction,
    #[error("`_start` of the module has parameters or results, and must have none")]
    StartType,
    #[error("the module uses WASI and does not export its memory as `memory`, through which WASI works")]
    NoMemory,
    #[error("the module has {0} imports and exports: at most {MAX_NAMES}")]
    TooManyNames(usize),
    #[error("the module has a name of {0} bytes among its imports and exports: at most {MAX_NAME}")]
    LongName(usize),
}

/// Looks at a whole module. Takes about a second for 50 MB: not on an executor thread.
///
/// # Errors
/// Says why it cannot be run, and what to do.
pub fn inspect(wasm: &[u8]) -> Result<Inspected, Refused> {
    let is_component = Parser::is_component(wasm);
    if !is_component && !Parser::is_core_wasm(wasm) {
        return Err(Refused::NotWasm);
    }
    let features = littoral_engine::wasm_features().difference(WasmFeatures::CM_ASYNC);
    let types = match Validator::new_with_features(features).validate_all(wasm) {
        Ok(types) => types,
        Err(error) => return Err(refused(&error, wasm, features)),
    };
    let mut found =
        if is_component { component::inspect(wasm, types.as_ref())? } else { core::inspect(types.as_ref())? };
    check_names(&found)?;
    found.imports.sort();
    found.imports.dedup();
    found.exports.sort();
    Ok(found)
}

/// Whether the first bytes can be those of a module: enough to refuse a photograph before all of it was sent.
pub fn begins_as_wasm(start: &[u8]) -> bool {
    const MAGIC: [u8; 4] = *b"\0asm";
    start.starts_with(&MAGIC) || MAGIC.starts_with(start)
}

fn check_names(found: &Inspected) -> Result<(), Refused> {
    let count = found.imports.len() + found.exports.len();
    if count > MAX_NAMES {
        return Err(Refused::TooManyNames(count));
    }
    let longest = found.imports.iter().chain(&found.exports).map(String::len).max().unwrap_or(0);
    if longest > MAX_NAME { Err(Refused::LongName(longest)) } else { Ok(()) }
}

/// Tells what is wrong from what is only too new.
fn refused(error: &wasmparser::Error, wasm: &[u8], features: WasmFeatures) -> Refused {
    let with_async = Validator::new_with_features(features | WasmFeatures::CM_ASYNC).validate_all(wasm);
    match with_async {
        Ok(_) => Refused::NotYet("the asynchronous component model (WASI 0.3)".to_owned()),
        Err(_) => invalid(error),
    }
}

fn invalid(error: &wasmparser::Error) -> Refused {
    let offset = error.offset();
    if error.message().contains("unexpected end") {
        return Refused::Truncated { offset };
    }
    Refused::Invalid { reason: error.message().to_owned(), offset }
}

fn missing(mut names: Vec<String>) -> Refused {
    names.sort();
    names.dedup();
    Refused::Missing(names)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> =
        names.iter().take(MAX_MISSING).map(|name| name.chars().take(MAX_NAME).collect()).collect();
    match names.len().saturating_sub(MAX_MISSING) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
