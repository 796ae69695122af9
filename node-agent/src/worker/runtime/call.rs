//! Calls of exported functions, with arguments and results in WAVE syntax.

use bytes::Bytes;
use littoral_proto::v1::Outcome;
use tokio::sync::mpsc;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::{DisplayType, WasmType, WasmValue};
use wasmtime::component::{self, Component, ComponentExportIndex, Type, wasm_wave};
use wasmtime::{ExternType, FuncType, InstancePre, Store, ValType};

use super::command::{finished, within};
use super::exports::{BadCall, ExportName, find, split};
use super::function::{Admitted, Finished, Function, Stage};
use super::guest::{CoreGuest, Guest};
use super::outcome::Failure;
use super::pipe::{Allowance, Output};

/// What a core module's language runtime wants called before anything else.
const INITIALIZE: &str = "_initialize";

/// A component with functions of its own.
pub(crate) struct Typed {
    pre: component::InstancePre<Guest>,
    names: Vec<ExportName>,
    exports: Vec<(ComponentExportIndex, Vec<Type>)>,
}

/// A core module with functions of its own.
pub(crate) struct Core {
    pre: InstancePre<CoreGuest>,
    names: Vec<ExportName>,
    types: Vec<FuncType>,
}

/// A function and values for its parameters, which fit.
pub(crate) struct Call<V> {
    index: usize,
    arguments: Vec<V>,
}

/// A result as text, and whether it is an `Err`.
struct Answer {
    text: String,
    is_err: bool,
}

impl Typed {
    pub(crate) fn new(component: &Component, pre: component::InstancePre<Guest>) -> Self {
        let mut typed = Self { pre, names: Vec::new(), exports: Vec::new() };
        for (name, item) in component.component_type().exports(component.engine()) {
            match item.ty {
                ComponentItem::ComponentFunc(func) => {
                    typed.add(component.get_export_index(None, name), None, name, &func);
                }
                ComponentItem::ComponentInstance(instance) => {
                    let interface = component.get_export_index(None, name);
                    for (function, item) in instance.exports(component.engine()) {
                        let ComponentItem::ComponentFunc(func) = item.ty else { continue };
                        let index = component.get_export_index(interface.as_ref(), function);
                        typed.add(index, Some(name), function, &func);
                    }
                }
                _ => {}
            }
        }
        typed
    }

    fn add(
        &mut self,
        index: Option<ComponentExportIndex>,
        interface: Option<&str>,
        function: &str,
        func: &ComponentFunc,
    ) {
        // Methods need a resource to be called on, and a call from outside has none.
        let Some(index) = index.filter(|_| !function.starts_with('[')) else { return };
        let name = ExportName { interface: interface.map(str::to_owned), function: function.into() };
        self.names.push(name);
        self.exports.push((index, func.params().map(|(_, ty)| ty).collect()));
    }

    /// # Errors
    /// When the call does not fit the component: the caller's mistake, told before anything runs.
    pub(crate) fn prepare(&self, call: &str) -> Result<Call<component::Val>, BadCall> {
        let (name, arguments) = split(call)?;
        let index = find(&self.names, name)?;
        let arguments = parse(name, arguments, &self.exports[index].1)?;
        Ok(Call { index, arguments })
    }

    pub(crate) async fn run(
        &self,
        call: Call<component::Val>,
        function: &Function,
        mut store: Store<Guest>,
        admitted: Admitted,
        caller: mpsc::Sender<Output>,
    ) -> Finished {
        let entered = async {
            let instance = self.pre.instantiate_async(&mut store).await.map_err(Stage::Instantiating)?;
            let func = instance
                .get_func(&mut store, self.exports[call.index].0)
                .ok_or_else(|| Stage::Instantiating(wasmtime::format_err!("the function is not there")))?;
            let mut results = vec![component::Val::Bool(false); func.ty(&store).results().len()];
            let called = func.call_async(&mut store, &call.arguments, &mut results).await;
            called.map_err(Stage::Running)?;
            Ok(results)
        };
        let ended = within(&admitted, &caller, entered).await;
        let answer = ended.map_err(|broken| broken.into_failure(&mut store)).and_then(|results| {
            let is_err = matches!(results.first(), Some(component::Val::Result(Err(_))));
            Ok(Answer { text: print(&results)?, is_err })
        });
        deliver(answer, function, &admitted, &caller).await
    }
}

