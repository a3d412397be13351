//! How what members say to one another gets there.
//!
//! Every message is one frame each way and names the group, the cluster, its sender and its addressee with their disks;
//! the receiver checks all of them, so that a node that lost its disk, or one of another cluster, changes nothing. Who asked
//! checks the answer alike: what another says in the place of the one that was asked counts for nothing.

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::watch;
use uuid::Uuid;

use super::appends::{Answers, Appends};
use super::codec::{self, CodecError, Kind};
use super::disk::Disk;
use super::hearing::{Estrangement, Hearing};
use super::log_record::entry_bytes;
use super::log_store::READ_BYTES_MAX;
use super::message::{Endpoint, Envelope, PeerRefusal, Reply, Request};
use super::pace::Pace;
use super::sent::SentSnapshots;
use super::snapshot::SnapshotFile;
use super::transport::{Lost, Transport};
use super::types::{DiskId, GROUP, LogId, Member, NodeId, TypeConfig};
use crate::ledger::Timestamp;

/// Why a call to a member brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Lost(#[from] Lost),
    /// `by` is not `node` only where a stranger refused the envelope.
    #[error("node {by} refused: {refusal}")]
    Refused { node: NodeId, by: NodeId, refusal: PeerRefusal },
    #[error("node {node} answered something else than was asked")]
    Unexpected { node: NodeId },
    #[error(
        "what node {node} was asked was answered by another: node {other}, or its disk or cluster is another"
    )]
    Stranger { node: NodeId, other: NodeId },
    #[error("the message to or from node {node} could not be coded: {source}")]
    Codec { node: NodeId, source: CodecError },
}

impl PeerError {
    /// Whether the member certainly did nothing with the message.
    pub fn nothing_happened(&self) -> bool {
        matches!(self, PeerError::Lost(Lost::NotSent { .. }) | PeerError::Refused { .. })
    }
}

/// Who this node is to its peers. The cluster is set once, when the node is claimed.
pub trait Sender: Send + Sync + 'static {
    fn cluster(&self) -> Option<Uuid>;
    fn endpoint(&self) -> Endpoint;
    fn wall(&self) -> Timestamp;
    /// A member's wall clock, as its answer carried it.
    fn saw_wall(&self, member: NodeId, theirs: Timestamp);
}

/// Speaks to the other members over one [`Transport`].
#[derive(Clone)]
pub struct Peers {
    pub(super) transport: Arc<dyn Transport>,
    sender: Arc<dyn Sender>,
    /// Set while this node leads without a majority's answer and is silent. Its appends are then held back: they would
    /// renew the leases of followers that can hear it and can't answer it, and so keep them from electing another
    /// leader.
    appends_stopped: Arc<AtomicBool>,
    /// Followers whose sessions are to end.
    left_behind: Arc<Mutex<BTreeSet<NodeId>>>,
    pub(super) timeouts: Timeouts,
    /// Of one piece of a snapshot, at most.
    pub(super) piece_bytes: usize,
    hearing: Arc<Hearing>,
    /// Where snapshots are read that are to be sent, and written that are fetched.
    pub(super) disk: Arc<dyn Disk>,
    sent_snapshots: Arc<SentSnapshots>,
    /// The last entry that was appended to this node's log.
    pub(super) appended: watch::Receiver<Option<LogId>>,
}

/// The longest snapshot that is taken: some hundred million reservations.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 30;
/// Of the log that one append may hold on the slowest way, but for an entry that is larger by itself.
const APPEND_BYTES_MIN: usize = 64 << 10;
/// As slowly as such an entry may travel; half a megabit a second.
const ENTRY_BYTES_A_MS: usize = 64;
/// As slowly as a node may load a snapshot; a tenth of what two cores did.
const LOADED_BYTES_A_MS: u64 = 16 << 10;

/// How long a node may take for a snapshot's last piece: it reads the whole file again, and loads it.
pub const fn loaded_within(snapshot_bytes: u64) -> Duration {
    Duration::from_millis(snapshot_bytes / LOADED_BYTES_A_MS)
}

/// How long messages may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub message: Duration,
    pub snapshot_piece: Duration,
}

