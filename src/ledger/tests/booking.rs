//! A booking's life: every night checked, the departure day free.

use super::support::*;
use crate::ledger::*;

#[test]
fn a_room_is_sold_once_a_night_and_the_departure_day_is_free() {
    let mut house = House::new();
    let first = house.reserved(by_room(1, "101", 10, 13));
    assert_eq!((first.price.total(), first.revision, first.room_pinned), (420, 1, true));
    let cases = [
        (8, 10, None),
        (13, 15, None),
        (10, 11, Some(vec![10])),
        (12, 13, Some(vec![12])),
        (9, 12, Some(vec![10, 11])),
        (9, 20, Some(vec![10, 11, 12])),
    ];
    for (arrival, departure, taken) in cases {
        let mut house = house.clone();
        let free = house.free(arrival, departure).contains(&"101".to_owned());
        let outcome = house.run(by_room(2, "101", arrival, departure));
        match taken {
            None => assert!(matches!(outcome, Outcome::Reserved(_)), "{arrival}..{departure}: {outcome:?}"),
            Some(ref nights) => {
                let nights = nights.iter().map(|night| day(*night)).collect();
                assert_eq!(outcome, Outcome::Refused(Refusal::RoomUnavailable { nights }));
            }
        }
        assert_eq!(free, taken.is_none(), "free-rooms says what a reservation gets");
        house.ledger.audit().unwrap();
    }
}
