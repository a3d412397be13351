//! The waitlist: who is offered what, when, and what becomes of it.

use super::support::*;
use crate::ledger::*;

const HOUR: u64 = 60 * 60 * 1_000;

fn entry(house: &House, n: u128) -> (WaitlistStatus, Option<ReservationId>) {
    let entry = house.ledger.waitlist_entry(&hotel(), waitlist_id(n)).unwrap();
    (entry.status, entry.reservation)
}

fn joined(house: &mut House, command: JoinWaitlist) -> WaitlistStatus {
    let outcome = house.run(Command::JoinWaitlist(Box::new(command)));
    let Outcome::Waitlisted(entry) = outcome else { panic!("{outcome:?}") };
    entry.status
}

fn offered(house: &House, n: u128) -> ReservationId {
    let (status, reservation) = entry(house, n);
    assert_eq!(status, WaitlistStatus::Offered, "entry {n}");
    reservation.unwrap()
}

fn of(reservation: ReservationId) -> Change {
    Change { reservation, if_match: None }
}

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

/// The suite is sold on the days 10 to 13 to reservation 1.
fn full_house() -> House {
    let mut house = House::on_clock();
    house.reserved(by_type(1, "suite", 10, 13));
    house
}

#[test]
fn what_fits_is_offered_at_once() {
    let mut house = House::new();
    assert_eq!(joined(&mut house, join_waitlist(1, "suite", 10, 13)), WaitlistStatus::Offered);
    let made = house.ledger.reservation(offered(&house, 1)).unwrap();
    assert_eq!((made.status, &*made.guest), (Status::Held, "waiting-1"));
    assert_eq!(made.hold_expires_at, Some(Timestamp(house.ledger.stamp().0 + HOUR)));
    assert_eq!(joined(&mut house, join_waitlist(2, "suite", 12, 14)), WaitlistStatus::Waiting);
    sound(&house);
}

/// It is for the nights that somebody now can move away from, not for those that were freed.
#[test]
fn a_stay_without_a_room_comes_before_the_waitlist_on_other_nights_than_those_freed() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    for (n, id, from, to) in [(4, "103", 10, 15), (7, "101", 13, 15), (1, "101", 10, 11), (2, "102", 10, 11)]
    {
        house.reserved(by_room(n, id, from, to));
    }
    assert_eq!(house.reserved(by_type(3, "double", 11, 14)).room, Some(room("102")));
    assert_eq!(house.reserved(by_type(5, "double", 10, 12)).room, None);
    house.changed(Command::Cancel(change(2)));
    assert_eq!(house.get(5).room, None, "who is in 102 can go nowhere");
    assert_eq!(joined(&mut house, join_waitlist(1, "double", 10, 12)), WaitlistStatus::Waiting);
    house.changed(Command::Cancel(change(7)));
    assert_eq!(
        (house.get(3).room.clone(), house.get(5).room.clone()),
        (Some(room("101")), Some(room("102")))
    );
    sound(&house);
}

/// One has to move to where nights were freed, and another to where that one was.
#[test]
fn a_stay_without_a_room_comes_before_the_waitlist_however_far_the_freed_nights_are() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    let pinned =
        [(1, "101", 10, 14), (2, "101", 16, 18), (3, "102", 10, 12), (4, "102", 12, 13), (8, "103", 15, 16)];
    for (n, id, from, to) in pinned {
        house.reserved(by_room(n, id, from, to));
    }
    assert_eq!(house.reserved(by_type(5, "double", 14, 17)).room, Some(room("102")));
    assert_eq!(house.reserved(by_type(6, "double", 12, 15)).room, Some(room("103")));
    assert_eq!(house.reserved(by_type(7, "double", 10, 13)).room, None);
    house.changed(Command::Cancel(change(4)));
    assert_eq!(house.get(7).room, None, "who is in 103 could go to 102, and who is there to no other");
    assert_eq!(joined(&mut house, join_waitlist(1, "double", 10, 13)), WaitlistStatus::Waiting);
    house.changed(Command::Cancel(change(2)));
    let rooms = [5, 6, 7].map(|n| house.get(n).room.clone().unwrap());
    assert_eq!(rooms, ["101", "102", "103"].map(room));
    sound(&house);
}

