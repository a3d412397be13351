//! A small house to test in, and short ways to say things.

use std::sync::Arc;

use uuid::Uuid;

use crate::ledger::*;

/// The business date of the house.
pub const TODAY: &str = "2027-01-01";

pub fn date(text: &str) -> Date {
    text.parse().unwrap()
}

/// `days` after [`TODAY`].
pub fn day(days: i32) -> Date {
    date(TODAY).plus(days)
}

pub fn hotel() -> PropertyId {
    PropertyId::new("hotel").unwrap()
}

pub fn room(id: &str) -> RoomId {
    RoomId::new(id).unwrap()
}

pub fn kind(id: &str) -> RoomTypeId {
    RoomTypeId::new(id).unwrap()
}

pub fn eur() -> Currency {
    Currency::new("EUR").unwrap()
}

pub fn id(n: u128) -> ReservationId {
    ReservationId(Uuid::from_u128(n))
}

pub fn prices(rows: &[(&str, u32, i64)]) -> Prices {
    let mut prices = Prices::new();
    for (currency, occupancy, amount) in rows {
        let currency = Currency::new(currency).unwrap();
        prices.entry(currency).or_default().insert(*occupancy, *amount);
    }
    prices
}

pub fn key(n: u128, request: u128) -> IdempotencyKey {
    IdempotencyKey { text: format!("key-{n}").into(), digest: n, request_digest: request }
}

pub fn put_property(business_date: FirstBusinessDate) -> PutProperty {
    PutProperty {
        property: hotel(),
        name: "Hotel".into(),
        location: "Győr".into(),
        time_zone: "Europe/Budapest".into(),
        time_zone_known: true,
        currency: Some(eur()),
        currency_known: true,
        business_date,
    }
}

pub fn put_room_type(room_type: &str, overbooking_limit: u32) -> PutRoomType {
    PutRoomType {
        property: hotel(),
        room_type: kind(room_type),
        name: room_type.into(),
        max_occupancy: 2,
        overbooking_limit,
    }
}

pub fn put_room(id: &str, room_type: &str) -> PutRoom {
    PutRoom { property: hotel(), room: room(id), room_type: kind(room_type) }
}

pub fn put_rates(target: RateTarget, from: Date, to: Date, prices: Prices) -> PutRates {
    PutRates { property: hotel(), target, from, to, prices, currencies_known: true }
}

/// A confirmed reservation for two, `[arrival, departure)` in days after [`TODAY`].
pub fn reserve(n: u128, wanted: Wanted, arrival: i32, departure: i32) -> Reserve {
    Reserve {
        id: id(n),
        booking_id: BookingId(Uuid::from_u128(n)),
        property: hotel(),
        guest: format!("guest-{n}").into(),
        wanted,
        arrival: day(arrival),
        departure: day(departure),
        occupancy: 2,
        currency: None,
        currency_known: true,
        hold_seconds: None,
        expected_total: None,
        block: None,
        external_ref: None,
    }
}

pub fn by_room(n: u128, id: &str, arrival: i32, departure: i32) -> Reserve {
    reserve(n, Wanted::Room(room(id)), arrival, departure)
}

pub fn by_type(n: u128, id: &str, arrival: i32, departure: i32) -> Reserve {
    reserve(n, Wanted::RoomType(kind(id)), arrival, departure)
}

pub fn change(n: u128) -> Change {
    Change { reservation: id(n), if_match: None }
}

pub fn booking(n: u128) -> BookingId {
    BookingId(Uuid::from_u128(n))
}

/// The stays as one booking, under the first one's number.
pub fn group(stays: &[Reserve]) -> BookGroup {
    let member = |stay: &Reserve| GroupStay {
        id: stay.id,
        wanted: stay.wanted.clone(),
        arrival: stay.arrival,
        departure: stay.departure,
        occupancy: stay.occupancy,
        currency: stay.currency,
        currency_known: stay.currency_known,
        hold_seconds: stay.hold_seconds,
        expected_total: stay.expected_total,
        block: stay.block.clone(),
        external_ref: stay.external_ref.clone(),
    };
    BookGroup {
        booking_id: stays[0].booking_id,
        property: hotel(),
        guest: "group".into(),
        stays: stays.iter().map(member).collect(),
    }
}

/// Confirmed and pinned in room 101, two nights' price or what the nights are, in days after [`TODAY`].
pub fn imported(n: u128, room_type: &str, arrival: i32, departure: i32) -> ImportedStay {
    let nights = usize::try_from(departure - arrival).unwrap_or(0);
    ImportedStay {
        id: id(n),
        room_type: kind(room_type),
        room: Some(room("101")),
        room_pinned: true,
        arrival: day(arrival),
        departure: day(departure),
        occupancy: 2,
        status: Status::Confirmed,
        hold_expires_at: None,
        price: Price { currency: eur(), from: day(arrival), amounts: vec![7; nights].into() },
        currency_known: true,
        block: None,
        external_ref: None,
    }
}

