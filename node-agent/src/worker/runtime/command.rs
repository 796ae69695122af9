//! A fresh instance of a command: payload in, output out, exit code.

use bytes::Bytes;
use littoral_proto::v1::Outcome;
use tokio::sync::mpsc;
use wasmtime::{InstancePre, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::function::{Admitted, Finished, Function, Stage, failure};
use super::guest::{CoreGuest, Guest, Stdio};
use super::outcome::{Failure, exit_code};
use super::pipe::{Allowance, Output, Pipe, Stream};

/// Standard streams of a command.
pub(crate) fn stdio(function: &Function, stdin: Bytes, sink: &mpsc::Sender<Output>) -> Stdio {
    let allowance = Allowance::new(function.spec().output);
    let pipe = |stream| Pipe { stream, sink: sink.clone(), allowance: allowance.clone() };
    Stdio::Piped { stdin, stdout: pipe(Stream::Stdout), stderr: pipe(Stream::Stderr) }
}

/// Runs a component that exports `wasi:cli/run`.
pub(crate) async fn component(
    pre: &CommandPre<Guest>,
    mut store: Store<Guest>,
    admitted: Admitted,
    caller: mpsc::Sender<Output>,
) -> Finished {
    let entered = async {
        let command = pre.instantiate_async(&mut store).await.map_err(Stage::Instantiating)?;
        let ended = command.wasi_cli_run().call_run(&mut store).await;
        exited(ended.map(|result| i32::from(result.is_err())))
    };
    let ended = within(&admitted, &caller, entered).await;
    finish(&admitted, ended.map_err(|stage| stage.into_failure(&mut store)))
}

/// Runs the `_start` of a module of WASI preview 1.
pub(crate) async fn module(
    pre: &InstancePre<CoreGuest>,
    mut store: Store<CoreGuest>,
    admitted: Admitted,
    caller: mpsc::Sender<Output>,
) -> Finished {
    let entered = async {
        let instance = pre.instantiate_async(&mut store).await.map_err(Stage::Instantiating)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(Stage::Instantiating)?;
        exited(start.call_async(&mut store, ()).await.map(|()| 0))
    };
    let ended = within(&admitted, &caller, entered).await;
    finish(&admitted, ended.map_err(|stage| stage.into_failure(&mut store)))
}

/// Leaving by `exit` is an error to wasmtime and an end like any other to us.
fn exited(ended: wasmtime::Result<i32>) -> Result<i32, Stage> {
    ended.or_else(|error| exit_code(&error).ok_or(Stage::Running(error)))
}

/// Why an entry into a guest did not come to its end.
pub(crate) enum Broken {
    Guest(Stage),
    Ended(Failure),
}

impl Broken {
    pub(crate) fn into_failure<T: super::guest::Limited>(self, store: &mut Store<T>) -> Failure {
        match self {
            Self::Guest(stage) => failure(store, stage),
            Self::Ended(failure) => failure,
        }
    }
}

/// Until the guest ends, its time is over, or nobody waits for it any more.
pub(crate) async fn within<T>(
    admitted: &Admitted,
    caller: &mpsc::Sender<Output>,
    entered: impl Future<Output = Result<T, Stage>>,
) -> Result<T, Broken> {
    tokio::select! {
        biased;
        ended = tokio::time::timeout_at(admitted.deadline, entered) => match ended {
            Ok(ended) => ended.map_err(Broken::Guest),
            Err(_) => Err(Broken::Ended(Failure::timeout(admitted.timeout))),
        },
        () = caller.closed() => Err(Broken::Ended(Failure::new(Outcome::Cancelled, "the caller went away"))),
    }
}

fn finish(admitted: &Admitted, ended: Result<i32, Failure>) -> Finished {
    match ended {
        Ok(0) => finished(admitted, Outcome::Ok, 0, String::new()),
        Ok(code) => finished(admitted, Outcome::GuestError, code, format!("it exited with {code}")),
        Err(failure) => finished(admitted, failure.outcome, 0, failure.message),
    }
}

/// Decides the request's outcome and says so to its caller.
pub(crate) fn finished(admitted: &Admitted, outcome: Outcome, exit_code: i32, message: String) -> Finished {
    match outcome {
        Outcome::Ok | Outcome::GuestError => {
            admitted.request.settle(outcome);
            admitted.request.delivered();
        }
        failure => admitted.request.fail(failure),
    }
    Finished { outcome, exit_code, message, duration: admitted.request.started().elapsed() }
}
