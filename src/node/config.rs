//! What a node is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::history::Retention;
use crate::replication::NodeId;

/// A node's settings. Addresses are `host:port`, where the node listens and where the others find it.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_id: NodeId,
    pub data_dir: PathBuf,
    /// Where clients reach this node.
    pub client_addr: String,
    /// Where the other members reach this node.
    pub peer_addr: String,
    /// Every member's peer address, this node's own included. Needed on an empty data directory; must agree later.
    pub initial_cluster: Option<BTreeMap<NodeId, String>>,
    pub limits: Limits,
    pub timings: Timings,
}

/// Bounds on what a node holds at once. Past them a request is shed with 429.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Commands that wait to be proposed or forwarded.
    pub queued_commands_max: usize,
    /// Their encoded bytes.
    pub queued_bytes_max: usize,
    /// Commands in one entry of the log.
    pub batch_commands_max: usize,
    /// Encoded bytes of one entry of the log.
    pub batch_bytes_max: usize,
    /// Entries that this node has proposed or forwarded and that are not answered yet. One is flushed while the next
    /// gathers; more would only be smaller.
    pub batches_in_flight_max: usize,
    /// Reads that wait for one round of confirmation, and as many that wait for one round of what the members say.
    pub queued_reads_max: usize,
    /// Requests of the client port that are served at once.
    pub requests_max: usize,
    /// Bytes of batches that are read or answered at once.
    pub batch_bodies_bytes_max: usize,
    /// Bytes of long answers to reads that clients have not taken.
    pub answer_bytes_max: usize,
    /// Bytes of one piece of a snapshot that goes to a peer or comes from one, at most: over a slow way pieces become smaller.
    pub snapshot_piece_bytes: usize,
    /// Streams of events that are open at once.
    pub streams_max: usize,
    /// Pieces of such streams that are made at once.
    pub stream_pieces_max: usize,
    /// Pages of events that are read at once: each takes a thread, and memory until it is text.
    pub event_pages_max: usize,
    /// Requests that wait for events, at most: half of those that are served at once, so that bookings have the other half.
    pub long_polls_max: usize,
    /// Questions about the past that are answered at once.
    pub past_reads_max: usize,
    /// Long lists and searches that are made at once: each takes a thread that has enough to do, and what the state changes
    /// meanwhile is copied. The other requests, and applying, have what is left of the processor.
    pub long_lists_max: usize,
    /// How much of the past is kept. The leader's counts.
    pub history: Retention,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // All three nodes' queues are worked off by one leader: a second's work of a fast one, three of a slow one.
            queued_commands_max: 8_192,
            queued_bytes_max: 64 << 20,
            batch_commands_max: 1_024,
            batch_bytes_max: 1 << 20,
            batches_in_flight_max: 2,
            queued_reads_max: 16_384,
            requests_max: 8_192,
            batch_bodies_bytes_max: 256 << 20,
            answer_bytes_max: 256 << 20,
            snapshot_piece_bytes: 1 << 20,
            streams_max: 512,
            stream_pieces_max: 4,
            event_pages_max: 8,
            long_polls_max: 4_096,
            past_reads_max: 4,
            long_lists_max: 2,
            history: Retention::default(),
        }
    }
}

/// Waits that a deployment or a test sets. Shorter ones, of one step each, stand beside the code that waits.
#[derive(Clone, Debug)]
pub struct Timings {
    pub heartbeat: Duration,
    /// The least and the greatest wait before a follower asks for votes; the greatest is also the leader's lease.
    pub election_min: Duration,
    pub election_max: Duration,
    /// How long a client's request may take on this node, forwarding included.
    pub request: Duration,
    /// How long a walk back in the history may take: well below the silence after which the port closes the connection of who
    /// waits for it.
    pub past_walk: Duration,
    /// How much later than at once it is answered that a command was shed: a client that asks again as soon as it is answered,
    /// whatever `Retry-After` says, would have the node do little else than refuse it.
    pub refusal: Duration,
    /// How long one message to a peer may take.
    pub peer_message: Duration,
    /// How long one piece of a snapshot may take.
    pub snapshot_piece: Duration,
    /// Once in each such period, at the node's own moment in it, a snapshot is taken if something has changed; less often
    /// where writing one takes long.
    pub snapshot_every: Duration,
    /// A snapshot is taken when the log has grown by so many entries since the last, at once.
    pub snapshot_entries: u64,
    /// The same for the bytes of the log. So many more are kept for a follower that is long in taking a snapshot.
    pub snapshot_bytes: u64,
    /// How often the ledger is looked at for holds that are due and business dates that roll.
    pub due_every: Duration,
    /// How long requests in flight may take to end when the node is asked to stop.
    pub shutdown: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            // A leader that dies is missed for the lease, then for a wait between the two, before another is elected.
            // Two heartbeats may be lost, and a third be late on a processor that is full, before the lease is over.
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(350),
            request: Duration::from_secs(5),
            past_walk: Duration::from_secs(30),
            refusal: Duration::from_secs(2),
            peer_message: Duration::from_secs(2),
            // A piece of a mebibyte, or of less where that takes longer; one that is lost on its way holds a snapshot up for so
            // long.
            snapshot_piece: Duration::from_secs(3),
            snapshot_every: Duration::from_secs(60),
            // Single bookings of 64 connections make 300 to 1,000 a second. A start replays all of it: up to two million
            // commands of that kind, or what a gibibyte holds of larger batches.
            snapshot_entries: 100_000,
            snapshot_bytes: 1 << 30,
            due_every: Duration::from_millis(50),
            shutdown: Duration::from_secs(5),
        }
    }
}
