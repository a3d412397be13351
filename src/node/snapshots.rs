//! When snapshots are taken and the log behind them is purged: by the log's length and by time.

use std::sync::Weak;
use std::time::Duration;

use super::Node;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs until the node is gone.
pub async fn run(node: Weak<Node>) {
    let mut taken_at: Option<Duration> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let now = node.clock.monotonic();
        let waited = now.saturating_sub(*taken_at.get_or_insert(now));
        let applied = node.state.position().index().map_or(0, |index| index + 1);
        let covered = node.state.newest_snapshot().map_or(0, |index| index + 1);
        let grown = applied.saturating_sub(covered);
        let timings = &node.config.timings;
        if grown >= timings.snapshot_entries || (grown > 0 && waited >= timings.snapshot_every) {
            taken_at = Some(now);
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
