//! Components.

use littoral_proto::v1::ModuleKind;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::TypesRef;
use wasmparser::{Parser, Payload};

use super::wasi::{Level, provides_p2, split};
use super::{Inspected, Refused, invalid, missing};

const HTTP: &str = "wasi:http/incoming-handler";
const HTTP_P3: &str = "wasi:http/handler";
const COMMAND: &str = "wasi:cli/run";

pub(super) fn inspect(wasm: &[u8], types: TypesRef<'_>) -> Result<Inspected, Refused> {
    let (imports, exports) = names(wasm)?;
    check_imports(&imports, types)?;
    Ok(Inspected { kind: kind(&exports, types)?, imports, exports })
}

/// Names that the component itself imports and exports, without those of what is nested in it.
fn names(wasm: &[u8]) -> Result<(Vec<String>, Vec<String>), Refused> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| invalid(&error))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            // The last one is the outermost's.
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(|error| invalid(&error))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(|error| invalid(&error))?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn check_imports(imports: &[String], types: TypesRef<'_>) -> Result<(), Refused> {
    if let Some(p3) = imports.iter().find(|name| split(name).1 == Level::P3) {
        return Err(Refused::NotYet(p3.clone()));
    }
    let provided = |name: &str| match types.component_item_for_import(name).map(|item| &item.ty) {
        Some(ComponentEntityType::Instance(_)) => provides_p2(name),
        // A type alone asks for nothing.
        Some(ComponentEntityType::Type { .. }) => true,
        _ => false,
    };
    let names: Vec<String> = imports.iter().filter(|name| !provided(name)).cloned().collect();
    if names.is_empty() { Ok(()) } else { Err(missing(names)) }
}

fn kind(exports: &[String], types: TypesRef<'_>) -> Result<ModuleKind, Refused> {
    let exported =
        |interface: &str, level: Level| exports.iter().any(|name| split(name) == (interface, level));
    if exported(HTTP, Level::P2) {
        return Ok(ModuleKind::Http);
    }
    if exported(COMMAND, Level::P2) {
        return Ok(ModuleKind::Command);
    }
    if let Some(p3) = exports.iter().find(|name| {
        let (interface, level) = split(name);
        level == Level::P3 && [HTTP, HTTP_P3, COMMAND].contains(&interface)
    }) {
        return Err(Refused::NotYet(p3.clone()));
    }
    if exports.iter().any(|name| has_function(name, types)) {
        return Ok(ModuleKind::Typed);
    }
    Err(Refused::NoEntry(exports.to_vec()))
}

/// Whether the export is a function, or an instance with one.
fn has_function(export: &str, types: TypesRef<'_>) -> bool {
    match types.component_item_for_export(export).map(|item| &item.ty) {
        Some(ComponentEntityType::Func(_)) => true,
        Some(ComponentEntityType::Instance(id)) => {
            types[*id].exports.values().any(|item| matches!(item.ty, ComponentEntityType::Func(_)))
        }
        _ => false,
    }
}
