//! Reservations that another ledger made are taken over as they stood, and never sell a night twice.

use super::support::*;
use crate::ledger::*;

fn taken_over(house: &mut House, stays: Vec<ImportedStay>) -> Vec<std::sync::Arc<Reservation>> {
    match house.run(import(stays)) {
        Outcome::Booked(booking) => booking.reservations,
        other => panic!("expected a booking, got {other:?}"),
    }
}

fn of_status(n: u128, status: Status, arrival: i32, departure: i32) -> ImportedStay {
    ImportedStay { status, ..imported(n, "double", arrival, departure) }
}

fn by_count(n: u128, arrival: i32, departure: i32) -> ImportedStay {
    ImportedStay { room_pinned: false, ..imported(n, "double", arrival, departure) }
}

fn free_doubles(house: &House, arrival: i32, departure: i32) -> Vec<String> {
    house.free(arrival, departure).into_iter().filter(|room| room.starts_with('1')).collect()
}

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

#[test]
fn a_stay_stands_as_it_stood_at_the_price_it_was_sold_at() {
    for mut house in [House::new(), House::on_clock()] {
        for (n, status, arrival, departure) in [
            (1, Status::CheckedOut, -20, -18),
            (2, Status::CheckedOut, -5, -5),
            (3, Status::NoShow, -3, 2),
            (4, Status::Canceled, 40, 42),
            (5, Status::Expired, 40, 42),
            (6, Status::InHouse, -1, 2),
            (7, Status::Confirmed, 10, 12),
        ] {
            let stays = vec![of_status(n, status, arrival, departure)];
            let [stay] = taken_over(&mut house, stays).try_into().unwrap();
            let shown = (stay.status, stay.arrival, stay.departure, stay.revision, &*stay.guest);
            assert_eq!(shown, (status, day(arrival), day(departure), 1, "group"), "{status:?}");
            assert_eq!((stay.room.clone(), stay.room_pinned), (Some(room("101")), true), "{status:?}");
            assert_eq!(stay.price.total(), 7 * i64::from(departure - arrival), "{status:?}");
            sound(&house);
        }
        // What is to come takes its nights, what was canceled takes none.
        assert_eq!(free_doubles(&house, 0, 2), ["102", "103"]);
        assert_eq!(free_doubles(&house, 11, 12), ["102", "103"]);
        assert_eq!(free_doubles(&house, 40, 42), ["101", "102", "103"]);
        // It lives on like any other.
        assert_eq!(house.changed(Command::CheckOut(change(6))).status, Status::CheckedOut);
        sound(&house);
    }
}

/// One that was checked out early keeps the price of all its nights, and so may what is taken over.
#[test]
fn a_night_that_a_stay_had_no_part_in_gets_todays_rate() {
    let mut house = House::new();
    let rate = house.reserved(by_room(2, "102", 12, 13)).price.total();
    let mut stay = imported(1, "double", 10, 12);
    stay.price.amounts = [7; 4].into();
    taken_over(&mut house, vec![stay]);
    let longer = house.changed(Command::Amend(Box::new(Amend { departure: Some(day(13)), ..amend(1) })));
    assert_eq!(*longer.price.amounts, [7, 7, rate]);
    sound(&house);
}

#[test]
fn a_hold_ends_when_it_was_to_end() {
    let mut house = House::new();
    let end = Timestamp(house.now.0 + 5_000);
    let held = ImportedStay { hold_expires_at: Some(end), ..of_status(1, Status::Held, 10, 12) };
    let overdue = ImportedStay { hold_expires_at: Some(Timestamp(1)), ..of_status(2, Status::Held, 20, 22) };
    taken_over(&mut house, vec![held, overdue]);
    house.run(Command::EndDue(EndDue {}));
    assert_eq!((house.get(1).status, house.get(2).status), (Status::Held, Status::Expired));
    house.later(5_000);
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(house.get(1).status, Status::Expired);
    sound(&house);
}

