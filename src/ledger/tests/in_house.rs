//! Check-in, check-out, no-show and the night audit: the table of calls and states.

use super::support::*;
use crate::ledger::*;

const STATES: [Status; 7] = [
    Status::Held,
    Status::Confirmed,
    Status::Canceled,
    Status::Expired,
    Status::InHouse,
    Status::CheckedOut,
    Status::NoShow,
];

pub fn audit(to: i32) -> Command {
    Command::NightAudit(NightAudit { property: hotel(), business_date: day(to) })
}

/// Reservation 1 in room 101 for the days 2 to 6, in that state on the business date `today`, which no audit has
/// brought about: the date of a property on `clock` marks nobody.
fn house_in(state: Status, today: i32) -> House {
    let mut house = House::on_clock();
    let mut command = by_room(1, "101", 2, 6);
    command.hold_seconds = matches!(state, Status::Held | Status::Expired).then_some(900);
    house.reserved(command);
    let roll = |house: &mut House, to| house.run(House::roll(to));
    match state {
        Status::Held | Status::Confirmed => {}
        Status::Canceled => drop(house.changed(Command::Cancel(change(1)))),
        Status::Expired => {
            house.later(900_000);
            house.run(Command::EndDue(EndDue {}));
        }
        Status::InHouse | Status::CheckedOut | Status::NoShow => {
            roll(&mut house, 2);
            if state == Status::NoShow {
                house.changed(Command::NoShow(change(1)));
            } else {
                house.changed(Command::CheckIn(change(1)));
            }
            if state == Status::CheckedOut {
                house.changed(Command::CheckOut(change(1)));
            }
        }
    }
    roll(&mut house, today);
    assert_eq!(house.get(1).status, state);
    house.ledger.audit().unwrap();
    house
}

#[test]
fn each_call_in_each_state_and_around_its_dates() {
    type Make = fn(Change) -> Command;
    let calls: [(Make, Status, Status, &[i32]); 3] = [
        (Command::CheckIn, Status::Confirmed, Status::InHouse, &[2, 3, 5]),
        (Command::CheckOut, Status::InHouse, Status::CheckedOut, &[2, 3, 5, 6, 7]),
        (Command::NoShow, Status::Confirmed, Status::NoShow, &[2, 3, 5, 6, 7]),
    ];
    for (make, from, to, allowed_on) in calls {
        for state in STATES {
            for today in [0, 1, 2, 3, 5, 6, 7] {
                let comes_later = matches!(state, Status::InHouse | Status::CheckedOut | Status::NoShow);
                if comes_later && today < 2 {
                    continue;
                }
                let mut house = house_in(state, today);
                house.later(7);
                let before = house.get(1);
                let outcome = house.run(make(change(1)));
                let after = house.get(1);
                if state == from && allowed_on.contains(&today) {
                    assert_eq!(outcome, Outcome::Changed(after.clone()), "{to:?} on {today}");
                    assert_eq!((after.status, after.revision), (to, before.revision + 1));
                    assert_eq!((after.lsn, after.updated_at), (house.ledger.lsn(), house.now));
                    assert_eq!((&after.price, &after.room), (&before.price, &before.room));
                } else {
                    assert_eq!(
                        outcome,
                        Outcome::Refused(Refusal::InvalidState { state }),
                        "{to:?} on {today}"
                    );
                    assert_eq!(after, before);
                }
                house.ledger.audit().unwrap();
                let restored = house.restored();
                assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
                restored.ledger.audit().unwrap();
            }
        }
    }
}

#[test]
fn a_guest_in_house_is_neither_confirmed_nor_canceled() {
    for state in [Status::InHouse, Status::CheckedOut, Status::NoShow] {
        let mut house = house_in(state, 3);
        for command in [Command::Confirm(change(1)), Command::Cancel(change(1))] {
            assert_eq!(house.refused(command), Refusal::InvalidState { state });
        }
    }
}

#[test]
fn a_stale_revision_is_refused_before_the_state() {
    for state in STATES {
        let mut house = house_in(state, 3);
        let revision = house.get(1).revision;
        for command in [Command::CheckIn, Command::CheckOut, Command::NoShow] {
            let stale = Change { reservation: id(1), if_match: Some(revision + 1) };
            assert_eq!(house.refused(command(stale)), Refusal::VersionMismatch { revision });
            assert_eq!(house.refused(command(change(9))), Refusal::ReservationNotFound);
        }
    }
}

/// The nights of room 101 that are free, and those that its type still has a stay on.
fn nights(house: &House) -> (Vec<i32>, Vec<i32>) {
    let free = (0..10).filter(|n| house.free(*n, n + 1).contains(&"101".to_owned())).collect();
    let nights = house.ledger.availability(&hotel(), day(0), day(10)).unwrap();
    let sold = (0..10).filter(|n| nights[&kind("double")][*n as usize].sold == 1).collect();
    (free, sold)
}

