//! When snapshots are taken and the log behind them is purged: by time and by the log's length.
//!
//! Members that share a disk or a processor would be slow together if all wrote the whole state at once, so each has its own
//! moment in the period, and a length of its own. Writing is a small part of what a node does: after a snapshot it rests
//! for several times as long as that took, while the log is not too long. What Raft appends for itself, as after an election,
//! is nothing to write the whole state for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::{Node, Timings};
use crate::replication::NodeId;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many times as long as the last snapshot took passes before the time for the next one counts.
const REST: u32 = 10;

/// The log's files that a purge frees go at once, on the thread that flushes the log: some ms each, for which every write
/// waits. So one look purges this part of what may go,
const PURGED_PART: u64 = 8;
/// but no fewer entries than these, which are in a file or two.
const PURGED_MIN: u64 = 128;

/// Runs until the node is gone.
pub async fn run(node: Weak<Node>) {
    let mut last_period = None;
    let mut holding = Holding::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let period = node.snapshot_period();
        let is_time = last_period.is_some_and(|last| last != period) && node.has_rested();
        last_period = Some(period);
        if node.log_is_long() || node.is_to_replace_newest() || is_time && node.needs_snapshot() {
            node.take_snapshot_now().await;
        }
        node.purge(&mut holding).await;
        node.incoming.drop_applied(node.metrics().last_applied);
        node.lent.let_go_of_idle(&*node.disk);
    }
}

impl Node {
    /// Asks for a snapshot of what is applied; it is built beside apply.
    pub async fn take_snapshot_now(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!(%error, "no snapshot could be asked for");
        }
    }

    /// The number of the period that this node is in. By the clock of the cluster: the nodes' own began at different times.
    fn snapshot_period(&self) -> u64 {
        period(self.wall().0, self.config.timings.snapshot_every, self.place())
    }

    /// How many members come before this one, and how many there are.
    fn place(&self) -> (usize, usize) {
        let members = self.members();
        (members.range(..self.id()).count(), members.len().max(1))
    }

    fn has_rested(&self) -> bool {
        self.state.last_taken().is_none_or(|taken| Instant::now() - taken.ended >= REST * taken.took)
    }

    /// Members come to it one after the other where they all began together. A disk that refused the last snapshot is asked
    /// again when it is time.
    fn log_is_long(&self) -> bool {
        let Timings { snapshot_entries, snapshot_bytes, .. } = self.config.timings;
        let entries = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let grown = entries(self.position().index()).saturating_sub(entries(self.state.newest_snapshot()));
        let (before, members) = self.place();
        let own = |limit: u64| limit - limit / 2 * before as u64 / members as u64;
        let is_long =
            grown >= own(snapshot_entries) || self.state.bytes_since_snapshot() >= own(snapshot_bytes);
        is_long && !self.state.has_failed_to_take()
    }

    /// Whether the newest does not do. Nobody can be sent one that is damaged, though nothing may have changed since.
    fn needs_snapshot(&self) -> bool {
        self.state.bytes_since_snapshot() > 0 || self.state.newest_snapshot_is_damaged()
    }

    /// At once where it is damaged; where that failed, when it is time.
    fn is_to_replace_newest(&self) -> bool {
        self.state.newest_snapshot_is_damaged() && !self.state.has_failed_to_take()
    }

    /// Purges the log towards the older of the two kept snapshots, so that either can be replayed from, and not past one that
    /// a follower is long in taking, while the log is not much longer for that. A follower that is sent the log, and takes
    /// less of it than is added, holds the purge up no longer either: it is sent a snapshot then.
    async fn purge(&self, holding: &mut Holding) {
        let Some(last) = self.state.purge_upto() else { return };
        let metrics = self.metrics();
        let followers = metrics.replication.into_iter().flatten();
        let matched: BTreeMap<NodeId, Option<u64>> =
            followers.map(|(id, matched)| (id, matched.map(|log_id| log_id.index))).collect();
        let logged_max = self.config.timings.snapshot_bytes;
        let logged = self.state.taken_bytes();
        let last = self.peers.sent_snapshots().purge_upto(last, logged, logged_max, &matched);
        let purged = metrics.purged.map(|log_id| log_id.index);
        let step = purge_step(purged, last);
        let overdue =
            step.and_then(|_| overdue(&mut holding.since, purged, Held { last, logged }, logged_max));
        // What is overdue goes in one piece, for which writes wait a moment: bit by bit, a follower that has the first bit
        // would go on being sent the log, and hold up the rest.
        if let Some(upto) = step.max(overdue)
            && let Err(error) = self.raft.trigger().purge_log(upto).await
        {
            tracing::warn!(upto, %error, "the log could not be purged");
        }
        let lacks = |(id, matched): (NodeId, Option<u64>)| (matched < overdue).then_some(id);
        let behind: BTreeSet<NodeId> = matched.into_iter().filter_map(lacks).collect();
        if !behind.is_subset(&holding.left_behind) {
            tracing::warn!(nodes = ?behind, "too far behind to be sent the log: a snapshot is sent in its place");
        }
        holding.left_behind = behind.clone();
        self.peers.leave_behind(behind);
    }
}

