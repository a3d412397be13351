//! A snapshot to a follower over a slow or a bad way, to one of an earlier build, and to one that can't read it.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use openraft::alias::SnapshotOf;
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::raft::SnapshotResponse;
use openraft::{RaftNetworkFactory, RaftNetworkV2, Vote};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::appends::Me;
use super::snapshot::{content, damage, ledger_of, meta, store};
use super::support::membership;
use crate::ledger::Timestamp;
use crate::replication::{
    Disk, DiskId, Endpoint, Envelope, GROUP, Kind, Line, Link, LogWorker, Lost, NodeId, PeerRefusal, Peers,
    Reply, Request, SnapshotFile, SnapshotPiece, Timeouts, Transport, TypeConfig, Work, decode, encode,
};

pub(super) const WAIT: Duration = Duration::from_secs(3);
/// No piece becomes smaller.
pub(super) const LEAST: usize = 16 << 10;
/// So often in a row a piece is lost before the transfer ends.
pub(super) const LOST_MAX: usize = 12;

/// Does all work where it is asked for, so that no thread is waited for while the clock stands still.
pub(super) struct InPlace;

impl Disk for InPlace {
    fn run_log(&self, _: LogWorker) -> io::Result<()> {
        Ok(())
    }

    fn run(&self, work: Work) {
        work();
    }

    fn run_behind(&self, work: Work) -> io::Result<()> {
        work();
        Ok(())
    }
}

/// Keeps the work that gives way to others until a test does it.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<Vec<Work>>>);

impl Disk for Busy {
    fn run_log(&self, _: LogWorker) -> io::Result<()> {
        Ok(())
    }

    fn run(&self, work: Work) {
        work();
    }

    fn run_behind(&self, work: Work) -> io::Result<()> {
        self.0.lock().unwrap().push(work);
        Ok(())
    }
}

/// What becomes of a piece on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    Lost,
    AnswerLost,
}

/// A follower that takes pieces, and the way to it.
#[derive(Clone, Default)]
struct Follower(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What becomes of the next pieces. All behind them arrive.
    ways: VecDeque<Way>,
    /// Bytes that the way carries in a second.
    speed: Option<u32>,
    /// It is of the build before those that go on where they were.
    is_earlier: bool,
    /// It takes none.
    refuses: bool,
    /// It forgets each piece at once.
    forgets: bool,
    /// Of which transfer it has what.
    transfer: Option<Uuid>,
    taken: Vec<u8>,
    /// Where the pieces began that came, and how long they were.
    came: Vec<(u64, usize)>,
    lost: usize,
}

impl State {
    fn takes(&mut self, piece: &SnapshotPiece) -> Reply {
        self.came.push((piece.offset, piece.bytes.len()));
        let refused = || {
            let reason = "of another build".to_owned();
            Reply::Refused(PeerRefusal::SnapshotRefused { reason })
        };
        if self.refuses {
            return refused();
        }
        let begins = piece.offset == 0 && (self.is_earlier || self.transfer != Some(piece.transfer));
        if begins {
            (self.transfer, self.taken) = (Some(piece.transfer), Vec::new());
        }
        let bytes = if self.transfer == Some(piece.transfer) { self.taken.len() as u64 } else { 0 };
        if bytes != piece.offset {
            return if self.is_earlier { refused() } else { Reply::SnapshotHeld { bytes } };
        }
        if self.forgets {
            return Reply::SnapshotHeld { bytes: 0 };
        }
        self.taken.extend_from_slice(&piece.bytes);
        if piece.last {
            return Reply::SnapshotInstalled(SnapshotResponse::new(piece.vote));
        }
        Reply::SnapshotPieceTaken
    }
}

impl Follower {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn with_ways(ways: impl IntoIterator<Item = Way>) -> Follower {
        let follower = Follower::default();
        follower.state().ways = ways.into_iter().collect();
        follower
    }

    fn offsets(&self) -> Vec<u64> {
        self.state().came.iter().map(|(offset, _)| *offset).collect()
    }

    /// The answer, and how long it takes; none where something is lost.
    fn answers(&self, frame: &[u8], deadline: Duration) -> Option<(Reply, Duration)> {
        let Request::Snapshot(piece) = decode::<Envelope<Request>>(Kind::Peer, frame).unwrap().body else {
            panic!("no piece of a snapshot")
        };
        let mut state = self.state();
        let takes =
            state.speed.map_or(Duration::ZERO, |speed| Duration::from_secs(frame.len() as u64) / speed);
        let way = state.ways.pop_front().unwrap_or(Way::Open);
        let reply = (way != Way::Lost && takes <= deadline).then(|| state.takes(&piece));
        let reply = reply.filter(|_| way != Way::AnswerLost);
        state.lost += usize::from(reply.is_none());
        Some((reply?, takes))
    }
}

