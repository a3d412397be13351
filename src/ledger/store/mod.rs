//! The containers that the ledger's state lives in.
//!
//! All of them share their structure between clones and copy what is written to (copy-on-write), so that a snapshot
//! clones the whole ledger in some microseconds for each million records. None of them orders anything by a hash.

mod digest_map;
mod slab;
mod sorted_map;

pub use digest_map::DigestMap;
pub use slab::{Slab, Slot};
pub use sorted_map::SortedMap;
