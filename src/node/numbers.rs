//! What a node tells of itself to those who watch many: numbers only, cheap to ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use crate::history::Extent;
use crate::replication::NodeId;

/// A node's numbers at one moment, as it sees them.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub leader: Option<NodeId>,
    pub leads: bool,
    pub term: u64,
    pub lsn: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    /// How long writing the last snapshot took; `None` before the first since the start.
    pub snapshot_took: Option<Duration>,
    /// Since that one was written, or since the start.
    pub snapshot_age: Duration,
    pub purged_index: u64,
    /// Commands that wait or are under way, and their bytes.
    pub waiting_commands: usize,
    pub waiting_bytes: usize,
    /// Entries of the log that are proposed or forwarded, and not answered.
    pub batches_in_flight: usize,
    /// Since a leader told of a commit that is applied here, or on the leader a majority answered; `None` where that never was.
    pub silence: Option<Duration>,
    /// Commands that applying set aside.
    pub quarantined: usize,
    /// Parts of what is due that failed before the last command.
    pub failing_due: usize,
    pub paused: bool,
    /// The history of this node.
    pub history: Extent,
    /// Streams of events that are open.
    pub streams: usize,
    /// On the leader: how many entries each other member's log is behind.
    pub behind: BTreeMap<NodeId, u64>,
}

impl Node {
    pub fn numbers(&self) -> Numbers {
        let metrics = self.metrics();
        let position = self.position();
        let limits = &self.config.limits;
        let last_log_index = metrics.last_log_index.unwrap_or(0);
        let (waiting_commands, waiting_bytes) = self.submitter.admission().waiting();
        let behind = metrics.replication.iter().flatten().filter(|(id, _)| **id != self.id());
        let behind = behind.map(|(id, matched)| {
            let matched = matched.as_ref().map_or(0, |log_id| log_id.index);
            (*id, last_log_index.saturating_sub(matched))
        });
        let silence = self.silence();
        let taken = self.state.last_taken();
        Numbers {
            leader: self.leader(),
            leads: self.leads(),
            term: metrics.current_term,
            lsn: position.lsn.0,
            last_log_index,
            committed_index: metrics.local_committed.map_or(0, |log_id| log_id.index),
            applied_index: position.index().unwrap_or(0),
            snapshot_index: self.state.newest_snapshot().unwrap_or(0),
            snapshot_took: taken.map(|taken| taken.took),
            snapshot_age: taken.map_or(self.started, |taken| taken.ended).elapsed(),
            purged_index: metrics.purged.map_or(0, |log_id| log_id.index),
            waiting_commands,
            waiting_bytes,
            batches_in_flight: limits.batches_in_flight_max - self.in_flight.available_permits(),
            silence: (silence < Duration::MAX).then_some(silence),
            quarantined: self.with_ledger(|ledger| ledger.quarantined().count()),
            failing_due: self.with_ledger(|ledger| ledger.failing_due().len()),
            paused: self.paused().is_some(),
            history: self.history.extent(),
            streams: limits.streams_max - self.permits.streams.available_permits(),
            behind: behind.collect(),
        }
    }

    /// How long the log's flushes took.
    pub fn flush_seconds(&self) -> prometheus::Histogram {
        self.flush_seconds.clone()
    }
}
