//! Amending and assigning: prices, rooms, and the order of refusals.

use std::sync::Arc;

use super::support::*;
use crate::ledger::*;

fn dates(n: u128, arrival: i32, departure: i32) -> Amend {
    Amend { arrival: Some(day(arrival)), departure: Some(day(departure)), ..amend(n) }
}

fn pin(n: u128, to: &str) -> Amend {
    Amend { room: Some(RoomChange::Pin(room(to))), ..amend(n) }
}

fn unpin(n: u128) -> Amend {
    Amend { room: Some(RoomChange::Unpin), ..amend(n) }
}

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

/// What a test looks at: room, whether it is pinned, type, arrival, departure, and the amounts.
fn shape(stay: &Reservation) -> (Option<String>, bool, String, i32, i32, Vec<i64>) {
    (
        stay.room.as_ref().map(ToString::to_string),
        stay.room_pinned,
        stay.room_type.to_string(),
        day(0).nights_to(stay.arrival),
        day(0).nights_to(stay.departure),
        stay.price.amounts.to_vec(),
    )
}

#[test]
fn nights_kept_keep_their_price_and_another_type_or_occupancy_reprices() {
    let raised = prices(&[("EUR", 1, 110), ("EUR", 2, 150)]);
    let at = |room: &str| Some(room.to_owned());
    let double = || "double".to_owned();
    // Booked in 101 for the days 10 to 13 at 140; then doubles cost 150, and 103 has a price of its own.
    type Shape = (Option<String>, bool, String, i32, i32, Vec<i64>);
    let cases: Vec<(Amend, Shape)> = vec![
        (dates(1, 11, 14), (at("101"), true, double(), 11, 14, vec![140, 140, 150])),
        (dates(1, 8, 11), (at("101"), true, double(), 8, 11, vec![150, 150, 140])),
        (dates(1, 20, 22), (at("101"), true, double(), 20, 22, vec![150, 150])),
        (dates(1, 11, 12), (at("101"), true, double(), 11, 12, vec![140])),
        (pin(1, "103"), (at("103"), true, double(), 10, 13, vec![140, 140, 140])),
        (
            Amend { departure: Some(day(14)), ..pin(1, "103") },
            (at("103"), true, double(), 10, 14, vec![140, 140, 140, 170]),
        ),
        (pin(1, "201"), (at("201"), true, "suite".to_owned(), 10, 13, vec![300, 300, 300])),
        (
            Amend { room_type: Some(kind("suite")), ..amend(1) },
            (at("201"), false, "suite".to_owned(), 10, 13, vec![300, 300, 300]),
        ),
        (
            Amend { room_type: Some(kind("double")), departure: Some(day(12)), ..amend(1) },
            (at("101"), true, double(), 10, 12, vec![140, 140]),
        ),
        (Amend { occupancy: Some(1), ..amend(1) }, (at("101"), true, double(), 10, 13, vec![110, 110, 110])),
        (unpin(1), (at("101"), false, double(), 10, 13, vec![140, 140, 140])),
    ];
    for (command, expected) in cases {
        let mut house = House::new();
        let first = house.reserved(by_room(1, "101", 10, 13));
        let rate = |target, prices| put_rates(target, day(-30), day(730), prices);
        house.run(rate(RateTarget::RoomType(kind("double")), raised.clone()));
        house.run(rate(RateTarget::Room(room("103")), prices(&[("EUR", 2, 170)])));
        house.later(9);
        let changed = house.changed(command.clone().into());
        assert_eq!(shape(&changed), expected, "{command:?}");
        assert_eq!((changed.revision, changed.lsn, changed.updated_at), (2, house.ledger.lsn(), house.now));
        assert_eq!((changed.created_at, changed.status), (first.created_at, Status::Confirmed));
        assert_eq!(changed, house.get(1));
        sound(&house);
    }
}

#[test]
fn what_changes_nothing_changes_no_revision() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 10, 13));
    for command in [amend(1), dates(1, 10, 13), pin(1, "101")] {
        assert_eq!(house.changed(command.into()).revision, 1);
    }
    assert_eq!(house.changed(assign(1, "101")).revision, 1);
}

