//! A node that follows a leader of which nothing is there but its answers to forwarded commands, and these as a test tells
//! them. What may have been done is never sent again, and never said not to be done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{EntryPayload, Vote};

use super::submit::Outcomes;
use super::tests::{Alone, CLUSTER, PEER, answer, claim, in_order, message, property, start_over};
use super::{Limits, Node, Timings};
use crate::ledger::{Applied, Lsn, Outcome, Timestamp};
use crate::replication::tests::support::membership;
use crate::replication::{
    Endpoint, Entry, Envelope, GROUP, Kind, Line, LogId, Lost, MemberStatus, NotApplied, PeerRefusal, Reply,
    Request, Transport, decode, encode,
};

/// What comes back for one message.
type Answer = Result<Bytes, Lost>;

/// Answers commands that are forwarded to it as it is told; once it was told all, as one that does them.
#[derive(Clone, Default)]
struct Leader(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    answers: VecDeque<Answer>,
    /// How many commands each message held.
    forwarded: Vec<usize>,
    /// How often it was asked what it says of itself.
    status_asked: usize,
    /// Whether its history is not kept; it says nothing of itself where a test does not tell.
    history_suspended: Option<bool>,
}

impl Leader {
    /// The next message is answered so.
    fn tell(&self, answer: Answer) {
        self.0.lock().unwrap().answers.push_back(answer);
    }

    /// How many commands each message held that came since this was last asked.
    fn forwarded(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap().forwarded)
    }
}

impl Transport for Leader {
    fn exchange(&self, address: &str, frame: Bytes, deadline: Duration) -> BoxFuture<'static, Answer> {
        let forwarded = match decode::<Envelope<Request>>(Kind::Peer, &frame).unwrap().body {
            Request::Submit(forwarded) => forwarded,
            Request::Status => {
                let mut told = self.0.lock().unwrap();
                told.status_asked += 1;
                if let Some(history_suspended) = told.history_suspended {
                    return Box::pin(ready(reply(Reply::Status(status(history_suspended)))));
                }
                let silent = Alone.exchange(address, frame, deadline);
                return Box::pin(tokio::time::sleep(deadline / 5).then(|()| silent));
            }
            _ => return Alone.exchange(address, frame, deadline),
        };
        let commands = forwarded.submissions.len();
        let mut told = self.0.lock().unwrap();
        told.forwarded.push(commands);
        let answer = told.answers.pop_front().unwrap_or_else(|| submitted(all_done(commands)));
        Box::pin(ready(answer))
    }

    fn open(&self, address: &str, deadline: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        Alone.open(address, deadline)
    }
}

fn reply(body: Reply) -> Answer {
    let to = Endpoint { node: 1, disk: None };
    let envelope =
        Envelope { group: GROUP, cluster: Some(CLUSTER), from: PEER, to, wall: Timestamp(0), body };
    Ok(encode(Kind::Peer, &envelope).unwrap().into())
}

fn status(history_suspended: bool) -> MemberStatus {
    MemberStatus {
        role: "leader".into(),
        term: 3,
        last_log_index: Some(0),
        committed_index: Some(0),
        applied_index: Some(0),
        snapshot_index: None,
        purged_index: None,
        version: "0.1.0".into(),
        paused: None,
        paused_at: None,
        decided: None,
        history_suspended,
    }
}

fn submitted(outcomes: Outcomes) -> Answer {
    reply(Reply::Submitted(outcomes))
}

fn refused(refusal: PeerRefusal) -> Answer {
    reply(Reply::Refused(refusal))
}

fn not_sent() -> Answer {
    Err(Lost::NotSent { address: "127.0.0.1:3".to_owned(), reason: "nobody listens".to_owned() })
}

fn no_answer() -> Answer {
    Err(Lost::NoAnswer { address: "127.0.0.1:3".to_owned(), reason: "timed out".to_owned() })
}

fn done(lsn: u64) -> Result<Applied, NotApplied> {
    Ok(Applied { lsn: Lsn(lsn), replayed: false, outcome: Outcome::Done })
}

fn all_done(commands: usize) -> Outcomes {
    (1..=commands as u64).map(done).collect()
}

/// What every log begins with: the members.
fn first_append() -> Request {
    let log_id = LogId::new(LeaderId { term: 3, node_id: PEER.node }, 0);
    let members = Entry { log_id, payload: EntryPayload::Membership(membership(&[1, PEER.node])) };
    Request::Append(AppendEntriesRequest {
        vote: Vote::new_committed(3, PEER.node),
        prev_log_id: None,
        entries: vec![members],
        leader_commit: Some(log_id),
    })
}

