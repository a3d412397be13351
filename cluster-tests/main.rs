//! Stories about running clusters: real `innkeeper` processes on loopback, spoken to over HTTP only (but for
//! `contract/codes.rs`, which also starts nodes in this process).
//!
//! One story a file, told in named phases. A story waits for conditions, never for a guessed time; on failure it
//! prints its seed, the end of every node's log and the command that runs it again. All stories are one binary,
//! because linking is what a build waits for; `support` bounds how many clusters run at once.

mod support;

mod bad_input;
mod bench;
mod booking;
mod catch_up;
mod chaos;
mod command_line;
mod contract;
mod demand;
mod dev;
mod events;
mod export;
mod failover;
mod flushes;
mod full_disk;
mod holds;
mod idempotency;
mod identity;
mod import;
mod minority;
mod partition;
mod poison;
mod power_cut;
mod racing;
mod reads;
mod restart;
mod streams;
mod verify;
