//! What functions did, in numbered windows that are kept until the control plane has acknowledged them.
//!
//! Counters that the worker hands over are merged into the open window. It is closed when it is reported, or after a
//! minute without a session: so an outage of hours costs few windows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use littoral_model::time::Timestamp;
use littoral_proto::v1::{FunctionWindow, StatsWindow};
use prost::Message;

mod open;

use open::OpenWindow;

/// Eight hours of an outage at a window a minute.
const MAX_WINDOWS: usize = 512;
/// In all; histograms are sparse, so that this is reached by thousands of functions only.
const MAX_BYTES: usize = 16 << 20;
/// A window of more functions is split: several fit into one message.
const MAX_WINDOW_BYTES: usize = 512 << 10;
/// Longest span of one window while nobody asks.
pub(crate) const MAX_SPAN: Duration = Duration::from_secs(60);

/// Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    boot_id: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: OpenWindow,
    closed: VecDeque<StatsWindow>,
    closed_bytes: usize,
    last_sequence: u64,
    dropped: u64,
}

impl Stats {
    /// `boot_id` tells this process's windows from those of an earlier one.
    pub(crate) fn new(boot_id: &str) -> Self {
        Self { boot_id: boot_id.into(), state: Arc::default() }
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Merges counters since the last call into the open window, and closes it when it spans a minute.
    pub(crate) fn add(&self, functions: Vec<FunctionWindow>, now: Timestamp) {
        let mut state = self.state();
        state.open.add(functions, now);
        if state.open.span(now) >= MAX_SPAN {
            state.close(&self.boot_id, now);
        }
    }

    /// Closes the open window if anything happened in it.
    pub(crate) fn close(&self, now: Timestamp) {
        self.state().close(&self.boot_id, now);
    }

    /// The oldest unacknowledged windows, at most `max` of at most `max_bytes` together, but at least one.
    pub(crate) fn pending(&self, max: usize, max_bytes: usize) -> Vec<StatsWindow> {
        let mut bytes = 0;
        let fits = |window: &&StatsWindow| {
            bytes += window.encoded_len();
            bytes <= max_bytes || bytes == window.encoded_len()
        };
        self.state().closed.iter().take(max).take_while(fits).cloned().collect()
    }

    /// Forgets the windows of this boot up to and including `sequence`. Returns whether some are left.
    pub(crate) fn acknowledge(&self, boot_id: &str, sequence: u64) -> bool {
        let mut state = self.state();
        if boot_id == &*self.boot_id {
            while state.closed.front().is_some_and(|window| window.sequence <= sequence) {
                state.drop_oldest();
            }
        }
        !state.closed.is_empty()
    }

    /// Bytes of the windows that wait for an acknowledgement.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.state().closed_bytes
    }

    /// Windows that were given up for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, boot_id: &str, now: Timestamp) {
        let open = std::mem::take(&mut self.open);
        let Some(start) = open.start() else { return };
        for functions in split(open.into_functions()) {
            self.last_sequence += 1;
            let window = StatsWindow {
                boot_id: boot_id.to_owned(),
                sequence: self.last_sequence,
                start_ms: start.as_millis(),
                end_ms: now.as_millis(),
                functions,
            };
            self.closed_bytes += window.encoded_len();
            self.closed.push_back(window);
        }
        while self.closed.len() > MAX_WINDOWS || (self.closed_bytes > MAX_BYTES && self.closed.len() > 1) {
            self.drop_oldest();
            self.dropped += 1;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(window) = self.closed.pop_front() {
            self.closed_bytes -= window.encoded_len();
        }
    }
}

/// Groups of at most `MAX_WINDOW_BYTES`.
fn split(functions: Vec<FunctionWindow>) -> Vec<Vec<FunctionWindow>> {
    let mut groups: Vec<Vec<FunctionWindow>> = Vec::new();
    let mut bytes = 0;
    for function in functions {
        // With the tag and the length before it.
        let size = function.encoded_len() + 6;
        match groups.last_mut() {
            Some(group) if bytes + size <= MAX_WINDOW_BYTES => {
                bytes += size;
                group.push(function);
            }
            _ => {
                bytes = size;
                groups.push(vec![function]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests;
