//! What this node answers its peers.
//!
//! Every message is checked before it is looked at: group, cluster, addressee with its disk, sender with its disk. A
//! message that fails is answered with the reason and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftState;
use openraft::alias::SnapshotOf;
use openraft::raft::SnapshotResponse;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::Node;
use crate::replication::{
    Claim, Disk, Endpoint, Envelope, GROUP, Hello, IncomingSnapshot, Kind, NodeId, PeerRefusal, Reply,
    Request, SNAPSHOT_BYTES_MAX, Sender, SnapshotFile, SnapshotMeta, SnapshotPiece, SnapshotStore,
    TypeConfig, blocking, decode, encode,
};

/// The one snapshot that may be under way to this node.
pub struct IncomingSnapshots {
    store: Arc<SnapshotStore>,
    disk: Arc<dyn Disk>,
    /// Held across a write to disk, so an async lock; its only users are messages of one transfer after the other.
    current: Mutex<Option<(Uuid, IncomingSnapshot)>>,
}

impl IncomingSnapshots {
    pub fn new(store: Arc<SnapshotStore>, disk: Arc<dyn Disk>) -> IncomingSnapshots {
        IncomingSnapshots { store, disk, current: Mutex::new(None) }
    }

    /// Takes a piece; gives the file once it is whole and its checksums hold.
    async fn take(&self, piece: &SnapshotPiece) -> Result<Option<SnapshotFile>, PeerRefusal> {
        let refused = |reason: String| PeerRefusal::SnapshotRefused { reason };
        let mut current = self.current.lock().await;
        if piece.offset == 0 {
            // A new transfer takes the place of one that broke off, whose file may be large.
            let (broken_off, store) = (current.take(), self.store.clone());
            let begun = blocking(&*self.disk, move || {
                drop(broken_off);
                store.begin_receive()
            });
            let incoming = begun.await.map_err(|error| refused(error.to_string()))?;
            *current = Some((piece.transfer, incoming.map_err(|error| refused(error.to_string()))?));
        }
        let Some((transfer, incoming)) = current.as_ref() else {
            return Err(refused("its beginning is missing".to_owned()));
        };
        if *transfer != piece.transfer || incoming.received() != piece.offset {
            return Err(refused("its pieces are out of order".to_owned()));
        }
        if piece.offset + piece.bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(refused(format!("it is longer than {SNAPSHOT_BYTES_MAX} bytes")));
        }
        let Some((transfer, incoming)) = current.take() else { return Ok(None) };
        let incoming = incoming.take(piece.bytes.clone(), &*self.disk).await;
        let incoming = incoming.map_err(|error| refused(error.to_string()))?;
        if !piece.last {
            *current = Some((transfer, incoming));
            return Ok(None);
        }
        // The whole file is read again: seconds, for a large one.
        let finished = blocking(&*self.disk, move || incoming.finish()).await;
        match finished {
            Ok(Ok(file)) => Ok(Some(file)),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

/// Which refusals were logged last. A peer that is refused asks again many times a second; its reason is logged once.
#[derive(Default)]
pub struct Refusals {
    logged: std::sync::Mutex<BTreeMap<NodeId, PeerRefusal>>,
}

impl Refusals {
    /// Senders are not trusted here, so what is remembered of them is bounded.
    const REMEMBERED_MAX: usize = 64;

    fn log(&self, from: Endpoint, refusal: &PeerRefusal) {
        let mut logged = self.logged.lock().expect("no panic while the refusals are locked");
        if logged.get(&from.node) == Some(refusal) {
            return;
        }
        if logged.len() >= Refusals::REMEMBERED_MAX {
            logged.clear();
        }
        logged.insert(from.node, refusal.clone());
        let disk = from.disk.map(tracing::field::display);
        tracing::warn!(from = from.node, disk, %refusal, "a peer's message was refused");
    }
}

impl Node {
    /// Answers one frame of a peer with one frame.
    pub async fn handle_frame(&self, frame: &[u8]) -> Bytes {
        let (to, reply) = match decode::<Envelope<Request>>(Kind::Peer, frame) {
            Ok(envelope) => {
                let from = envelope.from;
                match self.check(&envelope) {
                    Ok(()) => {
                        // Hellos and claims come from anyone; only a member's clock counts.
                        if !matches!(envelope.body, Request::Hello | Request::Claim(_)) {
                            self.me.saw_wall(from.node, envelope.wall);
                        }
                        (from, self.handle(from, envelope.body).await.unwrap_or_else(Reply::Refused))
                    }
                    Err(refusal) => {
                        self.refusals.log(from, &refusal);
                        (from, Reply::Refused(refusal))
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a message on the peer port can't be read");
                let refusal = PeerRefusal::Unreadable { reason: error.to_string() };
                (Endpoint { node: 0, disk: None }, Reply::Refused(refusal))
            }
        };
        let envelope = Envelope {
            group: GROUP,
            cluster: self.me.cluster(),
            from: self.me.endpoint(),
            to,
            wall: self.me.wall(),
            body: reply,
        };
        encode(Kind::Peer, &envelope).map(Bytes::from).unwrap_or_else(|error| {
            tracing::error!(%error, "an answer to a peer could not be encoded");
            Bytes::new()
        })
    }

    fn check(&self, envelope: &Envelope<Request>) -> Result<(), PeerRefusal> {
        let identity = self.me.identity();
        if envelope.group != GROUP {
            return Err(PeerRefusal::OtherGroup);
        }
        let to = envelope.to;
        if to.node != identity.node_id {
            return Err(PeerRefusal::NotAddressee);
        }
        if matches!(envelope.body, Request::Hello) {
            return Ok(());
        }
        let is_of_another = |own: Uuid| envelope.cluster.is_some_and(|cluster| cluster != own);
        if !matches!(envelope.body, Request::Claim(_)) && identity.cluster_id.is_some_and(is_of_another) {
            // Told before the disk, which is another one there too.
            return Err(PeerRefusal::OtherCluster);
        }
        if to.disk != Some(identity.disk_id) {
            return Err(PeerRefusal::NotAddressee);
        }
        if matches!(envelope.body, Request::Claim(_)) {
            return Ok(());
        }
        if identity.cluster_id.is_none() || envelope.cluster != identity.cluster_id {
            return Err(PeerRefusal::OtherCluster);
        }
        let known = self.known_disks().get(&envelope.from.node).copied();
        if known.is_none() || known != envelope.from.disk {
            return Err(PeerRefusal::UnknownSender);
        }
        Ok(())
    }

    async fn handle(&self, from: Endpoint, request: Request) -> Result<Reply, PeerRefusal> {
        // openraft fails only where it has stopped, and then this node is about to.
        let stopping = |_| PeerRefusal::Stopping;
        match request {
            Request::Append(request) => {
                let leader = request.vote.leader_id.node_id;
                // When it came, and not when it was flushed: that may take long, and the leader be gone meanwhile.
                let came_at = self.clock.monotonic();
                let is_led = || self.elected_leader() == Some(leader) && leader == from.node;
                if is_led() {
                    self.append_came(came_at);
                }
                let response = self.raft.append_entries(request).await.map_err(|_| PeerRefusal::Stopping)?;
                if is_led() {
                    self.append_taken(came_at);
                }
                Ok(Reply::Append(response))
            }
            Request::Vote(request) => {
                Ok(Reply::Vote(self.raft.vote(request).await.map_err(|_| PeerRefusal::Stopping)?))
            }
            Request::PreVote(request) => {
                Ok(Reply::Vote(self.raft.pre_vote(request).await.map_err(|_| PeerRefusal::Stopping)?))
            }
            Request::TransferLeader(request) => {
                Ok(Reply::TransferLeader(self.raft.handle_transfer_leader(request).await.map_err(stopping)?))
            }
            Request::Snapshot(piece) => self.take_snapshot(piece).await,
            Request::Submit(forwarded) => {
                if !self.leads() {
                    return Err(PeerRefusal::NotLeader);
                }
                Ok(Reply::Submitted(self.submitter.submit_forwarded(forwarded).await))
            }
            Request::ReadIndex { wait_ms } => {
                let deadline = Instant::now() + Duration::from_millis(wait_ms.min(60_000));
                self.read_index_for_peer(deadline).await.map(Reply::ReadIndex)
            }
            Request::History(request) => self.history_for_peer(request).await,
            Request::FetchSnapshot(request) => self.snapshot_for_peer(request).await,
            Request::Decide { index, state_hash } => {
                if !self.leads() {
                    return Err(PeerRefusal::NotLeader);
                }
                Ok(Reply::Decided(self.propose_decision(index, state_hash, self.deadline()).await))
            }
            Request::Status => Ok(Reply::Status(self.own_status())),
            Request::Hello => Ok(Reply::Hello(self.own_hello().await)),
            Request::Claim(claim) => self.be_claimed(claim).await.map(|()| Reply::Claimed),
        }
    }

    async fn take_snapshot(&self, piece: SnapshotPiece) -> Result<Reply, PeerRefusal> {
        let Some(file) = self.incoming.take(&piece).await? else { return Ok(Reply::SnapshotPieceTaken) };
        // Refused here: to openraft it would be a failure of this node's storage.
        if *file.meta() != SnapshotMeta::from(&piece.meta) {
            let reason = "the file is not the snapshot that was announced".to_owned();
            return Err(PeerRefusal::SnapshotRefused { reason });
        }
        if self.holds(&piece).await? {
            // To remove a large file takes time.
            self.disk.run(Box::new(move || drop(file)));
            return Ok(Reply::SnapshotInstalled(SnapshotResponse::new(piece.vote)));
        }
        let snapshot: SnapshotOf<TypeConfig, SnapshotFile> =
            SnapshotOf::<TypeConfig, SnapshotFile> { meta: piece.meta, snapshot: file };
        let response =
            self.raft.install_full_snapshot(piece.vote, snapshot).await.map_err(|_| PeerRefusal::Stopping)?;
        tracing::info!("a snapshot from the leader was installed");
        Ok(Reply::SnapshotInstalled(response))
    }

    /// Whether the log holds all that a snapshot of the leader that is followed does: only the answers to that leader's messages
    /// were lost. openraft takes a snapshot from before the log's end for a step back, and with debug assertions panics. What
    /// the log holds may not be flushed yet: a snapshot holds only what is committed, which counts on no answer of this node.
    async fn holds(&self, piece: &SnapshotPiece) -> Result<bool, PeerRefusal> {
        let (vote, last) = (piece.vote, piece.meta.last_log_id);
        let holds = move |state: &RaftState<TypeConfig>| {
            *state.vote_ref() == vote && last.is_some_and(|last| state.log_ids.get(last.index) == Some(last))
        };
        self.raft.with_raft_state(holds).await.map_err(|_| PeerRefusal::Stopping)
    }

    pub(super) async fn own_hello(&self) -> Hello {
        let identity = self.me.identity();
        Hello {
            node: identity.node_id,
            disk: identity.disk_id,
            client_addr: self.config.client_addr.as_str().into(),
            peer_addr: self.config.peer_addr.as_str().into(),
            cluster: identity.cluster_id,
            // Where raft has stopped nothing may be taken for empty.
            empty: !self.raft.is_initialized().await.unwrap_or(true),
            members: self.known_disks(),
        }
    }

    /// Joins the cluster that the first node makes, once, and only with a log that holds nothing.
    async fn be_claimed(&self, claim: Claim) -> Result<(), PeerRefusal> {
        let initialized = self.raft.is_initialized().await.map_err(|_| PeerRefusal::Stopping)?;
        let mut file = self.me.identity.lock().expect("no panic while the identity is locked");
        let mut identity = file.identity().clone();
        if identity.cluster_id == Some(claim.cluster) {
            return Ok(());
        }
        let mine = claim.members.get(&identity.node_id) == Some(&identity.disk_id);
        if initialized || identity.cluster_id.is_some() || !mine {
            return Err(PeerRefusal::AlreadyClaimed);
        }
        identity.cluster_id = Some(claim.cluster);
        identity.members = claim.members;
        file.store(identity).map_err(|error| {
            tracing::error!(%error, "the claim could not be written");
            PeerRefusal::Stopping
        })?;
        tracing::info!(cluster = %claim.cluster, "this node now belongs to a cluster");
        Ok(())
    }
}
