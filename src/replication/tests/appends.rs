//! Appends to a follower: in their order, without waiting for one another, and none behind one that was not taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, pending, ready};
use futures_util::{Stream, StreamExt, stream};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError};
use openraft::{RaftNetworkFactory, RaftNetworkV2, Vote};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::support::{blank, log_id, membership, opaque};
use crate::ledger::Timestamp;
use crate::replication::{
    DiskId, DiskThreads, Endpoint, Envelope, GROUP, Kind, LINE_FRAMES_MAX, Line, Link, LogId, Lost, NodeId,
    Peers, Reply, Request, Sender, Timeouts, Transport, TypeConfig, decode, encode,
};

const WAIT: Duration = Duration::from_secs(2);

pub(super) struct Me;

impl Sender for Me {
    fn cluster(&self) -> Option<Uuid> {
        None
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { node: 1, disk: None }
    }

    fn wall(&self) -> Timestamp {
        Timestamp(0)
    }

    fn saw_wall(&self, _: NodeId, _: Timestamp) {}
}

/// A follower that answers as it is told, and nothing once it was told all.
#[derive(Clone, Default)]
struct Follower(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The last index of each append, and how it came.
    appended: Vec<(&'static str, u64)>,
    answers: VecDeque<AppendEntriesResponse<TypeConfig>>,
    /// Appends that have to come before anything is answered on the line.
    awaited: usize,
    /// Larger messages do not arrive in two seconds, and those of a multiple not in as much more.
    arrives: Option<usize>,
}

impl Follower {
    fn takes(&self, how: &'static str, frame: &[u8]) {
        let Request::Append(request) = decode::<Envelope<Request>>(Kind::Peer, frame).unwrap().body else {
            panic!("not an append")
        };
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        self.0.lock().unwrap().appended.push((how, last.unwrap().index));
    }

    async fn answers(&self) -> Bytes {
        let Some(response) = self.0.lock().unwrap().answers.pop_front() else { return pending().await };
        let endpoint = |node: NodeId| Endpoint { node, disk: Some(DiskId(Uuid::from_u128(node.into()))) };
        let body = Reply::Append(response);
        let (from, to, wall) = (endpoint(2), endpoint(1), Timestamp(0));
        encode(Kind::Peer, &Envelope { group: GROUP, cluster: None, from, to, wall, body }).unwrap().into()
    }

    fn appended(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().unwrap().appended.clone()
    }
}

impl Transport for Follower {
    fn exchange(&self, _: &str, frame: Bytes, within: Duration) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let arrives = self.0.lock().unwrap().arrives;
        if arrives.is_some_and(|arrives| frame.len() as f64 > arrives as f64 * within.div_duration_f64(WAIT))
        {
            let lost = Lost::NoAnswer { address: "2".to_owned(), reason: "timed out".to_owned() };
            return Box::pin(ready(Err(lost)));
        }
        self.takes("exchange", &frame);
        let follower = self.clone();
        Box::pin(async move { Ok(follower.answers().await) })
    }

    fn open(&self, _: &str, _: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let line: Box<dyn Line> = Box::new(self.clone());
        Box::pin(ready(Ok(line)))
    }
}

impl Line for Follower {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), Lost>> {
        self.takes("line", &frame);
        Box::pin(ready(Ok(())))
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes, Lost>> {
        Box::pin(async {
            while self.appended().len() < self.0.lock().unwrap().awaited {
                yield_now().await;
            }
            Ok(self.answers().await)
        })
    }
}

fn at(index: u64) -> LogId {
    log_id(3, index)
}

/// Of one entry.
fn append(index: u64) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: Vote::new_committed(3, 1),
        prev_log_id: Some(at(index - 1)),
        entries: vec![blank(3, index)],
        leader_commit: None,
    }
}

/// Of none: it says how far others have come.
fn notice(index: u64) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest { prev_log_id: Some(at(index)), entries: Vec::new(), ..append(index) }
}

