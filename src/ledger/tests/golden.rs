//! Golden bytes: every kind of command and record as it is written to disk, in named MessagePack and reservations packed as
//! well, in hexadecimal.
//!
//! The files in `src/ledger/golden` were written by the release that introduced them and never change: what they hold
//! is on somebody's disk. A new kind needs a sample here; then `INNKEEPER_WRITE_GOLDEN=1 cargo test golden` writes the
//! files that are missing, and leaves those that exist alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::support::*;
use crate::ledger::*;

fn reservation() -> Reservation {
    Reservation {
        id: id(0x0190_0000_0000_7000_8000_0000_0000_0001),
        booking_id: BookingId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002)),
        property: hotel(),
        room_type: kind("double"),
        room: Some(room("101")),
        room_pinned: true,
        guest: "client-42".into(),
        arrival: day(10),
        departure: day(12),
        occupancy: 2,
        status: Status::Held,
        hold_expires_at: Some(Timestamp(1_800_000_900_000)),
        room_from: None,
        released_from: None,
        slept: None,
        price: Price { currency: eur(), from: day(10), amounts: [14_000, 15_000].into() },
        block: Some(BlockId::new("fair").unwrap()),
        external_ref: Some("their-7".into()),
        revision: 1,
        lsn: Lsn(12),
        created_at: Timestamp(1_800_000_000_000),
        updated_at: Timestamp(1_800_000_000_001),
    }
}

fn created_under<T>(digest: u128, original: T) -> Option<CreatedUnder<T>> {
    let request_digest = digest / 5;
    Some(CreatedUnder { digest, request_digest, original: Some(Arc::new(original)) })
}

fn full_reserve() -> Reserve {
    let mut command = by_room(0x0190_0000_0000_7000_8000_0000_0000_0003, "101", 10, 12);
    command.currency = Some(eur());
    command.hold_seconds = Some(900);
    command.expected_total = Some(29_000);
    command.block = Some(BlockId::new("fair").unwrap());
    command.external_ref = Some("their-7".into());
    command
}

fn full_group() -> BookGroup {
    let mut least = group(&[by_type(8, "double", 10, 12)]);
    let full = group(&[full_reserve()]);
    least.stays.extend(full.stays);
    least
}

fn full_import() -> ImportBooking {
    let held = imported(9, "double", 10, 12);
    let hold_expires_at = Some(Timestamp(1_800_000_900_000));
    let held = ImportedStay { status: Status::Held, hold_expires_at, room: None, room_pinned: false, ..held };
    let external_ref = Some("their-7".into());
    import(vec![held, ImportedStay { external_ref, ..imported(10, "double", 10, 12) }])
}

fn import_of_block() -> ImportBooking {
    let block = Some(BlockId::new("fair").unwrap());
    import(vec![ImportedStay { block, ..imported(10, "double", 10, 12) }])
}

fn full_wish() -> JoinWaitlist {
    JoinWaitlist { currency: Some(eur()), ..join_waitlist(2, "double", 10, 12) }
}

fn every_rule() -> Rules {
    Rules {
        closed: true,
        closed_to_arrival: true,
        closed_to_departure: true,
        min_stay: Some(2),
        max_stay: Some(14),
        min_advance_days: Some(1),
        max_advance_days: Some(365),
    }
}

/// All bits of a digest matter on disk.
const DIGEST: u128 = u128::MAX / 3;