/// The stays as one booking, under the first one's number.
pub fn import(stays: Vec<ImportedStay>) -> ImportBooking {
    let booking_id = stays.first().map_or(booking(0), |stay| BookingId(stay.id.0));
    ImportBooking { booking_id, property: hotel(), guest: "group".into(), stays }
}

impl From<ImportBooking> for Command {
    fn from(command: ImportBooking) -> Command {
        Command::ImportBooking(command)
    }
}

impl From<BookGroup> for Command {
    fn from(command: BookGroup) -> Command {
        Command::BookGroup(command)
    }
}

/// An amendment of reservation `n` that changes nothing yet.
pub fn amend(n: u128) -> Amend {
    Amend {
        reservation: id(n),
        if_match: None,
        arrival: None,
        departure: None,
        room_type: None,
        room: None,
        occupancy: None,
    }
}

pub fn assign(n: u128, to: &str) -> Command {
    Command::Assign(Assign { reservation: id(n), if_match: None, room: room(to) })
}

/// Rules of a type on the days `[from, to)`.
pub fn put_restrictions(room_type: &str, from: i32, to: i32, rules: Rules) -> PutRestrictions {
    PutRestrictions { property: hotel(), room_type: kind(room_type), from: day(from), to: day(to), rules }
}

impl From<PutRestrictions> for Command {
    fn from(command: PutRestrictions) -> Command {
        Command::PutRestrictions(command)
    }
}

pub fn put_out_of_order(id: &str, from: i32, to: i32) -> PutOutOfOrder {
    PutOutOfOrder { property: hotel(), room: room(id), from: day(from), to: day(to), reason: "paint".into() }
}

pub fn end_out_of_order(id: &str, from: i32, to: i32) -> Command {
    let (from, to) = (day(from), day(to));
    Command::EndOutOfOrder(EndOutOfOrder { property: hotel(), room: room(id), from, to })
}

/// A definite block of doubles on the nights `[from, to)`.
pub fn put_block(id: &str, from: i32, to: i32, rooms: u32) -> PutBlock {
    PutBlock {
        property: hotel(),
        block: BlockId::new(id).unwrap(),
        room_type: kind("double"),
        from: day(from),
        to: day(to),
        rooms,
        status: BlockStatus::Definite,
        release_date: None,
    }
}

impl From<PutBlock> for Command {
    fn from(command: PutBlock) -> Command {
        Command::PutBlock(command)
    }
}

pub fn waitlist_id(n: u128) -> WaitlistId {
    WaitlistId(Uuid::from_u128(n + 1))
}

/// A wish of two for `[arrival, departure)`.
pub fn join_waitlist(n: u128, room_type: &str, arrival: i32, departure: i32) -> JoinWaitlist {
    JoinWaitlist {
        id: waitlist_id(n),
        property: hotel(),
        guest: format!("waiting-{n}").into(),
        room_type: kind(room_type),
        arrival: day(arrival),
        departure: day(departure),
        occupancy: 2,
        currency: None,
        currency_known: true,
    }
}

pub fn leave_waitlist(n: u128) -> Command {
    Command::LeaveWaitlist(LeaveWaitlist { property: hotel(), id: waitlist_id(n) })
}

pub fn retire_room(id: &str) -> Command {
    Command::RetireRoom(RetireRoom { property: hotel(), room: room(id) })
}

impl From<PutOutOfOrder> for Command {
    fn from(command: PutOutOfOrder) -> Command {
        Command::PutOutOfOrder(command)
    }
}

impl From<Amend> for Command {
    fn from(command: Amend) -> Command {
        Command::Amend(Box::new(command))
    }
}

impl From<PutProperty> for Command {
    fn from(command: PutProperty) -> Command {
        Command::PutProperty(command)
    }
}

impl From<PutRoomType> for Command {
    fn from(command: PutRoomType) -> Command {
        Command::PutRoomType(command)
    }
}

impl From<PutRoom> for Command {
    fn from(command: PutRoom) -> Command {
        Command::PutRoom(command)
    }
}

impl From<PutRates> for Command {
    fn from(command: PutRates) -> Command {
        Command::PutRates(command)
    }
}

impl From<Reserve> for Command {
    fn from(command: Reserve) -> Command {
        Command::Reserve(Box::new(command))
    }
}

/// A ledger with the instant at which its next command comes.
#[derive(Clone)]
pub struct House {
    pub ledger: Ledger,
    pub now: Timestamp,
    /// What the commands so far changed.
    pub commits: Vec<Commit>,
}

impl House {
    pub fn empty() -> House {
        House { ledger: Ledger::new(), now: Timestamp(1_800_000_000_000), commits: Vec::new() }
    }

    /// Doubles 101, 102, 103 at 100 for one and 140 for two in EUR; suite 201 at 300 for two, and 250 of its own in USD.
    /// Prices for two years.
    pub fn new() -> House {
        House::opened(FirstBusinessDate::Manual(day(0)))
    }

