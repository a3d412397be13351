//! The two rules of capacity: per room and night at most one, per type and night what the rooms and the overbooking
//! limit allow.

use super::support::*;
use crate::ledger::*;

fn nights(range: std::ops::Range<i32>) -> Vec<Date> {
    range.map(day).collect()
}

#[test]
fn a_stay_by_type_gets_the_first_room_that_is_free_throughout() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 12, 14));
    let planned = house.reserved(by_type(2, "double", 10, 13));
    assert_eq!((planned.room.clone(), planned.room_pinned), (Some(room("102")), false));
    assert_eq!(house.reserved(by_type(3, "double", 10, 12)).room, Some(room("101")));
    assert_eq!(house.reserved(by_type(4, "double", 10, 13)).room, Some(room("103")));
    assert_eq!(
        house.refused(by_type(5, "double", 9, 15)),
        Refusal::NoAvailability { nights: nights(10..13), fragmented: false }
    );
    house.ledger.audit().unwrap();
}

#[test]
fn a_room_each_night_but_none_throughout_is_fragmentation() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 10, 11));
    house.reserved(by_room(2, "102", 11, 12));
    house.reserved(by_room(3, "103", 12, 13));
    let expected = Refusal::NoAvailability { nights: vec![], fragmented: true };
    assert_eq!(house.refused(by_type(4, "double", 10, 13)), expected);
    house.reserved(by_type(5, "double", 10, 12));
}

#[test]
fn within_the_overbooking_limit_a_stay_has_no_room_until_one_is_freed_oldest_first() {
    let mut house = House::new();
    house.run(put_room_type("suite", 2));
    house.reserved(by_type(1, "suite", 10, 13));
    // Ids against the order of time, so that only the latter explains who is served.
    for n in [9, 8] {
        let reservation = house.reserved(by_type(n, "suite", 11, 12));
        assert_eq!((reservation.room.clone(), reservation.room_pinned), (None, false));
    }
    let full = Refusal::NoAvailability { nights: nights(11..12), fragmented: false };
    assert_eq!(house.refused(by_type(4, "suite", 10, 14)), full);
    house.later(5);
    let before = house.get(9);
    house.changed(Command::Cancel(change(1)));
    let after = house.get(9);
    assert_eq!((after.room.clone(), house.get(8).room.clone()), (Some(room("201")), None));
    let same = (after.revision, after.lsn, after.updated_at);
    assert_eq!(same, (before.revision, before.lsn, before.updated_at), "a plan is no change");
    // A new room serves the next.
    house.run(put_room("202", "suite"));
    assert_eq!(house.get(8).room, Some(room("202")));
    house.ledger.audit().unwrap();
}

#[test]
fn a_room_that_is_freed_on_the_last_night_of_the_longest_stay_is_planned_for_it() {
    let mut house = House::new();
    house.run(put_room_type("suite", 1));
    house.reserved(by_room(1, "201", 365, 366));
    assert_eq!(house.reserved(by_type(2, "suite", 0, 366)).room, None);
    house.changed(Command::Cancel(change(1)));
    assert_eq!(house.get(2).room, Some(room("201")));
    house.ledger.audit().unwrap();
}

#[test]
fn a_named_room_also_needs_space_in_its_type() {
    let mut house = House::new();
    house.run(put_room_type("suite", 1));
    house.reserved(by_room(1, "201", 10, 12));
    house.reserved(by_type(2, "suite", 10, 12));
    house.run(put_room("202", "suite"));
    assert_eq!(house.get(2).room, Some(room("202")));
    house.reserved(by_type(3, "suite", 10, 12));
    house.changed(Command::Cancel(change(1)));
    assert_eq!(house.get(3).room, Some(room("201")));
    house.reserved(by_type(4, "suite", 11, 12));
    // Night 12 has rooms; night 11 has neither.
    let expected = Refusal::RoomUnavailable { nights: nights(11..12) };
    assert_eq!(house.refused(by_room(5, "201", 11, 13)), expected);
    house.ledger.audit().unwrap();
}

#[test]
fn every_night_that_stands_in_the_way_is_named() {
    let mut house = House::new();
    for (n, from, to) in [(1, 10, 12), (2, 14, 15)] {
        house.reserved(by_type(n, "suite", from, to));
    }
    let mut expected = nights(10..12);
    expected.extend(nights(14..15));
    let refusal = house.refused(by_type(3, "suite", 8, 20));
    assert_eq!(refusal, Refusal::NoAvailability { nights: expected.clone(), fragmented: false });
    let refusal = house.refused(by_room(3, "201", 8, 20));
    assert_eq!(refusal, Refusal::RoomUnavailable { nights: expected });
}

#[test]
fn what_is_sold_keeps_its_rooms_and_its_limit() {
    let mut house = House::new();
    house.run(put_room_type("suite", 1));
    house.reserved(by_room(1, "201", 10, 12));
    house.reserved(by_type(2, "suite", 11, 14));
    let below = |nights| Refusal::CapacityBelowSold { nights };
    assert_eq!(house.refused(put_room_type("suite", 0)), below(nights(11..12)));
    // The room has a stay on night 10, and the type could not do without it on night 11.
    assert_eq!(house.refused(put_room("201", "double")), below(nights(10..12)));
    house.changed(Command::Cancel(change(1)));
    assert_eq!(house.get(2).room, Some(room("201")));
    house.run(put_room_type("suite", 0));
    assert_eq!(house.refused(put_room("201", "double")), below(nights(11..14)));
    house.changed(Command::Cancel(change(2)));
    assert!(matches!(house.run(put_room("201", "double")), Outcome::Room { created: false, .. }));
    assert_eq!(house.reserved(by_room(3, "201", 10, 12)).room_type, kind("double"));
    house.ledger.audit().unwrap();
}

#[test]
fn nights_before_the_business_date_bind_nobody() {
    let mut house = House::empty();
    house.run(put_property(FirstBusinessDate::Clock(day(0))));
    house.run(put_room_type("suite", 1));
    house.run(put_room("201", "suite"));
    let rates = prices(&[("EUR", 2, 300)]);
    house.run(put_rates(RateTarget::RoomType(kind("suite")), day(0), day(30), rates));
    house.reserved(by_type(1, "suite", 1, 3));
    house.reserved(by_type(2, "suite", 1, 3));
    let roll = |date| Command::RollBusinessDate(RollBusinessDate { property: hotel(), date });
    assert_eq!(house.run(roll(day(2))), Outcome::Done);
    let below = Refusal::CapacityBelowSold { nights: nights(2..3) };
    assert_eq!(house.refused(put_room_type("suite", 0)), below);
    assert_eq!(house.run(roll(day(3))), Outcome::Done);
    assert!(matches!(house.run(put_room_type("suite", 0)), Outcome::RoomType { .. }));
    house.run(put_room_type("double", 0));
    assert!(matches!(house.run(put_room("201", "double")), Outcome::Room { .. }));
    house.changed(Command::Cancel(change(1)));
    house.changed(Command::Cancel(change(2)));
    house.ledger.audit().unwrap();
    assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
}
