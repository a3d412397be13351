//! Whoever is told what each command changed, in order.
//!
//! The state machine tells after it has applied and never waits for a disk here, except where whoever is told has fallen
//! behind its bound.

use futures_util::future::BoxFuture;

use crate::ledger::{Commit, Lsn, Mark};

/// Is told of every command that this node applies.
pub trait Witness: Send + Sync + 'static {
    /// Up to where it knows, over restarts.
    fn tip(&self) -> Mark;

    /// The commands of one batch were applied, from the state at `before` to that at `after`. Never blocks.
    fn applied(&self, before: Mark, after: Mark, commits: Vec<Commit>);

    /// The state was replaced by one that stands at `mark`: what lies between may be missing. Never blocks.
    fn restored(&self, mark: Mark);

    /// The state was replaced by one that stands at `mark`, and what was told before may not be its past: it is to be had from
    /// others. Never blocks.
    fn diverged(&self, mark: Mark);

    /// What came up to `mark` is not asked for any more, on any node. Never blocks.
    fn forget(&self, mark: Mark);

    /// Keeps now what it was told. Blocks on the disk.
    fn keep(&self);

    /// Returns once it can be told more.
    fn has_room(&self) -> BoxFuture<'_, ()>;

    /// Returns once all up to `lsn` is durable, or can't be.
    fn has_kept(&self, lsn: Lsn) -> BoxFuture<'_, ()>;
}

/// Keeps nothing: for those who only want the state.
pub struct Unwitnessed;

impl Witness for Unwitnessed {
    fn tip(&self) -> Mark {
        Mark::default()
    }

    fn applied(&self, _: Mark, _: Mark, _: Vec<Commit>) {}

    fn restored(&self, _: Mark) {}

    fn diverged(&self, _: Mark) {}

    fn forget(&self, _: Mark) {}

    fn keep(&self) {}

    fn has_room(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn has_kept(&self, _: Lsn) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
