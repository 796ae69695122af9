use littoral_model::function::GuestKind;

use super::{BadMessage, bad};
use crate::v1::{ModuleKind, Outcome};

pub fn kind_to_pb(kind: GuestKind) -> ModuleKind {
    match kind {
        GuestKind::Http => ModuleKind::Http,
        GuestKind::Command => ModuleKind::Command,
        GuestKind::CommandP1 => ModuleKind::CommandP1,
        GuestKind::Typed => ModuleKind::Typed,
        GuestKind::TypedCore => ModuleKind::TypedCore,
    }
}

pub fn kind_from_pb(kind: i32) -> Result<GuestKind, BadMessage> {
    match ModuleKind::try_from(kind) {
        Ok(ModuleKind::Http) => Ok(GuestKind::Http),
        Ok(ModuleKind::Command) => Ok(GuestKind::Command),
        Ok(ModuleKind::CommandP1) => Ok(GuestKind::CommandP1),
        Ok(ModuleKind::Typed) => Ok(GuestKind::Typed),
        Ok(ModuleKind::TypedCore) => Ok(GuestKind::TypedCore),
        Ok(ModuleKind::Unspecified) | Err(_) => Err(bad("kind", format!("{kind} is not a kind of module"))),
    }
}

/// How an invocation ended, as metrics, headers and people have it.
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unspecified",
        Outcome::Ok => "ok",
        Outcome::GuestError => "guest_error",
        Outcome::Trap => "trap",
        Outcome::Timeout => "timeout",
        Outcome::OutOfMemory => "oom",
        Outcome::OutputLimit => "output_limit",
        Outcome::QueueFull => "queue_full",
        Outcome::StackOverflow => "stack_overflow",
        Outcome::HostError => "host_error",
        Outcome::Cancelled => "cancelled",
    }
}