impl Core {
    pub(crate) fn new(pre: InstancePre<CoreGuest>) -> Self {
        let mut core = Self { names: Vec::new(), types: Vec::new(), pre };
        for export in core.pre.module().exports() {
            let ExternType::Func(func) = export.ty() else { continue };
            if export.name() != INITIALIZE {
                core.names.push(ExportName { interface: None, function: export.name().into() });
                core.types.push(func);
            }
        }
        core
    }

    /// # Errors
    /// When the call does not fit the module: the caller's mistake, told before anything runs.
    pub(crate) fn prepare(&self, call: &str) -> Result<Call<wasmtime::Val>, BadCall> {
        let (name, arguments) = split(call)?;
        let index = find(&self.names, name)?;
        let params: Vec<ValType> = self.types[index].params().collect();
        Ok(Call { index, arguments: parse(name, arguments, &params)? })
    }

    pub(crate) async fn run(
        &self,
        call: Call<wasmtime::Val>,
        function: &Function,
        mut store: Store<CoreGuest>,
        admitted: Admitted,
        caller: mpsc::Sender<Output>,
    ) -> Finished {
        let name = &self.names[call.index].function;
        let entered = async {
            let instance = self.pre.instantiate_async(&mut store).await.map_err(Stage::Instantiating)?;
            if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, INITIALIZE) {
                initialize.call_async(&mut store, ()).await.map_err(Stage::Running)?;
            }
            let func = instance
                .get_func(&mut store, name)
                .ok_or_else(|| Stage::Instantiating(wasmtime::format_err!("the function is not there")))?;
            let mut results = vec![wasmtime::Val::I32(0); self.types[call.index].results().len()];
            let called = func.call_async(&mut store, &call.arguments, &mut results).await;
            called.map_err(Stage::Running)?;
            Ok(results)
        };
        let ended = within(&admitted, &caller, entered).await;
        let answer = ended
            .map_err(|broken| broken.into_failure(&mut store))
            .and_then(|results| Ok(Answer { text: print(&results)?, is_err: false }));
        deliver(answer, function, &admitted, &caller).await
    }
}

fn parse<V: WasmValue + 'static>(name: &str, arguments: &str, types: &[V::Type]) -> Result<Vec<V>, BadCall> {
    if let Some(foreign) = types.iter().find(|ty| ty.kind() == wasm_wave::wasm::WasmTypeKind::Unsupported) {
        let why = format!("it takes a {}, which cannot be written down", DisplayType(foreign));
        return Err(BadCall::Unsupported { name: name.into(), why });
    }
    // Names of core functions need not be names in WAVE: any other stands in for them.
    let parsed = UntypedFuncCall::parse(&format!("f{arguments}")).and_then(|call| call.to_wasm_params(types));
    parsed.map_err(|error| {
        let types: Vec<String> = types.iter().map(|ty| DisplayType(ty).to_string()).collect();
        let signature = format!("{name}({})", types.join(", "));
        BadCall::Arguments { name: name.into(), signature, why: error.to_string() }
    })
}

fn print<V: WasmValue>(results: &[V]) -> Result<String, Failure> {
    let unprintable = |error: wasm_wave::writer::WriterError| {
        Failure::new(Outcome::GuestError, format!("its result cannot be written as text: {error}"))
    };
    let texts: Result<Vec<String>, Failure> =
        results.iter().map(|value| wasm_wave::to_string(value).map_err(unprintable)).collect();
    Ok(match texts?.as_slice() {
        [one] => one.clone(),
        [] => String::new(),
        several => format!("({})", several.join(", ")),
    })
}

async fn deliver(
    answer: Result<Answer, Failure>,
    function: &Function,
    admitted: &Admitted,
    caller: &mpsc::Sender<Output>,
) -> Finished {
    let answer = answer.and_then(|answer| {
        let fits = Allowance::new(function.spec().output).take(answer.text.len());
        fits.map_err(|exceeded| Failure::new(Outcome::OutputLimit, exceeded.to_string()))?;
        Ok(answer)
    });
    let Answer { text, is_err } = match answer {
        Ok(answer) => answer,
        Err(failure) => return finished(admitted, failure.outcome, 0, failure.message),
    };
    if !text.is_empty() && caller.send(Output::Stdout(Bytes::from(text))).await.is_err() {
        return finished(admitted, Outcome::Cancelled, 0, "the caller went away".into());
    }
    match is_err {
        true => finished(admitted, Outcome::GuestError, 0, "it returned an error".into()),
        false => finished(admitted, Outcome::Ok, 0, String::new()),
    }
}
