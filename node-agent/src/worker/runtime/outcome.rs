//! From wasmtime's errors to the outcomes that people and gates see.

use littoral_proto::v1::Outcome;
use wasmtime::{Error, Trap};
use wasmtime_wasi::I32Exit;

use super::limits::Refusal;
use super::pipe::OutputExceeded;

/// How a guest ended, when it did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub outcome: Outcome,
    /// For people.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into() }
    }

    /// A guest that could not be instantiated.
    pub(crate) fn instantiating(error: &Error, refusal: Option<Refusal>) -> Self {
        if error.downcast_ref::<Trap>().is_some() || refusal.is_some() {
            return Self::running(error, refusal);
        }
        Self::new(Outcome::HostError, format!("no instance could be made: {error:#}"))
    }

    /// A guest that was entered and did not return.
    pub(crate) fn running(error: &Error, refusal: Option<Refusal>) -> Self {
        let trap = error.downcast_ref::<Trap>();
        let outcome = match (trap, refusal) {
            _ if error.downcast_ref::<OutputExceeded>().is_some() => Outcome::OutputLimit,
            (Some(Trap::StackOverflow), _) => Outcome::StackOverflow,
            (Some(Trap::Interrupt), _) => Outcome::Timeout,
            (_, Some(Refusal::Limit)) => Outcome::OutOfMemory,
            (_, Some(Refusal::Budget)) => Outcome::HostError,
            _ => Outcome::Trap,
        };
        let why = match refusal {
            Some(Refusal::Limit) => "it asked for more memory than its limit, then: ",
            Some(Refusal::Budget) => "the node has no more memory for guests, then: ",
            None => "",
        };
        // The trap says what happened; the rest of the chain is a backtrace.
        let cause = trap.map_or_else(|| format!("{error:#}"), ToString::to_string);
        Self::new(outcome, format!("{why}{cause}"))
    }

    pub(crate) fn timeout(limit: std::time::Duration) -> Self {
        Self::new(Outcome::Timeout, format!("it ran for longer than its limit of {} ms", limit.as_millis()))
    }
}

/// The code that a guest exited with, when that is how it ended.
pub(crate) fn exit_code(error: &Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_refused_explains_a_trap_but_not_a_deep_stack() {
        let outcome = |trap, refusal| Failure::running(&Error::from(trap), refusal).outcome;
        assert_eq!(outcome(Trap::UnreachableCodeReached, None), Outcome::Trap);
        assert_eq!(outcome(Trap::UnreachableCodeReached, Some(Refusal::Limit)), Outcome::OutOfMemory);
        assert_eq!(outcome(Trap::UnreachableCodeReached, Some(Refusal::Budget)), Outcome::HostError);
        assert_eq!(outcome(Trap::StackOverflow, Some(Refusal::Limit)), Outcome::StackOverflow);
    }

    #[test]
    fn a_full_pool_is_ours() {
        let failure = Failure::instantiating(&wasmtime::format_err!("limit of 4 for memories reached"), None);
        assert_eq!(failure.outcome, Outcome::HostError);
    }
}
