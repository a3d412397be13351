//! What is persisted is the whole state, and damage to it is found.

use super::support::*;
use crate::ledger::*;

fn booked() -> House {
    let mut house = House::new();
    house.run(put_room_type("suite", 1));
    let mut hold = by_room(1, "101", 10, 13);
    hold.hold_seconds = Some(900);
    house.run_keyed(key(1, 1), hold);
    house.run_keyed(key(2, 2), by_type(2, "suite", 10, 13));
    house.run_keyed(key(3, 3), by_type(3, "suite", 12, 15));
    house.run_keyed(key(4, 4), by_type(4, "suite", 12, 15));
    house.later(5);
    house.run_keyed(key(5, 5), Command::Cancel(change(2)));
    house
}

#[test]
fn a_restored_ledger_is_the_same_and_goes_on_the_same() {
    let mut house = booked();
    let mut restored = house.restored();
    assert_eq!(restored.ledger.header(), house.ledger.header());
    assert!(restored.ledger.records().eq(house.ledger.records()));
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.next_due(), house.ledger.next_due());
    let commands: [Command; 5] = [
        Command::Confirm(change(1)),
        by_type(9, "double", 10, 13).into(),
        Command::Cancel(change(3)),
        put_room("202", "suite").into(),
        by_type(10, "suite", 10, 13).into(),
    ];
    for command in commands {
        assert_eq!(restored.run(command.clone()), house.run(command));
        assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
    }
    assert!(restored.ledger.records().eq(house.ledger.records()));
}

#[test]
fn an_empty_ledger_is_persisted_too() {
    let house = House::empty();
    assert_eq!(house.restored().ledger.header(), house.ledger.header());
    house.ledger.audit().unwrap();
}

#[test]
fn a_clone_keeps_what_it_saw() {
    let mut house = booked();
    let clone = house.clone();
    let (header, records): (_, Vec<Record>) = (clone.ledger.header(), clone.ledger.records().collect());
    house.reserved(by_type(9, "double", 10, 13));
    house.changed(Command::Cancel(change(3)));
    house.later(900_000);
    house.run(put_room("101", "suite"));
    assert_ne!(house.ledger.state_hash(), header.state_hash);
    assert_eq!(clone.ledger.header(), header);
    assert!(clone.ledger.records().eq(records));
    clone.ledger.audit().unwrap();
    house.ledger.audit().unwrap();
}

#[test]
fn damage_is_named() {
    let house = booked();
    let header = house.ledger.header();
    let records: Vec<Record> = house.ledger.records().collect();
    assert!(restore(&header, records.clone()).is_ok());
    for n in 0..records.len() {
        let mut without = records.clone();
        without.remove(n);
        assert!(restore(&header, without).is_err(), "a lost record {n} went unnoticed");
        let mut twice = records.clone();
        twice.insert(n, records[n].clone());
        let damage = restore(&header, twice).unwrap_err();
        assert!(matches!(damage, Damage::Twice { .. } | Damage::Unfit { .. }), "{damage}");
    }
    let other = |change: fn(&mut Header)| {
        let mut header = header.clone();
        change(&mut header);
        restore(&header, records.clone()).err()
    };
    assert!(matches!(other(|h| h.lsn.0 += 1), Some(Damage::StateHash { .. })));
    assert!(matches!(other(|h| h.stamp.0 += 1), Some(Damage::StateHash { .. })));
    assert!(matches!(other(|h| h.state_hash.0 ^= 1), Some(Damage::StateHash { .. })));
    assert!(matches!(other(|h| h.records.rates += 1), Some(Damage::Counts { .. })));
}

#[test]
fn a_key_answers_for_one_record_only() {
    let house = booked();
    let records = house.ledger.records().map(|record| match record {
        Record::Reservation(mut record) if record.reservation.id == id(3) => {
            record.key.as_mut().unwrap().digest = key(4, 4).digest;
            Record::Reservation(record)
        }
        other => other,
    });
    let damage = restore(&house.ledger.header(), records).unwrap_err();
    assert!(matches!(damage, Damage::KeyTwice { .. }), "{damage}");
}

#[test]
fn what_a_key_made_has_no_more_prices_than_a_stay_has_nights() {
    let house = booked();
    let with = |nights: usize| {
        let records = house.ledger.records().map(move |record| match record {
            Record::Reservation(mut record) if record.reservation.id == id(3) => {
                let mut original = (*record.reservation).clone();
                original.price.amounts = vec![1; nights].into();
                record.key.as_mut().unwrap().original = Some(original.into());
                Record::Reservation(record)
            }
            other => other,
        });
        restore(&house.ledger.header(), records).unwrap_err()
    };
    assert!(matches!(with(366), Damage::StateHash { .. }), "{}", with(366));
    assert!(matches!(with(367), Damage::Unfit { .. }), "{}", with(367));
}