/// One of each command, and of each shape that one can take.
pub fn submission_samples(digest: u128) -> Vec<(&'static str, Submission)> {
    let rates = prices(&[("EUR", 1, 10_900), ("EUR", 2, 14_000), ("HUF", 2, 5_000_000)]);
    let commands: Vec<(&str, Command)> = vec![
        ("put_property", put_property(FirstBusinessDate::Clock(day(0))).into()),
        ("put_property_manual", put_property(FirstBusinessDate::Manual(day(0))).into()),
        ("put_room_type", put_room_type("double", 3).into()),
        ("put_room", put_room("101", "double").into()),
        ("put_rates", put_rates(RateTarget::RoomType(kind("double")), day(0), day(365), rates).into()),
        ("put_rates_room", put_rates(RateTarget::Room(room("101")), day(0), day(1), Prices::new()).into()),
        ("put_restrictions", put_restrictions("double", 3, 5, every_rule()).into()),
        ("put_restrictions_none", put_restrictions("double", 3, 5, Rules::default()).into()),
        ("reserve", full_reserve().into()),
        ("reserve_least", by_type(4, "double", 10, 12).into()),
        ("confirm", Command::Confirm(Change { reservation: id(5), if_match: Some(3) })),
        ("cancel", Command::Cancel(change(5))),
        (
            "roll_business_date",
            Command::RollBusinessDate(RollBusinessDate { property: hotel(), date: day(1) }),
        ),
        ("end_due", Command::EndDue(EndDue {})),
        ("check_in", Command::CheckIn(change(5))),
        ("check_out", Command::CheckOut(change(5))),
        ("no_show", Command::NoShow(change(5))),
        (
            "amend",
            Command::Amend(Box::new(Amend {
                reservation: id(5),
                if_match: Some(3),
                arrival: Some(day(10)),
                departure: Some(day(12)),
                room_type: Some(kind("double")),
                room: Some(RoomChange::Pin(room("101"))),
                occupancy: Some(2),
            })),
        ),
        ("amend_unpin", Command::Amend(Box::new(Amend { room: Some(RoomChange::Unpin), ..amend(5) }))),
        ("assign", Command::Assign(Assign { reservation: id(5), if_match: Some(3), room: room("101") })),
        ("book_group", full_group().into()),
        ("import_booking", full_import().into()),
        ("import_booking_of_block", import_of_block().into()),
        ("confirm_booking", Command::ConfirmBooking(BookingChange { booking: booking(6) })),
        ("cancel_booking", Command::CancelBooking(BookingChange { booking: booking(6) })),
        ("put_out_of_order", put_out_of_order("101", 3, 5).into()),
        ("end_out_of_order", end_out_of_order("101", 3, 5)),
        ("put_block", put_block("fair", 3, 5, 7).into()),
        ("put_block_released", PutBlock { release_date: Some(day(2)), ..put_block("fair", 3, 5, 7) }.into()),
        ("retire_room", retire_room("101")),
        ("join_waitlist", Command::JoinWaitlist(Box::new(full_wish()))),
        ("join_waitlist_least", Command::JoinWaitlist(Box::new(join_waitlist(1, "double", 10, 12)))),
        ("leave_waitlist", leave_waitlist(1)),
        ("retry", Command::Retry(SetAside { lsn: Lsn(7) })),
        ("forget_history", Command::ForgetHistory(Mark { lsn: Lsn(7), chain: EventChain(digest) })),
        ("discard", Command::Discard(SetAside { lsn: Lsn(7) })),
        ("night_audit", Command::NightAudit(NightAudit { property: hotel(), business_date: day(1) })),
    ];
    let mut samples: Vec<(&str, Submission)> =
        commands.into_iter().map(|(name, command)| (name, Submission { key: None, command })).collect();
    let key = IdempotencyKey { text: "key-1".into(), digest, request_digest: digest / 5 };
    let command = Command::EndDue(EndDue {});
    samples.push(("keyed", Submission { key: Some(key), command }));
    samples
}

