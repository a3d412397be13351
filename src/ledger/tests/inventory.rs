//! Properties, room types, rooms, rates and the business date.

use super::support::*;
use crate::ledger::*;

#[test]
fn a_property_that_exists_keeps_its_business_date_and_the_way_it_moves() {
    let mut house = House::new();
    let mut again = put_property(FirstBusinessDate::Clock(day(50)));
    again.name = "Renamed".into();
    again.currency = Currency::new("HUF");
    let Outcome::Property { created: false, property } = house.run(again) else {
        panic!("it was there");
    };
    assert_eq!((&*property.name, property.currency.as_str()), ("Renamed", "HUF"));
    assert_eq!(property.business_date, day(0));
    assert_eq!(property.business_date_mode, BusinessDateMode::Manual);
}

#[test]
fn what_is_no_property_type_room_or_rate() {
    let double = || RateTarget::RoomType(kind("double"));
    let rates = |target, prices| put_rates(target, day(0), day(1), prices);
    let cases: Vec<(&str, Command, Refusal)> = vec![
        (
            "time zone before currency",
            PutProperty {
                time_zone_known: false,
                currency_known: false,
                ..put_property(FirstBusinessDate::Manual(day(0)))
            }
            .into(),
            Refusal::InvalidTimeZone,
        ),
        (
            "a currency that ISO does not list",
            PutProperty { currency_known: false, ..put_property(FirstBusinessDate::Manual(day(0))) }.into(),
            Refusal::InvalidCurrency,
        ),
        (
            "a currency that is none",
            PutProperty { currency: None, ..put_property(FirstBusinessDate::Manual(day(0))) }.into(),
            Refusal::InvalidCurrency,
        ),
        (
            "a type of no property",
            PutRoomType { property: PropertyId::new("no").unwrap(), ..put_room_type("x", 0) }.into(),
            Refusal::PropertyNotFound,
        ),
        (
            "a type for nobody",
            PutRoomType { max_occupancy: 0, ..put_room_type("x", 0) }.into(),
            Refusal::OccupancyInvalid { max_occupancy: 0 },
        ),
        (
            "a room of no property",
            PutRoom { property: PropertyId::new("no").unwrap(), ..put_room("1", "no") }.into(),
            Refusal::PropertyNotFound,
        ),
        ("a room of no type", put_room("1", "no").into(), Refusal::RoomTypeNotFound),
        (
            "rates of no property",
            PutRates { property: PropertyId::new("no").unwrap(), ..rates(double(), Prices::new()) }.into(),
            Refusal::PropertyNotFound,
        ),
        (
            "rates of no type",
            rates(RateTarget::RoomType(kind("no")), Prices::new()).into(),
            Refusal::RoomTypeNotFound,
        ),
        (
            "rates of no room",
            rates(RateTarget::Room(room("no")), Prices::new()).into(),
            Refusal::RoomNotFound,
        ),
        (
            "no night",
            put_rates(double(), day(1), day(1), prices(&[("EUR", 9, -1)])).into(),
            Refusal::InvalidStay,
        ),
        (
            "occupancy 0, before the amount",
            rates(double(), prices(&[("EUR", 0, -1)])).into(),
            Refusal::OccupancyInvalid { max_occupancy: 2 },
        ),
        (
            "occupancy over the type's, for a room",
            rates(RateTarget::Room(room("101")), prices(&[("EUR", 3, 1)])).into(),
            Refusal::OccupancyInvalid { max_occupancy: 2 },
        ),
        (
            "currency before amount",
            PutRates { currencies_known: false, ..rates(double(), prices(&[("EUR", 2, -1)])) }.into(),
            Refusal::InvalidCurrency,
        ),
        ("below nothing", rates(double(), prices(&[("EUR", 2, -1)])).into(), Refusal::InvalidAmount),
        (
            "above the most",
            rates(double(), prices(&[("EUR", 2, 1_000_000_000_001)])).into(),
            Refusal::InvalidAmount,
        ),
        (
            "the date of no property",
            Command::RollBusinessDate(RollBusinessDate {
                property: PropertyId::new("no").unwrap(),
                date: day(1),
            }),
            Refusal::PropertyNotFound,
        ),
    ];
    for (name, command, expected) in cases {
        let mut house = House::new();
        let before: Vec<Record> = house.ledger.records().collect();
        assert_eq!(house.refused(command), expected, "{name}");
        assert!(house.ledger.records().eq(before), "{name} left something behind");
    }
}

#[test]
fn the_least_and_the_greatest_amount_are_taken() {
    let mut house = House::new();
    for amount in [0, 1_000_000_000_000] {
        let whole_year = prices(&[("EUR", 2, amount)]);
        house.run(put_rates(RateTarget::RoomType(kind("double")), day(0), day(366), whole_year));
        let mut house = house.clone();
        assert_eq!(house.reserved(by_room(1, "101", 0, 366)).price.total(), 366 * amount);
    }
}