#[test]
fn no_night_is_sold_twice_and_the_refusal_names_the_member() {
    let nights = vec![day(11)];
    let full = Refusal::NoAvailability { nights: nights.clone(), fragmented: false };
    let rows = [
        (vec![of_status(1, Status::Confirmed, 10, 12), of_status(2, Status::Confirmed, 11, 13)], {
            Refusal::RoomUnavailable { nights }
        }),
        (vec![by_count(1, 11, 12), by_count(3, 11, 12), by_count(4, 11, 12), by_count(2, 11, 12)], full),
        (vec![imported(1, "double", 10, 12), imported(2, "none", 10, 12)], Refusal::RoomTypeNotFound),
    ];
    for (stays, refusal) in rows {
        let mut house = House::new();
        let index = stays.len() as u32 - 1;
        let refusal = Refusal::Member { index, refusal: Box::new(refusal) };
        assert_eq!(house.refused(import(stays)), refusal);
        assert_eq!(house.ledger.reservation(id(1)), Err(Refusal::ReservationNotFound));
        assert_eq!(free_doubles(&house, 0, 30).len(), 3);
        sound(&house);
    }
}

#[test]
fn what_can_not_stand_so_is_refused() {
    let long = ImportedStay { departure: day(10 + 367), ..imported(1, "double", 10, 12) };
    let mut unpriced = imported(1, "double", 10, 12);
    unpriced.price.from = day(11);
    let mut negative = imported(1, "double", 10, 12);
    negative.price.amounts = [7, -1].into();
    let far = ImportedStay { status: Status::Canceled, ..imported(1, "double", 1_100, 1_102) };
    let hold =
        |end| ImportedStay { hold_expires_at: Some(Timestamp(end)), ..of_status(1, Status::Held, 1, 2) };
    let latest = House::new().now.0 + 86_400_000;
    let state = |state| Some(Refusal::InvalidState { state });
    let rows = [
        (of_status(1, Status::Held, 1, 2), state(Status::Held)),
        (of_status(1, Status::InHouse, 1, 2), state(Status::InHouse)),
        (ImportedStay { room: None, ..of_status(1, Status::InHouse, 0, 2) }, state(Status::InHouse)),
        (of_status(1, Status::CheckedOut, -1, 1), state(Status::CheckedOut)),
        (of_status(1, Status::CheckedOut, -1, 0), None),
        (of_status(1, Status::NoShow, 1, 2), state(Status::NoShow)),
        (of_status(1, Status::NoShow, 0, 2), None),
        (of_status(1, Status::Confirmed, 10, 10), Some(Refusal::InvalidStay)),
        (long, Some(Refusal::StayTooLong)),
        (of_status(1, Status::Confirmed, 1_099, 1_101), {
            Some(Refusal::BeyondHorizon { latest_departure: day(1_100) })
        }),
        (far, None),
        (ImportedStay { occupancy: 0, ..imported(1, "double", 10, 12) }, {
            Some(Refusal::OccupancyInvalid { max_occupancy: 2 })
        }),
        (ImportedStay { occupancy: 5, ..imported(1, "double", 10, 12) }, None),
        (hold(latest), None),
        (hold(latest + 1), Some(Refusal::HoldTtlInvalid)),
        (unpriced, Some(Refusal::NotPriced { nights: vec![day(10)] })),
        (ImportedStay { currency_known: false, ..imported(1, "double", 10, 12) }, {
            Some(Refusal::InvalidCurrency)
        }),
        (negative, Some(Refusal::InvalidAmount)),
        (ImportedStay { room: Some(room("999")), ..imported(1, "double", 10, 12) }, {
            Some(Refusal::RoomNotFound)
        }),
    ];
    for (stay, refused) in rows {
        let mut house = House::new();
        let described = format!("{stay:?}");
        let outcome = house.run(import(vec![stay]));
        match refused {
            None => assert!(matches!(outcome, Outcome::Booked(_)), "{described}: {outcome:?}"),
            Some(refusal) => {
                let refusal = Refusal::Member { index: 0, refusal: Box::new(refusal) };
                assert_eq!(outcome, Outcome::Refused(refusal), "{described}");
            }
        }
        sound(&house);
    }
}

