//! Bookings of several reservations: all or none, in their order, under one key.

use super::support::*;
use crate::ledger::*;

fn booked(outcome: Outcome) -> Booking {
    match outcome {
        Outcome::Booked(booking) | Outcome::BookingChanged(booking) => booking,
        other => panic!("expected a booking, got {other:?}"),
    }
}

fn held(mut stay: Reserve, seconds: u64) -> Reserve {
    stay.hold_seconds = Some(seconds);
    stay
}

fn priced(stay: Reserve, total: i64) -> Reserve {
    Reserve { expected_total: Some(total), ..stay }
}

fn confirm(n: u128) -> Command {
    Command::ConfirmBooking(BookingChange { booking: booking(n) })
}

fn cancel(n: u128) -> Command {
    Command::CancelBooking(BookingChange { booking: booking(n) })
}

fn member(index: u32, refusal: Refusal) -> Refusal {
    Refusal::Member { index, refusal: Box::new(refusal) }
}

fn states(house: &House, n: u128) -> Vec<Status> {
    let booking = house.ledger.booking(booking(n)).unwrap();
    booking.reservations.iter().map(|reservation| reservation.status).collect()
}

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

#[test]
fn reservations_are_made_together_in_their_order() {
    let mut house = House::new();
    // Ids run against the order, which is the caller's.
    let stays = [by_type(9, "double", 10, 12), by_room(8, "101", 12, 14), by_type(7, "double", 10, 14)];
    let made = booked(house.run(group(&stays)));
    let ids: Vec<ReservationId> = made.reservations.iter().map(|reservation| reservation.id).collect();
    assert_eq!((made.id, ids), (booking(9), vec![id(9), id(8), id(7)]));
    assert!(made.reservations.iter().all(|stay| stay.booking_id == booking(9) && &*stay.guest == "group"));
    assert!(made.reservations.iter().all(|stay| stay.lsn == house.ledger.lsn() && stay.revision == 1));
    assert_eq!(house.ledger.booking(booking(9)).unwrap(), made);
    assert_eq!(house.restored().ledger.booking(booking(9)).unwrap(), made);
    sound(&house);
    // One that was made by itself is a booking too.
    house.reserved(by_room(1, "201", 10, 12));
    assert_eq!(house.ledger.booking(booking(1)).unwrap().reservations, [house.get(1)]);
    assert_eq!(house.ledger.booking(booking(2)), Err(Refusal::BookingNotFound));
}

