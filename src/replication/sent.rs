//! Which snapshots are on their way to followers, so that the log that goes on from them is not purged meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::types::NodeId;

/// The snapshots that this node has sent last, or sends, as a leader, by follower. The log behind them is kept for a while:
/// without it a follower that was long in taking one would need another, and that one would take as long.
#[derive(Default)]
pub struct SentSnapshots(Mutex<BTreeMap<NodeId, Sent>>);

struct Sent {
    /// The last entry that the snapshot holds.
    index: u64,
    /// Bytes of the log that had been taken when this was first asked for.
    logged: Option<u64>,
}

impl SentSnapshots {
    /// The follower is sent the snapshot up to `index`.
    pub(super) fn sends(&self, follower: NodeId, index: u64) {
        let mut sent = self.0.lock().expect("no panic while it is locked");
        if sent.get(&follower).is_none_or(|sent| sent.index != index) {
            sent.insert(follower, Sent { index, logged: None });
        }
    }

    /// Up to where the log may be purged, at most up to `last`, so that followers find there what goes on from their
    /// snapshots; each until `logged_max` more bytes are logged. `logged` have been until now. `matched` is how far the logs
    /// of this leader's followers are known to agree with its own.
    pub fn purge_upto(
        &self,
        last: u64,
        logged: u64,
        logged_max: u64,
        matched: &BTreeMap<NodeId, Option<u64>>,
    ) -> u64 {
        let mut sent = self.0.lock().expect("no panic while it is locked");
        // Whoever has its snapshot, and of the log what may go, needs no more than others do.
        sent.retain(|follower, sent| {
            matched.get(follower).is_some_and(|matched| *matched < Some(last.max(sent.index)))
        });
        let mut upto = last;
        for (follower, sent) in sent.iter_mut() {
            let since = *sent.logged.get_or_insert(logged);
            if logged.saturating_sub(since) <= logged_max {
                let matched = matched.get(follower).copied().flatten();
                upto = upto.min(matched.map_or(sent.index, |matched| matched.max(sent.index)));
            }
        }
        upto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_behind_a_snapshot_is_kept_until_its_follower_has_it_or_it_grows_too_long() {
        let snapshots = SentSnapshots::default();
        let of = |matched: [(NodeId, Option<u64>); 2]| BTreeMap::from(matched);
        let behind = of([(2, None), (3, Some(90))]);
        assert_eq!(snapshots.purge_upto(50, 0, 100, &behind), 50, "nobody is sent one");
        snapshots.sends(2, 40);
        assert_eq!(snapshots.purge_upto(30, 1_000, 100, &behind), 30);
        assert_eq!(snapshots.purge_upto(50, 1_000, 100, &behind), 40);
        // It is under way still, and others come and go.
        snapshots.sends(2, 40);
        snapshots.sends(3, 90);
        assert_eq!(snapshots.purge_upto(80, 1_100, 100, &behind), 40);
        assert_eq!(snapshots.purge_upto(80, 1_101, 100, &behind), 80, "the log has grown too long");
        // Another snapshot begins anew.
        snapshots.sends(2, 70);
        assert_eq!(snapshots.purge_upto(80, 1_102, 100, &behind), 70);
        // It has taken that one, and goes on from it.
        assert_eq!(snapshots.purge_upto(80, 1_103, 100, &of([(2, Some(70)), (3, Some(90))])), 70);
        assert_eq!(snapshots.purge_upto(80, 1_103, 100, &of([(2, Some(75)), (3, Some(90))])), 75);
        assert_eq!(snapshots.purge_upto(80, 1_103, 100, &of([(2, Some(81)), (3, Some(90))])), 80);
        assert_eq!(snapshots.purge_upto(99, 1_103, 100, &behind), 99, "that is over");
        // Who is no follower of this node counts no more, nor does anybody where it leads no more.
        snapshots.sends(2, 70);
        assert_eq!(snapshots.purge_upto(99, 1_103, 100, &BTreeMap::new()), 99);
    }
}
