//! Every refusal of a reservation, and which comes first where several apply.

use super::support::*;
use crate::ledger::*;

/// Its name, what provokes it, and the refusal with its facts.
type Fault = (&'static str, fn(&mut Reserve), Refusal);

/// The refusals of `reserve` in the contract's order.
fn faults() -> Vec<Fault> {
    let nights = |from: i32, to: i32| day(from).until(day(to)).collect::<Vec<Date>>();
    vec![
        (
            "property_not_found",
            |command| command.property = PropertyId::new("nowhere").unwrap(),
            Refusal::PropertyNotFound,
        ),
        ("room_not_found", |command| command.wanted = Wanted::Room(room("999")), Refusal::RoomNotFound),
        (
            "block_not_found",
            |command| command.block = Some(BlockId::new("fair").unwrap()),
            Refusal::BlockNotFound,
        ),
        ("invalid_stay", |command| command.departure = command.arrival, Refusal::InvalidStay),
        ("stay_too_long", |command| command.departure = command.arrival.plus(367), Refusal::StayTooLong),
        (
            "arrival_in_past",
            |command| command.arrival = day(-1),
            Refusal::ArrivalInPast { business_date: day(0) },
        ),
        (
            "beyond_horizon",
            |command| (command.arrival, command.departure) = (day(1_090), day(1_101)),
            Refusal::BeyondHorizon { latest_departure: day(1_100) },
        ),
        (
            "occupancy_invalid",
            |command| command.occupancy = 3,
            Refusal::OccupancyInvalid { max_occupancy: 2 },
        ),
        ("hold_ttl_invalid", |command| command.hold_seconds = Some(0), Refusal::HoldTtlInvalid),
        (
            "not_priced",
            |command| command.currency = Currency::new("CHF"),
            Refusal::NotPriced { nights: nights(10, 13) },
        ),
        (
            "invalid_currency",
            |command| (command.currency, command.currency_known) = (Currency::new("XXZ"), false),
            Refusal::InvalidCurrency,
        ),
        ("invalid_amount", |command| command.expected_total = Some(-1), Refusal::InvalidAmount),
        (
            "room_unavailable",
            |command| command.wanted = Wanted::Room(room("102")),
            Refusal::RoomUnavailable { nights: nights(11, 13) },
        ),
        (
            "no_availability",
            |command| {
                command.wanted = Wanted::RoomType(kind("suite"));
                command.currency = Some(eur());
            },
            Refusal::NoAvailability { nights: nights(10, 12), fragmented: false },
        ),
        ("price_changed", |command| command.expected_total = Some(419), Refusal::PriceChanged { total: 420 }),
    ]
}

/// A house in which every fault of [`faults`] can happen.
fn house() -> House {
    let mut house = House::new();
    house.reserved(by_room(1, "102", 11, 14));
    house.reserved(by_type(2, "suite", 9, 12));
    house
}

#[test]
fn each_fault_has_its_refusal_and_changes_nothing() {
    for (name, spoil, expected) in faults() {
        let mut house = house();
        let before: Vec<Record> = house.ledger.records().collect();
        let mut command = by_room(9, "101", 10, 13);
        spoil(&mut command);
        assert_eq!(house.refused(command), expected, "{name}");
        assert!(house.ledger.records().eq(before), "{name} left something behind");
    }
    house().reserved(by_room(9, "101", 10, 13));
}

#[test]
fn the_first_of_two_faults_in_the_contracts_order_is_answered() {
    let faults = faults();
    let same_field = [
        // Both spoil what is wanted, or the dates, or the amounts: the later one would undo the earlier.
        ("room_not_found", "room_unavailable"),
        ("room_not_found", "no_availability"),
        ("room_unavailable", "no_availability"),
        ("invalid_stay", "stay_too_long"),
        ("invalid_stay", "arrival_in_past"),
        ("invalid_stay", "beyond_horizon"),
        ("stay_too_long", "beyond_horizon"),
        ("arrival_in_past", "beyond_horizon"),
        ("not_priced", "invalid_currency"),
        ("not_priced", "no_availability"),
        ("invalid_amount", "price_changed"),
        ("invalid_currency", "no_availability"),
    ];
    let mut pairs = 0;
    for (n, (first, spoil_first, _)) in faults.iter().enumerate() {
        for (second, spoil_second, _) in &faults[n + 1..] {
            if same_field.contains(&(first, second)) {
                continue;
            }
            let alone = {
                let mut command = by_room(9, "101", 10, 13);
                spoil_first(&mut command);
                house().refused(command)
            };
            let mut command = by_room(9, "101", 10, 13);
            spoil_second(&mut command);
            spoil_first(&mut command);
            let refusal = house().refused(command);
            let same = std::mem::discriminant(&refusal) == std::mem::discriminant(&alone);
            assert!(same, "{first} before {second}: {refusal:?}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 15 * 14 / 2 - same_field.len());
}

#[test]
fn the_last_value_that_is_allowed_and_the_first_that_is_not() {
    let mut house = House::new();
    let all = put_rates(
        RateTarget::RoomType(kind("double")),
        Date::MIN,
        Date::MAX,
        prices(&[("EUR", 1, 100), ("EUR", 2, 140)]),
    );
    house.run(all);
    type Set = fn(&mut Reserve);
    let cases: [(&str, Set, Option<Refusal>); 13] = [
        ("366 nights", |c| c.departure = c.arrival.plus(366), None),
        ("367 nights", |c| c.departure = c.arrival.plus(367), Some(Refusal::StayTooLong)),
        ("today", |c| c.arrival = day(0), None),
        ("yesterday", |c| c.arrival = day(-1), Some(Refusal::ArrivalInPast { business_date: day(0) })),
        ("at the horizon", |c| (c.arrival, c.departure) = (day(1_099), day(1_100)), None),
        (
            "past the horizon",
            |c| (c.arrival, c.departure) = (day(1_099), day(1_101)),
            Some(Refusal::BeyondHorizon { latest_departure: day(1_100) }),
        ),
        ("one guest", |c| c.occupancy = 1, None),
        ("no guest", |c| c.occupancy = 0, Some(Refusal::OccupancyInvalid { max_occupancy: 2 })),
        ("three guests", |c| c.occupancy = 3, Some(Refusal::OccupancyInvalid { max_occupancy: 2 })),
        ("a second", |c| c.hold_seconds = Some(1), None),
        ("a day", |c| c.hold_seconds = Some(86_400), None),
        ("a day and a second", |c| c.hold_seconds = Some(86_401), Some(Refusal::HoldTtlInvalid)),
        ("the right total", |c| c.expected_total = Some(420), None),
    ];
    for (name, set, expected) in cases {
        let mut house = house.clone();
        let mut command = by_room(1, "101", 10, 13);
        set(&mut command);
        match (house.run(command), expected) {
            (Outcome::Reserved(_), None) => {}
            (Outcome::Refused(refusal), Some(expected)) => assert_eq!(refusal, expected, "{name}"),
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
        house.ledger.audit().unwrap();
    }
}

#[test]
fn nights_without_a_price_for_exactly_that_occupancy_and_currency_are_all_listed() {
    let mut house = House::new();
    let clear = |from: i32, to: i32| {
        put_rates(RateTarget::RoomType(kind("double")), day(from), day(to), Prices::new())
    };
    house.run(clear(11, 12));
    house.run(clear(13, 15));
    let cases = [(10, 11, vec![]), (10, 13, vec![11]), (9, 20, vec![11, 13, 14]), (14, 16, vec![14])];
    for (arrival, departure, unpriced) in cases {
        let mut house = house.clone();
        let outcome = house.run(by_room(1, "101", arrival, departure));
        if unpriced.is_empty() {
            assert!(matches!(outcome, Outcome::Reserved(_)));
        } else {
            let nights = unpriced.into_iter().map(day).collect();
            assert_eq!(outcome, Outcome::Refused(Refusal::NotPriced { nights }));
        }
    }
}

#[test]
fn the_key_comes_before_every_rule_and_the_entity_before_the_version() {
    let mut house = House::new();
    house.run_keyed(key(1, 1), by_room(1, "101", 10, 13));
    let mut hopeless = by_room(2, "999", 13, 10);
    hopeless.property = PropertyId::new("nowhere").unwrap();
    let answer = house.run_keyed(key(1, 2), hopeless);
    assert_eq!(answer.outcome, Outcome::Refused(Refusal::IdempotencyKeyReused));
    assert!(!answer.replayed);
    let unknown = Change { reservation: id(77), if_match: Some(5) };
    assert_eq!(house.refused(Command::Cancel(unknown)), Refusal::ReservationNotFound);
}