#[test]
fn a_refusal_leaves_the_old_stay() {
    let suite = Some(kind("suite"));
    let nights = |from: i32, to: i32| day(from).until(day(to)).collect::<Vec<Date>>();
    let cases: Vec<(Amend, Refusal)> = vec![
        (
            Amend { room: Some(RoomChange::Pin(room("999"))), if_match: Some(9), ..amend(1) },
            Refusal::RoomNotFound,
        ),
        (Amend { room_type: Some(kind("none")), ..amend(1) }, Refusal::RoomTypeNotFound),
        (amend(77), Refusal::ReservationNotFound),
        (Amend { if_match: Some(2), ..dates(1, 13, 13) }, Refusal::VersionMismatch { revision: 1 }),
        (dates(1, 13, 13), Refusal::InvalidStay),
        (dates(1, 10, 377), Refusal::StayTooLong),
        (dates(1, -1, 13), Refusal::ArrivalInPast { business_date: day(0) }),
        (dates(1, 1_000, 1_101), Refusal::BeyondHorizon { latest_departure: day(1_100) }),
        (Amend { occupancy: Some(0), ..amend(1) }, Refusal::OccupancyInvalid { max_occupancy: 2 }),
        (Amend { occupancy: Some(3), ..pin(1, "102") }, Refusal::OccupancyInvalid { max_occupancy: 2 }),
        (
            Amend { room_type: suite.clone(), occupancy: Some(1), ..amend(1) },
            Refusal::NotPriced { nights: nights(10, 13) },
        ),
        (dates(1, 729, 731), Refusal::NotPriced { nights: nights(730, 731) }),
        (pin(1, "102"), Refusal::RoomUnavailable { nights: nights(12, 13) }),
        (dates(1, 10, 17), Refusal::RoomUnavailable { nights: nights(15, 17) }),
        (
            Amend { room_type: suite, ..amend(1) },
            Refusal::NoAvailability { nights: nights(10, 12), fragmented: false },
        ),
    ];
    for (command, refusal) in cases {
        let mut house = House::new();
        house.reserved(by_room(1, "101", 10, 13));
        house.reserved(by_room(2, "102", 12, 15));
        house.reserved(by_room(3, "101", 15, 17));
        house.reserved(by_room(4, "201", 8, 12));
        let before = house.get(1);
        assert_eq!(house.refused(command.clone()), refusal, "{command:?}");
        assert_eq!(house.get(1), before);
        assert_eq!(house.free(10, 13), ["103"]);
        sound(&house);
    }
}

#[test]
fn each_state_allows_what_the_table_says() {
    for state in [Status::Canceled, Status::Expired, Status::CheckedOut, Status::NoShow] {
        let mut house = House::new();
        let mut command = by_room(1, "101", 0, 3);
        command.hold_seconds = (state == Status::Expired).then_some(1);
        house.reserved(command);
        match state {
            Status::Canceled => drop(house.changed(Command::Cancel(change(1)))),
            Status::NoShow => drop(house.changed(Command::NoShow(change(1)))),
            Status::CheckedOut => {
                house.changed(Command::CheckIn(change(1)));
                house.changed(Command::CheckOut(change(1)));
            }
            _ => house.later(1_000),
        }
        assert_eq!(house.refused(dates(1, 1, 1)), Refusal::InvalidState { state });
        assert_eq!(house.refused(assign(1, "102")), Refusal::InvalidState { state });
        sound(&house);
    }
    // A hold stays one, with its end.
    let mut house = House::new();
    let mut command = by_room(1, "101", 0, 3);
    command.hold_seconds = Some(900);
    let end = house.reserved(command).hold_expires_at;
    let changed = house.changed(dates(1, 1, 4).into());
    assert_eq!((changed.status, changed.hold_expires_at), (Status::Held, end));
    assert_eq!(house.ledger.next_due(), end);
    sound(&house);
}

