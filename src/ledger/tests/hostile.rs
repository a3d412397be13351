//! Commands that no edge would let through: each has an outcome, and leaves a sound ledger.

use proptest::prelude::*;

use super::golden::submission_samples;
use super::support::*;
use crate::ledger::*;

const EVERY_STATUS: [Status; 7] = [
    Status::Held,
    Status::Confirmed,
    Status::Canceled,
    Status::Expired,
    Status::InHouse,
    Status::CheckedOut,
    Status::NoShow,
];

/// Every command with contents at the ends of their types.
fn commands() -> Vec<Command> {
    let ends = [Date::MIN, Date::MIN.plus(1), day(0), Date::MAX.plus(-1), Date::MAX];
    let long: Box<str> = "é\0".repeat(1 << 14).into();
    let mut found: Vec<Command> = submission_samples(77).into_iter().map(|(_, s)| s.command).collect();
    for first in ends {
        for business_date in [FirstBusinessDate::Clock(first), FirstBusinessDate::Manual(first)] {
            let mut command = put_property(business_date);
            (command.name, command.location, command.time_zone) = (long.clone(), long.clone(), "".into());
            found.push(command.into());
        }
        found.push(Command::RollBusinessDate(RollBusinessDate { property: hotel(), date: first }));
        found.push(Command::NightAudit(NightAudit { property: hotel(), business_date: first }));
        for second in ends {
            for id in ["102", "nowhere"] {
                let (property, room, from, to) = (hotel(), room(id), first, second);
                let reason = long.clone();
                let closed =
                    PutOutOfOrder { property: property.clone(), room: room.clone(), from, to, reason };
                found.push(closed.into());
                found.push(Command::EndOutOfOrder(EndOutOfOrder { property, room, from, to }));
            }
            for (occupancy, currency) in [(2, None), (0, Currency::new("EUR")), (u32::MAX, None)] {
                let ends = JoinWaitlist {
                    arrival: first,
                    departure: second,
                    occupancy,
                    currency,
                    guest: long.clone(),
                    ..join_waitlist(1, "double", 0, 1)
                };
                found.push(Command::JoinWaitlist(Box::new(ends)));
            }
            for n in 0..6 {
                found.push(leave_waitlist(n * 250));
            }
            for lsn in [Lsn(0), Lsn(7), Lsn(u64::MAX)] {
                found.extend([Command::Retry(SetAside { lsn }), Command::Discard(SetAside { lsn })]);
                found.push(Command::ForgetHistory(Mark { lsn, chain: EventChain(u128::MAX) }));
            }
            for rooms in [0, 1, u32::MAX] {
                for status in [BlockStatus::Tentative, BlockStatus::Definite, BlockStatus::Canceled] {
                    for release_date in [None, Some(first)] {
                        let ends = PutBlock {
                            from: first,
                            to: second,
                            status,
                            release_date,
                            ..put_block("b", 0, 1, rooms)
                        };
                        let some = PutBlock { status, release_date, ..put_block("b", 0, 9, rooms) };
                        found.extend([ends.into(), some.into()]);
                    }
                }
            }
            for count in [None, Some(0), Some(u32::MAX)] {
                let rules = Rules {
                    closed_to_departure: count.is_none(),
                    min_stay: count,
                    max_stay: count,
                    min_advance_days: count,
                    max_advance_days: count,
                    ..Rules::default()
                };
                for room_type in ["double", "nowhere"] {
                    let mut command = put_restrictions(room_type, 0, 0, rules.clone());
                    (command.from, command.to) = (first, second);
                    found.push(command.into());
                }
            }
            for (occupancy, hold, total) in [
                (2, None, None),
                (0, Some(0), Some(i64::MIN)),
                (u32::MAX, Some(u64::MAX), Some(i64::MAX)),
                (1, Some(86_400), Some(0)),
            ] {
                for wanted in [Wanted::Room(room("101")), Wanted::RoomType(kind("double"))] {
                    let mut command = reserve(1, wanted, 0, 0);
                    (command.arrival, command.departure) = (first, second);
                    (command.occupancy, command.hold_seconds, command.expected_total) =
                        (occupancy, hold, total);
                    (command.guest, command.external_ref) = (long.clone(), Some("".into()));
                    found.push(command.into());
                }
            }
            for (occupancy, amount) in
                [(0, 0), (u32::MAX, i64::MAX), (1, i64::MIN), (2, 1_000_000_000_000), (2, -1)]
            {
                let prices = prices(&[("EUR", occupancy, amount)]);
                for target in [RateTarget::Room(room("101")), RateTarget::RoomType(kind("double"))] {
                    found.push(put_rates(target.clone(), first, second, prices.clone()).into());
                    found.push(
                        put_rates(target, first, second, Prices::from([(eur(), Default::default())])).into(),
                    );
                }
            }
        }
    }
    for n in [u128::MAX, 1_001, 1_005, 1_020] {
        for arrival in ends.map(Some).into_iter().chain([None]) {
            for departure in ends.map(Some).into_iter().chain([None]) {
                for (occupancy, change) in [
                    (None, None),
                    (Some(0), Some(RoomChange::Unpin)),
                    (Some(1), Some(RoomChange::Pin(room("101")))),
                    (Some(u32::MAX), Some(RoomChange::Pin(room("nowhere")))),
                ] {
                    let command = Amend { arrival, departure, occupancy, room: change, ..amend(n) };
                    found.push(command.into());
                }
            }
        }
        found.extend([assign(n, "101"), assign(n, "nowhere")]);
    }
    for room in ["101", "nowhere"] {
        let mut command = group(&[by_type(1, "double", 10, 12), by_room(2, room, 10, 12)]);
        found.push(command.clone().into());
        command.stays.clear();
        found.push(command.clone().into());
        command.property = PropertyId::new("nowhere").unwrap();
        found.push(command.into());
    }
    for first in ends {
        for second in ends {
            for status in EVERY_STATUS {
                for (amounts, end) in [(2, 0), (0, u64::MAX), (1_000, 1)] {
                    let mut stay = imported(1, "double", 0, 0);
                    (stay.arrival, stay.departure, stay.status) = (first, second, status);
                    stay.price.from = if amounts == 2 { first } else { Date::MAX };
                    stay.price.amounts = vec![i64::MIN + end.min(1) as i64; amounts].into();
                    stay.hold_expires_at = Some(Timestamp(end));
                    (stay.room_pinned, stay.external_ref) = (amounts == 0, Some(long.clone()));
                    found.push(import(vec![stay]).into());
                }
            }
        }
    }
    for room_id in ["101", "nowhere"] {
        let stay =
            |status| ImportedStay { status, room: Some(room(room_id)), ..imported(1, "double", 10, 12) };
        let mut command = import(EVERY_STATUS.map(stay).to_vec());
        for block in ["b", "nowhere"] {
            let mut command = command.clone();
            for stay in &mut command.stays {
                stay.block = Some(BlockId::new(block).unwrap());
            }
            found.push(command.into());
        }
        found.extend(command.stays.iter().map(|stay| import(vec![stay.clone()]).into()));
        found.push(command.clone().into());
        command.stays.clear();
        found.push(command.clone().into());
        command.property = PropertyId::new("nowhere").unwrap();
        found.push(command.into());
    }
    for n in [u128::MAX, 1_001, 1_005, 1_020] {
        let change = BookingChange { booking: booking(n) };
        found.extend([Command::ConfirmBooking(change.clone()), Command::CancelBooking(change)]);
    }
    for room in ["102", "103", "nowhere"] {
        found.extend([retire_room(room), put_room(room, "double").into(), retire_room(room)]);
    }
    for limit in [0, 1, u32::MAX] {
        for max_occupancy in [0, 1, u32::MAX] {
            let mut command = put_room_type("double", limit);
            (command.max_occupancy, command.name) = (max_occupancy, long.clone());
            found.push(command.into());
        }
    }
    for revision in [0, 1, u64::MAX] {
        // One that is not there, and those that are made on the way.
        for n in [u128::MAX, 1_001, 1_005, 1_020] {
            let change = Change { reservation: id(n), if_match: (revision > 0).then_some(revision) };
            found.extend(
                [Command::CheckIn, Command::CheckOut, Command::NoShow, Command::Confirm, Command::Cancel]
                    .map(|command| command(change.clone())),
            );
        }
    }
    found
}