/// The blank entries 1 to `entries`, behind the first, from a leader that has committed up to this term and index.
fn append(entries: u64, (term, committed): (u64, u64)) -> Request {
    let log_id = |term, index| LogId::new(LeaderId { term, node_id: PEER.node }, index);
    let blank = |index| Entry { log_id: log_id(3, index), payload: EntryPayload::Blank };
    Request::Append(AppendEntriesRequest {
        vote: Vote::new_committed(3, PEER.node),
        prev_log_id: Some(log_id(3, 0)),
        entries: (1..=entries).map(blank).collect(),
        leader_commit: Some(log_id(term, committed)),
    })
}

/// A node that follows this leader, and is patient with it: it hears from it no more.
async fn follower(dir: &tempfile::TempDir, leader: &Leader) -> Arc<Node> {
    let timings = Timings {
        election_min: Duration::from_secs(60),
        election_max: Duration::from_secs(120),
        ..Timings::default()
    };
    let members = [(1, "127.0.0.1:2"), (PEER.node, "127.0.0.1:3")];
    let node = start_over(Arc::new(leader.clone()), dir, &members, timings).await.unwrap();
    assert!(matches!(answer(&node, &message(&node, claim(&node, CLUSTER))).await, Reply::Claimed));
    // openraft answers the first before it says who leads.
    let followed = async {
        while node.leader() != Some(PEER.node) {
            let reply = answer(&node, &message(&node, first_append())).await;
            assert!(matches!(reply, Reply::Append(AppendEntriesResponse::Success)), "{reply:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), followed).await.expect("a node that follows its leader");
    node
}

/// What becomes of one command whose first message is answered so, and how many messages it takes.
async fn fate(node: &Node, leader: &Leader, answer: Answer) -> (usize, Result<Applied, NotApplied>) {
    leader.tell(answer);
    let outcome = node.submit(&property(0, 1)).await;
    (leader.forwarded().len(), outcome)
}

#[tokio::test]
async fn a_command_with_which_nothing_happened_is_sent_again() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    let cases = [
        ("no line could be opened", not_sent()),
        ("it does not lead", refused(PeerRefusal::NotLeader)),
        ("it is stopping", refused(PeerRefusal::Stopping)),
        ("it can't read that", refused(PeerRefusal::Unreadable { reason: "why".to_owned() })),
        ("it has lost its lead", submitted(vec![Err(NotApplied::NoLeader)])),
    ];
    for (case, answer) in cases {
        assert_eq!(fate(&node, &leader, answer).await, (2, done(1)), "{case}");
    }
    node.shut_down().await;
}

/// It would be done twice.
#[tokio::test]
async fn a_command_that_may_have_been_done_is_not_sent_again() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    let sound = submitted(all_done(1)).unwrap();
    let cases = [
        ("no answer", no_answer()),
        ("an answer that could not be encoded", Ok(Bytes::new())),
        ("an answer that is cut short", Ok(sound.slice(..sound.len() - 1))),
        ("an answer that is no frame", Ok(Bytes::from_static(b"HTTP/1.1 500 Internal Server Error"))),
        ("an answer to something else", reply(Reply::ReadIndex(7))),
        ("an answer to a claim", reply(Reply::Claimed)),
        ("no outcome", submitted(Outcomes::new())),
        ("an outcome too many", submitted(all_done(2))),
        ("an outcome that is not known there", submitted(vec![Err(NotApplied::Unknown)])),
    ];
    for (case, answer) in cases {
        assert_eq!(fate(&node, &leader, answer).await, (1, Err(NotApplied::Unknown)), "{case}");
    }
    node.shut_down().await;
}

#[tokio::test]
async fn what_the_leader_says_of_a_command_is_final() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    for outcome in [done(7), Err(NotApplied::Overloaded), Err(NotApplied::TooLarge)] {
        let answer = submitted(vec![outcome.clone()]);
        assert_eq!(fate(&node, &leader, answer).await, (1, outcome));
    }
    node.shut_down().await;
}

/// Sent again, those that were done would be done twice.
#[tokio::test]
async fn a_run_is_sent_again_only_if_none_of_it_was_taken() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    let run: Vec<_> = (0..3).map(|n| property(n, 1)).collect();
    let none = || Err(NotApplied::NoLeader);
    let cases = [
        (vec![done(1), none(), done(2)], 1),
        (vec![none(), none(), done(1)], 1),
        (vec![none(), Err(NotApplied::Unknown), none()], 1),
        (vec![none(), none(), none()], 2),
    ];
    for (answered, messages) in cases {
        leader.tell(submitted(answered.clone()));
        let outcomes = in_order(&node, &run).await;
        assert_eq!(leader.forwarded(), vec![3; messages], "{answered:?}");
        let expected = if messages == 1 { answered } else { all_done(3) };
        assert_eq!(outcomes, expected);
    }
    node.shut_down().await;
}