#[test]
fn in_house_only_departure_and_occupancy_change() {
    let mut start = House::on_clock();
    start.reserved(by_type(1, "double", 2, 6));
    start.reserved(by_room(2, "101", 8, 9));
    start.run(House::roll(2));
    assert_eq!(start.changed(Command::CheckIn(change(1))).room, Some(room("101")));
    start.run(House::roll(4));
    let state = Status::InHouse;
    let suite = Amend { room_type: Some(kind("suite")), ..amend(1) };
    for command in [dates(1, 3, 6), dates(1, 5, 7), pin(1, "102"), pin(1, "101"), suite] {
        assert_eq!(start.clone().refused(command), Refusal::InvalidState { state });
    }
    let leave = |departure: i32| Amend { departure: Some(day(departure)), ..amend(1) };
    let shorter = start.clone().changed(leave(4).into());
    assert_eq!((shorter.departure, shorter.price.amounts.len()), (day(4), 2));
    assert_eq!(start.clone().changed(leave(8).into()).price.total(), 6 * 140);
    assert_eq!(start.refused(leave(3)), Refusal::InvalidStay);
    assert_eq!(start.refused(leave(9)), Refusal::RoomUnavailable { nights: vec![day(8)] });
    // The nights past keep their price.
    let alone = start.changed(Amend { occupancy: Some(1), ..amend(1) }.into());
    assert_eq!(*alone.price.amounts, [140, 140, 100, 100]);
    sound(&start);
}

#[test]
fn assign_pins_at_the_price_that_stands() {
    let mut house = House::new();
    let first = house.reserved(by_type(1, "double", 10, 13));
    let second = house.changed(assign(1, "103"));
    assert_eq!((second.room.clone(), second.room_pinned, second.revision), (Some(room("103")), true, 2));
    assert_eq!(second.price, first.price);
    // An upgrade counts in the type of its room.
    let third = house.changed(assign(1, "201"));
    assert_eq!((third.room_type.as_str(), &third.price), ("suite", &first.price));
    let nights = house.ledger.availability(&hotel(), day(10), day(13)).unwrap();
    let sold = |room_type| nights[&kind(room_type)].iter().map(|night| night.sold).sum::<u32>();
    assert_eq!((sold("double"), sold("suite")), (0, 3));
    assert_eq!(house.refused(assign(1, "999")), Refusal::RoomNotFound);
    house.reserved(by_room(2, "102", 12, 14));
    assert_eq!(house.refused(assign(1, "102")), Refusal::RoomUnavailable { nights: vec![day(12)] });
    let stale = Assign { reservation: id(1), if_match: Some(1), room: room("101") };
    assert_eq!(house.refused(Command::Assign(stale)), Refusal::VersionMismatch { revision: 3 });
    sound(&house);
}

#[test]
fn a_guest_who_should_have_left_moves_only_once_he_stays_longer() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 1));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(1));
    let refused = Refusal::InvalidState { state: Status::InHouse };
    assert_eq!(house.refused(assign(1, "102")), refused);
    // His own room may become his by name.
    assert!(house.changed(assign(1, "101")).room_pinned);
    house.changed(Amend { departure: Some(day(2)), ..amend(1) }.into());
    assert_eq!(house.changed(assign(1, "102")).room, Some(room("102")));
    house.ledger.audit().unwrap();
}

#[test]
fn a_guest_in_house_moves_from_the_business_date_on() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 6));
    house.reserved(by_room(2, "102", 0, 3));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(3));
    let moved = house.changed(assign(1, "102"));
    assert_eq!((moved.room.clone(), moved.room_from), (Some(room("102")), Some(day(3))));
    assert_eq!(house.free(3, 6), ["101", "103", "201"]);
    sound(&house);
    house.run(House::roll(4));
    house.changed(Command::CheckOut(change(1)));
    assert_eq!(house.free(4, 6), ["101", "102", "103", "201"]);
    sound(&house);
}

#[test]
fn nights_that_a_guest_has_slept_stay_where_he_slept() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 7));
    house.changed(Command::CheckIn(change(1)));
    let left = |house: &House, from: i32, to: i32| {
        let mut nights = house.ledger.availability(&hotel(), day(from), day(to)).unwrap();
        let mut of = |name: &str| {
            let nights = nights.remove(&kind(name)).unwrap();
            nights.iter().map(|night| night.available).collect::<Vec<_>>()
        };
        (of("double"), of("suite"))
    };
    house.run(House::roll(2));
    house.changed(assign(1, "201"));
    assert_eq!(left(&house, 0, 7), (vec![2, 2, 3, 3, 3, 3, 3], vec![1, 1, 0, 0, 0, 0, 0]));
    assert_eq!(house.free(0, 2), ["102", "103", "201"]);
    assert_eq!(house.free(2, 6), ["101", "102", "103"]);
    sound(&house);
    // There and back on one day leaves no trace.
    house.run(House::roll(3));
    house.changed(assign(1, "102"));
    house.changed(assign(1, "201"));
    house.run(House::roll(5));
    let moved = house.changed(assign(1, "103"));
    let stretch = |of: &str, in_room: &str, from, to| Stretch {
        room_type: kind(of),
        room: Some(room(in_room)),
        from: day(from),
        to: day(to),
    };
    assert_eq!(moved.slept(), [stretch("double", "101", 0, 2), stretch("suite", "201", 2, 5)]);
    assert_eq!(left(&house, 0, 7), (vec![2, 2, 3, 3, 3, 2, 2], vec![1, 1, 0, 0, 0, 1, 1]));
    sound(&house);
    house.run(House::roll(6));
    house.changed(Command::CheckOut(change(1)));
    assert_eq!(left(&house, 0, 7), (vec![2, 2, 3, 3, 3, 2, 3], vec![1, 1, 0, 0, 0, 1, 1]));
    sound(&house);
    assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
}