#[test]
fn every_command_has_an_outcome_and_none_a_panic() {
    let stamps = [Timestamp(0), House::empty().now, Timestamp::MAX, Timestamp(u64::MAX)];
    for first in [Date::MIN, day(0), Date::MAX] {
        for stamp in stamps {
            let mut house = House::new();
            if first != day(0) {
                // A house at an end of time.
                house = House::empty();
                house.run(put_property(FirstBusinessDate::Manual(first)));
                house.run(put_room_type("double", u32::MAX));
                house.run(put_room("101", "double"));
                let cheap = prices(&[("EUR", 2, 1_000_000_000_000)]);
                house.run(put_rates(RateTarget::RoomType(kind("double")), Date::MIN, Date::MAX, cheap));
            }
            house.now = stamp;
            let mut replica = house.restored();
            replica.now = stamp;
            let mut log = Vec::new();
            let mut ids = 1_000;
            for (n, mut command) in commands().into_iter().enumerate() {
                if let Command::Reserve(command) = &mut command {
                    ids += 1;
                    (command.id, command.booking_id) = (id(ids), booking(ids));
                }
                if let Command::JoinWaitlist(command) = &mut command {
                    ids += 1;
                    command.id = waitlist_id(ids);
                }
                if let Command::BookGroup(command) = &mut command {
                    for stay in &mut command.stays {
                        ids += 1;
                        stay.id = id(ids);
                    }
                    command.booking_id = booking(ids);
                }
                if let Command::ImportBooking(command) = &mut command {
                    for stay in &mut command.stays {
                        ids += 1;
                        stay.id = id(ids);
                    }
                    command.booking_id = booking(ids);
                }
                let key = (n % 3 == 0).then(|| key(n as u128 % 50, n as u128 % 7));
                let submission = Submission { key, command };
                log.push(rmp_serde::to_vec_named(&submission).unwrap());
                let applied = house.submit(&submission);
                let failed = matches!(applied.outcome, Outcome::Quarantined { .. });
                assert!(!failed, "{submission:?}");
            }
            house.ledger.audit().unwrap();
            // A replay reads the commands as they were written, and many at once.
            let log: Vec<Submission> =
                log.iter().map(|entry| rmp_serde::from_slice(entry).unwrap()).collect();
            replica.ledger.apply_all(replica.now, &log).unwrap();
            assert_eq!(replica.ledger.state_hash(), house.ledger.state_hash());
            assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
            assert!(house.ledger.stamp() <= Timestamp::MAX);
        }
    }
}

