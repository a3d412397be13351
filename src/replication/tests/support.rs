//! What these tests share: entries, a small house with its commands, and a log that is applied by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use uuid::Uuid;

use crate::ledger::{
    BookingId, Change, Command, Currency, Date, FirstBusinessDate, Ledger, PropertyId, PutProperty, PutRates,
    PutRoom, PutRoomType, RateTarget, ReservationId, Reserve, RoomId, RoomTypeId, Submission, Timestamp,
    Wanted,
};
use crate::replication::{
    self, Batch, Check, Disk, DiskId, DiskThreads, EncodedSubmission, Entry, LogId, Member, Membership,
    NodeId, OpenError, Payload, State, Storage, Unwitnessed,
};

/// Opens a group with threads of its own, as a node does.
pub fn open(data_dir: &Path) -> Result<Storage, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(DiskThreads);
    replication::open(data_dir, false, &disk, Arc::new(Unwitnessed))
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

pub fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

/// An entry with a payload of so many bytes that no ledger could read.
pub fn opaque(term: u64, index: u64, bytes: usize) -> Entry {
    entry_of(term, index, Payload(vec![index as u8; bytes].into()))
}

pub fn entry_of(term: u64, index: u64, payload: Payload) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(payload) }
}

pub fn membership(nodes: &[NodeId]) -> Membership {
    let member = |id: NodeId| Member {
        peer_addr: format!("127.0.0.1:{}", 7_200 + id),
        client_addr: format!("127.0.0.1:{}", 7_100 + id),
        disk_id: DiskId(Uuid::from_u128(id.into())),
    };
    let nodes: BTreeMap<NodeId, Member> = nodes.iter().map(|id| (*id, member(*id))).collect();
    Membership::new(vec![nodes.keys().copied().collect()], nodes).unwrap()
}

fn hotel() -> PropertyId {
    PropertyId::new("grand").unwrap()
}

fn day(day: u32) -> Date {
    format!("2027-03-{day:02}").parse().unwrap()
}

pub fn command(command: Command) -> Submission {
    Submission { key: None, command }
}

pub fn put_room_type(name: &str) -> Submission {
    command(Command::PutRoomType(PutRoomType {
        property: hotel(),
        room_type: RoomTypeId::new("double").unwrap(),
        name: name.into(),
        max_occupancy: 2,
        overbooking_limit: 0,
    }))
}

/// A property with `rooms` rooms and a price on each night of March 2027.
pub fn house(rooms: u32) -> Vec<Submission> {
    let eur = Currency::new("EUR").unwrap();
    let room_type = RoomTypeId::new("double").unwrap();
    let mut house = vec![
        command(Command::PutProperty(PutProperty {
            property: hotel(),
            name: "Grand".into(),
            location: "Győr".into(),
            time_zone: "Europe/Budapest".into(),
            time_zone_known: true,
            currency: Some(eur),
            currency_known: true,
            business_date: FirstBusinessDate::Manual(day(1)),
        })),
        put_room_type("Double"),
        command(Command::PutRates(PutRates {
            property: hotel(),
            target: RateTarget::RoomType(room_type.clone()),
            from: day(1),
            to: day(31),
            prices: BTreeMap::from([(eur, BTreeMap::from([(2, 14_000)]))]),
            currencies_known: true,
        })),
    ];
    house.extend((1..=rooms).map(|room| {
        let room = RoomId::new(&room.to_string()).unwrap();
        command(Command::PutRoom(PutRoom { property: hotel(), room, room_type: room_type.clone() }))
    }));
    house
}

/// One night in a room. `id` names the reservation.
pub fn reserve(id: u128, room: u32, arrival: u32) -> Submission {
    command(Command::Reserve(Box::new(Reserve {
        id: ReservationId(Uuid::from_u128(id)),
        booking_id: BookingId(Uuid::from_u128(id)),
        property: hotel(),
        guest: format!("guest-{id}").into(),
        wanted: Wanted::Room(RoomId::new(&room.to_string()).unwrap()),
        arrival: day(arrival),
        departure: day(arrival + 1),
        occupancy: 2,
        currency: None,
        currency_known: true,
        hold_seconds: None,
        expected_total: None,
        block: None,
        external_ref: None,
    })))
}

