//! A snapshot that a paused node fetches over a slow or a bad way, from a peer of an earlier build, and from one whose file is
//! damaged.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, advance, sleep};
use uuid::Uuid;

use super::appends::Me;
use super::snapshot::{content, damage, ledger_of, meta, store};
use super::support::membership;
use super::transfer::{InPlace, LEAST, LOST_MAX, WAIT, Way, large};
use crate::ledger::Timestamp;
use crate::replication::{
    DiskId, Endpoint, Envelope, Fetch, FetchedPiece, GROUP, Kind, LentSnapshots, Line, Lost, NodeId,
    NotFetched, PeerError, PeerRefusal, Peers, Reply, Request, SnapshotFile, SnapshotRequest, SnapshotStore,
    Timeouts, Transport, decode, encode,
};

/// Bytes of a piece that a peer of an earlier build gives, whatever it is asked for.
const EARLIER: usize = 40 << 10;
/// What the node can go on with.
const WANTED: RangeInclusive<u64> = 5..=11;

/// A peer that gives pieces of its snapshots, and the way to it.
#[derive(Clone)]
struct Peer(Arc<Shared>);

struct Shared {
    store: SnapshotStore,
    lent: LentSnapshots,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What becomes of the next questions. All behind them are answered.
    ways: VecDeque<Way>,
    /// Bytes that the way carries in a second.
    speed: Option<u32>,
    /// It is of the build before those that give pieces as they are asked for, and hold what they give.
    is_earlier: bool,
    /// Where the pieces began that it gave, and how long they were.
    gave: Vec<(u64, usize)>,
    lost: usize,
}

impl Peer {
    fn new(dir: &Path) -> Peer {
        let (lent, state) = (LentSnapshots::default(), Mutex::default());
        Peer(Arc::new(Shared { store: store(dir), lent, state }))
    }

    fn with_ways(dir: &Path, ways: impl IntoIterator<Item = Way>) -> Peer {
        let peer = Peer::new(dir);
        peer.state().ways.extend(ways);
        peer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn write(&self, index: u64) -> SnapshotFile {
        self.0.store.write(meta(index), &ledger_of(100, 2_800)).unwrap()
    }

    fn offsets(&self) -> Vec<u64> {
        self.state().gave.iter().map(|(offset, _)| *offset).collect()
    }

    async fn answers(&self, question: SnapshotRequest) -> Result<FetchedPiece, PeerRefusal> {
        let kept = self.0.store.kept();
        if !self.state().is_earlier {
            return self.0.lent.piece(1, question, kept, 1 << 20, &InPlace).await;
        }
        let wanted = question.from..=question.upto;
        let file = kept.iter().find(|file| file.meta().index().is_some_and(|index| wanted.contains(&index)));
        let file = file.ok_or(PeerRefusal::NoSnapshot)?;
        let bytes = file.piece(question.offset, EARLIER).unwrap().into();
        Ok(FetchedPiece { meta: file.meta().clone(), length: file.len(), bytes })
    }
}

impl Transport for Peer {
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let (peer, address) = (self.clone(), address.to_owned());
        let Request::FetchSnapshot(question) = decode::<Envelope<Request>>(Kind::Peer, &frame).unwrap().body
        else {
            panic!("no question for a snapshot")
        };
        Box::pin(async move {
            let way = peer.state().ways.pop_front().unwrap_or(Way::Open);
            let answer = if way == Way::Lost { None } else { Some(peer.answers(question).await) };
            if let Some(Ok(piece)) = &answer {
                peer.state().gave.push((question.offset, piece.bytes.len()));
            }
            let endpoint = |node: NodeId| Endpoint { node, disk: Some(DiskId(Uuid::from_u128(node.into()))) };
            let answer: Option<Bytes> = answer.map(|answer| {
                let body = answer.map_or_else(Reply::Refused, Reply::FetchedSnapshot);
                let (from, to, wall) = (endpoint(2), endpoint(1), Timestamp(0));
                let envelope = Envelope { group: GROUP, cluster: None, from, to, wall, body };
                encode(Kind::Peer, &envelope).unwrap().into()
            });
            let speed = peer.state().speed;
            let takes = |answer: &Bytes| {
                speed.map_or(Duration::ZERO, |speed| Duration::from_secs(answer.len() as u64) / speed)
            };
            match answer.filter(|answer| way == Way::Open && takes(answer) <= deadline) {
                Some(answer) => {
                    sleep(takes(&answer)).await;
                    Ok(answer)
                }
                None => {
                    peer.state().lost += 1;
                    sleep(deadline).await;
                    Err(Lost::NoAnswer { address, reason: "timed out".to_owned() })
                }
            }
        })
    }