#[test]
fn ten_thousand_segments_are_replaced_at_once() {
    let mut house = House::new();
    let target = || RateTarget::Room(room("101"));
    for n in 0..10_000 {
        house.run(put_rates(target(), day(2 * n), day(2 * n + 1), prices(&[("EUR", 2, n.into())])));
    }
    assert!(house.ledger.header().records.rates >= 10_000);
    // There is an end, which no single range comes to, and which is no end for longer ones and for fewer.
    let one_more = |nights| put_rates(target(), day(30_000), day(30_000 + nights), prices(&[("EUR", 2, 1)]));
    assert_eq!(house.refused(one_more(1)), Refusal::TooManyRanges);
    house.run(put_rates(target(), day(0), day(1), Prices::new()));
    assert!(matches!(house.run(one_more(100)), Outcome::Rates(_)));
    let within = put_rates(target(), day(30_050), day(30_051), prices(&[("EUR", 2, 2)]));
    assert_eq!(house.refused(within), Refusal::TooManyRanges);
    let all = put_rates(target(), Date::MIN, Date::MAX, prices(&[("EUR", 2, 1)]));
    assert!(matches!(house.run(all), Outcome::Rates(_)));
    assert_eq!(house.ledger.rates(&hotel(), Date::MIN, Date::MAX).unwrap().len(), 4);
    house.ledger.audit().unwrap();
}