/// What holds up the purge of the log.
#[derive(Default)]
struct Holding {
    /// The oldest purge that is not done.
    since: Option<Held>,
    /// Followers for which it was to wait no longer when it was last looked.
    left_behind: BTreeSet<NodeId>,
}

/// Up to where one look purges, where the log is purged up to `purged` and may be up to `last`.
fn purge_step(purged: Option<u64>, last: u64) -> Option<u64> {
    let first = purged.map_or(0, |purged| purged + 1);
    let entries = (last + 1).checked_sub(first).filter(|entries| *entries > 0)?;
    Some(first + (entries / PURGED_PART).max(PURGED_MIN).min(entries) - 1)
}

/// A purge that is asked for and not done.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Up to where the log might be purged,
    last: u64,
    /// and the bytes of it that had been taken then.
    logged: u64,
}

/// Up to where the log is to be purged at once, as it might have been since `logged_max` bytes were taken. `purged` is up to
/// where it is, `now` how far it may be.
fn overdue(held: &mut Option<Held>, purged: Option<u64>, now: Held, logged_max: u64) -> Option<u64> {
    let oldest = held.filter(|held| purged < Some(held.last)).unwrap_or(now);
    *held = Some(oldest);
    (now.logged.saturating_sub(oldest.logged) > logged_max).then_some(oldest.last.min(now.last))
}