/// One of each record, and of each outcome that one can hold.
pub fn record_samples(digest: u128) -> Vec<(String, Record)> {
    let property = Property {
        property: hotel(),
        name: "Hotel".into(),
        location: "Győr".into(),
        time_zone: "Europe/Budapest".into(),
        currency: eur(),
        business_date: day(0),
        business_date_mode: BusinessDateMode::Clock,
    };
    let room_type = RoomType {
        property: hotel(),
        room_type: kind("double"),
        name: "Double".into(),
        max_occupancy: 2,
        overbooking_limit: 1,
    };
    let room = Room { property: hotel(), room: room("101"), room_type: kind("double") };
    let rates = prices(&[("EUR", 1, 10_900), ("EUR", 2, 14_000)]);
    let target = RateTarget::RoomType(kind("double"));
    let mut canceled = reservation();
    canceled.status = Status::Canceled;
    canceled.hold_expires_at = None;
    let mut samples: Vec<(String, Record)> = vec![
        (
            "property".into(),
            Record::Property(PropertyRecord {
                property: Arc::new(property.clone()),
                key: created_under(digest, property.clone()),
                auditing: None,
                offering: None,
            }),
        ),
        (
            "property_audited".into(),
            Record::Property(PropertyRecord {
                property: Arc::new(property.clone()),
                key: None,
                auditing: Some(Lsn(77)),
                offering: None,
            }),
        ),
        (
            "property_offering".into(),
            Record::Property(PropertyRecord {
                property: Arc::new(property.clone()),
                key: None,
                auditing: None,
                offering: Some(Lsn(78)),
            }),
        ),
        (
            "room_type".into(),
            Record::RoomType(RoomTypeRecord {
                room_type: Arc::new(room_type.clone()),
                key: created_under(digest, room_type.clone()),
            }),
        ),
        (
            "room".into(),
            Record::Room(RoomRecord {
                room: Arc::new(room.clone()),
                key: created_under(digest, room.clone()),
                retired: None,
            }),
        ),
        (
            "room_retired".into(),
            Record::Room(RoomRecord { room: Arc::new(room.clone()), key: None, retired: Some(Lsn(77)) }),
        ),
        (
            "rate".into(),
            Record::Rate(RateRecord {
                property: hotel(),
                target: target.clone(),
                from: day(0),
                to: day(365),
                prices: Arc::new(rates.clone()),
            }),
        ),
        (
            "reservation".into(),
            Record::Reservation(ReservationRecord {
                moved_lsn: Some(Lsn(13)),
                reservation: Arc::new(canceled.clone()),
                created_lsn: Lsn(12),
                key: created_under(digest, reservation()),
                member: None,
            }),
        ),
        (
            "reservation_held".into(),
            Record::Reservation(ReservationRecord {
                moved_lsn: None,
                reservation: Arc::new(reservation()),
                created_lsn: Lsn(12),
                key: None,
                member: None,
            }),
        ),
    ];
    for (name, status, room_from, released_from) in [
        ("in_house", Status::InHouse, Some(day(11)), None),
        ("checked_out", Status::CheckedOut, None, None),
        ("no_show", Status::NoShow, None, Some(day(11))),
    ] {
        let stay = Reservation { status, room_from, released_from, ..canceled.clone() };
        samples.push((
            format!("reservation_{name}"),
            Record::Reservation(ReservationRecord {
                moved_lsn: None,
                reservation: Arc::new(stay),
                created_lsn: Lsn(12),
                key: None,
                member: None,
            }),
        ));
    }
    let plain = Reservation {
        status: Status::Expired,
        room: None,
        room_pinned: false,
        hold_expires_at: None,
        price: Price { amounts: [14_000; 2].into(), ..canceled.price.clone() },
        block: None,
        external_ref: None,
        ..canceled.clone()
    };
    samples.push((
        "reservation_expired".into(),
        Record::Reservation(ReservationRecord {
            moved_lsn: None,
            reservation: Arc::new(plain),
            created_lsn: Lsn(12),
            key: None,
            member: None,
        }),
    ));
    let slept = Stretch {
        room_type: reservation().room_type,
        room: Some(RoomId::new("101").unwrap()),
        from: canceled.arrival,
        to: canceled.arrival.plus(1),
    };
    let moved = Reservation { status: Status::InHouse, slept: Some([slept].into()), ..canceled.clone() };
    samples.push((
        "reservation_moved_in_house".into(),
        Record::Reservation(ReservationRecord {
            moved_lsn: None,
            reservation: Arc::new(moved),
            created_lsn: Lsn(12),
            key: None,
            member: None,
        }),
    ));
    let both = Booking {
        id: reservation().booking_id,
        reservations: vec![Arc::new(reservation()), Arc::new(canceled.clone())],
    };
    samples.push((
        "reservation_member".into(),
        Record::Reservation(ReservationRecord {
            moved_lsn: None,
            reservation: Arc::new(reservation()),
            created_lsn: Lsn(12),
            key: None,
            member: Some(Member { index: 3, of: 500 }),
        }),
    ));
    let PutOutOfOrder { property: of, room: closed, from, to, reason } = put_out_of_order("101", 3, 5);
    let closure = Arc::new(OutOfOrderRecord { property: of, room: closed, from, to, reason });
    samples.push(("out_of_order".into(), Record::OutOfOrder(Arc::clone(&closure))));
    let PutRestrictions { property: of, room_type: ruled, from, to, rules } =
        put_restrictions("double", 3, 5, every_rule());
    let restriction = RestrictionRecord { property: of, room_type: ruled, from, to, rules: Arc::new(rules) };
    samples.push(("restriction".into(), Record::Restriction(restriction.clone())));
    let block = Arc::new(Block {
        property: hotel(),
        block: BlockId::new("fair").unwrap(),
        room_type: kind("double"),
        from: day(3),
        to: day(5),
        rooms: 7,
        status: BlockStatus::Definite,
        release_date: Some(day(2)),
    });
    let original = Block { status: BlockStatus::Tentative, release_date: None, ..(*block).clone() };
    let key = created_under(digest, original.clone());
    let plain = BlockRecord {
        block: Arc::clone(&block),
        key: None,
        released: false,
        picked_up: None,
        made_released: false,
    };
    let released = BlockRecord { released: true, ..plain.clone() };
    let picked_up = Some(Arc::new(BTreeMap::from([(day(3), 2)])));
    let canceled_block = Arc::new(Block { status: BlockStatus::Canceled, ..original });
    for (name, record) in [
        ("block", BlockRecord { key: key.clone(), ..released.clone() }),
        ("block_picked_up", BlockRecord { picked_up, ..plain.clone() }),
        ("block_canceled", BlockRecord { block: canceled_block, ..plain }),
        ("block_made_released", BlockRecord { key, made_released: true, ..released }),
    ] {
        samples.push((name.into(), Record::Block(record)));
    }
    let original = WaitlistEntry {
        id: waitlist_id(1),
        property: hotel(),
        guest: "client-42".into(),
        room_type: kind("double"),
        arrival: day(10),
        departure: day(12),
        occupancy: 2,
        currency: eur(),
        status: WaitlistStatus::Booked,
        reservation: None,
        created_at: Timestamp(1_800_000_000_000),
        updated_at: Timestamp(1_800_000_000_000),
    };
    let entry = Arc::new(WaitlistEntry {
        status: WaitlistStatus::Offered,
        reservation: Some(reservation().id),
        updated_at: Timestamp(1_800_000_000_001),
        ..original.clone()
    });
    let record = WaitlistRecord {
        entry: Arc::clone(&entry),
        created_lsn: Lsn(12),
        key: created_under(digest, original),
    };
    samples.push(("waitlist".into(), Record::Waitlist(record)));
    let outcomes = [
        ("property", Outcome::Property { created: false, property: Arc::new(property) }),
        ("room_type", Outcome::RoomType { created: false, room_type: Arc::new(room_type) }),
        ("room", Outcome::Room { created: false, room: Arc::new(room) }),
        ("rates", Outcome::Rates(RatesSet { target, from: day(0), to: day(1), prices: rates })),
        ("reserved", Outcome::Reserved(Arc::new(reservation()))),
        ("changed", Outcome::Changed(Arc::new(canceled))),
        ("done", Outcome::Done),
        ("removed", Outcome::Removed),
        ("waitlisted", Outcome::Waitlisted(entry)),
        (
            "block_released",
            Outcome::Block(BlockShown {
                created: false,
                block: Arc::clone(&block),
                picked_up: vec![2, 3],
                released: true,
            }),
        ),
        (
            "block",
            Outcome::Block(BlockShown { created: false, block, picked_up: vec![2, 3], released: false }),
        ),
        ("out_of_order", Outcome::OutOfOrder(Arc::clone(&closure))),
        ("restrictions", Outcome::Restrictions(restriction)),
        ("booked", Outcome::Booked(both.clone())),
        ("booking_changed", Outcome::BookingChanged(both)),
        ("quarantined", Outcome::Quarantined { lsn: Lsn(9) }),
    ];
    let refused = refusals().into_iter().map(|(name, refusal)| (name, Outcome::Refused(refusal)));
    for (name, outcome) in outcomes.into_iter().chain(refused) {
        let record = OutcomeRecord {
            lsn: Lsn(13),
            at: Timestamp(1_800_000_000_000),
            digest,
            request_digest: digest / 5,
            outcome,
        };
        samples.push((format!("outcome_{name}"), Record::Outcome(Arc::new(record))));
    }
    for (name, submission) in submission_samples(digest) {
        let record = Quarantined { lsn: Lsn(9), code: Failure::Panic, submission };
        samples.push((format!("quarantined_{name}"), Record::Quarantined(Arc::new(record))));
    }
    samples
}