#[test]
fn many_amounts_for_each_night_come_to_an_end_sooner() {
    let mut house = House::new();
    let mut suite = put_room_type("suite", 0);
    suite.max_occupancy = 500;
    house.run(suite);
    let amounts: Prices = [(eur(), (1..=500).map(|occupancy| (occupancy, 100)).collect())].into();
    let target = || RateTarget::RoomType(kind("suite"));
    let set = |n: i32| put_rates(target(), day(1_000 + 2 * n), day(1_001 + 2 * n), amounts.clone());
    let taken = (0..2_000).take_while(|n| matches!(house.run(set(*n)), Outcome::Rates(_))).count();
    assert!((1_600..1_700).contains(&taken), "{taken}");
    assert_eq!(house.refused(set(2_001)), Refusal::TooManyRanges);
    house.ledger.audit().unwrap();
}

#[test]
fn a_room_is_out_of_order_in_so_many_ranges() {
    let mut house = House::new();
    for n in 0..10_000 {
        house.run(put_out_of_order("101", 2 * n, 2 * n + 1));
    }
    assert_eq!(house.refused(put_out_of_order("101", 30_000, 30_001)), Refusal::TooManyRanges);
    // In place of others it may be; but not by leaving two of one.
    assert!(matches!(house.run(put_out_of_order("101", 0, 3)), Outcome::OutOfOrder(_)));
    assert!(matches!(house.run(put_out_of_order("101", 30_000, 30_003)), Outcome::OutOfOrder(_)));
    assert_eq!(house.refused(end_out_of_order("101", 30_001, 30_002)), Refusal::TooManyRanges);
    assert!(matches!(house.run(retire_room("101")), Outcome::Removed));
    house.ledger.audit().unwrap();
}

#[test]
fn queries_at_the_ends_of_time_answer() {
    let mut house = House::new();
    house.run(put_room_type("double", u32::MAX));
    let ends = [Date::MIN, day(0), Date::MAX];
    for from in ends {
        for to in ends {
            let _ = house.ledger.availability(&hotel(), from, to);
            let _ = house.ledger.rates(&hotel(), from, to);
            for occupancy in [0, 1, u32::MAX] {
                let query = FreeRoomsQuery {
                    arrival: from,
                    departure: to,
                    occupancy,
                    limit: usize::MAX,
                    ..free_rooms(0, 1)
                };
                let _ = house.ledger.free_rooms(&query);
                let search = SearchQuery {
                    location: Some("".into()),
                    arrival: from,
                    departure: to,
                    occupancy,
                    currency: None,
                    currency_known: true,
                    limit: 0,
                    after: None,
                };
                let _ = house.ledger.search(&search);
            }
        }
    }
    let nights = house.ledger.availability(&hotel(), day(0), day(1)).unwrap();
    assert_eq!(nights[&kind("double")][0].available, 3 + i64::from(u32::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn bytes_from_a_disk_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<u64>()) {
        if let Ok(submission) = rmp_serde::from_slice::<Submission>(&bytes) {
            let _ = House::new().ledger.apply(Timestamp(at), &submission);
        }
        let _ = rmp_serde::from_slice::<Record>(&bytes);
        let _ = rmp_serde::from_slice::<Header>(&bytes);
    }

    #[test]
    fn flipped_bits_are_refused_or_have_an_outcome(sample in any::<prop::sample::Index>(), flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let samples = submission_samples(77);
        let mut bytes = rmp_serde::to_vec_named(&samples[sample.index(samples.len())].1).unwrap();
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        if let Ok(submission) = rmp_serde::from_slice::<Submission>(&bytes) {
            let mut house = House::new();
            house.submit(&submission);
            house.ledger.audit().unwrap();
        }
    }
}