#[test]
fn the_nights_left_are_free() {
    // Who checks out, or does not come, on a day: the departure then, and the nights that stay taken.
    let cases = [
        (Status::CheckedOut, 2, 2, vec![]),
        (Status::CheckedOut, 3, 3, vec![2]),
        (Status::CheckedOut, 5, 5, vec![2, 3, 4]),
        (Status::CheckedOut, 6, 6, vec![2, 3, 4, 5]),
        (Status::CheckedOut, 8, 6, vec![2, 3, 4, 5]),
        (Status::NoShow, 2, 6, vec![]),
        (Status::NoShow, 4, 6, vec![2, 3]),
        (Status::NoShow, 7, 6, vec![2, 3, 4, 5]),
    ];
    for (to, today, departure, taken) in cases {
        let (from, command) = match to {
            Status::CheckedOut => (Status::InHouse, Command::CheckOut(change(1))),
            _ => (Status::Confirmed, Command::NoShow(change(1))),
        };
        let mut house = house_in(from, today);
        let price = house.get(1).price.clone();
        let reservation = house.changed(command);
        assert_eq!((reservation.departure, reservation.price.total()), (day(departure), price.total()));
        let free: Vec<i32> = (0..10).filter(|night| !taken.contains(night)).collect();
        assert_eq!(nights(&house), (free, taken), "{to:?} on {today}");
        if today < 6 {
            house.reserved(by_room(2, "101", today, 9));
        }
        house.ledger.audit().unwrap();
        assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
    }
}

#[test]
fn a_stay_without_a_room_gets_one_at_check_in() {
    let mut house = House::on_clock();
    house.run(put_room_type("double", 2));
    for (n, room) in [(1, "101"), (2, "102"), (3, "103")] {
        house.reserved(by_room(n, room, 0, 2));
    }
    assert_eq!(house.reserved(by_type(4, "double", 1, 4)).room, None);
    house.run(House::roll(1));
    let taken = Refusal::RoomUnavailable { nights: vec![day(1)] };
    assert_eq!(house.refused(Command::CheckIn(change(4))), taken);
    // The night before is another's, and gone: the room is had from the business date on.
    house.run(House::roll(2));
    let checked_in = house.changed(Command::CheckIn(change(4)));
    assert_eq!((checked_in.room.clone(), checked_in.room_from), (Some(room("101")), Some(day(2))));
    assert!(!checked_in.room_pinned);
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

#[test]
fn freed_nights_go_to_a_stay_without_a_room() {
    for (call, expected) in
        [(Command::NoShow(change(1)), Some(room("101"))), (Command::CheckIn(change(1)), None)]
    {
        let mut house = House::on_clock();
        house.run(put_room_type("double", 2));
        for (n, room) in [(1, "101"), (2, "102"), (3, "103")] {
            house.reserved(by_room(n, room, 0, 5));
        }
        assert_eq!(house.reserved(by_type(4, "double", 1, 4)).room, None);
        house.changed(call);
        assert_eq!(house.get(4).room, expected);
        house.ledger.audit().unwrap();
    }
}

#[test]
fn a_night_audit_moves_the_date_and_marks_who_did_not_arrive() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 0, 3));
    house.reserved(by_room(2, "102", 1, 3));
    house.reserved(by_room(3, "103", 2, 5));
    house.changed(Command::CheckIn(change(1)));
    let mut held = by_room(4, "201", 0, 3);
    held.hold_seconds = Some(900);
    house.reserved(held);

    let Outcome::Property { created: false, property } = house.run(audit(2)) else { panic!("no property") };
    assert_eq!(property.business_date, day(2));
    let states: Vec<Status> = (1..5).map(|n| house.get(n).status).collect();
    assert_eq!(states, [Status::InHouse, Status::NoShow, Status::Confirmed, Status::Held]);
    let no_show = house.get(2);
    assert_eq!((no_show.revision, no_show.released_from, no_show.lsn), (2, Some(day(2)), house.ledger.lsn()));
    assert_eq!(house.free(2, 3), ["102"]);
    assert_eq!(house.ledger.next_due(), house.get(4).hold_expires_at);
    house.ledger.audit().unwrap();

    // A hold is no confirmed arrival; once it is confirmed, the next audit finds it.
    house.changed(Command::Confirm(change(4)));
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(house.get(4).status, Status::Confirmed);
    house.run(audit(3));
    let states: Vec<Status> = (1..5).map(|n| house.get(n).status).collect();
    assert_eq!(states, [Status::InHouse, Status::NoShow, Status::NoShow, Status::NoShow]);
    house.ledger.audit().unwrap();
}