/// In which period an instant lies, in milliseconds, for a member that comes after others: each one's begin at another moment.
fn period(at: u64, length: Duration, (before, members): (usize, usize)) -> u64 {
    let length = (length.as_millis() as u64).max(1);
    at.saturating_add(length * before as u64 / members as u64) / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::{property, start_with};
    use crate::replication::SnapshotFile;

    #[test]
    fn each_member_has_its_own_moment() {
        let of = |at, before| period(at, Duration::from_millis(60), (before, 3));
        let moments =
            |before| (1..=60).filter(move |at| of(*at, before) > of(at - 1, before)).collect::<Vec<u64>>();
        assert_eq!([0, 1, 2].map(moments), [vec![60], vec![40], vec![20]]);
        assert_eq!(period(7, Duration::ZERO, (0, 1)), 7, "there is no division by nothing");
    }

    #[test]
    fn a_long_log_is_purged_bit_by_bit_and_to_its_end() {
        assert_eq!(purge_step(None, 0), Some(0));
        assert_eq!(purge_step(None, 5), Some(5));
        assert_eq!(purge_step(Some(5), 5), None);
        assert_eq!(purge_step(Some(7), 5), None, "a snapshot of a peer may have purged more");
        assert_eq!(purge_step(Some(99), 8_099), Some(1_099));
        let steps: Vec<u64> =
            std::iter::successors(purge_step(None, 9_999), |purged| purge_step(Some(*purged), 9_999))
                .collect();
        assert!(steps.is_sorted() && steps.last() == Some(&9_999));
        assert!((20..40).contains(&steps.len()), "{} looks", steps.len());
    }

    #[test]
    fn a_purge_that_was_held_up_while_too_much_was_logged_is_overdue() {
        let mut held = None;
        let mut look = |purged, last, logged| overdue(&mut held, purged, Held { last, logged }, 100);
        assert_eq!(look(None, 50, 1_000), None);
        // Bit by bit is not far enough, and what else might go later does not count.
        assert_eq!(look(Some(49), 70, 1_100), None);
        assert_eq!(look(Some(49), 90, 1_101), Some(50));
        assert_eq!(look(Some(49), 90, 1_102), Some(50), "until it is done");
        assert_eq!(look(Some(50), 90, 1_103), None);
        assert_eq!(look(Some(60), 95, 1_203), None);
        assert_eq!(look(Some(60), 80, 1_204), Some(80), "a snapshot that is sent keeps more");
        assert_eq!(look(Some(90), 200, 1_205), None);
        assert_eq!(look(Some(99), 200, 1_305), None);
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in ten seconds: {what}");
    }

    /// The newest snapshot, once all that was booked is in it and it is sound.
    async fn sound(node: &Node) -> SnapshotFile {
        let newest = || node.state.snapshots().newest().filter(|newest| !newest.is_damaged());
        until("a sound snapshot", || newest().is_some() && node.state.bytes_since_snapshot() == 0).await;
        newest().unwrap()
    }

    fn damage(taken: &SnapshotFile) {
        let mut bytes = std::fs::read(taken.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(taken.path(), bytes).unwrap();
    }

    /// Else nobody could be sent one until something is booked.
    #[tokio::test]
    async fn a_damaged_snapshot_is_replaced_though_nothing_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], Timings::default()).await.unwrap();
        node.submit(&property(0, 1)).await.unwrap();
        node.take_snapshot_now().await;
        let taken = sound(&node).await;
        damage(&taken);
        assert!(taken.check().is_err() && node.state.newest_snapshot_is_damaged());
        sound(&node).await.check().unwrap();
        node.shut_down().await;
    }

    /// As where the disk is full for a while.
    #[tokio::test]
    async fn a_damaged_snapshot_that_could_not_be_replaced_at_once_is_replaced_later() {
        let dir = tempfile::tempdir().unwrap();
        let timings = Timings { snapshot_every: Duration::from_millis(600), ..Timings::default() };
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], timings).await.unwrap();
        node.submit(&property(0, 1)).await.unwrap();
        let taken = sound(&node).await;
        damage(&taken);
        let folder = taken.path().parent().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::rename(folder, &elsewhere).unwrap();
        assert!(taken.check().is_err());
        until("a failure", || node.state.has_failed_to_take()).await;
        std::fs::rename(&elsewhere, folder).unwrap();
        assert_eq!(node.state.bytes_since_snapshot(), 0, "nothing was booked");
        sound(&node).await.check().unwrap();
        node.shut_down().await;
    }

    #[tokio::test]
    async fn what_raft_appends_for_itself_is_nothing_to_write_the_state_for() {
        let dir = tempfile::tempdir().unwrap();
        let timings = Timings { snapshot_every: Duration::from_millis(600), ..Timings::default() };
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], timings).await.unwrap();
        let taken = async |index: u64| {
            for _ in 0..500 {
                if node.state.newest_snapshot() >= Some(index) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("no snapshot in ten seconds");
        };
        node.submit(&property(0, 1)).await.unwrap();
        taken(node.position().index().unwrap()).await;
        let (index, written) = (node.position().index().unwrap(), node.state.newest_snapshot());
        node.raft.change_membership([1], true).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        node.applied(deadline, |at| at.index() > Some(index)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(node.state.newest_snapshot(), written);
        node.submit(&property(1, 1)).await.unwrap();
        taken(node.position().index().unwrap()).await;
        node.shut_down().await;
    }
}