fn refusals() -> Vec<(&'static str, Refusal)> {
    let nights = vec![day(10), day(11)];
    vec![
        ("idempotency_key_reused", Refusal::IdempotencyKeyReused),
        ("property_not_found", Refusal::PropertyNotFound),
        ("room_type_not_found", Refusal::RoomTypeNotFound),
        ("room_not_found", Refusal::RoomNotFound),
        ("reservation_not_found", Refusal::ReservationNotFound),
        ("block_not_found", Refusal::BlockNotFound),
        ("booking_not_found", Refusal::BookingNotFound),
        ("member", Refusal::Member { index: 7, refusal: Box::new(Refusal::PriceChanged { total: 8 }) }),
        ("version_mismatch", Refusal::VersionMismatch { revision: 3 }),
        ("hold_expired", Refusal::HoldExpired),
        ("invalid_state", Refusal::InvalidState { state: Status::Expired }),
        ("invalid_stay", Refusal::InvalidStay),
        ("stay_too_long", Refusal::StayTooLong),
        ("arrival_in_past", Refusal::ArrivalInPast { business_date: day(0) }),
        ("beyond_horizon", Refusal::BeyondHorizon { latest_departure: day(1_100) }),
        ("occupancy_invalid", Refusal::OccupancyInvalid { max_occupancy: 2 }),
        ("hold_ttl_invalid", Refusal::HoldTtlInvalid),
        ("not_priced", Refusal::NotPriced { nights: nights.clone() }),
        ("invalid_time_zone", Refusal::InvalidTimeZone),
        ("invalid_currency", Refusal::InvalidCurrency),
        ("invalid_amount", Refusal::InvalidAmount),
        ("restricted", Refusal::Restricted { rule: Rule::MinStay, date: day(10) }),
        ("room_unavailable", Refusal::RoomUnavailable { nights: nights.clone() }),
        ("no_availability", Refusal::NoAvailability { nights: nights.clone(), fragmented: false }),
        ("price_changed", Refusal::PriceChanged { total: 29_000 }),
        ("capacity_below_sold", Refusal::CapacityBelowSold { nights }),
        ("waitlist_entry_not_found", Refusal::WaitlistEntryNotFound),
        ("not_set_aside", Refusal::NotSetAside),
        ("not_waiting", Refusal::NotWaiting { state: WaitlistStatus::Booked }),
        ("too_many_ranges", Refusal::TooManyRanges),
        ("block_not_definite", Refusal::BlockNotDefinite { state: BlockStatus::Tentative }),
        (
            "audit_not_allowed",
            Refusal::AuditNotAllowed { mode: BusinessDateMode::Manual, business_date: day(0) },
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.map(|line| line + "\n").collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn agrees<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, sample: &T) {
    let golden = golden(name, &rmp_serde::to_vec_named(sample).unwrap());
    let decoded: T = rmp_serde::from_slice(&golden).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(decoded, *sample, "{name} is read as something else");
}

/// The golden bytes of that name, which are those that are written now.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/ledger/golden");
    let path = folder.join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("INNKEEPER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, hex(written)).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let golden = unhex(&golden);
    assert_eq!(hex(written), hex(&golden), "{name} is written differently");
    golden
}

#[test]
fn golden_bytes_are_read_and_written_as_ever() {
    for (name, submission) in submission_samples(DIGEST) {
        agrees(&format!("command-{name}"), &submission);
    }
    for (name, record) in record_samples(DIGEST) {
        agrees(&format!("record-{name}"), &record);
        let Record::Reservation(record) = record else { continue };
        let name = format!("packed-{name}");
        let golden = golden(&name, Packed::new(&record).as_bytes());
        let (_, read) = Packed::read(&golden).unwrap_or_else(|| panic!("{name} can't be read"));
        assert_eq!(read, record, "{name} is read as something else");
    }
    let header = Header {
        lsn: Lsn(12),
        stamp: Timestamp(1_800_000_000_000),
        event_chain: EventChain(u128::MAX / 11),
        history_from: None,
        state_hash: StateHash(u128::MAX / 7),
        records: RecordCounts { properties: 1, reservations: 2, ..RecordCounts::default() },
    };
    agrees("header", &header);
    let history_from = Some(Mark { lsn: Lsn(7), chain: EventChain(u128::MAX / 13) });
    agrees("header_history_from", &Header { history_from, ..header });
}

#[test]
fn every_kind_has_a_sample() {
    // The compiler asks here for whatever is added.
    let kind_of = |command: &Command| match command {
        Command::PutProperty(_) => 0,
        Command::PutRoomType(_) => 1,
        Command::PutRoom(_) => 2,
        Command::PutRates(_) => 3,
        Command::Reserve(_) => 4,
        Command::Confirm(_) => 5,
        Command::Cancel(_) => 6,
        Command::RollBusinessDate(_) => 7,
        Command::EndDue(_) => 8,
        Command::CheckIn(_) => 9,
        Command::CheckOut(_) => 10,
        Command::NoShow(_) => 11,
        Command::NightAudit(_) => 12,
        Command::Amend(_) => 13,
        Command::Assign(_) => 14,
        Command::BookGroup(_) => 15,
        Command::ConfirmBooking(_) => 16,
        Command::CancelBooking(_) => 17,
        Command::PutOutOfOrder(_) => 18,
        Command::EndOutOfOrder(_) => 19,
        Command::PutRestrictions(_) => 20,
        Command::PutBlock(_) => 21,
        Command::RetireRoom(_) => 22,
        Command::ImportBooking(_) => 23,
        Command::JoinWaitlist(_) => 24,
        Command::LeaveWaitlist(_) => 25,
        Command::Retry(_) => 26,
        Command::Discard(_) => 27,
        Command::ForgetHistory(_) => 28,
    };
    let kinds: std::collections::BTreeSet<i32> =
        submission_samples(DIGEST).iter().map(|(_, submission)| kind_of(&submission.command)).collect();
    assert_eq!(kinds.len(), 29);
    let kind_of = |record: &Record| match record {
        Record::Property(_) => 0,
        Record::RoomType(_) => 1,
        Record::Room(_) => 2,
        Record::Rate(_) => 3,
        Record::Reservation(_) => 4,
        Record::Outcome(_) => 5,
        Record::Quarantined(_) => 6,
        Record::OutOfOrder(_) => 7,
        Record::Restriction(_) => 8,
        Record::Block(_) => 9,
        Record::Waitlist(_) => 10,
    };
    let kinds: std::collections::BTreeSet<i32> =
        record_samples(DIGEST).iter().map(|(_, record)| kind_of(record)).collect();
    assert_eq!(kinds.len(), 11);
}