/// Where each night has a free room and none has all, a stay fits in no room; where a night is full, it may be overbooked.
#[test]
fn what_a_sale_makes_fit_is_offered_before_it_is_to_who_comes_later() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    for (n, id, from, to) in [(4, "103", 10, 12), (1, "101", 10, 11), (2, "102", 11, 12)] {
        house.reserved(by_room(n, id, from, to));
    }
    assert_eq!(joined(&mut house, join_waitlist(1, "double", 10, 12)), WaitlistStatus::Waiting);
    house.reserved(by_room(3, "102", 10, 11));
    assert_eq!(joined(&mut house, join_waitlist(2, "double", 10, 12)), WaitlistStatus::Waiting);
    assert_eq!(house.ledger.reservation(offered(&house, 1)).unwrap().room, None);
    sound(&house);
}

#[test]
fn the_first_that_fits_is_offered_what_is_freed() {
    let mut house = full_house();
    for (n, arrival, departure) in [(1, 9, 14), (2, 11, 13), (3, 10, 11), (4, 10, 12)] {
        assert_eq!(
            joined(&mut house, join_waitlist(n, "suite", arrival, departure)),
            WaitlistStatus::Waiting
        );
    }
    house.reserved(by_type(2, "suite", 13, 14));
    house.changed(Command::Cancel(change(1)));
    // The first needs a night that is sold; the second and the third fit beside each other.
    let statuses = |house: &House| [1, 2, 3, 4].map(|n| entry(house, n).0);
    use WaitlistStatus::*;
    assert_eq!(statuses(&house), [Waiting, Offered, Offered, Waiting]);
    sound(&house);

    // A hold that is confirmed is booked, one that ends lapses, and the next is offered what that frees.
    house.changed(Command::Confirm(of(offered(&house, 3))));
    house.later(HOUR);
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(statuses(&house), [Waiting, Lapsed, Booked, Waiting]);
    let booked = entry(&house, 3).1.unwrap();
    house.changed(Command::Cancel(of(booked)));
    assert_eq!(statuses(&house), [Waiting, Lapsed, Booked, Offered]);
    // One that is canceled is withdrawn.
    house.changed(Command::Cancel(of(offered(&house, 4))));
    assert_eq!(statuses(&house), [Waiting, Lapsed, Booked, Withdrawn]);
    house.changed(Command::Cancel(change(2)));
    assert_eq!(statuses(&house), [Offered, Lapsed, Booked, Withdrawn]);
    sound(&house);
}

#[test]
fn whatever_frees_something_offers_it() {
    type Free = fn(&mut House);
    let frees: [(&str, Free); 6] = [
        ("a room more", |house| drop(house.run(put_room("202", "suite")))),
        ("overbooking", |house| drop(house.run(put_room_type("suite", 1)))),
        ("a shorter stay", |house| {
            house.changed(Amend { departure: Some(day(11)), ..amend(1) }.into());
        }),
        ("another type", |house| {
            house.changed(Amend { room_type: Some(kind("double")), ..amend(1) }.into());
        }),
        ("a room back in order", |house| {
            house.run(put_room("202", "suite"));
            house.changed(Command::Cancel(change(1)));
        }),
        ("the end of a hold", |house| {
            house.changed(Command::Cancel(change(1)));
        }),
    ];
    for (name, free) in frees {
        let mut house = full_house();
        joined(&mut house, join_waitlist(1, "suite", 11, 12));
        assert_eq!(entry(&house, 1).0, WaitlistStatus::Waiting, "{name}");
        free(&mut house);
        offered(&house, 1);
        sound(&house);
    }
    // A rule that is lifted, and a block that is given up.
    let mut house = House::new();
    house.run(put_restrictions("suite", 0, 90, Rules { closed: true, ..Rules::default() }));
    joined(&mut house, join_waitlist(1, "suite", 11, 12));
    house.run(PutBlock { room_type: kind("suite"), ..put_block("fair", 11, 12, 1) });
    house.run(put_restrictions("suite", 0, 90, Rules::default()));
    assert_eq!(entry(&house, 1).0, WaitlistStatus::Waiting);
    let canceled = PutBlock { status: BlockStatus::Canceled, ..put_block("fair", 11, 12, 1) };
    house.run(PutBlock { room_type: kind("suite"), ..canceled });
    offered(&house, 1);
    sound(&house);
}