    /// The same house with a business date that follows the clock, and so marks no no-shows.
    pub fn on_clock() -> House {
        House::opened(FirstBusinessDate::Clock(day(0)))
    }

    /// Moves the business date of a house on the clock.
    pub fn roll(to: i32) -> Command {
        Command::RollBusinessDate(RollBusinessDate { property: hotel(), date: day(to) })
    }

    fn opened(business_date: FirstBusinessDate) -> House {
        let mut house = House::empty();
        let doubles = prices(&[("EUR", 1, 100), ("EUR", 2, 140), ("USD", 2, 160)]);
        let rate = |target, prices| put_rates(target, day(-30), day(730), prices);
        let commands: [Command; 10] = [
            put_property(business_date).into(),
            put_room_type("double", 0).into(),
            put_room_type("suite", 0).into(),
            put_room("101", "double").into(),
            put_room("102", "double").into(),
            put_room("103", "double").into(),
            put_room("201", "suite").into(),
            rate(RateTarget::RoomType(kind("double")), doubles).into(),
            rate(RateTarget::RoomType(kind("suite")), prices(&[("EUR", 2, 300)])).into(),
            rate(RateTarget::Room(room("201")), prices(&[("USD", 2, 250)])).into(),
        ];
        for command in commands {
            let outcome = house.run(command);
            assert!(!matches!(outcome, Outcome::Refused(_) | Outcome::Quarantined { .. }), "{outcome:?}");
        }
        house
    }

    pub fn submit(&mut self, submission: &Submission) -> Applied {
        let before = self.ledger.lsn();
        let (mut applied, commits) =
            self.ledger.apply_all(self.now, std::slice::from_ref(submission)).unwrap();
        let applied = applied.pop().expect("a command has an outcome");
        assert_eq!(applied.lsn, before.next());
        self.commits.extend(commits);
        applied
    }

    pub fn run(&mut self, command: impl Into<Command>) -> Outcome {
        self.submit(&Submission { key: None, command: command.into() }).outcome
    }

    pub fn run_keyed(&mut self, key: IdempotencyKey, command: impl Into<Command>) -> Applied {
        self.submit(&Submission { key: Some(key), command: command.into() })
    }

    pub fn reserved(&mut self, command: Reserve) -> Arc<Reservation> {
        match self.run(command) {
            Outcome::Reserved(reservation) => reservation,
            other => panic!("expected a reservation, got {other:?}"),
        }
    }

    pub fn refused(&mut self, command: impl Into<Command>) -> Refusal {
        match self.run(command) {
            Outcome::Refused(refusal) => refusal,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub fn changed(&mut self, command: Command) -> Arc<Reservation> {
        match self.run(command) {
            Outcome::Changed(reservation) => reservation,
            other => panic!("expected a change, got {other:?}"),
        }
    }

    pub fn later(&mut self, milliseconds: u64) {
        self.now.0 += milliseconds;
    }

    pub fn get(&self, n: u128) -> Arc<Reservation> {
        self.ledger.reservation(id(n)).unwrap()
    }

    pub fn free(&self, arrival: i32, departure: i32) -> Vec<String> {
        let rooms = self.ledger.free_rooms(&free_rooms(arrival, departure)).unwrap();
        rooms.iter().map(|free| free.room.to_string()).collect()
    }

    /// The same state by way of its persisted form in bytes.
    pub fn restored(&self) -> House {
        let header = rmp_serde::to_vec_named(&self.ledger.header()).unwrap();
        let header: Header = rmp_serde::from_slice(&header).unwrap();
        let named = |record: Record| -> Prepared {
            let bytes = rmp_serde::to_vec_named(&record).unwrap();
            rmp_serde::from_slice::<Record>(&bytes).unwrap().into()
        };
        let records = self.ledger.persisted().map(|persisted| match persisted {
            Persisted::Packed(packed) => Prepared::unpack(packed.as_bytes()).unwrap(),
            Persisted::Plain(record) => named(record),
        });
        let ledger = restore(&header, records).unwrap();
        // Earlier builds packed nothing.
        restore(&header, self.ledger.records().map(named)).unwrap();
        House { ledger, now: self.now, commits: self.commits.clone() }
    }
}

/// The ledger whose header and records these are.
pub fn restore(
    header: &Header,
    records: impl IntoIterator<Item = impl Into<Prepared>>,
) -> Result<Ledger, Damage> {
    let mut restoring = Restoring::new(header.clone());
    records.into_iter().try_for_each(|record| restoring.put(&mut record.into()))?;
    restoring.finish()
}

pub fn free_rooms(arrival: i32, departure: i32) -> FreeRoomsQuery {
    FreeRoomsQuery {
        property: hotel(),
        arrival: day(arrival),
        departure: day(departure),
        occupancy: 2,
        currency: None,
        currency_known: true,
        room: None,
        room_type: None,
        limit: 1_000,
    }
}