#[test]
fn all_or_none_and_the_refusal_names_the_member() {
    let three = || [by_type(1, "double", 10, 12), by_type(2, "double", 10, 12), by_type(3, "double", 10, 12)];
    let full = Refusal::NoAvailability { nights: vec![day(10), day(11)], fragmented: false };
    let fourth = |stay: Reserve| [three().to_vec(), vec![stay]].concat();
    let two_suites = || vec![by_type(1, "suite", 10, 12), by_type(2, "suite", 10, 12)];
    let cases = [
        (fourth(by_type(4, "double", 10, 12)), member(3, full.clone())),
        (fourth(by_room(4, "999", 10, 12)), member(3, Refusal::RoomNotFound)),
        (fourth(by_type(4, "suite", 12, 12)), member(3, Refusal::InvalidStay)),
        // What stands against one whatever is sold is told before what is sold to another.
        (
            [fourth(by_type(4, "double", 10, 12)), vec![by_room(5, "101", 9, 9)]].concat(),
            member(4, Refusal::InvalidStay),
        ),
        (
            vec![by_room(1, "101", 10, 12), by_room(2, "101", 11, 13)],
            member(1, Refusal::RoomUnavailable { nights: vec![day(11)] }),
        ),
        (vec![by_type(1, "double", -1, 12), by_type(2, "none", 1, 1)], member(1, Refusal::RoomTypeNotFound)),
        // A room by name that is taken is told before a type of which none is left, whichever comes first.
        (
            [fourth(by_type(4, "double", 10, 12)), vec![by_room(5, "101", 10, 12)]].concat(),
            member(4, Refusal::RoomUnavailable { nights: vec![day(10), day(11)] }),
        ),
        ([two_suites(), vec![by_room(3, "101", 10, 12)]].concat(), member(1, full.clone())),
        (
            [two_suites(), vec![by_room(3, "101", 10, 12), by_room(4, "101", 11, 13)]].concat(),
            member(3, Refusal::RoomUnavailable { nights: vec![day(11)] }),
        ),
        (
            [two_suites(), vec![by_room(3, "201", 9, 13), by_room(4, "201", 12, 12)]].concat(),
            member(3, Refusal::InvalidStay),
        ),
        ([two_suites(), vec![priced(by_room(3, "101", 10, 12), 1)]].concat(), member(1, full.clone())),
        // At another price it has its place all the same; what has none is told before.
        (
            vec![
                priced(by_type(1, "double", 10, 12), 1),
                by_room(2, "101", 10, 12),
                by_room(3, "101", 11, 13),
            ],
            member(2, Refusal::RoomUnavailable { nights: vec![day(11)] }),
        ),
        (
            vec![
                by_type(1, "double", 10, 12),
                priced(by_type(2, "double", 10, 12), 1),
                by_type(3, "double", 10, 12),
            ],
            member(1, Refusal::PriceChanged { total: 280 }),
        ),
        (
            vec![by_type(1, "double", 10, 12), priced(by_type(2, "double", 10, 12), -1)],
            member(1, Refusal::InvalidAmount),
        ),
        (
            vec![by_type(1, "double", 10, 10), by_type(2, "double", -1, 12), by_type(3, "double", 9, 9)],
            member(0, Refusal::InvalidStay),
        ),
    ];
    for (stays, refusal) in cases {
        let mut house = House::new();
        assert_eq!(house.refused(group(&stays)), refusal);
        assert_eq!(house.ledger.header().records.reservations, 0);
        assert_eq!(house.free(10, 12).len(), 4);
        sound(&house);
    }
    let mut house = House::new();
    let mut nowhere = group(&three());
    nowhere.property = PropertyId::new("nowhere").unwrap();
    assert_eq!(house.refused(nowhere), Refusal::PropertyNotFound);
}

#[test]
fn what_is_freed_together_goes_to_the_oldest_that_it_fits() {
    let ends: [fn(&mut House); 2] = [
        |house| drop(house.run(cancel(1))),
        |house| {
            house.later(900_000);
            house.run(Command::EndDue(EndDue {}));
        },
    ];
    for end in ends {
        let mut house = House::new();
        house.run(put_room_type("double", 2));
        house.run(group(&[
            held(by_room(1, "101", 10, 12), 900),
            held(by_room(2, "102", 10, 12), 900),
            held(by_room(3, "101", 12, 14), 900),
        ]));
        house.reserved(by_room(4, "102", 12, 14));
        house.reserved(by_room(5, "103", 10, 14));
        // The older fits only what all of the booking leaves, the younger a part of it.
        house.reserved(by_type(6, "double", 10, 14));
        house.reserved(by_type(7, "double", 10, 13));
        assert_eq!((house.get(6).room.clone(), house.get(7).room.clone()), (None, None));
        end(&mut house);
        assert_eq!((house.get(6).room.clone(), house.get(7).room.clone()), (Some(room("101")), None));
        sound(&house);
    }
}

#[test]
fn a_retry_gets_the_booking_as_it_was_made() {
    let mut house = House::new();
    let stays = [held(by_room(1, "101", 10, 12), 900), held(by_room(2, "102", 10, 12), 900)];
    let first = house.run_keyed(key(1, 1), group(&stays));
    house.run(confirm(1));
    house.changed(Command::Cancel(change(2)));
    let mut again = group(&[by_room(3, "103", 10, 12)]);
    again.booking_id = booking(77);
    for house in [&mut house.clone(), &mut house.restored()] {
        house.later(48 * 60 * 60 * 1_000);
        let retried = house.run_keyed(key(1, 1), again.clone());
        assert_eq!((retried.replayed, &retried.outcome), (true, &first.outcome));
        let other = house.run_keyed(key(1, 2), again.clone());
        assert_eq!(other.outcome, Outcome::Refused(Refusal::IdempotencyKeyReused));
        sound(house);
    }
    // A refused booking is stored as well.
    let refused = house.run_keyed(key(2, 1), group(&[by_room(4, "101", 10, 12), by_room(5, "101", 10, 12)]));
    let retried = house.run_keyed(key(2, 1), group(&[by_room(6, "103", 10, 12)]));
    assert_eq!((retried.replayed, retried.outcome), (true, refused.outcome));
}