#[test]
fn the_date_only_moves_forward_and_only_by_hand() {
    let mut house = House::new();
    house.run(audit(5));
    let refused = Refusal::AuditNotAllowed { mode: BusinessDateMode::Manual, business_date: day(5) };
    assert_eq!(house.refused(audit(4)), refused);
    assert!(matches!(house.run(audit(5)), Outcome::Property { .. }));
    assert_eq!(house.ledger.property(&hotel()).unwrap().business_date, day(5));
    let mut house = House::on_clock();
    let refused = Refusal::AuditNotAllowed { mode: BusinessDateMode::Clock, business_date: day(0) };
    assert_eq!(house.refused(audit(1)), refused);
    assert_eq!(House::empty().refused(audit(1)), Refusal::PropertyNotFound);
}

#[test]
fn an_audit_of_many_goes_on_in_turns_of_256_and_nobody_sees_it_half_done() {
    let mut house = House::new();
    for n in 0..600u32 {
        house.run(put_room(&format!("d{n:03}"), "double"));
        house.reserved(by_room(1_000 + u128::from(n), &format!("d{n:03}"), 0, 9));
    }
    let count = |house: &House| {
        let filter = ReservationFilter { status: Some(Status::NoShow), ..Default::default() };
        house.ledger.reservations(&hotel(), &filter, None, 1_000).unwrap().reservations.len()
    };
    house.run(audit(1));
    assert_eq!(count(&house), 256);
    assert_eq!(house.ledger.next_due(), Some(house.ledger.stamp()));
    house.ledger.audit().unwrap();
    house = house.restored();
    // Whose turn has not come is a no-show all the same; the command's own turn came before it.
    let last = 1_000 + 599;
    let refused = Refusal::InvalidState { state: Status::NoShow };
    assert_eq!(house.refused(Command::CheckIn(change(last))), refused);
    assert_eq!((count(&house), house.get(last).status), (512, Status::Confirmed));
    house.run(Command::EndDue(EndDue {}));
    assert_eq!((count(&house), house.ledger.next_due()), (600, None));
    house.ledger.audit().unwrap();
    assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
}

/// He came late, or moved, on the day on which he leaves: until then he is in the room, though all its nights are free.
#[test]
fn a_guest_who_has_no_night_in_his_room_is_there_all_the_same() {
    for came_late in [true, false] {
        let mut house = House::on_clock();
        if came_late {
            house.run(put_room_type("double", 1));
            (2..5).for_each(|n| drop(house.reserved(by_type(n, "double", 0, 1))));
            assert_eq!(house.reserved(by_type(1, "double", 0, 3)).room, None);
            house.run(House::roll(1));
            house.changed(Command::CheckIn(change(1)));
        } else {
            house.reserved(by_room(1, "102", 0, 3));
            house.changed(Command::CheckIn(change(1)));
            house.run(House::roll(1));
            house.changed(assign(1, "101"));
        }
        let leaves = Amend { departure: Some(day(1)), ..amend(1) };
        assert_eq!(house.changed(leaves.into()).room, Some(room("101")));
        assert!(house.free(1, 3).contains(&"101".to_owned()), "{:?}", house.get(1));
        house.ledger.audit().unwrap();
        let mut house = house.restored();
        house.ledger.audit().unwrap();
        assert_eq!(house.reserved(by_type(9, "double", 1, 3)).room, Some(room("101")), "free by nights");
        assert_eq!(house.changed(Command::CheckIn(change(9))).room, Some(room("102")));
        let needed = Refusal::CapacityBelowSold { nights: vec![day(1)] };
        assert_eq!(house.refused(put_room("101", "suite")), needed);
        assert_eq!(house.refused(retire_room("101")), needed);
        house.changed(Command::CheckOut(change(1)));
        assert_eq!(house.run(retire_room("101")), Outcome::Removed);
        house.ledger.audit().unwrap();
    }
}

#[test]
fn nobody_is_sent_to_a_room_that_somebody_should_have_left_while_another_is_empty() {
    let mut house = House::on_clock();
    for n in [1, 2] {
        house.reserved(by_type(n, "double", 0, 1));
        house.changed(Command::CheckIn(change(n)));
    }
    for n in [3, 4] {
        house.reserved(by_type(n, "double", 1, 3));
    }
    house.run(House::roll(1));
    let planned = [3, 4].map(|n| house.get(n).room.clone());
    assert_eq!(planned, [Some(room("101")), Some(room("102"))], "free by nights");
    let third = house.changed(Command::CheckIn(change(3)));
    assert_eq!((third.room.clone(), third.room_from, third.room_pinned), (Some(room("103")), None, false));
    // Where no other is empty, and where the guest was promised this one, it is as planned.
    assert_eq!(house.changed(Command::CheckIn(change(4))).room, Some(room("102")));
    house.reserved(by_room(5, "101", 1, 2));
    house.changed(Command::CheckOut(change(2)));
    assert_eq!(house.changed(Command::CheckIn(change(5))).room, Some(room("101")));
    house.ledger.audit().unwrap();
    assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
}
