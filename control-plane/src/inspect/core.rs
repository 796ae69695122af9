//! Core modules.

use littoral_proto::v1::ModuleKind;
use wasmparser::CompositeInnerType;
use wasmparser::types::{EntityType, TypesRef};

use super::wasi::{PREVIEW_1_MODULE, provides_p1};
use super::{Inspected, Refused, missing};

const START: &str = "_start";
/// Called by the host before anything else, and not by people.
const INITIALIZE: &str = "_initialize";

pub(super) fn inspect(types: TypesRef<'_>) -> Result<Inspected, Refused> {
    let imports: Vec<(&str, &str, EntityType)> = types.core_imports().into_iter().flatten().collect();
    let exports: Vec<(&str, EntityType)> = types.core_exports().into_iter().flatten().collect();
    check_imports(&imports)?;
    let kind = kind(types, &exports)?;
    let memory = exports.iter().any(|(name, ty)| *name == "memory" && matches!(ty, EntityType::Memory(_)));
    if !imports.is_empty() && !memory {
        return Err(Refused::NoMemory);
    }
    Ok(Inspected {
        kind,
        imports: imports.iter().map(|(module, field, _)| format!("{module}.{field}")).collect(),
        exports: exports.iter().map(|(name, _)| (*name).to_owned()).collect(),
    })
}

fn check_imports(imports: &[(&str, &str, EntityType)]) -> Result<(), Refused> {
    let unknown = imports.iter().filter(|(module, field, ty)| {
        !(*module == PREVIEW_1_MODULE && provides_p1(field) && matches!(ty, EntityType::Func(_)))
    });
    let names: Vec<String> = unknown.map(|(module, field, _)| format!("{module}.{field}")).collect();
    if names.is_empty() { Ok(()) } else { Err(missing(names)) }
}

fn kind(types: TypesRef<'_>, exports: &[(&str, EntityType)]) -> Result<ModuleKind, Refused> {
    if let Some((_, EntityType::Func(id))) = exports.iter().find(|(name, _)| *name == START) {
        let CompositeInnerType::Func(ty) = &types[*id].composite_type.inner else {
            return Err(Refused::StartType);
        };
        let plain = ty.params().is_empty() && ty.results().is_empty();
        return if plain { Ok(ModuleKind::CommandP1) } else { Err(Refused::StartType) };
    }
    let callable = |(name, ty): &(&str, EntityType)| matches!(ty, EntityType::Func(_)) && *name != INITIALIZE;
    if exports.iter().any(callable) { Ok(ModuleKind::TypedCore) } else { Err(Refused::NoFunction) }
}