    fn open(&self, address: &str, _: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let lost = Lost::NotSent { address: address.to_owned(), reason: "no appends here".to_owned() };
        Box::pin(ready(Err(lost)))
    }
}

/// A node that has paused.
struct Paused {
    dir: TempDir,
    store: Arc<SnapshotStore>,
    peers: Peers,
    begun: Option<Fetch>,
}

impl Paused {
    fn new(peer: &Peer, piece_bytes: usize) -> Paused {
        let dir = tempfile::tempdir().unwrap();
        let timeouts = Timeouts { message: WAIT, snapshot_piece: WAIT };
        let (transport, disk) = (Arc::new(peer.clone()), Arc::new(InPlace));
        let peers = Peers::new(transport, Arc::new(Me), disk, timeouts, piece_bytes, watch::channel(None).1);
        Paused { store: Arc::new(store(dir.path())), dir, peers, begun: None }
    }

    async fn fetches(&mut self) -> Result<SnapshotFile, NotFetched> {
        self.fetches_while(|| Some(WANTED)).await
    }

    async fn fetches_while(
        &mut self,
        wanted: impl Fn() -> Option<RangeInclusive<u64>>,
    ) -> Result<SnapshotFile, NotFetched> {
        let members = membership(&[2]);
        let member = members.get_node(&2).unwrap();
        self.peers.fetch_snapshot(2, member, wanted, &self.store, &mut self.begun).await
    }

    async fn is_refused(&mut self) {
        let refused = self.fetches().await.unwrap_err();
        let is_refusal = |refused: &NotFetched| {
            matches!(refused, NotFetched::Peer(PeerError::Refused { refusal: PeerRefusal::NoSnapshot, .. }))
        };
        assert!(is_refusal(&refused) && !refused.is_in_vain(), "{refused:?}");
        self.has_nothing();
    }

