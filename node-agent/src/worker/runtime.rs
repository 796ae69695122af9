//! Runs guests: loads verified artifacts and enters them, one fresh instance for each request.
//!
//! Nothing here knows of the agent, its socket or the ingress.

mod call;
mod command;
mod exports;
mod function;
mod guest;
pub(crate) mod http;
mod invoke;
mod limits;
mod log;
mod map;
pub(crate) mod outcome;
pub(crate) mod pipe;
mod spec;
mod ticker;

use std::sync::Arc;

use littoral_engine::Pool;
use littoral_model::target::{MemoryClass, Target};
use littoral_proto::v1::ModuleKind;
use tokio::sync::Semaphore;
use wasmtime::component::{self, Component};
use wasmtime::{Engine, InstancePre, Linker, Module, Result};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use self::call::{Core, Typed};
use self::function::{Entry, Host};
use self::guest::{CoreGuest, Guest};
use self::limits::HostMemory;
use self::map::Code;
use self::ticker::Ticker;
use super::artifact::{LoadError, VerifiedArtifact};
use super::stats::Stats;

pub use self::exports::BadCall;
pub use self::function::{Finished, Function, Invocation};
pub use self::invoke::InvokeError;
pub use self::outcome::Failure;
pub use self::pipe::Output;
pub use self::spec::Spec;

const PAGE: u64 = 64 << 10;

/// The engine of this host and what guests are linked with. Shared by all functions.
pub struct Runtime {
    host: Arc<Host>,
    target: Target,
    components: component::Linker<Guest>,
    modules: Linker<CoreGuest>,
    stats: Stats,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
    #[error("the thread that interrupts guests could not be started")]
    Thread(#[source] std::io::Error),
}

impl Runtime {
    /// An engine for artifacts of `memory` that runs as many instances at once as `pool` has. All guests together get at
    /// most `memory_budget` bytes of linear memory.
    ///
    /// # Errors
    /// When this host cannot have the engine.
    pub fn new(
        memory: MemoryClass,
        pool: Pool,
        memory_budget: u64,
    ) -> std::result::Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        let engine = engine(memory, pool).map_err(failed)?;
        let (components, modules) = linkers(&engine).map_err(failed)?;
        let host = Host {
            ticker: Ticker::start(&engine).map_err(RuntimeError::Thread)?,
            engine,
            memory: HostMemory::new(memory_budget),
            instances: Arc::new(Semaphore::new(pool.instances as usize)),
        };
        let target = littoral_engine::host_target(memory);
        Ok(Self { host: Arc::new(host), target, components, modules, stats: Stats::default() })
    }

    /// The highest target that runs here.
    pub fn target(&self) -> Target {
        self.target
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Maps and links one revision. Blocks: the file is read in as far as it is needed.
    ///
    /// # Errors
    /// Nothing is loaded then.
    pub fn load(&self, spec: Spec, artifact: &VerifiedArtifact) -> std::result::Result<Function, LoadError> {
        check_same(&spec, artifact)?;
        let is_component = matches!(spec.kind, ModuleKind::Http | ModuleKind::Command | ModuleKind::Typed);
        let code = map::map(&self.host.engine, artifact, is_component)
            .map_err(|error| LoadError::Map(format!("{error:#}")))?;
        check_memory(&spec, &code)?;
        let entry = match &code {
            Code::Component(component) => self.component(spec.kind, component),
            Code::Module(module) => self.module(spec.kind, module),
        };
        let entry = entry.map_err(|error| LoadError::Link(format!("{error:#}")))?;
        let stats = self.stats.of(&spec.function, spec.revision);
        Ok(Function::new(spec, entry, Arc::clone(&self.host), stats))
    }

    fn component(&self, kind: ModuleKind, component: &Component) -> Result<Entry> {
        let pre = self.components.instantiate_pre(component)?;
        Ok(match kind {
            ModuleKind::Http => Entry::Http(ProxyPre::new(pre)?),
            ModuleKind::Command => Entry::Command(CommandPre::new(pre)?),
            _ => Entry::Typed(Typed::new(component, pre)),
        })
    }

    fn module(&self, kind: ModuleKind, module: &Module) -> Result<Entry> {
        let pre: InstancePre<CoreGuest> = self.modules.instantiate_pre(module)?;
        if kind == ModuleKind::TypedCore {
            return Ok(Entry::TypedCore(Core::new(pre)));
        }
        wasmtime::ensure!(module.get_export("_start").is_some(), "it has no `_start`");
        Ok(Entry::CommandP1(pre))
    }
}

fn engine(memory: MemoryClass, pool: Pool) -> Result<Engine> {
    if memory == MemoryClass::Wide {
        let pooled = littoral_engine::pooled_config(pool).and_then(|config| Engine::new(&config));
        match pooled {
            Ok(engine) => return Ok(engine),
            // The address space may be short for a pool and do for single instances.
            Err(error) => tracing::warn!("no pool of instances, they are made on demand: {error:#}"),
        }
    }
    Engine::new(&littoral_engine::runtime_config(memory)?)
}

/// All of WASI 0.2 and preview 1 is linked, whatever a guest was granted: what it was not granted refuses when it is
/// used. Languages import far more than they use.
fn linkers(engine: &Engine) -> Result<(component::Linker<Guest>, Linker<CoreGuest>)> {
    let mut components = component::Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut components)?;
    let mut modules = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut modules, |guest: &mut CoreGuest| &mut guest.wasi)?;
    Ok((components, modules))
}

fn check_same(spec: &Spec, artifact: &VerifiedArtifact) -> std::result::Result<(), LoadError> {
    let mismatch = |what, found: String, stated: String| LoadError::Mismatch { what, found, stated };
    if artifact.source() != spec.module_digest {
        let (found, stated) = (spec.module_digest.clone(), artifact.source().to_owned());
        return Err(mismatch("the module of the spec", found, stated));
    }
    if artifact.kind() != spec.kind {
        let (found, stated) = (spec.kind.as_str_name().into(), artifact.kind().as_str_name().into());
        return Err(mismatch("the kind of the spec", found, stated));
    }
    Ok(())
}

fn check_memory(spec: &Spec, code: &Code) -> std::result::Result<(), LoadError> {
    let required = match code {
        Code::Component(component) => component.resources_required(),
        Code::Module(module) => Some(module.resources_required()),
    };
    let pages = required.and_then(|required| required.max_initial_memory_size).unwrap_or(0);
    let bytes = pages.saturating_mul(PAGE);
    if bytes <= spec.memory {
        return Ok(());
    }
    Err(LoadError::Limit(format!(
        "the module starts with {bytes} bytes of memory and the function's limit is {}: raise limits.memory",
        spec.memory
    )))
}
