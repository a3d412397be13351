//! What is due and fails, in a build that is broken on purpose: where it is for two guests.

use super::in_house::audit;
use super::support::*;
use crate::ledger::*;
use crate::planted::{Bug, plant};

/// A hold of a double room for the nights 10 to 12, which ends after so many seconds.
fn held(house: &mut House, n: u128, room: &str, occupancy: u32, seconds: u64) -> Timestamp {
    let mut command = by_room(n, room, 10, 13);
    command.occupancy = occupancy;
    command.hold_seconds = Some(seconds);
    house.reserved(command).hold_expires_at.unwrap()
}

#[test]
fn one_hold_that_can_not_be_ended_stops_no_other_and_no_command() {
    let mut house = House::new();
    let end = held(&mut house, 1, "101", 1, 60);
    held(&mut house, 2, "102", 2, 60);
    held(&mut house, 3, "103", 1, 60);
    house.now = end;
    plant(Some(Bug::DuePanics));
    let mut replica = house.restored();
    for house in [&mut house, &mut replica] {
        assert!(matches!(house.run(Command::EndDue(EndDue {})), Outcome::Done));
        // It is still there, and nobody sees that.
        let kept = house.ledger.reservation_record(id(2)).unwrap().reservation;
        assert_eq!(kept.status, Status::Held);
        assert_eq!([1, 2, 3].map(|n| house.get(n).status), [Status::Expired; 3]);
        assert!(house.ledger.room_occupation(&hotel(), &room("102")).unwrap().stays.is_empty());
        let held = ReservationFilter { status: Some(Status::Held), ..Default::default() };
        assert_eq!(house.ledger.reservations(&hotel(), &held, None, 10).unwrap().reservations, []);
        assert_eq!(house.ledger.failing_due(), [Due::Hold(id(2))]);
        assert_eq!(house.ledger.next_due(), None, "asking for it at once would not help");
        house.reserved(by_room(4, "101", 10, 13));
        assert_eq!(house.refused(Command::Confirm(change(2))), Refusal::HoldExpired);
        assert_eq!(house.free(10, 13), ["103", "201"], "its room is kept rather than sold twice");
        assert_eq!(house.ledger.quarantined().count(), 0);
        house.ledger.audit().unwrap();
    }
    assert_eq!(house.ledger.state_hash(), replica.ledger.state_hash());
    // A state that was restored knows it again with the next command.
    let mut restored = house.restored();
    assert!(restored.ledger.next_due().is_some());
    restored.run(Command::EndDue(EndDue {}));
    assert_eq!(restored.ledger.next_due(), None);

    plant(None);
    house.run(Command::EndDue(EndDue {}));
    assert_eq!((house.get(2).status, house.ledger.failing_due()), (Status::Expired, &[][..]));
    assert_eq!(house.free(10, 13), ["102", "103", "201"]);
    house.ledger.audit().unwrap();
}

#[test]
fn what_ends_holds_before_a_command_leaves_it_as_many_as_it_ends_itself() {
    let mut house = House::new();
    let mut end = house.now;
    for n in 0..513 {
        let ends = |most| house.ledger.ends_before(Timestamp(u64::MAX), most);
        let expected = match n {
            0..=256 => [0, 0, 0],
            257..=512 => [0, 1, 1],
            _ => [0, 1, 2],
        };
        assert_eq!([ends(0), ends(1), ends(32)], expected, "{n} holds");
        let room = format!("d{n}");
        house.run(put_room(&room, "double"));
        end = held(&mut house, 1_000 + n, &room, 1 + u32::from(n == 0), 60);
    }
    assert_eq!(house.ledger.ends_before(end, 32), 2);
    assert_eq!(house.ledger.ends_before(Timestamp(end.0 - 1), 32), 0);
    // One that can't be ended would be waited for in vain.
    plant(Some(Bug::DuePanics));
    house.now = end;
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(house.ledger.failing_due(), [Due::Hold(id(1_000))]);
    assert_eq!(house.ledger.ends_before(end, 32), 0);
}

#[test]
fn what_an_audit_has_left_is_done_before_the_commands_behind_it() {
    let mut house = House::new();
    for n in 0..600 {
        let room = format!("d{n}");
        house.run(put_room(&room, "double"));
        house.reserved(by_room(1_000 + n, &room, 0, 9));
    }
    house.run(audit(1));
    // 256 of them are marked, and 256 by the command that comes next.
    let ends = |house: &House| house.ledger.ends_before(house.now, 32);
    assert_eq!(ends(&house), 1);
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(ends(&house), 0);
    house.reserved(by_room(9_000, "d599", 1, 9));
    house.ledger.audit().unwrap();
}