impl Transport for Follower {
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let (answer, address) = (self.answers(&frame, deadline), address.to_owned());
        Box::pin(async move {
            let Some((body, takes)) = answer else {
                sleep(deadline).await;
                return Err(Lost::NoAnswer { address, reason: "timed out".to_owned() });
            };
            sleep(takes).await;
            let endpoint = |node: NodeId| Endpoint { node, disk: Some(DiskId(Uuid::from_u128(node.into()))) };
            let (from, to, wall) = (endpoint(2), endpoint(1), Timestamp(0));
            let envelope = Envelope { group: GROUP, cluster: None, from, to, wall, body };
            Ok(encode(Kind::Peer, &envelope).unwrap().into())
        })
    }

    fn open(&self, address: &str, _: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let lost = Lost::NotSent { address: address.to_owned(), reason: "no appends here".to_owned() };
        Box::pin(ready(Err(lost)))
    }
}

async fn link(follower: &Follower, piece_bytes: usize) -> (Link, Peers) {
    link_with(Arc::new(InPlace), follower, piece_bytes).await
}

async fn link_with(disk: Arc<dyn Disk>, follower: &Follower, piece_bytes: usize) -> (Link, Peers) {
    let timeouts = Timeouts { message: WAIT, snapshot_piece: WAIT };
    let transport = Arc::new(follower.clone());
    let mut peers = Peers::new(transport, Arc::new(Me), disk, timeouts, piece_bytes, watch::channel(None).1);
    let members = membership(&[2]);
    (peers.new_client(2, members.get_node(&2).unwrap()).await, peers)
}

async fn send(
    link: &mut Link,
    file: &SnapshotFile,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let snapshot =
        SnapshotOf::<TypeConfig, SnapshotFile> { meta: file.meta().into(), snapshot: file.clone() };
    let never = pending::<ReplicationClosed>();
    link.full_snapshot(Vote::new_committed(3, 1), snapshot, never, RPCOption::new(WAIT)).await
}

/// A dozen of the least pieces long.
pub(super) fn large(dir: &tempfile::TempDir) -> SnapshotFile {
    let file = store(dir.path()).write(meta(7), &ledger_of(100, 2_800)).unwrap();
    assert!(file.len() > 10 * LEAST as u64, "{} bytes", file.len());
    file
}

#[tokio::test(start_paused = true)]
async fn a_slow_way_is_given_smaller_pieces_and_a_quick_one_larger_ones_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, follower) = (large(&dir), Follower::default());
    follower.state().speed = Some(20 << 10);
    let (mut link, _) = link(&follower, 256 << 10).await;
    send(&mut link, &file).await.unwrap();
    assert!(follower.state().taken == content(&file));
    let slow = std::mem::take(&mut *follower.state());
    assert!(slow.came.iter().all(|(_, bytes)| *bytes <= 32 << 10), "{:?}", slow.came);
    // Once is enough to know that so much is too much.
    assert!((1..=3).contains(&slow.lost), "{} were lost", slow.lost);
    send(&mut link, &file).await.unwrap();
    assert!(follower.state().taken == content(&file));
    assert!(follower.state().came.iter().any(|(_, bytes)| *bytes > 64 << 10));
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_sent_again_and_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = large(&dir);
    let follower = Follower::with_ways([Way::Open, Way::Lost, Way::AnswerLost]);
    let (mut link, _) = link(&follower, LEAST).await;
    send(&mut link, &file).await.unwrap();
    assert!(follower.state().taken == content(&file));
    let least = LEAST as u64;
    assert_eq!(follower.offsets()[..5], [0, least, least, 2 * least, 3 * least]);
    assert_eq!(follower.offsets().len() as u64, file.len().div_ceil(least) + 1);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_broke_off_goes_on_from_where_the_follower_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let file = large(&dir);
    let lost = std::iter::repeat_n(Way::Lost, LOST_MAX);
    let follower = Follower::with_ways([Way::Open, Way::Open, Way::Open].into_iter().chain(lost));
    let (mut first, peers) = link(&follower, LEAST).await;
    assert!(send(&mut first, &file).await.is_err());
    assert_eq!(follower.state().lost, LOST_MAX);
    // What goes on from it stays in the log meanwhile.
    let matched = BTreeMap::from([(2, None)]);
    assert_eq!(peers.sent_snapshots().purge_upto(100, 0, 1 << 20, &matched), 7);
    let (mut next, _) = link(&follower, LEAST).await;
    send(&mut next, &file).await.unwrap();
    assert!(follower.state().taken == content(&file));
    let least = LEAST as u64;
    assert_eq!(follower.offsets()[..6], [0, least, 2 * least, 0, 3 * least, 4 * least]);
    // Another snapshot has nothing of it.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = store(elsewhere.path()).write(meta(8), &ledger_of(100, 2_800)).unwrap();
    send(&mut next, &other).await.unwrap();
    assert!(follower.state().taken == content(&other));
}

