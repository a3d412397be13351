//! When snapshots are taken and the log behind them is purged: by time and by the log's length.
//!
//! Members that share a disk or a processor would take turns badly if all wrote the whole state at once, so each has its own
//! moment in the period. Writing is a small part of what a node does: after a snapshot it rests for several times as
//! long as that took, while the log is not too long.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::Node;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many times as long as the last snapshot took passes before the time for the next one counts.
const REST: u32 = 10;

/// Runs until the node is gone.
pub async fn run(node: Weak<Node>) {
    let mut last_period = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let period = node.snapshot_period();
        let is_time = last_period.is_some_and(|last| last != period) && node.has_rested();
        last_period = Some(period);
        if node.log_is_long() || is_time && node.has_changed() {
            node.take_snapshot_now().await;
        }
        node.purge().await;
    }
}

impl Node {
    /// Asks for a snapshot of what is applied; it is built beside apply.
    pub async fn take_snapshot_now(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!(%error, "no snapshot could be asked for");
        }
    }

    /// This node's share of a period of `length` by which its own periods begin earlier than the first member's.
    fn share_of(&self, length: u64) -> u64 {
        let members = self.members();
        let before = members.range(..self.id()).count() as u64;
        length * before / (members.len() as u64).max(1)
    }

    /// The number of the period that this node is in. By the clock of the cluster: the nodes' own began at different times.
    fn snapshot_period(&self) -> u64 {
        let length = (self.config.timings.snapshot_every.as_millis() as u64).max(1);
        self.wall().0.saturating_add(self.share_of(length)) / length
    }

    fn has_rested(&self) -> bool {
        let taken = self.state.snapshots().last_taken();
        taken.is_none_or(|taken| Instant::now() - taken.ended >= REST * taken.took)
    }

    /// Whether the newest snapshot lacks a command. Entries of Raft itself, as an election appends one, are nothing to write
    /// the whole state for.
    fn has_changed(&self) -> bool {
        let covered = self.state.snapshots().newest().map(|snapshot| snapshot.lsn());
        self.position().lsn > covered.unwrap_or_default()
    }

    fn log_is_long(&self) -> bool {
        let length = self.config.timings.snapshot_entries;
        let share = self.share_of(length);
        let run = |index: Option<u64>| (index.map_or(0, |index| index + 1) + share) / length;
        run(self.position().index()) > run(self.state.newest_snapshot())
    }

    /// Purges the log up to the older of the two kept snapshots, so that either can be replayed from.
    async fn purge(&self) {
        let Some(upto) = self.state.purge_upto() else { return };
        let purged = self.metrics().purged.map(|log_id| log_id.index);
        if purged >= Some(upto) {
            return;
        }
        if let Err(error) = self.raft.trigger().purge_log(upto).await {
            tracing::warn!(upto, %error, "the log could not be purged");
        }
    }
}
