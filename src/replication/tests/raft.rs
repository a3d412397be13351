//! One node under openraft itself: group commit, restart, snapshots and purge.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{RPCError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{Config, Raft, RaftNetworkFactory, RaftNetworkV2, SnapshotPolicy};
use tokio::sync::watch;

use super::support::{batch, house, membership, open, reserve};
use crate::ledger::Outcome;
use crate::replication::{
    BatchReply, Member, NodeId, Payload, SnapshotFile, State, StateMachine, TypeConfig, Vote,
};

/// Nobody else is there.
struct Nobody;

impl RaftNetworkFactory<TypeConfig> for Nobody {
    type Network = Nobody;

    async fn new_client(&mut self, _target: NodeId, _node: &Member) -> Nobody {
        Nobody
    }
}

fn unreachable() -> Unreachable<TypeConfig> {
    Unreachable::from_string("nobody is there")
}

impl RaftNetworkV2<TypeConfig> for Nobody {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>,
        _cancel: impl Future<Output = openraft::errors::ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, openraft::errors::StreamingError<TypeConfig>> {
        Err(unreachable().into())
    }
}

struct Node {
    raft: Raft<TypeConfig, StateMachine>,
    state: Arc<State>,
    log_closed: watch::Receiver<bool>,
}

impl Node {
    async fn start(dir: &Path) -> Node {
        let storage = open(dir).unwrap();
        let (state, log_closed) = (storage.state_machine.state(), storage.log_closed.clone());
        let config = Config {
            heartbeat_interval: 20,
            election_timeout_min: 60,
            election_timeout_max: 120,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        };
        let config = Arc::new(config.validate().unwrap());
        let raft = Raft::new(1, config, Nobody, storage.log, storage.state_machine).await.unwrap();
        Node { raft, state, log_closed }
    }

    async fn lead(&self) {
        self.raft.wait(None).current_leader(1, "it elects itself").await.unwrap();
    }

    async fn write(&self, submissions: &[crate::ledger::Submission]) -> BatchReply {
        let payload = batch(1_000, self.state.check(), submissions).encode().unwrap();
        self.write_payload(payload).await
    }

    async fn write_payload(&self, payload: Payload) -> BatchReply {
        self.raft.client_write(payload).await.unwrap().data
    }

    async fn stop(self) {
        let Node { raft, mut log_closed, .. } = self;
        raft.shutdown().await.unwrap();
        drop(raft);
        log_closed.wait_for(|closed| *closed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_writes_restarts_takes_snapshots_and_purges() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await;
    let members: BTreeMap<NodeId, Member> =
        membership(&[1]).nodes().map(|(id, member)| (*id, member.clone())).collect();
    node.raft.initialize(members.clone()).await.unwrap();
    node.lead().await;

    let BatchReply::Applied(outcomes) = node.write(&house(30)).await else { panic!("not applied") };
    assert_eq!(outcomes.len(), house(30).len());
    // What was answered can be read at once.
    assert_eq!(node.state.position().lsn, outcomes.last().unwrap().lsn);

    // Many writers at once, and snapshots meanwhile.
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..300u32 {
        let (raft, state) = (node.raft.clone(), node.state.clone());
        writers.spawn(async move {
            let payload =
                batch(1_000, state.check(), &[reserve(n.into(), n % 30 + 1, n / 30 + 1)]).encode().unwrap();
            raft.client_write(payload).await.unwrap().data
        });
        if n % 100 == 0 {
            node.raft.trigger().snapshot().await.unwrap();
        }
    }
    while let Some(reply) = writers.join_next().await {
        let BatchReply::Applied(outcomes) = reply.unwrap() else { panic!("not applied") };
        assert!(matches!(outcomes[0].outcome, Outcome::Reserved(_)), "{outcomes:?}");
    }
    let position = node.state.position();
    let covered = position.log_id.unwrap();
    // A snapshot that is asked for while another is being taken is not taken: ask until it covers the last state.
    while node.raft.metrics().borrow_watched().snapshot != Some(covered) {
        node.raft.trigger().snapshot().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let upto = node.state.purge_upto().unwrap();
    node.raft.trigger().purge_log(upto).await.unwrap();
    node.raft.wait(None).metrics(|m| m.purged.is_some_and(|id| id.index == upto), "purged").await.unwrap();
    node.stop().await;

    let node = Node::start(dir.path()).await;
    assert_eq!(node.state.position(), position);
    node.lead().await;
    assert!(matches!(node.write(&[reserve(1_000, 1, 20)]).await, BatchReply::Applied(_)));
    node.stop().await;
    assert_eq!(*open(dir.path()).unwrap().membership(), members);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_answers_so_and_stays_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path()).await;
    let members: BTreeMap<NodeId, Member> =
        membership(&[1]).nodes().map(|(id, member)| (*id, member.clone())).collect();
    node.raft.initialize(members).await.unwrap();
    node.lead().await;
    node.write(&house(1)).await;
    let before = node.state.position();
    for _ in 0..2 {
        assert_eq!(node.write_payload(Payload::from_static(b"bad")).await, BatchReply::Paused);
        assert_eq!(node.write(&[reserve(1, 1, 1)]).await, BatchReply::Paused);
        assert!(node.state.paused().is_some());
        node.stop().await;
        node = Node::start(dir.path()).await;
        node.lead().await;
        assert_eq!(
            (node.state.position().lsn, node.state.position().state_hash),
            (before.lsn, before.state_hash)
        );
    }
    node.stop().await;
}