#[test]
fn a_range_of_rates_replaces_all_values_of_its_target_on_its_nights() {
    let target = || RateTarget::RoomType(kind("double"));
    let set = |from, to, amount: i64| {
        let prices = if amount == 0 { Prices::new() } else { prices(&[("EUR", 2, amount)]) };
        put_rates(target(), day(from), day(to), prices)
    };
    // Against an array of nights: left, right, inside, over, touching, cleared, all at once.
    let steps = [
        (0, 10, 1),
        (3, 5, 2),
        (4, 7, 3),
        (10, 12, 4),
        (9, 11, 5),
        (5, 6, 0),
        (20, 21, 6),
        (2, 19, 0),
        (0, 40, 7),
        (0, 1, 8),
        (39, 40, 9),
        (1, 39, 10),
    ];
    let mut house = House::new();
    house.run(put_rates(target(), day(-100), day(1_000), Prices::new()));
    let mut model = [0i64; 40];
    for (from, to, amount) in steps {
        let outcome = house.run(set(from, to, amount));
        assert!(matches!(outcome, Outcome::Rates(_)));
        model[from as usize..to as usize].fill(amount);
        let mut shown = [0i64; 40];
        for segment in house.ledger.rates(&hotel(), day(0), day(40)).unwrap() {
            if segment.target == target() {
                for night in segment.from.until(segment.to) {
                    shown[day(0).nights_to(night) as usize] = segment.prices[&eur()][&2];
                }
            }
        }
        assert_eq!(shown, model);
        house.ledger.audit().unwrap();
        assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
    }
}

#[test]
fn a_rooms_rate_goes_before_its_types_per_night_currency_and_occupancy() {
    let mut house = House::new();
    let own = prices(&[("EUR", 2, 999), ("HUF", 1, 5)]);
    house.run(put_rates(RateTarget::Room(room("101")), day(11), day(12), own));
    let cases: [(u32, &str, &[i64]); 3] =
        [(2, "EUR", &[140, 999, 140]), (1, "EUR", &[100, 100, 100]), (2, "USD", &[160, 160, 160])];
    for (occupancy, currency, amounts) in cases {
        let mut command = by_room(1, "101", 10, 13);
        command.occupancy = occupancy;
        command.currency = Currency::new(currency);
        assert_eq!(&*house.clone().reserved(command.clone()).price.amounts, amounts);
        // By type it is the type's price, whichever room is planned.
        command.wanted = Wanted::RoomType(kind("double"));
        let by_type = house.clone().reserved(command);
        assert_eq!((by_type.room.clone(), by_type.price.amounts.contains(&999)), (Some(room("101")), false));
    }
    let mut command = by_room(1, "101", 11, 12);
    (command.occupancy, command.currency) = (1, Currency::new("HUF"));
    assert_eq!(house.reserved(command).price.total(), 5);
}

#[test]
fn the_business_date_moves_forward_by_the_clock_only() {
    for (first, moves) in
        [(FirstBusinessDate::Clock(day(0)), true), (FirstBusinessDate::Manual(day(0)), false)]
    {
        let mut house = House::empty();
        house.run(put_property(first));
        let roll = |date| Command::RollBusinessDate(RollBusinessDate { property: hotel(), date });
        for (to, expected) in [(5, 5), (3, 5), (5, 5), (6, 6)] {
            assert_eq!(house.run(roll(day(to))), Outcome::Done);
            let shown = house.ledger.property(&hotel()).unwrap().business_date;
            assert_eq!(shown, if moves { day(expected) } else { day(0) });
        }
    }
}

#[test]
fn a_room_that_is_out_of_order_may_change_its_type() {
    let mut house = House::new();
    house.run(put_out_of_order("201", 10, 12));
    // Nothing is sold of the only suite: on the nights on which it is closed nothing is missed.
    let outcome = house.run(put_room("201", "double"));
    assert!(matches!(outcome, Outcome::Room { created: false, .. }), "{outcome:?}");
    let nights = &house.ledger.availability(&hotel(), day(10), day(11)).unwrap()[&kind("double")];
    assert_eq!((nights[0].rooms, nights[0].out_of_order, nights[0].available), (4, 1, 3));
    house.ledger.audit().unwrap();
    assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
}

#[test]
fn a_room_keeps_its_type_while_somebody_is_in_it() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 2));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(3));
    // The guest should have left, and may yet stay longer: as a guest of a double.
    let refusal = house.refused(put_room("101", "suite"));
    assert_eq!(refusal, Refusal::CapacityBelowSold { nights: vec![day(3)] });
    house.changed(Amend { departure: Some(day(5)), ..amend(1) }.into());
    house.ledger.audit().unwrap();
}