#[test]
fn nights_that_are_gone_stay_of_the_type_of_who_is_late() {
    let mut house = House::on_clock();
    let counts = |house: &House, from: i32, to: i32| {
        let nights = house.ledger.availability(&hotel(), day(from), day(to)).unwrap();
        let of = |name: &str| nights[&kind(name)].iter().map(|night| night.sold).collect::<Vec<_>>();
        (of("double"), of("suite"))
    };
    // The suite is let on the first night, to who leaves before the late one is moved there.
    house.reserved(by_room(1, "101", 0, 4));
    house.reserved(by_room(2, "201", 0, 1));
    house.changed(Command::CheckIn(change(2)));
    house.run(House::roll(1));
    house.changed(Command::CheckOut(change(2)));
    assert_eq!(house.changed(assign(1, "201")).room, Some(room("201")));
    assert_eq!(counts(&house, 0, 4), (vec![1, 0, 0, 0], vec![1, 1, 1, 1]));
    sound(&house);
    // Of another type on another day, by type and without a room by name.
    house.run(House::roll(2));
    let back = Amend { room: Some(RoomChange::Unpin), room_type: Some(kind("double")), ..amend(1) };
    house.changed(back.into());
    assert_eq!(counts(&house, 0, 4), (vec![1, 0, 1, 1], vec![1, 1, 0, 0]));
    sound(&house);
    // Another room of the type is no matter.
    house.changed(assign(1, "103"));
    assert_eq!(counts(&house, 0, 4), (vec![1, 0, 1, 1], vec![1, 1, 0, 0]));
    for (end, (doubles, suites)) in [
        (Command::Cancel(change(1)), (vec![0, 0, 0, 0], vec![1, 0, 0, 0])),
        (Command::NoShow(change(1)), (vec![1, 0, 0, 0], vec![1, 1, 0, 0])),
        (Command::CheckIn(change(1)), (vec![1, 0, 1, 1], vec![1, 1, 0, 0])),
        (dates(1, 2, 5).into(), (vec![0, 0, 1, 1], vec![1, 0, 0, 0])),
        (dates(1, 0, 2).into(), (vec![1, 0, 0, 0], vec![1, 1, 0, 0])),
    ] {
        let mut house = house.clone();
        house.changed(end);
        assert_eq!(counts(&house, 0, 4), (doubles, suites));
        sound(&house);
    }
}

#[test]
fn a_hold_that_ends_late_takes_no_night_of_any_type() {
    let mut house = House::on_clock();
    house.reserved(Reserve { hold_seconds: Some(900), ..by_type(1, "double", 0, 4) });
    house.run(House::roll(1));
    house.changed(assign(1, "201"));
    let held = |house: &House| {
        let nights = house.ledger.availability(&hotel(), day(0), day(2)).unwrap();
        let of = |name: &str| nights[&kind(name)].iter().map(|night| night.held).collect::<Vec<_>>();
        (of("double"), of("suite"))
    };
    assert_eq!(held(&house), (vec![1, 0], vec![0, 1]));
    sound(&house);
    house.later(900_000);
    house.run(House::roll(1));
    assert_eq!(held(&house), (vec![0, 0], vec![0, 0]));
    sound(&house);
}