/// What is behind it counts on its having been done.
#[tokio::test]
async fn runs_behind_one_of_unknown_outcome_are_not_sent() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    let run = Limits::default().batch_commands_max;
    let commands: Vec<_> = (0..2_500).map(|n| property(n, 1)).collect();
    assert!(in_order(&node, &commands).await.iter().all(Result::is_ok));
    assert_eq!(leader.forwarded(), [run, run, commands.len() - 2 * run]);

    leader.tell(no_answer());
    let outcomes = in_order(&node, &commands).await;
    assert_eq!(leader.forwarded(), [run]);
    let (first, behind) = outcomes.split_at(run);
    assert!(first.iter().all(|outcome| *outcome == Err(NotApplied::Unknown)));
    assert!(behind.iter().all(|outcome| *outcome == Err(NotApplied::NoLeader)));
    assert_eq!(outcomes.len(), commands.len());
    node.shut_down().await;
}

/// Who asks for the cluster through a port of clients must not take the connections that heartbeats need.
#[tokio::test]
async fn a_thousand_who_ask_for_the_cluster_share_a_few_questions() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    let views = join_all((0..1_000).map(|_| node.cluster())).await;
    assert!(views.iter().flatten().all(|view| view.members.len() == 2));
    assert!(views.iter().all(Result::is_ok));
    let asked = leader.0.lock().unwrap().status_asked;
    assert!((1..=5).contains(&asked), "{asked}");
    // No answer is older than its question: who comes while one is under way is answered by the next.
    let asked = || leader.0.lock().unwrap().status_asked;
    let before = asked();
    let first = tokio::spawn({
        let node = node.clone();
        async move { node.cluster().await.is_ok() }
    });
    let under_way = async {
        while asked() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), under_way).await.expect("a round begins");
    node.cluster().await.unwrap();
    assert!(first.await.unwrap());
    assert_eq!(asked(), before + 2);
    node.shut_down().await;
}

/// Retention would stand still for as long as that one leads.
#[tokio::test]
async fn a_follower_has_forgotten_what_is_old_where_the_leader_can_not_tell() {
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    for (told, expected) in [(None, false), (Some(false), false), (Some(true), true)] {
        leader.0.lock().unwrap().history_suspended = told;
        assert_eq!(node.is_to_forget().await, expected, "{told:?}");
    }
    node.shut_down().await;
}

/// Else a follower that lags for minutes would answer as if it knew the present.
#[tokio::test]
async fn who_lacks_what_its_leader_has_committed_is_stale_though_it_hears_of_it() {
    const LONG: Duration = Duration::from_millis(300);
    let (dir, leader) = (tempfile::tempdir().unwrap(), Leader::default());
    let node = follower(&dir, &leader).await;
    let hears = async |request| {
        let reply = answer(&node, &message(&node, request)).await;
        assert!(matches!(reply, Reply::Append(AppendEntriesResponse::Success)), "{reply:?}");
    };
    // What a leader knows of a term before its own says nothing of what others have committed since.
    hears(append(0, (2, 0))).await;
    tokio::time::sleep(LONG).await;
    hears(append(0, (2, 0))).await;
    assert!(node.silence() >= LONG);
    hears(append(0, (3, 5))).await;
    assert!(node.silence() >= LONG);
    assert!(node.since(|heard| heard.came) < node.silence(), "it hears of its leader all the same");
    hears(append(5, (3, 5))).await;
    let catches_up = async || {
        while node.silence() >= LONG {
            hears(append(0, (3, 5))).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), catches_up()).await.expect("it has what its leader has");
    assert_eq!(node.position().index(), Some(5));
    // What has lain somewhere says nothing of now.
    tokio::time::sleep(LONG).await;
    let mut late = message(&node, append(0, (3, 5)));
    late.wall = Timestamp(late.wall.0 - 60_000);
    assert!(matches!(answer(&node, &late).await, Reply::Append(AppendEntriesResponse::Success)));
    assert!(node.silence() >= LONG);
    tokio::time::timeout(Duration::from_secs(10), catches_up()).await.expect("it hears of its leader again");
    // Who is behind by a little all the time knows what was committed a little ago.
    tokio::time::sleep(LONG).await;
    assert!(node.silence() >= LONG);
    for committed in [7, 9] {
        hears(append(0, (3, committed))).await;
    }
    let keeps_up = async {
        while node.silence() >= LONG {
            hears(append(7, (3, 9))).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), keeps_up).await.expect("it has what was committed then");
    assert_eq!(node.position().index(), Some(7));
    node.shut_down().await;
}
