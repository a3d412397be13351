//! The containers that the ledger's state lives in.
//!
//! All of them share their structure between clones and copy what is written to (copy-on-write), so that a snapshot
//! clones the whole ledger in some microseconds for each million records. None of them orders anything by a hash.

/// What clones of the state share until one of them is written to. Unlike the standard library's it counts no weak pointers:
/// to find that nobody else has it, as a booking does of each branch and leaf that it writes to, takes no atomic change.
pub use triomphe::Arc as Shared;

mod digest_map;
mod pages;
mod slab;
mod sorted_map;

pub use digest_map::DigestMap;
pub use pages::Pages;
pub use slab::{Slab, Slot};
pub use sorted_map::SortedMap;