pub fn cancel(id: u128) -> Submission {
    command(Command::Cancel(Change { reservation: ReservationId(Uuid::from_u128(id)), if_match: None }))
}

pub fn batch(stamp: u64, check: Check, submissions: &[Submission]) -> Batch {
    let submissions =
        submissions.iter().map(|submission| EncodedSubmission::new(submission).unwrap()).collect();
    Batch { stamp: Timestamp(stamp), check, submissions }
}

/// A frame of this kind around any body, whose checksum is right.
pub fn framed(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = b"InKp".to_vec();
    frame.push(kind);
    frame.extend(version.to_le_bytes());
    frame.extend((body.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame), body);
    frame.extend(checksum.to_le_bytes());
    frame.extend(body);
    frame
}

pub fn check_of(ledger: &Ledger) -> Check {
    Check { lsn: ledger.lsn(), state_hash: ledger.state_hash() }
}

/// A group whose log is written and applied by the test, as openraft would. Its folder outlives restarts.
pub struct Group {
    pub dir: PathBuf,
    pub storage: Storage,
    pub next: u64,
}

impl Group {
    pub fn new(dir: &Path) -> Group {
        Group { dir: dir.to_owned(), storage: open(dir).unwrap(), next: 0 }
    }

    pub fn state(&self) -> Arc<State> {
        self.storage.state_machine.state()
    }

    pub fn check(&self) -> Check {
        self.state().check()
    }

    /// Logs entries, has them committed and applies them.
    pub async fn commit(&mut self, entries: Vec<Entry>) -> std::io::Result<()> {
        let last = entries.last().unwrap().log_id;
        self.next = last.index + 1;
        self.storage.log.blocking_append(entries.clone()).await.unwrap();
        self.storage.log.save_committed(Some(last)).await.unwrap();
        self.apply(entries).await
    }

    pub async fn apply(&mut self, entries: Vec<Entry>) -> std::io::Result<()> {
        let entries = entries.into_iter().map(|entry| Ok((entry, None)));
        self.storage.state_machine.apply(stream::iter(entries)).await
    }

    /// Commits one batch, checked against this node's own state.
    pub async fn submit(&mut self, submissions: &[Submission]) {
        let batch = batch(1_000 * self.next, self.check(), submissions);
        self.commit(vec![entry_of(1, self.next, batch.encode().unwrap())]).await.unwrap();
    }

    pub async fn snapshot(&mut self) {
        use openraft::storage::RaftSnapshotBuilder;
        let mut builder = self.storage.state_machine.try_create_snapshot_builder(true).await.unwrap();
        builder.build_snapshot().await.unwrap();
    }

    pub async fn close(self) -> PathBuf {
        let Group { dir, storage, .. } = self;
        let mut closed = storage.log_closed.clone();
        drop(storage);
        closed.wait_for(|closed| *closed).await.unwrap();
        dir
    }

    /// Stops, starts, and applies the committed part of the log past the newest snapshot, as openraft does.
    pub async fn restart(self) -> Group {
        let mut group = Group::new(&self.close().await);
        let (applied, _) = group.storage.state_machine.applied_state().await.unwrap();
        let committed = group.storage.log.read_committed().await.unwrap().max(applied);
        let after = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        group.next = after(committed);
        let entries = group.storage.log.read(after(applied), after(committed), usize::MAX).await.unwrap();
        group.apply(entries).await.unwrap();
        group
    }
}

/// The committed bytes of an earlier build. To add a file, run the test with `INNKEEPER_GOLDEN=write`; a committed file
/// is never written again.
pub fn committed(name: &str, frame: &[u8]) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/replication/golden").join(name);
    if std::env::var("INNKEEPER_GOLDEN").is_ok_and(|mode| mode == "write") && !path.exists() {
        std::fs::write(&path, frame).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