/// Of a leader whose log is gone: no append waits for more of it.
async fn link(follower: &Follower) -> (Link, Peers) {
    link_from(follower, watch::channel(None).1).await
}

async fn link_from(follower: &Follower, appended: watch::Receiver<Option<LogId>>) -> (Link, Peers) {
    let timeouts = Timeouts { message: WAIT, snapshot_piece: WAIT };
    let (transport, disk) = (Arc::new(follower.clone()), Arc::new(DiskThreads));
    let mut peers = Peers::new(transport, Arc::new(Me), disk, timeouts, 1 << 20, appended);
    let members = membership(&[2]);
    let member = members.get_node(&2).unwrap();
    (peers.new_client(2, member).await, peers)
}

fn follower(answers: impl IntoIterator<Item = AppendEntriesResponse<TypeConfig>>) -> Follower {
    let state = State { answers: answers.into_iter().collect(), ..State::default() };
    Follower(Arc::new(Mutex::new(state)))
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_millis(75))
}

#[tokio::test]
async fn all_are_taken_in_their_order_the_first_by_itself() {
    let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, 20));
    let (mut link, _) = link(&follower).await;
    let requests = stream::iter((1..=20).map(append));
    let answers = link.stream_append(requests, option()).await.unwrap();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().unwrap()).collect().await;
    assert_eq!(answers, (1..=20).map(|index| Some(at(index))).collect::<Vec<_>>());
    let on_the_line = (2..=20).map(|index| ("line", index));
    assert_eq!(follower.appended(), [("exchange", 1)].into_iter().chain(on_the_line).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn none_waits_for_the_answer_to_another_and_a_late_answer_ends_it() {
    let follower = follower([AppendEntriesResponse::Success]);
    let (mut link, _) = link(&follower).await;
    // More may come at any time.
    let requests = stream::iter((1..=20).map(append)).chain(stream::pending());
    let mut answers = link.stream_append(requests, option()).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(1)));
    let began = Instant::now();
    assert!(answers.next().await.unwrap().is_err());
    assert_eq!(began.elapsed(), WAIT);
    assert!(answers.next().await.is_none());
    assert_eq!(follower.appended().len(), 1 + LINE_FRAMES_MAX);
}

/// As openraft makes them: whatever there is to say when the next is asked for. All that was sent is committed.
fn as_the_log_grows(
    appended: watch::Receiver<Option<LogId>>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin {
    let of_what_is_there = stream::unfold((appended, 1, 0), |(mut appended, next, told)| async move {
        if told + 1 == next {
            appended.wait_for(|last| *last >= Some(at(next))).await.ok()?;
        }
        let has_grown = *appended.borrow() >= Some(at(next));
        let (request, next) = if has_grown { (append(next), next + 1) } else { (notice(next - 1), next) };
        let told = request.prev_log_id.map_or(0, |before| before.index);
        Some((request, (appended, next, told)))
    });
    Box::pin(of_what_is_there)
}

/// How far the log is committed is told by itself only where no entries come soon.
#[tokio::test(start_paused = true)]
async fn a_notice_waits_for_entries_where_others_came_as_soon() {
    let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, 100));
    let (log, appended) = watch::channel(Some(at(0)));
    let (mut link, _) = link_from(&follower, appended.clone()).await;
    let leads = tokio::spawn(async move {
        let answers = link.stream_append(as_the_log_grows(appended), option()).await.unwrap();
        assert!(answers.all(|answer| ready(answer.unwrap().is_ok())).await);
    });
    // Milliseconds from one entry to the next, and what was sent in them.
    let steps: [(u64, &[u64]); 8] = [
        (20, &[1, 1]),
        (20, &[2, 2]),
        (1, &[3, 3]),
        (1, &[4]),
        (1, &[5]),
        (3, &[6, 6]),
        (30, &[7, 7]),
        (9, &[8, 8]),
    ];
    let mut before = 0;
    for (index, (wait, sent)) in (1..).zip(steps) {
        log.send_replace(Some(at(index)));
        sleep(Duration::from_millis(wait)).await;
        let all: Vec<u64> = follower.appended().into_iter().map(|(_, last)| last).collect();
        assert_eq!(all[before..], *sent, "entry {index}");
        before = all.len();
    }
    leads.abort();
}

