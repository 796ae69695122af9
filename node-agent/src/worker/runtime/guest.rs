//! The host's side of one guest: what it was granted, and nothing else.

use bytes::Bytes;
use http::{Request, Response};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::limits::Limits;
use super::log::GuestLog;
use super::pipe::{Pipe, Stream};
use super::spec::Spec;

/// Streams, pollables and bodies that a guest holds at once.
const MAX_RESOURCES: usize = 10_000;
/// Of an answer's body, buffered between a guest and a slow client: 8 times 64 KiB.
const BODY_CHUNKS: usize = 8;
const BODY_CHUNK: usize = 64 << 10;
/// Bytes that one call may make the host allocate: lists and strings that a guest passes.
const MAX_HOST_CALL: usize = 32 << 20;
/// Random bytes for one call; seeds and keys need dozens.
const MAX_RANDOM: u64 = 1 << 20;

/// Standard streams of a guest.
pub(crate) enum Stdio {
    /// Nothing comes in; what it prints goes to the log.
    Logged,
    /// Those of a command.
    Piped { stdin: Bytes, stdout: Pipe, stderr: Pipe },
}

/// State of a component.
pub(crate) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutbound,
    table: ResourceTable,
    limits: Limits,
}

/// State of a core module.
pub(crate) struct CoreGuest {
    pub(crate) wasi: WasiP1Ctx,
    limits: Limits,
}

/// What both kinds have.
pub(crate) trait Limited: Sized + 'static {
    fn limits(&mut self) -> &mut Limits;
}

impl Guest {
    pub(crate) fn new(spec: &Spec, limits: Limits, stdio: Stdio) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            wasi: granted(spec, stdio).build(),
            http: WasiHttpCtx::new(),
            hooks: NoOutbound,
            table,
            limits,
        }
    }
}

impl CoreGuest {
    pub(crate) fn new(spec: &Spec, limits: Limits, stdio: Stdio) -> Self {
        Self { wasi: granted(spec, stdio).build_p1(), limits }
    }
}

/// A store whose guest yields at every tick of the epoch and cannot grow over its limits.
pub(crate) fn store<T: Limited + Send>(engine: &Engine, guest: T) -> Store<T> {
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| guest.limits() as &mut dyn wasmtime::ResourceLimiter);
    store.set_hostcall_fuel(MAX_HOST_CALL);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store
}

fn granted(spec: &Spec, stdio: Stdio) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).max_random_size(MAX_RANDOM);
    for (name, value) in &spec.env {
        wasi.env(name, value);
    }
    match stdio {
        Stdio::Logged if GuestLog::is_wanted() => {
            wasi.stdout(GuestLog::new(&spec.function, Stream::Stdout));
            wasi.stderr(GuestLog::new(&spec.function, Stream::Stderr));
        }
        Stdio::Logged => {}
        Stdio::Piped { stdin, stdout, stderr } => {
            wasi.args(&spec.argv).stdin(MemoryInputPipe::new(stdin)).stdout(stdout).stderr(stderr);
        }
    }
    wasi
}

impl Limited for Guest {
    fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }
}

impl Limited for CoreGuest {
    fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Outbound HTTP is a capability, and there is none yet.
struct NoOutbound;

type Transmission = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type Sent = Result<(Response<WasiBody>, Transmission), HttpError>;

impl WasiHttpHooks for NoOutbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _transmission: Transmission,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        tracing::debug!(uri = %request.uri(), "outbound HTTP is not granted");
        Box::new(async { Err(HttpError::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}
