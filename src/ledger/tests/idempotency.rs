//! Retried keys: the stored outcome, the resource as the command left it.

use super::support::*;
use crate::ledger::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn rates(amount: i64) -> PutRates {
    put_rates(RateTarget::Room(room("101")), day(0), day(9), prices(&[("EUR", 2, amount)]))
}

/// Every kind of outcome that a key may be asked for again.
fn commands() -> Vec<(&'static str, Command)> {
    let mut wing = put_property(FirstBusinessDate::Clock(day(0)));
    wing.property = PropertyId::new("wing").unwrap();
    vec![
        ("a property made", wing.into()),
        ("a property replaced", put_property(FirstBusinessDate::Clock(day(5))).into()),
        ("a type made", put_room_type("single", 1).into()),
        ("a type replaced", put_room_type("double", 1).into()),
        ("a room made", put_room("104", "double").into()),
        ("a full house", by_type(3, "suite", 20, 23).into()),
        ("a room replaced", put_room("103", "suite").into()),
        ("rates", rates(900).into()),
        ("a reservation", by_room(1, "101", 10, 13).into()),
        ("a refusal", by_room(2, "999", 10, 13).into()),
        ("a confirmation", Command::Confirm(change(50))),
        ("a cancellation", Command::Cancel(change(51))),
        ("nothing to do", Command::EndDue(EndDue {})),
    ]
}

fn house() -> House {
    let mut house = House::new();
    let mut hold = by_room(50, "102", 30, 33);
    hold.hold_seconds = Some(86_400);
    house.reserved(hold);
    house.reserved(by_room(51, "102", 40, 43));
    house.reserved(by_room(52, "201", 20, 22));
    house
}

/// Changes everything that [`commands`] made or changed.
fn change_everything(house: &mut House) {
    let mut wing = put_property(FirstBusinessDate::Clock(day(0)));
    wing.property = PropertyId::new("wing").unwrap();
    wing.name = "Renamed".into();
    let mut hotel = put_property(FirstBusinessDate::Clock(day(0)));
    hotel.name = "Renamed".into();
    let commands: [Command; 10] = [
        wing.into(),
        hotel.into(),
        put_room_type("single", 7).into(),
        put_room_type("double", 7).into(),
        put_room("104", "suite").into(),
        put_room("103", "double").into(),
        rates(901).into(),
        Command::Cancel(change(1)),
        Command::Cancel(change(50)),
        Command::Cancel(change(52)),
    ];
    for command in commands {
        let outcome = house.run(command);
        assert!(!matches!(outcome, Outcome::Refused(_) | Outcome::Quarantined { .. }), "{outcome:?}");
    }
}

#[test]
fn a_retry_gets_what_the_first_got_and_changes_nothing() {
    let mut house = house();
    let first: Vec<Applied> =
        (0..).zip(commands()).map(|(n, (_, command))| house.run_keyed(key(n, n), command)).collect();
    for (name, outcome) in commands().iter().map(|(name, _)| name).zip(&first) {
        assert!(!outcome.replayed, "{name}");
    }
    change_everything(&mut house);
    let restored = house.restored();
    for house in [&mut house, &mut restored.clone()] {
        for ((n, (name, command)), first) in (0..).zip(commands()).zip(&first) {
            let before: Vec<Record> = house.ledger.records().collect();
            let retried = house.run_keyed(key(n, n), command.clone());
            assert!(retried.replayed, "{name}");
            assert_eq!(retried.outcome, first.outcome, "{name}");
            assert_eq!(retried.lsn, house.ledger.lsn());
            let reused = house.run_keyed(key(n, 99), command);
            assert_eq!(reused.outcome, Outcome::Refused(Refusal::IdempotencyKeyReused), "{name}");
            assert!(house.ledger.records().eq(before), "{name} was done twice");
        }
        house.ledger.audit().unwrap();
    }
}

#[test]
fn a_create_is_answered_for_as_long_as_it_exists_and_the_rest_for_a_day() {
    let creates = ["a property made", "a type made", "a room made", "a reservation"];
    for (after, kept) in [(DAY_MS - 1, true), (DAY_MS, false), (400 * DAY_MS, false)] {
        for (name, command) in commands() {
            let mut house = house();
            house.run_keyed(key(1, 1), command.clone());
            house.later(after);
            let retried = house.run_keyed(key(1, 1), command);
            assert_eq!(retried.replayed, kept || creates.contains(&name), "{name} after {after} ms");
            house.ledger.audit().unwrap();
        }
    }
}

#[test]
fn a_key_that_is_outdated_may_be_used_for_another_request() {
    let mut house = house();
    house.run_keyed(key(1, 1), rates(900));
    house.later(DAY_MS);
    let made = house.run_keyed(key(1, 2), by_room(1, "101", 10, 13));
    assert!(matches!(made.outcome, Outcome::Reserved(_)));
    house.changed(Command::Cancel(change(1)));
    let Outcome::Reserved(retried) = house.run_keyed(key(1, 2), by_room(9, "101", 10, 13)).outcome else {
        panic!("the first request's outcome was expected");
    };
    assert_eq!((retried.id, retried.status, retried.revision), (id(1), Status::Confirmed, 1));
    house.ledger.audit().unwrap();
}

#[test]
fn outcomes_are_bounded_by_count_and_the_oldest_goes_first() {
    let mut house = house();
    house.ledger.outcomes_max = 20;
    house.run_keyed(key(1_000, 1), by_room(1, "101", 10, 13));
    for n in 0..21 {
        house.run_keyed(key(n, 1), rates(n as i64));
        house.later(1);
    }
    assert_eq!(house.ledger.header().records.outcomes, 20);
    assert!(house.run_keyed(key(1, 1), rates(1)).replayed);
    assert!(house.run_keyed(key(1_000, 1), by_room(1, "101", 10, 13)).replayed, "a create stays");
    assert!(!house.run_keyed(key(0, 1), rates(0)).replayed);
    house.ledger.audit().unwrap();
}

#[test]
fn a_backlog_of_outdated_outcomes_shrinks_with_every_command() {
    let mut house = house();
    for n in 0..100 {
        house.run_keyed(key(n, 1), rates(1));
    }
    house.later(DAY_MS);
    let mut left = 100;
    while left > 0 {
        house.run(Command::EndDue(EndDue {}));
        let now = house.ledger.header().records.outcomes;
        assert!(now < left && left - now <= 16, "{left} to {now}");
        left = now;
    }
}

#[test]
fn a_planned_room_found_later_does_not_change_what_the_create_answered() {
    let mut house = House::new();
    house.run(put_room_type("suite", 1));
    house.reserved(by_room(1, "201", 10, 13));
    let command = by_type(2, "suite", 10, 13);
    let Outcome::Reserved(made) = house.run_keyed(key(2, 2), command.clone()).outcome else {
        panic!("the overbooking limit allows it");
    };
    assert_eq!(made.room, None);
    house.changed(Command::Cancel(change(1)));
    assert_eq!(house.get(2).room, Some(room("201")));
    assert_eq!(house.run_keyed(key(2, 2), command).outcome, Outcome::Reserved(made));
}