/// One command tries 256 who wait.
#[test]
fn what_was_freed_is_offered_before_the_commands_behind_it() {
    let mut house = House::on_clock();
    let rules = |rules| put_restrictions("suite", 0, 90, rules);
    house.run(rules(Rules { closed: true, ..Rules::default() }));
    for (n, departure) in (0..601).map(|n| (n, if n < 600 { 12 } else { 13 })) {
        house.run(Command::JoinWaitlist(Box::new(join_waitlist(n, "suite", 10, departure))));
    }
    let ends = |house: &House, most| house.ledger.ends_before(house.now, most);
    assert_eq!(ends(&house, 32), 0);
    // Only the last can have it.
    house.run(rules(Rules { min_stay: Some(3), ..Rules::default() }));
    // The 345 that are left take two turns, since they want the same; the next command has one of them.
    assert_eq!([0, 1, 32].map(|most| ends(&house, most)), [0, 1, 1]);
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(ends(&house, 32), 0);
    let nights = vec![day(10), day(11), day(12)];
    assert_eq!(
        house.refused(by_type(1, "suite", 10, 13)),
        Refusal::NoAvailability { nights, fragmented: false }
    );
    let last = house.ledger.waitlist_entry(&hotel(), waitlist_id(600)).unwrap();
    assert_eq!(last.status, WaitlistStatus::Offered);
    house.ledger.audit().unwrap();
}

#[test]
fn more_failures_than_one_command_bears_still_let_commands_through() {
    let mut house = House::new();
    for n in 0..260 {
        let room = format!("d{n}");
        house.run(put_room(&room, "double"));
        held(&mut house, 100 + n, &room, 2, 60);
    }
    let end = held(&mut house, 1, "101", 1, 90);
    house.now = end;
    plant(Some(Bug::DuePanics));
    house.run(Command::EndDue(EndDue {}));
    assert_eq!((house.ledger.failing_due().len(), house.ledger.next_due()), (256, None));
    house.reserved(by_room(2, "102", 10, 13));
    plant(None);
    for _ in 0..2 {
        house.run(Command::EndDue(EndDue {}));
    }
    assert_eq!((house.get(1).status, house.ledger.next_due()), (Status::Expired, None));
    house.ledger.audit().unwrap();
}

#[test]
fn an_offer_that_can_not_be_made_undoes_nothing_that_freed_the_room() {
    let mut house = House::new();
    for (n, room) in [(1, "101"), (2, "102"), (3, "103")] {
        house.reserved(by_room(n, room, 10, 13));
    }
    for n in [1, 2] {
        house.run(Command::JoinWaitlist(Box::new(join_waitlist(n, "double", 10, 13))));
    }
    plant(Some(Bug::DuePanics));
    house.changed(Command::Cancel(change(1)));
    assert_eq!(house.get(1).status, Status::Canceled);
    let status = |house: &House, n| house.ledger.waitlist_entry(&hotel(), waitlist_id(n)).unwrap().status;
    assert_eq!(status(&house, 1), WaitlistStatus::Waiting);
    assert!(house.ledger.next_due().is_some() && house.ledger.next_end().is_none());
    let mut replica = house.restored();
    for house in [&mut house, &mut replica] {
        house.run(Command::EndDue(EndDue {}));
        assert_eq!(
            (house.ledger.failing_due(), house.ledger.next_due()),
            (&[Due::Waitlist(hotel())][..], None)
        );
    }
    plant(None);
    for house in [&mut house, &mut replica] {
        house.run(Command::EndDue(EndDue {}));
        assert_eq!([1, 2].map(|n| status(house, n)), [WaitlistStatus::Offered, WaitlistStatus::Waiting]);
        house.ledger.audit().unwrap();
    }
    assert_eq!(house.ledger.state_hash(), replica.ledger.state_hash());
}

#[test]
fn an_audit_that_can_not_be_ended_stops_no_hold() {
    let mut house = House::new();
    for n in 0..300u32 {
        house.run(put_room(&format!("d{n:03}"), "double"));
        house.reserved(by_room(1_000 + u128::from(n), &format!("d{n:03}"), 0, 9));
    }
    let end = held(&mut house, 1, "101", 1, 60);
    plant(Some(Bug::DuePanics));
    // Those that the audit marks itself fail, too, and the date moves on all the same.
    let Outcome::Property { property, .. } = house.run(audit(1)) else { panic!("the audit was refused") };
    assert_eq!((property.business_date, house.get(1_000).status), (day(1), Status::Confirmed));
    house.now = end;
    house.run(Command::EndDue(EndDue {}));
    assert_eq!(house.ledger.failing_due(), [Due::NightAudit(hotel())]);
    assert_eq!((house.get(1).status, house.ledger.next_due()), (Status::Expired, None));
    // Whom the audit has not come to is a no-show all the same.
    let refused = Refusal::InvalidState { state: Status::NoShow };
    assert_eq!(house.refused(Command::CheckIn(change(1_299))), refused);
    house.ledger.audit().unwrap();
    plant(None);
    house.run(Command::EndDue(EndDue {}));
    house.run(Command::EndDue(EndDue {}));
    assert_eq!((house.get(1_299).status, house.ledger.failing_due()), (Status::NoShow, &[][..]));
    house.ledger.audit().unwrap();
}

