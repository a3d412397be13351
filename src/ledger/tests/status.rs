//! Confirm, cancel, and the end of holds.

use super::support::*;
use crate::ledger::*;

fn held(house: &mut House, n: u128, room: &str, seconds: u64) -> Timestamp {
    let mut command = by_room(n, room, 10, 13);
    command.hold_seconds = Some(seconds);
    let reservation = house.reserved(command);
    assert_eq!(reservation.status, Status::Held);
    reservation.hold_expires_at.unwrap()
}

fn reservation_in(state: Status) -> House {
    let mut house = House::new();
    match state {
        Status::Held => drop(held(&mut house, 1, "101", 900)),
        Status::Confirmed => drop(house.reserved(by_room(1, "101", 10, 13))),
        Status::Canceled => {
            house.reserved(by_room(1, "101", 10, 13));
            house.changed(Command::Cancel(change(1)));
        }
        Status::Expired => {
            held(&mut house, 1, "101", 900);
            house.later(900_000);
            house.run(Command::EndDue(EndDue {}));
        }
        Status::InHouse | Status::CheckedOut | Status::NoShow => unreachable!("see in_house.rs"),
    }
    assert_eq!(house.get(1).status, state);
    house
}

#[test]
fn each_call_in_each_state() {
    let invalid = |state| Err(Refusal::InvalidState { state });
    type Make = fn(Change) -> Command;
    let cases: [(Make, Status, Result<Status, Refusal>); 8] = [
        (Command::Confirm, Status::Held, Ok(Status::Confirmed)),
        (Command::Confirm, Status::Confirmed, invalid(Status::Confirmed)),
        (Command::Confirm, Status::Canceled, invalid(Status::Canceled)),
        (Command::Confirm, Status::Expired, Err(Refusal::HoldExpired)),
        (Command::Cancel, Status::Held, Ok(Status::Canceled)),
        (Command::Cancel, Status::Confirmed, Ok(Status::Canceled)),
        (Command::Cancel, Status::Canceled, invalid(Status::Canceled)),
        (Command::Cancel, Status::Expired, invalid(Status::Expired)),
    ];
    for (make, state, expected) in cases {
        let mut house = reservation_in(state);
        house.later(7);
        let before = house.get(1);
        let outcome = house.run(make(change(1)));
        let after = house.get(1);
        match (outcome, expected) {
            (Outcome::Changed(changed), Ok(status)) => {
                assert_eq!(changed, after);
                assert_eq!((after.status, after.hold_expires_at), (status, None));
                assert_eq!(after.revision, before.revision + 1);
                assert_eq!((after.lsn, after.updated_at), (house.ledger.lsn(), house.now));
                assert_eq!((after.created_at, &after.price), (before.created_at, &before.price));
            }
            (Outcome::Refused(refusal), Err(expected)) => {
                assert_eq!(refusal, expected);
                assert_eq!(after, before);
            }
            (outcome, expected) => panic!("{state:?}: {outcome:?} instead of {expected:?}"),
        }
        let taken = after.status.is_live();
        assert_eq!(house.free(10, 13).contains(&"101".to_owned()), !taken);
        house.ledger.audit().unwrap();
    }
}

#[test]
fn a_stale_revision_is_refused_before_the_state() {
    for state in [Status::Held, Status::Confirmed, Status::Canceled, Status::Expired] {
        let mut house = reservation_in(state);
        let revision = house.get(1).revision;
        let with = |if_match| Change { reservation: id(1), if_match: Some(if_match) };
        for stale in [0, revision + 1, u64::MAX] {
            for command in [Command::Confirm(with(stale)), Command::Cancel(with(stale))] {
                assert_eq!(house.refused(command), Refusal::VersionMismatch { revision });
            }
        }
        let answer = house.run(Command::Cancel(with(revision)));
        assert_eq!(matches!(answer, Outcome::Changed(_)), state.is_live());
    }
}

#[test]
fn a_hold_ends_to_the_millisecond() {
    for (early, expected) in [(1, Status::Held), (0, Status::Expired)] {
        let mut house = House::new();
        let end = held(&mut house, 1, "101", 900);
        assert_eq!(end.0, house.now.0 + 900_000);
        assert_eq!(house.ledger.next_due(), Some(end));
        house.now.0 = end.0 - early;
        house.run(Command::EndDue(EndDue {}));
        let reservation = house.get(1);
        assert_eq!(reservation.status, expected);
        let still = expected == Status::Held;
        assert_eq!(reservation.hold_expires_at.is_some(), still);
        assert_eq!(reservation.revision, if still { 1 } else { 2 });
        assert_eq!(house.ledger.next_due().is_some(), still);
        let outcome = house.run(by_room(2, "101", 10, 13));
        assert_eq!(matches!(outcome, Outcome::Reserved(_)), !still, "{outcome:?}");
    }
}

#[test]
fn what_is_due_ends_before_the_command_that_comes_with_the_instant() {
    let mut house = House::new();
    let end = held(&mut house, 1, "101", 1);
    house.now = end;
    // The room of the ended hold is free for this very command.
    house.reserved(by_room(2, "101", 10, 13));
    assert_eq!(house.get(1).status, Status::Expired);
    assert_eq!(house.refused(Command::Confirm(change(1))), Refusal::HoldExpired);
}

#[test]
fn log_time_never_goes_back() {
    let mut house = House::new();
    let end = held(&mut house, 1, "101", 1);
    house.now = end;
    house.run(Command::EndDue(EndDue {}));
    house.now.0 -= 10_000;
    house.reserved(by_room(2, "102", 10, 13));
    assert_eq!(house.ledger.stamp(), end);
    assert_eq!(house.get(2).created_at, end);
}

#[test]
fn many_holds_end_in_turns_of_256_by_end_and_id_and_none_is_confirmed_after_its_end() {
    let mut house = House::new();
    for n in 0..300u32 {
        house.run(put_room(&format!("d{n:03}"), "double"));
    }
    // Ids run against the ends, so that only the order by end explains who is left.
    for n in 0..300 {
        held(&mut house, 1_000 - n, &format!("d{n:03}"), 10 + n as u64);
    }
    house.later(1_000_000);
    let live = |house: &House| {
        let held = ReservationFilter { status: Some(Status::Held), ..Default::default() };
        house.ledger.reservations(&hotel(), &held, None, 1_000).unwrap().reservations.len()
    };
    assert_eq!(live(&house), 300);
    let left = 1_000 - 299;
    assert_eq!(house.refused(Command::Confirm(change(left))), Refusal::HoldExpired);
    assert_eq!(live(&house), 300 - 256);
    assert_eq!(house.get(left).status, Status::Held);
    assert_eq!(
        house.refused(Command::Cancel(change(left))),
        Refusal::InvalidState { state: Status::Expired }
    );
    assert_eq!(live(&house), 0);
    assert_eq!(house.ledger.next_due(), None);
    house.ledger.audit().unwrap();
}
