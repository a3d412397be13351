//! Replication: how a batch of commands becomes durable on a majority and then state on every node.
//!
//! The log and the vote on disk, the ledger behind openraft's state machine, snapshots, the identity of a data
//! directory, and the encoding of everything that is written or sent. Knows the ledger and openraft; knows neither HTTP
//! nor who asks.
//!
//! A batch's way: [`Batch::encode`] → openraft → the log store makes it durable → [`state_machine`] decodes it, compares
//! the proposer's check with its own state, applies it to the ledger and answers the proposer.

mod appends;
mod apply_cost;
pub mod batch;
mod check;
pub mod codec;
mod decision;
mod disk;
mod durable;
mod fetch;
mod hearing;
mod identity;
mod lent;
mod line;
mod log_busy;
mod log_files;
mod log_flushed;
mod log_record;
mod log_scan;
mod log_state;
mod log_store;
mod log_worker;
mod message;
mod network;
mod open;
mod pace;
mod reserve_reader;
mod runtime;
mod sent;
pub mod snapshot;
mod state;
pub mod state_machine;
mod transfer;
pub mod transport;
mod types;
mod verify;
mod witness;

pub use apply_cost::ApplyCost;
pub use batch::*;
pub use codec::{CodecError, Kind, decode, encode};
pub use decision::{Decision, NotDecided};
pub use disk::{Disk, DiskThreads, Work, blocking, let_go};
pub(crate) use durable::{leave_room, sync_dir};
pub use fetch::{Fetch, NotFetched};
pub use hearing::Estrangement;
pub use identity::{DataDirLock, GO_ON_WITHOUT, Identity, IdentityError, IdentityFile};
pub use lent::LentSnapshots;
pub use line::{LINE_FRAMES_MAX, serve_line};
pub use log_busy::LogBusy;
pub use log_files::FileLength;
pub use log_store::{LogError, LogStore};
pub use log_worker::{Fatal, Flush, LogWorker, Written};
pub use message::*;
pub use network::*;
pub use open::{GroupDirs, OpenError, Storage, open};
pub use runtime::seed_this_thread;
pub use sent::SentSnapshots;
pub use snapshot::{IncomingSnapshot, SnapshotError, SnapshotFile, SnapshotMeta, SnapshotStore};
pub use state::{Decided, Pause, Position, State, Taken};
pub use state_machine::StateMachine;
pub use transport::*;
pub use types::*;
pub use verify::{Report, VerifyError, Wrong, verify};
pub use witness::{Unwitnessed, Witness};

#[cfg(test)]
pub mod tests;