/// Three hundred wait in each house, and none can be offered anything: going through them takes two commands.
#[test]
fn a_waitlist_that_is_begun_again_all_the_time_keeps_no_other_waiting() {
    let annex = PropertyId::new("zz-annex").unwrap();
    assert!(hotel() < annex);
    let mut house = House::on_clock();
    let mut property = put_property(FirstBusinessDate::Clock(day(0)));
    property.property = annex.clone();
    house.run(property.clone());
    let mut room_type = put_room_type("double", 0);
    room_type.property = annex.clone();
    house.run(room_type);
    let mut rates =
        put_rates(RateTarget::RoomType(kind("double")), day(0), day(30), prices(&[("EUR", 2, 140)]));
    rates.property = annex.clone();
    house.run(rates);
    let closed = |property: &PropertyId, closed| PutRestrictions {
        property: property.clone(),
        ..put_restrictions("double", 0, 90, Rules { closed, min_stay: Some(9), ..Rules::default() })
    };
    let mut room = put_room("301", "double");
    room.property = annex.clone();
    house.run(room);
    for property in [&hotel(), &annex] {
        house.run(closed(property, true));
    }
    for n in 0..300 {
        for (at, property) in [(n, hotel()), (1_000 + n, annex.clone())] {
            let join = JoinWaitlist { property, ..join_waitlist(at, "double", 10, 12) };
            house.run(Command::JoinWaitlist(Box::new(join)));
        }
    }
    // One change that may have freed something there, and one after the other here.
    house.run(closed(&annex, false));
    for n in 0..8 {
        house.run(closed(&hotel(), n % 2 == 0));
    }
    assert_eq!(house.ledger.offering.iter().map(|(property, ())| property).collect::<Vec<_>>(), [&hotel()]);
    for _ in 0..2 {
        house.run(Command::EndDue(EndDue {}));
    }
    assert_eq!(house.ledger.next_due(), None);
    // A new name frees nothing, and a new day may.
    property.name = "Annex".into();
    house.run(property);
    assert_eq!(house.ledger.next_due(), None);
    house.run(Command::RollBusinessDate(RollBusinessDate { property: annex.clone(), date: day(1) }));
    assert!(house.ledger.next_due().is_some());
    house.ledger.audit().unwrap();
}

/// A block that is to be released, and a stay that could have a room now that its first night is gone.
#[test]
fn what_a_new_business_date_brings_and_fails_stops_no_date() {
    for (on_clock, rooms) in [(true, 2), (true, 3), (false, 2), (false, 3)] {
        let mut house = if on_clock { House::on_clock() } else { House::new() };
        house.run(put_room_type("double", 1));
        for (n, departure) in [(1, 1), (2, 3), (3, 3), (4, 3)] {
            house.reserved(Reserve { occupancy: 2, ..by_type(n, "double", 0, departure) });
        }
        house.run(PutBlock { release_date: Some(day(1)), ..put_block("fair", 10, 12, rooms) });
        let to = |date: i32| if on_clock { House::roll(date) } else { audit(date) };
        let stands = |house: &House| {
            let block = house.ledger.blocks(&hotel()).unwrap().remove(0);
            let has_room = house.ledger.reservation_record(id(4)).unwrap().reservation.room.is_some();
            (house.ledger.property(&hotel()).unwrap().business_date, block.released, has_room)
        };
        assert_eq!(stands(&house), (day(0), false, false));
        plant(Some(Bug::DuePanics));
        let mut replica = house.restored();
        for house in [&mut house, &mut replica] {
            house.run(to(1));
            // Only the block of three rooms can be released.
            assert_eq!(stands(house), (day(1), rooms == 3, false));
            house.ledger.audit().unwrap();
        }
        assert_eq!(house.ledger.state_hash(), replica.ledger.state_hash());
        plant(None);
        house.run(to(2));
        house.run(Command::EndDue(EndDue {}));
        assert_eq!(stands(&house), (day(2), true, on_clock));
        house.ledger.audit().unwrap();
    }
}