#[test]
fn who_leaves_gives_back_what_was_offered() {
    let mut house = full_house();
    for n in [1, 2] {
        joined(&mut house, join_waitlist(n, "suite", 10, 13));
    }
    house.changed(Command::Cancel(change(1)));
    let first = offered(&house, 1);
    assert_eq!(house.run(leave_waitlist(1)), Outcome::Removed);
    assert_eq!(house.ledger.reservation(first).unwrap().status, Status::Canceled);
    assert_eq!(entry(&house, 1), (WaitlistStatus::Withdrawn, Some(first)));
    let second = offered(&house, 2);
    assert_eq!(house.run(leave_waitlist(1)), Outcome::Removed);
    house.changed(Command::Confirm(of(second)));
    let refused = Outcome::Refused(Refusal::NotWaiting { state: WaitlistStatus::Booked });
    assert_eq!(house.run(leave_waitlist(2)), refused);
    assert_eq!(house.run(leave_waitlist(9)), Outcome::Refused(Refusal::WaitlistEntryNotFound));
    sound(&house);
}

/// What is due is done ahead of a command, and he is offered a hold by the command with which he leaves.
#[test]
fn who_leaves_in_the_moment_of_his_offer_leaves_no_trace_of_it() {
    let mut house = House::on_clock();
    house.reserved(Reserve { hold_seconds: Some(60), ..by_type(1, "suite", 10, 13) });
    for n in [1, 2] {
        joined(&mut house, join_waitlist(n, "suite", 10, 13));
    }
    house.later(60_000);
    assert_eq!(house.run(leave_waitlist(1)), Outcome::Removed);
    assert_eq!(entry(&house, 1), (WaitlistStatus::Withdrawn, None));
    offered(&house, 2);
    let told = house.commits.last().unwrap().events();
    let told: Vec<&str> = told.map(|(_, event_type, _)| event_type.as_str()).collect();
    assert_eq!(told, ["reservation.expired", "waitlist.changed", "reservation.held", "waitlist.offered"]);
    assert_eq!(house.ledger.header().records.reservations, 2);
    sound(&house);
}

