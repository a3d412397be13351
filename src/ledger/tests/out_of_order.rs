//! Rooms out of order: who moves, who is in the way, and what is counted.

use super::support::*;
use crate::ledger::*;

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

fn refused_on(nights: &[i32]) -> Refusal {
    Refusal::CapacityBelowSold { nights: nights.iter().map(|night| day(*night)).collect() }
}

/// The nights of the days 0 to 12 on which 101 is out of order, and what is available of its type.
fn shown(house: &House) -> (Vec<i32>, Vec<i64>) {
    let nights = &house.ledger.availability(&hotel(), day(0), day(12)).unwrap()[&kind("double")];
    let closed = (0..12).filter(|n| nights[*n as usize].out_of_order == 1).collect();
    (closed, nights.iter().map(|night| night.available).collect())
}

#[test]
fn what_is_out_of_order_is_listed_by_room_and_date_within_the_range() {
    let mut house = House::new();
    for (room, from, to) in [("102", 8, 9), ("101", 5, 7), ("101", 1, 3)] {
        house.run(put_out_of_order(room, from, to));
    }
    let list = |from, to| {
        let found = house.ledger.out_of_order(&hotel(), day(from), day(to)).unwrap();
        let shown = found.iter().map(|it| (it.room.to_string(), it.from, it.to, it.reason.to_string()));
        shown.collect::<Vec<_>>()
    };
    let row = |room: &str, from, to| (room.to_owned(), day(from), day(to), "paint".to_owned());
    assert_eq!(list(2, 9), [row("101", 2, 3), row("101", 5, 7), row("102", 8, 9)]);
    assert_eq!(list(3, 5), []);
    assert_eq!(house.ledger.out_of_order(&hotel(), day(3), day(3)), Err(Refusal::InvalidStay));
}

#[test]
fn a_room_out_of_order_is_neither_free_nor_counted() {
    let mut house = House::new();
    let set = house.run(put_out_of_order("101", 3, 6));
    assert!(matches!(set, Outcome::OutOfOrder(set) if &*set.reason == "paint"));
    assert_eq!(shown(&house), (vec![3, 4, 5], vec![3, 3, 3, 2, 2, 2, 3, 3, 3, 3, 3, 3]));
    for (arrival, departure, free) in
        [(1, 3, true), (2, 4, false), (5, 7, false), (6, 8, true), (0, 9, false)]
    {
        let mut house = house.clone();
        assert_eq!(house.free(arrival, departure).contains(&"101".to_owned()), free);
        match house.run(by_room(1, "101", arrival, departure)) {
            Outcome::Reserved(_) => assert!(free),
            Outcome::Refused(Refusal::RoomUnavailable { nights }) => {
                let closed = day(arrival).until(day(departure)).filter(|n| (day(3)..day(6)).contains(n));
                assert_eq!(nights, closed.collect::<Vec<_>>());
            }
            other => panic!("{other:?}"),
        }
        sound(&house);
    }
    // A stay by type goes elsewhere, and the type is full one room earlier.
    for n in [1, 2] {
        assert_ne!(house.reserved(by_type(n, "double", 4, 5)).room, Some(room("101")));
    }
    let full = Refusal::NoAvailability { nights: vec![day(4)], fragmented: false };
    assert_eq!(house.refused(by_type(3, "double", 4, 5)), full);
    sound(&house);
}

#[test]
fn a_range_is_replaced_and_put_back_in_order_by_nights() {
    let mut house = House::new();
    house.run(put_out_of_order("101", 1, 9));
    house.run(PutOutOfOrder { reason: "water".into(), ..put_out_of_order("101", 3, 5) });
    assert_eq!(house.ledger.header().records.out_of_order, 3);
    sound(&house);
    assert_eq!(house.run(end_out_of_order("101", 4, 7)), Outcome::Removed);
    assert_eq!(shown(&house).0, [1, 2, 3, 7, 8]);
    assert_eq!(house.run(end_out_of_order("101", 4, 7)), Outcome::Removed);
    sound(&house);
    house.run(end_out_of_order("101", 0, 20));
    assert_eq!((shown(&house).0, house.ledger.header().records.out_of_order), (vec![], 0));
    sound(&house);
    assert_eq!(house.refused(put_out_of_order("999", 1, 2)), Refusal::RoomNotFound);
    assert_eq!(house.refused(end_out_of_order("999", 1, 2)), Refusal::RoomNotFound);
}