/// It can't say how far it has come.
#[tokio::test(start_paused = true)]
async fn an_earlier_build_is_sent_all_again_where_it_has_a_piece_already() {
    let dir = tempfile::tempdir().unwrap();
    let file = large(&dir);
    let follower = Follower::with_ways([Way::Open, Way::AnswerLost]);
    follower.state().is_earlier = true;
    let (mut link, _) = link(&follower, LEAST).await;
    let began = Instant::now();
    send(&mut link, &file).await.unwrap();
    assert!(follower.state().taken == content(&file));
    let least = LEAST as u64;
    assert_eq!(follower.offsets()[..5], [0, least, least, 0, least]);
    assert_eq!(began.elapsed().as_secs(), WAIT.as_secs(), "it has not refused what the snapshot holds");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_wants_the_same_again_and_again_is_not_sent_it_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (file, follower) = (large(&dir), Follower::default());
    follower.state().forgets = true;
    let (mut link, _) = link(&follower, LEAST).await;
    assert!(send(&mut link, &file).await.is_err());
    assert_eq!(follower.offsets(), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn what_a_follower_can_not_read_it_is_sent_ever_more_seldom() {
    let dir = tempfile::tempdir().unwrap();
    let (file, follower) = (large(&dir), Follower::default());
    follower.state().refuses = true;
    let (mut link, _) = link(&follower, LEAST).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let began = Instant::now();
        assert!(send(&mut link, &file).await.is_err());
        waits.push(began.elapsed().as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(follower.offsets(), [0; 8]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_found_before_any_of_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ledger, follower) = (store(dir.path()), ledger_of(100, 2_800), Follower::default());
    let file = store.write(meta(7), &ledger).unwrap();
    let (mut link, _) = link(&follower, LEAST).await;
    damage(file.path());
    let began = Instant::now();
    assert!(send(&mut link, &file).await.is_err());
    assert_eq!((follower.offsets(), began.elapsed().as_secs()), (Vec::new(), 1));
    assert!(store.newest().unwrap().is_damaged());
    // The next one takes its place, whatever its position.
    store.write(meta(7), &ledger).unwrap();
    let newest = store.newest().unwrap();
    assert!(!newest.is_damaged());
    send(&mut link, &newest).await.unwrap();
    assert!(follower.state().taken == content(&newest));
}

/// With a large one, each round to a follower that is down would read all of it.
#[tokio::test(start_paused = true)]
async fn what_was_found_sound_is_read_again_only_once_it_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = large(&dir);
    let follower = Follower::with_ways(std::iter::repeat_n(Way::Lost, 2 * LOST_MAX));
    let (mut link, _) = link(&follower, LEAST).await;
    assert!(send(&mut link, &file).await.is_err());
    damage(file.path());
    assert!(send(&mut link, &file).await.is_err());
    assert_eq!((follower.state().lost, file.is_damaged()), (2 * LOST_MAX, false));
    // The follower finds what has become of it since.
    follower.state().refuses = true;
    assert!(send(&mut link, &file).await.is_err());
    assert_eq!((follower.offsets(), file.is_damaged()), (vec![0], false));
    assert!(send(&mut link, &file).await.is_err());
    assert_eq!((follower.offsets(), file.is_damaged()), (vec![0], true));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_became_shorter_since_it_was_found_sound_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = large(&dir);
    file.check_once().unwrap();
    let sound = content(&file);
    std::fs::write(file.path(), &sound[..3 * LEAST]).unwrap();
    let follower = Follower::default();
    let (mut link, _) = link(&follower, LEAST).await;
    for (sent, is_damaged) in [(3, false), (3, true)] {
        assert!(send(&mut link, &file).await.is_err());
        assert_eq!((follower.offsets().len(), file.is_damaged()), (sent, is_damaged));
    }
}

/// Another round has begun before the thread that reads for the one before was done.
#[tokio::test(start_paused = true)]
async fn a_check_whose_round_was_broken_off_is_not_done_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (file, follower, disk) = (large(&dir), Follower::default(), Busy::default());
    let (mut link, _) = link_with(Arc::new(disk.clone()), &follower, LEAST).await;
    for _ in 0..2 {
        assert!(send(&mut link, &file).now_or_never().is_none());
    }
    let mut begun = std::mem::take(&mut *disk.0.lock().unwrap()).into_iter();
    (begun.next().unwrap())();
    damage(file.path());
    begun.for_each(|check| check());
    assert!(!file.is_damaged(), "it was read again");
    send(&mut link, &file).await.unwrap();
}
