use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::errors::{Failure, Result};

/// SIGINT and SIGTERM, one after the other: the first stops in order, the second at once.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn install() -> Result<Self> {
        let install = |kind| signal(kind).map_err(|error| Failure::caused("listen for signals", &error));
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