#[test]
fn what_is_sold_by_name_or_needs_the_room_is_in_the_way() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 4, 7));
    assert_eq!(house.refused(put_out_of_order("101", 0, 6)), refused_on(&[4, 5]));
    assert!(matches!(house.run(put_out_of_order("101", 7, 9)), Outcome::OutOfOrder(_)));
    sound(&house);
    // All doubles are sold on day 5: no room of them can be done without.
    house.reserved(by_type(2, "double", 5, 6));
    house.reserved(by_type(3, "double", 5, 6));
    assert_eq!(house.refused(put_out_of_order("103", 2, 9)), refused_on(&[5]));
    // A guest in house does not move.
    let mut house = House::new();
    house.reserved(by_type(1, "double", 0, 3));
    house.changed(Command::CheckIn(change(1)));
    assert_eq!(house.refused(put_out_of_order("101", 1, 9)), refused_on(&[1, 2]));
    sound(&house);
}

#[test]
fn a_planned_stay_moves_and_nobody_notices() {
    let mut house = House::new();
    let before = house.reserved(by_type(1, "double", 2, 5));
    assert_eq!(before.room, Some(room("101")));
    house.later(5);
    house.run(put_out_of_order("101", 4, 9));
    let after = house.get(1);
    assert_eq!(*after, Reservation { room: Some(room("102")), ..(*before).clone() });
    sound(&house);
    // Each night has a double left, but none for the whole stay.
    house.reserved(by_room(2, "103", 2, 3));
    let nights = refused_on(&[4]);
    house.reserved(by_room(3, "101", 2, 4));
    assert_eq!(house.refused(put_out_of_order("102", 4, 5)), nights);
    assert_eq!(house.get(1).room, Some(room("102")));
    sound(&house);
}

#[test]
fn a_room_back_in_order_goes_to_a_stay_without_one() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    house.run(put_out_of_order("101", 0, 9));
    for n in 1..4 {
        house.reserved(by_type(n, "double", 2, 5));
    }
    assert_eq!(house.get(3).room, None);
    house.run(end_out_of_order("101", 0, 4));
    assert_eq!(house.get(3).room, None);
    house.run(end_out_of_order("101", 4, 9));
    assert_eq!(house.get(3).room, Some(room("101")));
    sound(&house);
}

#[test]
fn a_room_that_changes_its_type_takes_its_nights_along() {
    let mut house = House::new();
    house.run(put_out_of_order("101", 3, 5));
    house.run(put_room("101", "suite"));
    let nights = house.ledger.availability(&hotel(), day(3), day(4)).unwrap();
    let of = |room_type| (nights[&kind(room_type)][0].rooms, nights[&kind(room_type)][0].out_of_order);
    assert_eq!((of("double"), of("suite")), ((2, 0), (2, 1)));
    sound(&house);
    house.run(end_out_of_order("101", 0, 9));
    sound(&house);
}

#[test]
fn who_is_only_planned_for_a_room_that_changes_its_type_moves_to_another() {
    let mut house = House::new();
    house.reserved(by_type(1, "double", 2, 5));
    house.run(put_out_of_order("101", 6, 9));
    assert_eq!(house.get(1).room, Some(room("101")));
    assert!(matches!(house.run(put_room("101", "suite")), Outcome::Room { .. }));
    assert_eq!(
        (house.get(1).room.clone(), house.get(1).room_type.clone()),
        (Some(room("102")), kind("double"))
    );
    assert_eq!(house.free(6, 9), ["102", "103", "201"]);
    sound(&house);
    // Who has it by name is in the way, and whoever has no other room.
    house.reserved(by_room(2, "103", 3, 4));
    let nights =
        |nights: &[i32]| Refusal::CapacityBelowSold { nights: nights.iter().copied().map(day).collect() };
    assert_eq!(house.refused(put_room("103", "suite")), nights(&[3]));
    assert_eq!(house.refused(put_room("102", "suite")), nights(&[3]));
    sound(&house);
}

#[test]
fn nights_that_are_gone_are_in_nobodys_way() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 4));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(3));
    assert_eq!(house.refused(put_out_of_order("101", 0, 6)), refused_on(&[3]));
    house.changed(Command::CheckOut(change(1)));
    assert!(matches!(house.run(put_out_of_order("101", 0, 6)), Outcome::OutOfOrder(_)));
    assert_eq!(house.free(3, 4), ["102", "103", "201"]);
    sound(&house);
}