#[test]
fn a_stay_by_type_gets_a_room_or_waits_for_one() {
    let mut house = House::new();
    // Each night has a free room, and none is free for both.
    for (n, id, arrival) in [(1, "101", 10), (2, "102", 11), (3, "103", 10)] {
        house.reserved(by_room(n, id, arrival, arrival + 1));
    }
    taken_over(&mut house, vec![by_count(4, 10, 12)]);
    assert_eq!(house.get(4).room, None);
    house.changed(Command::Cancel(change(2)));
    assert_eq!(house.get(4).room, Some(room("102")));
    // One that should have come already has its room from today on.
    let late = by_count(5, -1, 1);
    taken_over(&mut house, vec![late]);
    assert_eq!((house.get(5).room.clone(), house.get(5).room_from), (Some(room("101")), Some(day(0))));
    sound(&house);
}

#[test]
fn a_room_of_another_type_counts_there() {
    let mut house = House::new();
    let upgraded = ImportedStay { room: Some(room("201")), ..imported(1, "double", 10, 12) };
    taken_over(&mut house, vec![upgraded]);
    assert_eq!(house.get(1).room_type, kind("suite"));
    assert_eq!(free_doubles(&house, 10, 12), ["101", "102", "103"]);
    sound(&house);
}

#[test]
fn nights_that_are_gone_are_not_argued_about() {
    let mut house = House::new();
    let gone = |n| of_status(n, Status::CheckedOut, -20, -18);
    taken_over(&mut house, vec![gone(1), gone(2)]);
    let in_house = of_status(3, Status::InHouse, -19, 2);
    taken_over(&mut house, vec![in_house]);
    assert_eq!((house.get(2).room.clone(), house.get(3).room_from), (Some(room("101")), Some(day(0))));
    assert_eq!(free_doubles(&house, 0, 2), ["102", "103"]);
    sound(&house);
}

#[test]
fn under_one_key_it_is_taken_over_once() {
    let mut house = House::new();
    let stays = || vec![imported(1, "double", 10, 12), by_count(2, 10, 12)];
    let first = house.run_keyed(key(1, 1), import(stays()));
    assert!(matches!(first.outcome, Outcome::Booked(_)));
    house.changed(Command::Cancel(change(1)));
    let again = house.run_keyed(key(1, 1), import(stays()));
    assert_eq!((again.replayed, &again.outcome), (true, &first.outcome));
    assert_eq!(house.ledger.header().records.reservations, 2);
    sound(&house);
}

#[test]
fn what_was_taken_from_a_block_is_its_again() {
    let block = Some(BlockId::new("fair").unwrap());
    let of_block =
        |n, arrival, departure| ImportedStay { block: block.clone(), ..by_count(n, arrival, departure) };
    let mut house = House::new();
    let refused = |house: &mut House, stay: ImportedStay| match house.refused(import(vec![stay])) {
        Refusal::Member { index: 0, refusal } => *refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut house, of_block(1, 10, 12)), Refusal::BlockNotFound);
    let full = |night| Refusal::NoAvailability { nights: vec![day(night)], fragmented: false };
    // Taken over while the block takes nothing yet: then it keeps only what is left.
    house.run(PutBlock { status: BlockStatus::Tentative, ..put_block("fair", 10, 12, 3) });
    taken_over(&mut house, vec![of_block(1, 10, 12), of_block(2, 11, 12)]);
    assert_eq!(refused(&mut house, of_block(3, 11, 13)), full(12), "no night that it never had");
    let Outcome::Block(shown) = house.run(put_block("fair", 10, 12, 3)) else { panic!() };
    assert_eq!(shown.picked_up, [1, 2]);
    assert_eq!(free_doubles(&house, 10, 12), [] as [&str; 0]);
    // One that keeps rooms gives them, within its dates and as many as it has.
    assert_eq!(refused(&mut house, of_block(3, 11, 13)), full(12));
    taken_over(&mut house, vec![of_block(3, 11, 12)]);
    assert_eq!(refused(&mut house, of_block(4, 10, 12)), full(11));
    // What became of it since does not matter for one that takes no room any more.
    taken_over(&mut house, vec![ImportedStay { status: Status::Canceled, ..of_block(5, 10, 13) }]);
    sound(&house);
}

#[test]
fn who_left_without_a_room_that_is_known_waits_for_none() {
    let mut house = House::new();
    let gone = ImportedStay { room: None, ..of_status(1, Status::CheckedOut, -3, -1) };
    taken_over(&mut house, vec![gone]);
    sound(&house);
}