#[test]
fn who_waits_for_what_can_not_be_is_refused() {
    let mut house = House::new();
    type Case = (&'static str, fn(&mut JoinWaitlist), Refusal);
    let cases: [Case; 7] = [
        ("no type", |c| c.room_type = kind("x"), Refusal::RoomTypeNotFound),
        ("no night", |c| c.departure = c.arrival, Refusal::InvalidStay),
        ("past", |c| c.arrival = day(-1), Refusal::ArrivalInPast { business_date: day(0) }),
        ("occupancy", |c| c.occupancy = 3, Refusal::OccupancyInvalid { max_occupancy: 2 }),
        ("currency", |c| c.currency_known = false, Refusal::InvalidCurrency),
        ("price", |c| c.occupancy = 1, Refusal::NotPriced { nights: vec![day(10)] }),
        ("property", |c| c.property = PropertyId::new("x").unwrap(), Refusal::PropertyNotFound),
    ];
    for (name, set, refusal) in cases {
        let mut command = join_waitlist(1, "suite", 10, 11);
        set(&mut command);
        assert_eq!(house.run(Command::JoinWaitlist(Box::new(command))), Outcome::Refused(refusal), "{name}");
    }
}

#[test]
fn a_wish_whose_day_has_gone_by_lapses() {
    let mut house = full_house();
    joined(&mut house, join_waitlist(1, "suite", 10, 12));
    house.run(House::roll(11));
    assert_eq!(entry(&house, 1), (WaitlistStatus::Lapsed, None));
    sound(&house);
}

#[test]
fn many_are_offered_in_turns() {
    let mut house = House::on_clock();
    house.run(put_restrictions("double", 0, 90, Rules { closed: true, ..Rules::default() }));
    for n in 0..600u128 {
        joined(&mut house, join_waitlist(n, "double", 10, 12));
    }
    house.run(put_room_type("double", 500));
    house.run(put_restrictions("double", 0, 90, Rules::default()));
    let count = |house: &House, status| (0..600).filter(|n| entry(house, *n).0 == status).count();
    assert_eq!(count(&house, WaitlistStatus::Offered), 256);
    assert_eq!(house.ledger.next_due(), Some(house.ledger.stamp()));
    // Who comes now is not served before those who wait.
    assert_eq!(joined(&mut house, join_waitlist(1_000, "double", 10, 12)), WaitlistStatus::Waiting);
    sound(&house);
    let mut replica = house.restored();
    for house in [&mut house, &mut replica] {
        house.run(Command::EndDue(EndDue {}));
    }
    assert_eq!(count(&house, WaitlistStatus::Offered), 503);
    assert_eq!(entry(&house, 502).0, WaitlistStatus::Offered);
    assert_eq!(house.ledger.state_hash(), replica.ledger.state_hash());
    sound(&house);
}

/// On the days 10 and 11 two rooms are free for a night each; on 12 and 13 none is, before reservation 5 is canceled.
fn fragmented_house() -> House {
    let mut house = House::on_clock();
    let stays = [("101", 10, 11), ("102", 11, 12), ("103", 10, 14), ("101", 12, 14), ("102", 12, 14)];
    for (n, (id, from, to)) in (1..).zip(stays) {
        house.reserved(by_room(n, id, from, to));
    }
    house
}

/// Each would be searched a room for, and a search that finds none is dear.
#[test]
fn many_who_want_the_same_in_vain_end_no_pass() {
    let mut house = fragmented_house();
    for (n, arrival) in (0..100).zip([10, 9, 8].into_iter().cycle()) {
        assert_eq!(joined(&mut house, join_waitlist(n, "double", arrival, 12)), WaitlistStatus::Waiting);
    }
    assert_eq!(joined(&mut house, join_waitlist(100, "double", 12, 14)), WaitlistStatus::Waiting);
    house.changed(Command::Cancel(change(5)));
    let hold = house.ledger.reservation(offered(&house, 100)).unwrap();
    assert_eq!(house.ledger.next_due(), hold.hold_expires_at, "the pass has come to its end");
    sound(&house);
}

/// Each wants other nights, so that each is searched a room for.
#[test]
fn as_many_turns_are_counted_as_a_pass_takes() {
    let mut house = House::on_clock();
    house.reserved(by_type(1, "suite", 1, 2));
    for n in 0..40u128 {
        // Two rooms are free for one of the nights each.
        let (first, last) = (1 + 2 * n as i32, 2 + 2 * n as i32);
        for (place, room, from) in [(10, "101", first), (11, "102", last)] {
            house.reserved(by_room(place + 3 * n, room, from, from + 1));
        }
        house.reserved(by_room(12 + 3 * n, "103", first, last + 1));
        let joined = joined(&mut house, join_waitlist(n, "double", first, last + 1));
        assert_eq!(joined, WaitlistStatus::Waiting);
    }
    house.changed(Command::Cancel(change(1)));
    // The first sixteen were come to; the last turn is the next command's own.
    for ends in [1, 0] {
        assert_eq!(house.ledger.ends_before(house.now, 32), ends);
        house.run(Command::EndDue(EndDue {}));
    }
    assert_eq!(house.ledger.next_due(), None);
    sound(&house);
}

/// The longer stay has nights on which nobody has a room any more, and needs none.
#[test]
fn a_stay_that_is_overbooked_is_offered_behind_one_that_is_fragmented() {
    let mut house = fragmented_house();
    house.run(put_room_type("double", 1));
    house.run(put_restrictions("double", 0, 90, Rules { closed: true, ..Rules::default() }));
    for (n, departure) in [(1, 12), (2, 14)] {
        assert_eq!(joined(&mut house, join_waitlist(n, "double", 10, departure)), WaitlistStatus::Waiting);
    }
    house.run(put_restrictions("double", 0, 90, Rules::default()));
    assert_eq!(entry(&house, 1).0, WaitlistStatus::Waiting);
    assert_eq!(house.ledger.reservation(offered(&house, 2)).unwrap().room, None);
    sound(&house);
}

#[test]
fn who_waits_behind_more_than_one_command_looks_at_is_come_to() {
    let mut house = full_house();
    for n in 2..5 {
        house.reserved(by_type(n, "double", 10, 13));
    }
    let last = 4_200;
    for n in 0..last {
        joined(&mut house, join_waitlist(n, "suite", 10, 13));
    }
    joined(&mut house, join_waitlist(last, "double", 10, 13));
    // Nobody of a type of which nothing is free is tried: many are looked at.
    house.changed(Command::Cancel(change(2)));
    assert_eq!(entry(&house, last), (WaitlistStatus::Waiting, None));
    assert_eq!(house.ledger.next_due(), Some(house.ledger.stamp()), "it is gone on with");
    assert_eq!(house.ledger.ends_before(house.now, 32), 0, "by the next command, whatever that is");
    house.run(Command::EndDue(EndDue {}));
    let hold = house.ledger.reservation(offered(&house, last)).unwrap();
    assert_eq!(house.ledger.next_due(), hold.hold_expires_at, "and comes to its end");
    house.ledger.audit().unwrap();
}

#[test]
fn the_key_of_a_wish_answers_as_it_was_made() {
    let mut house = full_house();
    let command = Command::JoinWaitlist(Box::new(join_waitlist(1, "suite", 10, 13)));
    let wish = Submission { key: Some(key(1, 1)), command };
    let made = house.submit(&wish).outcome;
    house.changed(Command::Cancel(change(1)));
    offered(&house, 1);
    let again = house.restored().submit(&wish);
    assert_eq!((again.outcome, again.replayed), (made, true));
}

#[test]
fn what_happens_is_told() {
    let mut house = full_house();
    joined(&mut house, join_waitlist(1, "suite", 10, 13));
    let told = |house: &House| -> Vec<&str> {
        let last = house.commits.last().unwrap();
        last.events().map(|(_, event_type, _)| event_type.as_str()).collect()
    };
    assert_eq!(told(&house), ["waitlist.defined"]);
    house.changed(Command::Cancel(change(1)));
    assert_eq!(told(&house), ["reservation.canceled", "reservation.held", "waitlist.offered"]);
    house.changed(Command::Confirm(of(offered(&house, 1))));
    assert_eq!(told(&house), ["reservation.confirmed", "waitlist.changed"]);
}

#[test]
fn an_offer_that_is_amended_stays_one() {
    let mut house = House::new();
    joined(&mut house, join_waitlist(1, "suite", 10, 13));
    let hold = offered(&house, 1);
    let shorter = Amend { departure: Some(day(12)), ..Amend { reservation: hold, ..amend(0) } };
    house.changed(shorter.into());
    assert_eq!(entry(&house, 1), (WaitlistStatus::Offered, Some(hold)));
    house.run(leave_waitlist(1));
    assert_eq!(house.ledger.reservation(hold).unwrap().status, Status::Canceled);
    sound(&house);
}