#[test]
fn confirm_and_cancel_of_the_whole() {
    let mut house = House::new();
    let stays = [held(by_room(1, "101", 10, 12), 900), by_room(2, "102", 10, 12)];
    house.run(group(&stays));
    let made = house.get(2);
    let confirmed = booked(house.run(confirm(1)));
    assert_eq!(states(&house, 1), [Status::Confirmed; 2]);
    assert_eq!(confirmed, house.ledger.booking(booking(1)).unwrap());
    assert_eq!(house.get(2), made, "who is there is left alone");
    house.changed(Command::Cancel(change(1)));
    let refused = member(0, Refusal::InvalidState { state: Status::Canceled });
    assert_eq!(house.refused(confirm(1)), refused);
    booked(house.run(cancel(1)));
    assert_eq!(states(&house, 1), [Status::Canceled; 2]);
    assert_eq!((house.get(1).revision, house.get(2).revision), (3, 2));
    booked(house.run(cancel(1)));
    assert_eq!((house.get(1).revision, house.get(2).revision), (3, 2));
    for command in [confirm(9), cancel(9)] {
        assert_eq!(house.refused(command), Refusal::BookingNotFound);
    }
    sound(&house);
}

#[test]
fn a_change_that_one_member_refuses_changes_none() {
    let mut house = House::new();
    let stays = [by_room(1, "101", 0, 2), by_room(2, "102", 0, 2), held(by_room(3, "103", 0, 2), 1)];
    house.run(group(&stays));
    house.changed(Command::CheckIn(change(2)));
    let before = house.get(1);
    assert_eq!(house.refused(cancel(1)), member(1, Refusal::InvalidState { state: Status::InHouse }));
    assert_eq!(house.get(1), before);
    house.changed(Command::CheckOut(change(2)));
    house.later(1_000);
    // A hold that has ended comes before a state, whoever's it is.
    assert_eq!(house.refused(confirm(1)), member(2, Refusal::HoldExpired));
    assert_eq!(house.refused(cancel(1)), member(1, Refusal::InvalidState { state: Status::CheckedOut }));
    let stays = [by_room(4, "101", 4, 6), held(by_room(5, "102", 4, 6), 1)];
    house.run(group(&stays));
    house.later(1_000);
    assert_eq!(house.refused(confirm(4)), member(1, Refusal::HoldExpired));
    sound(&house);
}

#[test]
fn a_booking_is_answered_as_it_stands_once_all_of_it_is_made() {
    // The second takes the room that was planned for the first.
    let by_type_first = ImportedStay { room: None, room_pinned: false, ..imported(1, "double", 10, 12) };
    let commands: [Command; 2] = [
        group(&[by_type(1, "double", 10, 12), by_room(2, "101", 10, 12)]).into(),
        import(vec![by_type_first, imported(2, "double", 10, 12)]).into(),
    ];
    for command in commands {
        let mut house = House::new();
        let first = house.run_keyed(key(1, 1), command.clone());
        let made = booked(first.outcome.clone());
        let rooms: Vec<_> = made.reservations.iter().map(|stay| stay.room.clone()).collect();
        assert_eq!(rooms, [Some(room("102")), Some(room("101"))]);
        assert_eq!(made, house.ledger.booking(booking(1)).unwrap());
        house.changed(assign(1, "103"));
        let again = house.run_keyed(key(1, 1), command);
        assert_eq!((again.replayed, again.outcome), (true, first.outcome));
        sound(&house);
    }
}