impl Peers {
    pub fn new(
        transport: Arc<dyn Transport>,
        sender: Arc<dyn Sender>,
        disk: Arc<dyn Disk>,
        timeouts: Timeouts,
        piece_bytes: usize,
        appended: watch::Receiver<Option<LogId>>,
    ) -> Peers {
        Peers {
            transport,
            sender,
            appends_stopped: Arc::default(),
            left_behind: Arc::default(),
            timeouts,
            piece_bytes,
            hearing: Arc::default(),
            disk,
            sent_snapshots: Arc::default(),
            appended,
        }
    }

    pub fn sent_snapshots(&self) -> &SentSnapshots {
        &self.sent_snapshots
    }

    pub fn stop_appends(&self, stopped: bool) {
        self.appends_stopped.store(stopped, Ordering::Relaxed);
    }

    /// Ends the sessions in which these followers are sent the log, each once, and those of no others. While one goes on
    /// openraft purges nothing that its follower lacks, however far behind that is; once it has ended it sends a snapshot
    /// for what was purged.
    pub fn leave_behind(&self, followers: BTreeSet<NodeId>) {
        *self.left_behind.lock().expect("no panic while it is locked") = followers;
    }

    /// Sends `request` to `node` at `address`. `disk` is `None` only in a hello.
    pub async fn call(
        &self,
        node: NodeId,
        address: &str,
        disk: Option<DiskId>,
        request: Request,
        deadline: Duration,
    ) -> Result<Reply, PeerError> {
        let to = Endpoint { node, disk };
        let frame = self.frame(to, request)?;
        let answer = self.transport.exchange(address, frame, deadline).await;
        let reply = answer.map_err(PeerError::from).and_then(|answer| self.reply(to, &answer));
        if self.hearing.heard(node, address, &reply) {
            self.transport.forget(address);
        }
        reply
    }

    /// The nodes with which this one has exchanged nothing that counts for a while, though they or others answer.
    pub fn estranged(&self) -> Vec<Estrangement> {
        self.hearing.estranged()
    }

    /// A message as it is sent.
    pub(super) fn frame(&self, to: Endpoint, request: Request) -> Result<Bytes, PeerError> {
        let envelope = Envelope {
            group: GROUP,
            cluster: self.sender.cluster(),
            from: self.sender.endpoint(),
            to,
            wall: self.sender.wall(),
            body: request,
        };
        let frame = codec::encode_about(Kind::Peer, &envelope, envelope.body.bytes());
        frame.map(Bytes::from).map_err(|source| PeerError::Codec { node: to.node, source })
    }

    /// What `asked` answered. Its disk is not compared where it was not known.
    pub(super) fn reply(&self, asked: Endpoint, answer: &[u8]) -> Result<Reply, PeerError> {
        let node = asked.node;
        let answer: Envelope<Reply> =
            codec::decode(Kind::Peer, answer).map_err(|source| PeerError::Codec { node, source })?;
        let is_disk = asked.disk.is_none() || answer.from.disk == asked.disk;
        let is_asked = answer.group == GROUP && answer.from.node == node && is_disk;
        let stranger = PeerError::Stranger { node, other: answer.from.node };
        match answer.body {
            // A stranger that refuses says whom the address leads to. Nothing happened there, and nowhere else.
            Reply::Refused(refusal) if is_asked || refusal.is_of_the_envelope() => {
                Err(PeerError::Refused { node, by: answer.from.node, refusal })
            }
            _ if !is_asked => Err(stranger),
            // Not yet known to be of this cluster: nothing is believed of it, its clock least.
            reply @ (Reply::Hello(_) | Reply::Claimed) => Ok(reply),
            _ if answer.cluster != self.sender.cluster() => Err(stranger),
            reply => {
                self.sender.saw_wall(node, answer.wall);
                Ok(reply)
            }
        }
    }

    /// [`Peers::call`] for a member whose disk the membership names.
    pub async fn call_member(
        &self,
        node: NodeId,
        member: &Member,
        request: Request,
        deadline: Duration,
    ) -> Result<Reply, PeerError> {
        self.call(node, &member.peer_addr, Some(member.disk_id), request, deadline).await
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        Link {
            peers: self.clone(),
            target,
            member: node.clone(),
            append_bytes: READ_BYTES_MAX,
            pace: Pace::new(self.piece_bytes),
            snapshots_refused: 0,
        }
    }
}

/// What openraft speaks to one member through.
pub struct Link {
    pub(super) peers: Peers,
    pub(super) target: NodeId,
    pub(super) member: Member,
    /// How much of the log goes into one append: as much as is read at once, and less where the way is slow.
    append_bytes: usize,
    pub(super) pace: Pace,
    /// How often what a snapshot holds was refused.
    pub(super) snapshots_refused: u32,
}