/// What a follower has said of an append says nothing of a notice behind it, though both end with the same entry.
#[tokio::test(start_paused = true)]
async fn those_that_end_with_the_same_entry_are_told_once_all_are_answered() {
    let requests = || [append(1), append(2), notice(2), notice(2), append(3), append(4)];
    for answered in 1..=requests().len() {
        let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, answered));
        follower.0.lock().unwrap().awaited = requests().len();
        let (mut link, _) = link(&follower).await;
        let answers = link.stream_append(stream::iter(requests()), option()).await.unwrap();
        let told = answers
            .filter_map(|answer| ready(answer.ok().and_then(Result::unwrap)))
            .collect::<Vec<_>>()
            .await;
        let expected = match answered {
            ..=3 => 1..=1,
            4 => 1..=2,
            5 => 1..=3,
            _ => 1..=4,
        };
        assert_eq!(told, expected.map(at).collect::<Vec<_>>(), "{answered} are answered");
    }
}

/// openraft has made it, and would take it for answered by what was said of one before it.
#[tokio::test(start_paused = true)]
async fn what_ends_with_an_entry_is_not_told_where_something_that_ends_there_too_could_not_be_sent() {
    for (unsent, told) in [(notice(2), vec![Some(at(1))]), (append(3), vec![Some(at(1)), Some(at(2))])] {
        let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, 2));
        let (mut link, peers) = link(&follower).await;
        // The second is answered once the third has been made.
        let sent = 2;
        follower.0.lock().unwrap().awaited = sent + 1;
        let made = follower.clone();
        let third = stream::once(async move {
            peers.stop_appends(true);
            made.0.lock().unwrap().awaited = sent;
            unsent
        });
        let requests = stream::iter([append(1), append(2)]).chain(third.boxed());
        let mut answers: Vec<_> = link.stream_append(requests, option()).await.unwrap().collect().await;
        assert!(answers.pop().unwrap().is_err());
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
        assert_eq!(answers, told);
        assert_eq!(follower.appended(), [("exchange", 1), ("line", 2)]);
    }
}

#[tokio::test]
async fn nothing_comes_behind_one_that_was_not_taken_whole() {
    let success = || AppendEntriesResponse::Success;
    let higher = Vote::new_committed(4, 2);
    let cases = [
        (AppendEntriesResponse::Conflict, Err(StreamAppendError::Conflict(at(2)))),
        (AppendEntriesResponse::HigherVote(higher), Err(StreamAppendError::HigherVote(higher))),
        (AppendEntriesResponse::PartialSuccess(Some(at(2))), Ok(Some(at(2)))),
    ];
    for (answer, expected) in cases {
        let follower = follower([success(), success(), answer, success(), success()]);
        let (mut link, _) = link(&follower).await;
        let requests = stream::iter((1..=5).map(append));
        let answers = link.stream_append(requests, option()).await.unwrap();
        let answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
        assert_eq!(answers, [Ok(Some(at(1))), Ok(Some(at(2))), expected]);
    }
}

/// One session: all that the follower lacks up to this index in one append, each entry with so many bytes. Gives how far it
/// has acknowledged them.
async fn session(link: &mut Link, follower: &Follower, acked: u64, upto: u64, bytes: usize) -> u64 {
    let entries: Vec<_> = (acked + 1..=upto).map(|index| opaque(3, index, bytes)).collect();
    let request = AppendEntriesRequest { entries, leader_commit: Some(at(upto)), ..append(acked + 1) };
    let mut answers = link.stream_append(stream::iter([request]), option()).await.unwrap();
    let Some(Ok(answer)) = answers.next().await else { return acked };
    let acked = answer.unwrap().unwrap().index;
    assert!(answers.next().await.is_none());
    // What counts towards a majority is what was given, and not what was meant to be.
    assert_eq!(follower.appended().last().map(|(_, given)| *given), Some(acked));
    acked
}