    /// Of what was fetched nothing is left.
    fn has_nothing(&self) {
        assert!(self.begun.is_none());
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_way_is_given_small_pieces_and_a_quick_one_larger_ones() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::new(from.path());
    let file = peer.write(7);
    peer.state().speed = Some(20 << 10);
    let mut node = Paused::new(&peer, 256 << 10);
    let fetched = node.fetches().await.unwrap();
    assert_eq!(fetched.meta(), file.meta());
    assert!(content(&fetched) == content(&file));
    let slow = std::mem::take(&mut *peer.state());
    assert!(slow.gave.iter().all(|(_, bytes)| *bytes <= LEAST), "{:?}", slow.gave);
    assert_eq!(slow.lost, 0);
    drop(fetched);
    assert!(content(&node.fetches().await.unwrap()) == content(&file));
    assert!(peer.state().gave.iter().any(|(_, bytes)| *bytes >= 4 * LEAST));
    node.has_nothing();
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_asked_for_again_and_less_at_once() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::with_ways(from.path(), [Way::Open, Way::Open, Way::Lost, Way::AnswerLost]);
    let file = peer.write(7);
    let mut node = Paused::new(&peer, 256 << 10);
    assert!(content(&node.fetches().await.unwrap()) == content(&file));
    let least = LEAST as u64;
    let expected = [(0, LEAST), (least, 2 * LEAST), (3 * least, 2 * LEAST), (3 * least, LEAST)];
    assert_eq!(peer.state().gave[..4], expected);
    assert_eq!(peer.offsets()[4], 4 * least);
    assert_eq!(peer.state().lost, 2);
}

/// It may be down, and others not.
#[tokio::test(start_paused = true)]
async fn who_does_not_answer_the_first_question_is_not_asked_again_at_once() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::with_ways(from.path(), [Way::Lost]);
    peer.write(7);
    let (mut node, began) = (Paused::new(&peer, LEAST), Instant::now());
    let lost = node.fetches().await.unwrap_err();
    assert!(matches!(lost, NotFetched::Peer(PeerError::Lost(_))), "{lost:?}");
    assert_eq!((peer.state().lost, began.elapsed().as_secs()), (1, WAIT.as_secs()));
    node.has_nothing();
    node.fetches().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_broke_off_goes_on_while_the_peer_holds_what_it_gave() {
    let from = tempfile::tempdir().unwrap();
    let breaks_off =
        |pieces| std::iter::repeat_n(Way::Open, pieces).chain(std::iter::repeat_n(Way::Lost, LOST_MAX));
    let peer = Peer::with_ways(from.path(), breaks_off(3));
    let file = peer.write(7);
    let whole = content(&file);
    let mut node = Paused::new(&peer, LEAST);
    let lost = node.fetches().await.unwrap_err();
    assert!(matches!(lost, NotFetched::Peer(PeerError::Lost(_))) && !lost.is_in_vain(), "{lost:?}");
    assert_eq!((peer.state().lost, node.begun.as_ref().map(Fetch::peer)), (LOST_MAX, Some(2)));
    // As many were written since as are kept.
    peer.write(8);
    peer.write(9);
    assert!(!file.path().exists());
    drop(file);
    advance(Duration::from_secs(200)).await;
    peer.0.lent.let_go_of_idle(&InPlace);
    assert!(content(&node.fetches().await.unwrap()) == whole);
    let expected: Vec<u64> = (0..whole.len() as u64).step_by(LEAST).collect();
    assert_eq!(peer.offsets(), expected);
    node.has_nothing();

    // After a longer while it is gone, and the newest is begun with.
    peer.state().ways = breaks_off(3).collect();
    assert!(node.fetches().await.is_err());
    assert!(node.begun.is_some());
    peer.write(10);
    peer.write(11);
    advance(Duration::from_secs(301)).await;
    peer.0.lent.let_go_of_idle(&InPlace);
    node.is_refused().await;
    assert_eq!(node.fetches().await.unwrap().meta(), &meta(11));
}

/// It gives pieces of its own measure, and has no more of a snapshot that it does not keep.
#[tokio::test(start_paused = true)]
async fn a_peer_of_an_earlier_build_is_understood() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::with_ways(from.path(), [Way::Open, Way::Lost, Way::AnswerLost]);
    peer.state().is_earlier = true;
    let file = peer.write(7);
    let mut node = Paused::new(&peer, LEAST);
    assert!(content(&node.fetches().await.unwrap()) == content(&file));
    let earlier = EARLIER as u64;
    assert_eq!(peer.offsets()[..4], [0, earlier, earlier, 2 * earlier]);
    let lost = std::iter::repeat_n(Way::Lost, LOST_MAX);
    peer.state().ways = [Way::Open].into_iter().chain(lost).collect();
    assert!(node.fetches().await.is_err());
    peer.write(8);
    peer.write(9);
    node.is_refused().await;
    assert_eq!(node.fetches().await.unwrap().meta(), &meta(9));
}

