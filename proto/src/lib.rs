//! `littoral.v1`: generated types, services, and the only conversions between them and the model.

/// Nested as the packages are: the generated code refers to its neighbours by relative paths.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::disallowed_methods,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod generated {
    pub mod v1 {
        tonic::include_proto!("littoral.v1");
    }
    pub mod worker {
        pub mod v1 {
            tonic::include_proto!("littoral.worker.v1");
        }
    }
    pub mod store {
        pub mod v1 {
            tonic::include_proto!("littoral.store.v1");
        }
    }
}

/// What the control plane keeps.
pub use generated::store::v1 as store;
/// The public protocol.
pub use generated::v1;
/// Between an agent and its worker.
pub use generated::worker::v1 as worker;

pub mod convert;

/// Encoded `FileDescriptorSet` of all packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest message on the wire.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;
