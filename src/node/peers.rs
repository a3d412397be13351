//! What this node answers its peers.
//!
//! Every message is checked before it is looked at: group, cluster, addressee with its disk, sender with its disk. A
//! message that fails is answered with the reason and changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::Node;
use crate::replication::{
    Claim, Endpoint, Envelope, GROUP, Hello, Kind, NodeId, PeerRefusal, Reply, Request, Sender, decode,
    encode,
};

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
                        let sent_at = match envelope.body {
                            Request::Hello | Request::Claim(_) => self.clock.monotonic(),
                            _ => self.me.sightings.saw(from.node, envelope.wall, &*self.clock),
                        };
                        (from, self.handle(from, envelope.body, sent_at).await.unwrap_or_else(Reply::Refused))
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

    /// `sent_at` is by this node's monotonic clock.
    async fn handle(
        &self,
        from: Endpoint,
        request: Request,
        sent_at: Duration,
    ) -> Result<Reply, PeerRefusal> {
        // openraft fails only where it has stopped, and then this node is about to.
        let stopping = |_| PeerRefusal::Stopping;
        match request {
            Request::Append(request) => {
                let leader = request.vote.leader_id.node_id;
                // A new leader's own: what those before it have committed it may not know yet.
                let term = request.vote.leader_id.term;
                let commit = request.leader_commit.filter(|log_id| log_id.committed_leader_id().term == term);
                let commit = commit.map(|log_id| log_id.index);
                // When it came, and not when it was flushed: that may take long, and the leader be gone meanwhile.
                let came_at = self.clock.monotonic();
                let is_led = || self.elected_leader() == Some(leader) && leader == from.node;
                if is_led() {
                    self.append_came(came_at);
                }
                let response = self.raft.append_entries(request).await.map_err(|_| PeerRefusal::Stopping)?;
                if is_led() {
                    self.append_taken(sent_at, commit);
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
            Request::Snapshot(piece) => self.incoming.take(piece).await,
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
            Request::FetchSnapshot(request) => self.snapshot_for_peer(from.node, request).await,
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
        let mut file = self.me.lock_identity();
        let mut identity = file.identity().clone();
        // As it was claimed before, by one who has not had the answer.
        if identity.cluster_id == Some(claim.cluster) && identity.members == claim.members {
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
