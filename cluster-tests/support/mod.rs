//! What the stories stand on: processes, HTTP, load, and the checks of what a cluster promised.
//!
//! It relies on nothing of the product but its binary and its contract, so that a mistake there can't hide itself
//! here.

pub mod checker;
pub mod cluster;
pub mod command;
pub mod disk;
pub mod hotel;
pub mod http;
pub mod load;
pub mod namespaces;
pub mod node;
pub mod ports;
pub mod seed;
pub mod strace;
pub mod wait;

pub use cluster::Cluster;
pub use hotel::Hotel;
pub use http::{Answer, Api};
pub use namespaces::in_namespaces;
pub use wait::eventually;