#[test]
fn records_that_contradict_each_other_do_not_make_a_ledger() {
    let house = booked();
    let header = house.ledger.header();
    type Spoil = fn(&mut Reservation);
    let spoils: [(&str, Spoil); 9] = [
        ("another property", |r| r.property = PropertyId::new("nowhere").unwrap()),
        ("an unknown room", |r| r.room = Some(room("999"))),
        ("an unknown type", |r| r.room_type = kind("none")),
        ("a taken room", |r| (r.room, r.arrival, r.departure) = (Some(room("201")), day(12), day(13))),
        ("no night", |r| r.departure = r.arrival),
        ("years", |r| r.departure = Date::MAX),
        ("a hold without an end", |r| r.hold_expires_at = None),
        ("a negative price", |r| r.price.amounts = [-1].into()),
        ("prices of more nights than a stay has", |r| r.price.amounts = [1; 367].into()),
    ];
    for (name, spoil) in spoils {
        let records = house.ledger.records().map(|record| match record {
            Record::Reservation(mut record) if record.reservation.id == id(1) => {
                spoil(std::sync::Arc::make_mut(&mut record.reservation));
                Record::Reservation(record)
            }
            // The reservation that has the room comes after the one that is spoiled.
            other => other,
        });
        let mut records: Vec<Record> = records.collect();
        records.sort_by_key(|record| match record {
            Record::Reservation(record) => 1 + u8::from(record.reservation.id == id(1)),
            Record::Outcome(_) => 3,
            _ => 0,
        });
        let damage = restore(&header, records).err();
        match name {
            "a taken room" => assert!(matches!(damage, Some(Damage::Room { .. })), "{damage:?}"),
            _ => assert!(matches!(damage, Some(Damage::Unfit { .. })), "{name}: {damage:?}"),
        }
    }
}

#[test]
fn nights_that_are_gone_are_those_of_a_stay_that_had_them() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 10, 14));
    house.reserved(by_room(2, "102", 10, 11));
    house.run(House::roll(12));
    let restored = |status: Status, in_room: Option<&str>, nights: &[(i32, i32)]| {
        let stretch = |(from, to): &(i32, i32)| {
            let room = in_room.map(room);
            Stretch { room_type: kind("double"), room, from: day(*from), to: day(*to) }
        };
        let records = house.ledger.records().map(|record| match record {
            Record::Reservation(mut record) if record.reservation.id == id(1) => {
                let stay = std::sync::Arc::make_mut(&mut record.reservation);
                stay.released_from = (status == Status::NoShow).then_some(day(11));
                (stay.status, stay.slept) = (status, Some(nights.iter().map(stretch).collect()));
                Record::Reservation(record)
            }
            other => other,
        });
        restore(&house.ledger.header(), records).unwrap_err()
    };
    use Status::{Canceled, CheckedOut, Confirmed, Expired, InHouse, NoShow};
    for (status, in_room, nights) in [
        (Confirmed, None, &[(10, 12)][..]),
        (NoShow, None, &[(10, 11)]),
        (InHouse, Some("103"), &[(10, 11), (11, 12)]),
        (CheckedOut, Some("101"), &[(10, 12)]),
    ] {
        let damage = restored(status, in_room, nights);
        assert!(matches!(damage, Damage::StateHash { .. }), "{status:?}: {damage}");
    }
    for (what, status, in_room, nights) in [
        ("of who is canceled", Canceled, None, &[(10, 11)][..]),
        ("of who is expired", Expired, None, &[(10, 11)]),
        ("in a room without being there", Confirmed, Some("101"), &[(10, 11)]),
        ("in a room without having come", NoShow, Some("101"), &[(10, 11)]),
        ("that a no-show gave back", NoShow, None, &[(10, 12)]),
        ("to come", InHouse, Some("101"), &[(10, 13)]),
        ("after a gap", InHouse, Some("101"), &[(11, 12)]),
        ("with a gap", InHouse, Some("101"), &[(10, 10), (11, 12)]),
        ("none", InHouse, Some("101"), &[]),
        ("in nobody's room", InHouse, Some("999"), &[(10, 11)]),
        ("in another's room", InHouse, Some("102"), &[(10, 11)]),
    ] {
        let damage = restored(status, in_room, nights);
        assert!(matches!(damage, Damage::Unfit { .. } | Damage::Room { .. }), "{what}: {damage}");
    }
}

#[test]
fn a_room_that_is_closed_has_no_stay() {
    let mut house = booked();
    house.run(Command::PutOutOfOrder(PutOutOfOrder {
        property: hotel(),
        room: room("103"),
        from: day(20),
        to: day(22),
        reason: "paint".into(),
    }));
    let header = house.ledger.header();
    let with = |to: &str, from: i32| {
        let records = house.ledger.records().map(|record| match record {
            Record::Reservation(mut record) if record.reservation.id == id(1) => {
                let stay = std::sync::Arc::make_mut(&mut record.reservation);
                (stay.room, stay.arrival, stay.departure) = (Some(room(to)), day(from), day(from + 1));
                Record::Reservation(record)
            }
            other => other,
        });
        restore(&header, records.collect::<Vec<_>>()).err()
    };
    assert!(matches!(with("103", 21), Some(Damage::Room { .. })));
    assert!(matches!(with("103", 22), Some(Damage::StateHash { .. })), "there it fits");
}
