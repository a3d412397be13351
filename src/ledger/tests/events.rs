//! What commands tell, and that the past can be gone back to by it.

use super::support::*;
use crate::ledger::*;

/// The names of the events of the last command; none where it told nothing.
fn told(house: &House) -> Vec<&'static str> {
    let last = house.commits.last().filter(|commit| commit.lsn == house.ledger.lsn());
    last.map(|commit| commit.events().map(|(_, event_type, _)| event_type.as_str()).collect())
        .unwrap_or_default()
}

/// A house with one of everything that may have happened, and its state after each command.
fn eventful() -> (House, Vec<Ledger>) {
    let mut house = House::new();
    let mut states = vec![house.ledger.clone()];
    let mut step = |house: &mut House, command: Command, expected: &[&str]| {
        let outcome = house.run(command.clone());
        assert_eq!(told(house), expected, "{command:?}: {outcome:?}");
        states.push(house.ledger.clone());
    };
    let hold = |n, wanted, seconds| Reserve { hold_seconds: Some(seconds), ..reserve(n, wanted, 10, 13) };
    let double = || Wanted::RoomType(kind("double"));
    let house_ref = &mut house;
    step(house_ref, hold(1, Wanted::Room(room("101")), 900).into(), &["reservation.held"]);
    step(house_ref, Command::Confirm(change(1)), &["reservation.confirmed"]);
    step(house_ref, Command::Confirm(change(1)), &[]);
    step(house_ref, by_room(2, "101", 11, 12).into(), &[]);
    step(house_ref, hold(3, double(), 60).into(), &["reservation.held"]);
    step(house_ref, by_type(4, "double", 10, 13).into(), &["reservation.confirmed"]);
    step(house_ref, put_room_type("double", 1).into(), &["room_type.changed"]);
    step(house_ref, by_type(5, "double", 10, 13).into(), &["reservation.confirmed"]);
    step(house_ref, put_room_type("double", 1).into(), &[]);
    house_ref.later(61_000);
    // The hold's end frees a room for the stay that has none.
    step(house_ref, Command::EndDue(EndDue {}), &["reservation.expired", "reservation.moved"]);
    let shorter = Amend {
        reservation: id(5),
        if_match: None,
        arrival: None,
        departure: Some(day(12)),
        room_type: None,
        room: None,
        occupancy: None,
    };
    step(house_ref, Command::Amend(Box::new(shorter)), &["reservation.amended"]);
    let room_of = |house: &House, n| house.ledger.reservation(id(n)).unwrap().room.clone().unwrap();
    let own = room_of(house_ref, 4);
    let assign = Assign { reservation: id(4), if_match: None, room: own };
    step(house_ref, Command::Assign(assign), &["reservation.assigned"]);
    step(house_ref, Command::Cancel(change(5)), &["reservation.canceled"]);
    step(house_ref, put_room("104", "double").into(), &["room.defined"]);
    let closed = PutOutOfOrder {
        property: hotel(),
        room: room("104"),
        from: day(2),
        to: day(4),
        reason: "paint".into(),
    };
    step(house_ref, Command::PutOutOfOrder(closed), &["room.changed"]);
    let dearer = prices(&[("EUR", 2, 999)]);
    let target = || RateTarget::RoomType(kind("suite"));
    let rates = put_rates(target(), day(100), day(110), dearer);
    step(house_ref, rates.into(), &["rate.changed", "rate.defined", "rate.defined"]);
    step(house_ref, put_rates(target(), day(100), day(110), Prices::new()).into(), &["rate.retired"]);
    let audit = NightAudit { property: hotel(), business_date: day(11) };
    let audited = &["property.changed", "reservation.no_show", "reservation.no_show"];
    step(house_ref, Command::NightAudit(audit), audited);
    step(house_ref, by_type(6, "suite", 11, 14).into(), &["reservation.confirmed"]);
    step(house_ref, Command::CheckIn(change(6)), &["reservation.checked_in"]);
    step(house_ref, Command::CheckOut(change(6)), &["reservation.checked_out"]);
    (house, states)
}

#[test]
fn each_change_is_told_by_its_name() {
    let (house, states) = eventful();
    let chain = house.commits.iter().fold(EventChain::default(), |chain, commit| {
        assert_eq!(chain.after(commit), commit.chain);
        commit.chain
    });
    assert_eq!(chain, house.ledger.event_chain());
    assert_eq!(states.last().unwrap().event_chain(), chain);
}