/// openraft waits longer before it tries an unreachable member again, so only one to which no line could be opened is called
/// so.
pub(super) fn rpc_error(error: PeerError) -> RPCError<TypeConfig> {
    match &error {
        PeerError::Lost(Lost::NotSent { .. }) => RPCError::Unreachable(Unreachable::new(&error)),
        _ => RPCError::Network(NetworkError::new(&error)),
    }
}

impl Link {
    /// Whom messages go to, and whose answers count.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { node: self.target, disk: Some(self.member.disk_id) }
    }

    async fn ask(&self, request: Request, deadline: Duration) -> Result<Reply, RPCError<TypeConfig>> {
        self.peers.call_member(self.target, &self.member, request, deadline).await.map_err(rpc_error)
    }

    pub(super) fn unexpected(&self) -> RPCError<TypeConfig> {
        rpc_error(PeerError::Unexpected { node: self.target })
    }

    /// Refused while [`Peers::stop_appends`] holds, and once after [`Peers::leave_behind`] where entries are sent: heartbeats
    /// and what else comes without any stand in no purge's way.
    pub(super) fn may_append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<(), RPCError<TypeConfig>> {
        if self.peers.appends_stopped.load(Ordering::Relaxed) {
            let reason = "no majority has answered for two leases; appends are held back until one does";
            return Err(RPCError::Unreachable(Unreachable::from_string(reason)));
        }
        let is_left_behind =
            || self.peers.left_behind.lock().expect("no panic while it is locked").remove(&self.target);
        if !request.entries.is_empty() && is_left_behind() {
            let reason = "it is too far behind to be sent the log";
            return Err(RPCError::Unreachable(Unreachable::from_string(reason)));
        }
        Ok(())
    }

    /// Whether appends have to be smaller than they come, and so are better sent one by one.
    pub(super) fn is_slow(&self) -> bool {
        self.append_bytes < READ_BYTES_MAX
    }

    /// An append that did not arrive in its time may have been too much for the way: the next one carries half of it.
    /// Otherwise a follower that is far behind would be sent the same for ever.
    pub(super) fn was_lost(&mut self, error: &RPCError<TypeConfig>) {
        if matches!(error, RPCError::Network(_)) {
            self.append_bytes = (self.append_bytes / 2).max(APPEND_BYTES_MIN);
        }
    }

    /// Leaves in an append what may go at once, one entry at least; gives the last one where that is not all.
    fn cut(&self, request: &mut AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
        let mut bytes = 0;
        let fits = request.entries.iter().take_while(|entry| {
            bytes += entry_bytes(entry);
            bytes <= self.append_bytes
        });
        let fits = fits.count().max(1);
        if fits >= request.entries.len() {
            return None;
        }
        request.entries.truncate(fits);
        request.entries.last().map(|entry| entry.log_id)
    }

    /// What can't be cut further may take as long as its bytes do on a slow way, or it would never arrive.
    fn append_deadline(&self, request: &AppendEntriesRequest<TypeConfig>) -> Duration {
        let bytes: usize = request.entries.iter().map(entry_bytes).sum();
        let slow = if bytes > self.append_bytes { bytes / ENTRY_BYTES_A_MS } else { 0 };
        self.peers.timeouts.message + Duration::from_millis(slow as u64)
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.may_append(&request)?;
        let carries = !request.entries.is_empty();
        let cut_at = self.cut(&mut request);
        let deadline = self.append_deadline(&request);
        let answer = self.ask(Request::Append(request), deadline).await;
        match &answer {
            Ok(_) if carries => self.append_bytes = (2 * self.append_bytes).min(READ_BYTES_MAX),
            Ok(_) => {}
            Err(error) => self.was_lost(error),
        }
        match (answer?, cut_at) {
            (Reply::Append(AppendEntriesResponse::Success), Some(last)) => {
                Ok(AppendEntriesResponse::PartialSuccess(Some(last)))
            }
            (Reply::Append(response), _) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(ready(Ok(Appends::new(self, requests, option).answers())))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(Request::Vote(request), option.hard_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(Request::PreVote(request), option.hard_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            sent = self.send_snapshot(vote, snapshot) => sent,
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(Request::TransferLeader(request), option.hard_ttl()).await? {
            Reply::TransferLeader(response) => Ok(response),
            _ => Err(self.unexpected()),
        }
    }
}
