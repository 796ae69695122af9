//! The four counters, each a type of its own so that one is never compared with another.

use std::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// One number for the whole desired state of a node. It only rises.
    Generation
}
counter! {
    /// Which edit of a function's spec this is: 1, 2, 3 …
    FunctionRevision
}
counter! {
    /// One live stream of a node; the newest wins.
    SessionEpoch
}
counter! {
    /// Raised by a restore from a snapshot, so that old generations are never taken for new ones.
    ClusterEpoch
}