#[test]
fn what_is_due_is_nobodys_doing() {
    let mut house = House::new();
    let hold = Reserve { hold_seconds: Some(60), ..by_room(1, "101", 10, 13) };
    house.run_keyed(key(1, 1), hold);
    let held = house.commits.last().unwrap();
    assert_eq!((held.key.as_deref(), held.own, held.changes[0].due), (Some("key-1"), false, false));
    house.later(61_000);
    house.run_keyed(key(2, 2), by_room(2, "101", 10, 13));
    let both = house.commits.last().unwrap();
    let told: Vec<_> = both.events().map(|(n, event_type, change)| (n, event_type, change.due)).collect();
    let expected = [(0, EventType::ReservationExpired, true), (1, EventType::ReservationConfirmed, false)];
    assert_eq!(told, expected);
}

#[test]
fn what_a_client_changes_right_after_what_was_due_is_the_clients_doing() {
    let mut house = House::new();
    house.run(put_room_type("suite", 1));
    house.reserved(Reserve { hold_seconds: Some(60), ..by_type(1, "suite", 10, 13) });
    assert_eq!(house.reserved(by_type(2, "suite", 10, 13)).room, None);
    house.later(61_000);
    // The end of the hold gives it a room in the same command.
    house.run_keyed(key(1, 1), Command::Cancel(change(2)));
    let both = house.commits.last().unwrap();
    let told: Vec<_> = both.events().map(|(n, event_type, change)| (n, event_type, change.due)).collect();
    let expected = [(0, EventType::ReservationExpired, true), (1, EventType::ReservationCanceled, false)];
    assert_eq!(told, expected);
}

#[test]
fn a_retry_and_a_refusal_tell_nothing() {
    let mut house = House::new();
    house.run_keyed(key(1, 1), by_room(1, "101", 10, 13));
    let (commits, chain) = (house.commits.len(), house.ledger.event_chain());
    assert!(house.run_keyed(key(1, 1), by_room(9, "101", 10, 13)).replayed);
    house.run_keyed(key(2, 2), by_room(2, "101", 10, 13));
    house.run(by_room(3, "101", 10, 13));
    assert_eq!((house.commits.len(), house.ledger.event_chain()), (commits, chain));
}

#[test]
fn what_is_set_aside_is_told() {
    let mut house = House::new();
    house.run(by_room(1, "101", 10, 13));
    let outcome = house.run(by_room(1, "102", 10, 13));
    assert!(matches!(outcome, Outcome::Quarantined { .. }));
    assert_eq!(told(&house), ["command.quarantined"]);
}

/// Everything that a question about a property may come to.
fn of_property(ledger: &Ledger) -> Vec<Record> {
    let told = |record: &Record| !matches!(record, Record::Outcome(_) | Record::Quarantined(_));
    ledger.records().filter(told).collect()
}

#[test]
fn the_state_before_each_command_is_gone_back_to() {
    let (house, states) = eventful();
    for property in [None, Some(hotel())] {
        let mut past = house.ledger.clone();
        let mut commits = house.commits.iter().rev();
        for state in states.iter().rev() {
            while past.lsn() > state.lsn() {
                let next = commits.clone().next().filter(|commit| commit.lsn > state.lsn());
                let Some(commit) = next else { break };
                past.rewind(commit, property.as_ref()).unwrap();
                commits.next();
            }
            assert_eq!(of_property(&past), of_property(state), "at LSN {}", state.lsn());
            let nights = |ledger: &Ledger| ledger.availability(&hotel(), day(0), day(30)).unwrap();
            assert_eq!(nights(&past), nights(state));
        }
    }
    let mut wrong = house.ledger.clone();
    let older = house.commits.iter().rev().nth(1).unwrap();
    assert!(wrong.rewind(older, None).is_err(), "a commit was undone out of turn");
}

#[test]
fn a_stay_names_the_command_that_last_changed_it() {
    let (house, _) = eventful();
    for commit in &house.commits {
        for (_, _, change) in commit.events() {
            if let Some(Record::Reservation(record)) = &change.after {
                assert_eq!(record.changed_lsn(), commit.lsn, "{change:?}");
            }
        }
    }
}