#[test]
fn who_has_moved_on_does_not_keep_the_old_room_from_being_retired() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 2));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(1));
    house.changed(assign(1, "102"));
    house.run(House::roll(3));
    assert_eq!(house.refused(retire_room("102")), Refusal::CapacityBelowSold { nights: vec![day(3)] });
    assert_eq!(house.run(retire_room("101")), Outcome::Removed);
    sound(&house);
}

/// Makes a room a suite, or none, in which a guest is who has no night there: earlier builds let it become so, and a state of
/// theirs may hold it.
fn becomes(house: &mut House, id: &str, retired: Option<Lsn>) {
    let before = house.ledger.book(&hotel()).unwrap().room_ever(&room(id)).unwrap().record.clone();
    let suite = Arc::new(Room { room_type: kind("suite"), ..(*before.room).clone() });
    house.ledger.set(&Record::Room(RoomRecord { room: suite, retired, ..before }));
}

#[test]
fn who_was_to_leave_does_not_stay_on_in_a_room_that_became_another() {
    let mut house = House::on_clock();
    house.reserved(by_type(1, "double", 0, 5));
    house.run(House::roll(2));
    // Late, and moved to 102 on the day on which he comes and goes: he has no night there.
    house.reserved(by_room(2, "101", 2, 3));
    house.changed(Command::CheckIn(change(1)));
    house.changed(Command::Cancel(change(2)));
    assert_eq!(house.changed(dates(1, 0, 2).into()).room, Some(room("102")));
    becomes(&mut house, "102", None);
    house.reserved(by_room(3, "102", 2, 4));
    let longer = || Command::from(dates(1, 0, 4));
    let unavailable = Refusal::RoomUnavailable { nights: vec![day(2), day(3)] };
    assert_eq!(house.refused(longer()), unavailable);
    house.changed(Command::Cancel(change(3)));
    assert_eq!(house.refused(longer()), unavailable);
    becomes(&mut house, "102", Some(Lsn(1)));
    assert_eq!(house.refused(longer()), unavailable);
    sound(&house);
}

/// He has it by name, and has no night to come: what became of it is nothing to him.
#[test]
fn who_was_to_leave_is_changed_in_a_room_that_became_another_or_none() {
    for retired in [None, Some(Lsn(1))] {
        let mut house = House::on_clock();
        house.reserved(by_type(1, "double", 0, 5));
        house.run(House::roll(2));
        house.reserved(by_room(2, "101", 2, 3));
        house.changed(Command::CheckIn(change(1)));
        house.changed(assign(1, "102"));
        house.changed(dates(1, 0, 2).into());
        becomes(&mut house, "102", retired);
        let alone = house.changed(Amend { occupancy: Some(1), ..amend(1) }.into());
        let is = (Some("102".into()), true, "double".into(), 0, 2, vec![140, 140]);
        assert_eq!((shape(&alone), alone.occupancy), (is, 1));
        let unavailable = Refusal::RoomUnavailable { nights: vec![day(2), day(3)] };
        assert_eq!(house.refused(dates(1, 0, 4)), unavailable);
        // Neither do nights count that went by since, and that he asks for only now.
        house.run(House::roll(4));
        assert_eq!(house.refused(dates(1, 0, 4)), unavailable);
        house.changed(Command::CheckOut(change(1)));
        sound(&house);
    }
}

/// Nobody told the house that he stayed on, and the room went to another for a night.
#[test]
fn nights_that_are_gone_and_were_anothers_are_not_added() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 2));
    house.changed(Command::CheckIn(change(1)));
    house.reserved(by_room(2, "101", 2, 3));
    house.reserved(by_room(3, "102", 0, 2));
    house.changed(Command::CheckIn(change(3)));
    house.reserved(by_type(4, "double", 0, 2));
    assert_eq!(house.get(4).room, Some(room("103")));
    house.reserved(by_room(5, "103", 2, 3));
    house.run(House::roll(3));
    assert_eq!(house.refused(dates(1, 0, 3)), Refusal::RoomUnavailable { nights: vec![day(2)] });
    assert_eq!(house.changed(dates(3, 0, 3).into()).room, Some(room("102")));
    // Whom nobody has seen is planned for the nights to come, wherever that is.
    let planned = house.changed(dates(4, 0, 5).into());
    assert_eq!((planned.room.clone(), planned.room_from), (Some(room("101")), Some(day(3))));
    sound(&house);
}