/// Holds sessions until the follower has acknowledged all up to this index.
async fn catch_up(link: &mut Link, follower: &Follower, upto: u64, bytes: usize, sessions_max: usize) {
    let mut acked = 0;
    for _ in 0..sessions_max {
        acked = session(link, follower, acked, upto, bytes).await;
        if acked == upto {
            return;
        }
    }
    panic!("it came to {acked}");
}

/// What a slow way does not carry in the time that a message has is sent in smaller parts, until it catches up.
#[tokio::test]
async fn a_follower_behind_a_slow_way_is_sent_less_at_once() {
    let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, 100));
    follower.0.lock().unwrap().arrives = Some(600 << 10);
    let (mut link, _) = link(&follower).await;
    catch_up(&mut link, &follower, 64, 60 << 10, 40).await;
    // Once all arrives again, as much goes at once as before, and on the line.
    follower.0.lock().unwrap().arrives = None;
    for index in 0..8 {
        let requests = stream::iter([append(100 + 2 * index), append(101 + 2 * index)]);
        let answers = link.stream_append(requests, option()).await.unwrap();
        answers.for_each(|_| ready(())).await;
    }
    assert_eq!(follower.appended().last(), Some(&("line", 115)));
}

/// Else it would never arrive, nor would anything behind it.
#[tokio::test]
async fn an_entry_that_is_more_than_may_go_at_once_goes_alone() {
    const ENTRY_BYTES: usize = 1 << 20;
    let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, 100));
    let (mut link, _) = link(&follower).await;
    // Nothing arrives, until nothing less is tried.
    follower.0.lock().unwrap().arrives = Some(0);
    for _ in 0..8 {
        assert_eq!(session(&mut link, &follower, 0, 4, ENTRY_BYTES).await, 0);
    }
    // By itself it takes several times as long as a message may, which it is given.
    follower.0.lock().unwrap().arrives = Some(ENTRY_BYTES / 7);
    catch_up(&mut link, &follower, 4, ENTRY_BYTES, 40).await;
    assert_eq!(follower.appended(), [1, 2, 3, 4].map(|index| ("exchange", index)));
}

/// What one lacks is not purged while it is sent the log, or may be.
#[tokio::test]
async fn who_is_too_far_behind_is_sent_no_more_of_the_log_in_that_session() {
    let follower = follower(std::iter::repeat_n(AppendEntriesResponse::Success, 9));
    let (mut link, mut peers) = link(&follower).await;
    let mut heartbeats = peers.new_client(2, membership(&[2]).get_node(&2).unwrap()).await;
    peers.leave_behind([3].into());
    for first in [1, 4] {
        let requests = stream::iter((first..first + 3).map(append));
        let mut answers = link.stream_append(requests, option()).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(at(first))));
        if first == 1 {
            peers.leave_behind([2].into());
            heartbeats.append_entries(notice(first), option()).await.unwrap();
            assert!(answers.next().await.unwrap().is_err());
        } else {
            assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(at(first + 1))));
            assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(at(first + 2))));
        }
        assert!(answers.next().await.is_none());
    }
    let appended =
        [1, 1, 4].map(|index| ("exchange", index)).into_iter().chain([5, 6].map(|index| ("line", index)));
    assert_eq!(follower.appended(), appended.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_leader_without_a_majority_sends_none() {
    let follower = follower([AppendEntriesResponse::Success]);
    let (mut link, peers) = link(&follower).await;
    let requests = stream::iter((1..=2).map(append));
    let mut answers = link.stream_append(requests, option()).await.unwrap();
    assert!(answers.next().await.unwrap().is_ok());
    peers.stop_appends(true);
    assert!(answers.next().await.unwrap().is_err());
    assert_eq!(follower.appended(), [("exchange", 1)]);
}