/// It does not say how much it wants.
#[tokio::test(start_paused = true)]
async fn a_paused_node_of_an_earlier_build_is_given_as_much_as_a_follower() {
    let from = tempfile::tempdir().unwrap();
    let (file, lent) = (large(&from), LentSnapshots::default());
    let question = SnapshotRequest { from: 5, upto: 9, offset: 0, bytes: None };
    let piece = async |offset, bytes| {
        let question = SnapshotRequest { offset, bytes, ..question };
        let piece = lent.piece(3, question, vec![file.clone()], 2 * LEAST, &InPlace).await;
        piece.map(|piece| piece.bytes.len())
    };
    for (asked, given) in [(None, 2 * LEAST), (Some(10), 10), (Some(u64::MAX), 2 * LEAST), (Some(0), 0)] {
        assert_eq!(piece(0, asked).await, Ok(given), "{asked:?}");
    }
    assert_eq!(piece(file.len() - 7, None).await, Ok(7));
    for offset in [file.len(), u64::MAX] {
        assert_eq!(piece(offset, None).await, Err(PeerRefusal::NoSnapshot));
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_damaged_snapshot_nothing_is_given_and_the_one_before_it_helps() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::new(from.path());
    let (older, newest) = (peer.write(6), peer.write(7));
    damage(newest.path());
    let mut node = Paused::new(&peer, LEAST);
    node.is_refused().await;
    assert_eq!((peer.offsets(), newest.is_damaged(), older.is_damaged()), (Vec::new(), true, false));
    assert!(content(&node.fetches().await.unwrap()) == content(&older));
    // One that takes its place is given again.
    peer.write(7);
    assert_eq!(node.fetches().await.unwrap().meta(), &meta(7));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_came_damaged_is_read_again_before_it_is_given_again() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::new(from.path());
    let file = peer.write(7);
    file.check_once().unwrap();
    damage(file.path());
    let mut node = Paused::new(&peer, 256 << 10);
    let error = node.fetches().await.unwrap_err();
    assert!(matches!(error, NotFetched::Snapshot(_)) && error.is_in_vain(), "{error:?}");
    node.has_nothing();
    assert!(!file.is_damaged());
    node.is_refused().await;
    assert!(file.is_damaged());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_became_shorter_is_read_again_before_more_is_given() {
    let from = tempfile::tempdir().unwrap();
    let peer = Peer::new(from.path());
    let file = peer.write(7);
    file.check_once().unwrap();
    let sound = content(&file);
    std::fs::write(file.path(), &sound[..3 * LEAST]).unwrap();
    let mut node = Paused::new(&peer, LEAST);
    for (given, is_damaged) in [(3, false), (3, true)] {
        node.is_refused().await;
        assert_eq!((peer.offsets().len(), file.is_damaged()), (given, is_damaged));
    }
}

/// An operator has decided that the node goes on without it, or it has paused further on.
#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_any_more_is_not_fetched_to_its_end() {
    let from = tempfile::tempdir().unwrap();
    let lost = std::iter::repeat_n(Way::Lost, LOST_MAX);
    let peer = Peer::with_ways(from.path(), [Way::Open, Way::Open].into_iter().chain(lost));
    peer.write(7);
    let mut node = Paused::new(&peer, LEAST);
    assert!(node.fetches().await.is_err());
    // What came of one that does not help any more gives way to one that does.
    peer.write(8);
    let fetched = node.fetches_while(|| Some(8..=11)).await.unwrap();
    assert_eq!(fetched.meta(), &meta(8));
    drop(fetched);
    node.has_nothing();
    peer.state().gave.clear();
    let asked = Cell::new(0);
    let twice = || {
        asked.set(asked.get() + 1);
        (asked.get() <= 2).then_some(WANTED)
    };
    let ended = node.fetches_while(twice).await.unwrap_err();
    assert!(matches!(ended, NotFetched::NotWanted) && !ended.is_in_vain(), "{ended:?}");
    assert_eq!(peer.offsets(), [0, LEAST as u64]);
    node.has_nothing();
    assert!(matches!(node.fetches_while(|| None).await, Err(NotFetched::NotWanted)));
}