#[test]
fn a_planned_room_that_was_out_of_order_on_a_night_that_is_gone_stays_planned() {
    let mut house = House::on_clock();
    house.reserved(by_type(1, "double", 0, 4));
    assert_eq!(house.get(1).room, Some(room("101")));
    house.run(House::roll(2));
    assert!(matches!(house.run(put_out_of_order("101", 0, 1)), Outcome::OutOfOrder(_)));
    assert_eq!(house.changed(dates(1, 0, 5).into()).room, Some(room("101")));
    sound(&house);
}

#[test]
fn a_room_that_was_out_of_order_on_a_night_that_is_gone_can_be_kept() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 4));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(2));
    assert!(matches!(house.run(put_out_of_order("101", 0, 1)), Outcome::OutOfOrder(_)));
    assert_eq!(house.changed(dates(1, 0, 6).into()).departure, day(6));
    sound(&house);
}

#[test]
fn nights_that_are_left_go_to_a_stay_without_a_room() {
    for command in [dates(1, 20, 22).into(), Command::from(pin(1, "201")), assign(1, "201")] {
        let mut house = House::new();
        house.run(put_room_type("double", 1));
        for (n, room) in [(1, "101"), (2, "102"), (3, "103")] {
            house.reserved(by_room(n, room, 10, 13));
        }
        assert_eq!(house.reserved(by_type(4, "double", 10, 13)).room, None);
        house.changed(command);
        assert_eq!(house.get(4).room, Some(room("101")));
        sound(&house);
    }
}

#[test]
fn a_room_that_became_one_of_another_type_is_no_longer_one_of_the_old() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 2));
    house.reserved(by_type(2, "double", 0, 2));
    assert_eq!(house.get(2).room, Some(room("102")));
    // Nobody came, and the nights went by.
    house.run(House::roll(3));
    for id in ["101", "102"] {
        assert!(matches!(house.run(put_room(id, "suite")), Outcome::Room { .. }));
    }
    // Who asks for nothing gets nothing else.
    let before = house.get(1);
    assert_eq!(house.changed(amend(1).into()), before);
    // Who has it by name has it as what it is, at its price; who had a double gets a double.
    let named = shape(&house.changed(dates(1, 10, 11).into()));
    assert_eq!(named, (Some("101".into()), true, "suite".into(), 10, 11, vec![300]));
    let by_type = shape(&house.changed(dates(2, 10, 11).into()));
    assert_eq!(by_type, (Some("103".into()), false, "double".into(), 10, 11, vec![140]));
    sound(&house);
}

/// It was sold all its nights, and no room is free on all of them: it keeps what it has, and waits.
#[test]
fn a_stay_that_fits_no_room_is_changed_within_its_nights() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    for (n, id, from, to) in [(1, "101", 10, 11), (2, "102", 10, 11), (3, "102", 11, 12), (4, "103", 10, 13)]
    {
        house.reserved(by_room(n, id, from, to));
    }
    assert_eq!(house.reserved(by_type(5, "double", 10, 12)).room, None);
    house.changed(Command::Cancel(change(2)));
    assert_eq!(house.get(5).room, None, "101 and 102 are each free on one of its nights");
    house.changed(Amend { occupancy: Some(1), ..amend(5) }.into());
    assert_eq!((house.get(5).room.clone(), house.get(5).occupancy), (None, 1));
    let fragmented = Refusal::NoAvailability { nights: Vec::new(), fragmented: true };
    assert_eq!(house.refused(dates(5, 10, 13)), fragmented);
    house.changed(dates(5, 10, 11).into());
    assert_eq!(house.get(5).room, Some(room("102")));
    sound(&house);
}

#[test]
fn who_may_have_another_room_from_now_on_makes_way_for_a_stay_that_has_none() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    for (n, id, from, to) in [(1, "101", 10, 11), (2, "102", 10, 11), (3, "102", 11, 12), (4, "103", 10, 13)]
    {
        house.reserved(by_room(n, id, from, to));
    }
    house.reserved(by_type(5, "double", 10, 12));
    house.changed(Command::Cancel(change(2)));
    assert_eq!(house.get(5).room, None);
    house.changed(Amend { room: Some(RoomChange::Unpin), ..amend(3) }.into());
    assert_eq!(
        (house.get(3).room.clone(), house.get(5).room.clone()),
        (Some(room("101")), Some(room("102")))
    );
    sound(&house);
}
