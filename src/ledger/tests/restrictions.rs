//! Restrictions: which rule counts for which date, what an amendment is judged by, and what is listed as free.

use super::support::*;
use crate::ledger::*;

/// The rule that a stay is refused for, and the day of it.
type Broken = Option<(Rule, i32)>;

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

fn closed() -> Rules {
    Rules { closed: true, ..Rules::default() }
}

fn closed_to_arrival() -> Rules {
    Rules { closed_to_arrival: true, ..Rules::default() }
}

fn closed_to_departure() -> Rules {
    Rules { closed_to_departure: true, ..Rules::default() }
}

fn min_stay(nights: u32) -> Rules {
    Rules { min_stay: Some(nights), ..Rules::default() }
}

fn max_stay(nights: u32) -> Rules {
    Rules { max_stay: Some(nights), ..Rules::default() }
}

fn min_advance(days: u32) -> Rules {
    Rules { min_advance_days: Some(days), ..Rules::default() }
}

fn max_advance(days: u32) -> Rules {
    Rules { max_advance_days: Some(days), ..Rules::default() }
}

fn restricted(rule: Rule, on: i32) -> Refusal {
    Refusal::Restricted { rule, date: day(on) }
}

#[test]
fn each_rule_counts_for_its_date_and_for_no_other() {
    // The rules of the days 10 to 12, a stay, and what it is refused for.
    let cases: Vec<(Rules, i32, i32, Broken)> = vec![
        (closed(), 7, 10, None),
        (closed(), 7, 11, Some((Rule::Closed, 10))),
        (closed(), 11, 14, Some((Rule::Closed, 11))),
        (closed(), 12, 14, None),
        (closed(), 9, 14, Some((Rule::Closed, 10))),
        (closed_to_arrival(), 9, 14, None),
        (closed_to_arrival(), 10, 14, Some((Rule::ClosedToArrival, 10))),
        (closed_to_arrival(), 11, 14, Some((Rule::ClosedToArrival, 11))),
        (closed_to_arrival(), 12, 14, None),
        (closed_to_departure(), 8, 9, None),
        (closed_to_departure(), 8, 10, Some((Rule::ClosedToDeparture, 10))),
        (closed_to_departure(), 8, 11, Some((Rule::ClosedToDeparture, 11))),
        (closed_to_departure(), 8, 12, None),
        (min_stay(3), 9, 10, None),
        (min_stay(3), 10, 12, Some((Rule::MinStay, 10))),
        (min_stay(3), 11, 14, None),
        (min_stay(0), 11, 12, None),
        (max_stay(2), 9, 15, None),
        (max_stay(2), 11, 14, Some((Rule::MaxStay, 11))),
        (max_stay(2), 11, 13, None),
        (min_advance(11), 10, 12, Some((Rule::MinAdvanceDays, 10))),
        (min_advance(11), 11, 12, None),
        (min_advance(12), 11, 12, Some((Rule::MinAdvanceDays, 11))),
        (min_advance(99), 9, 12, None),
        (max_advance(10), 10, 12, None),
        (max_advance(10), 11, 12, Some((Rule::MaxAdvanceDays, 11))),
        (max_advance(0), 12, 13, None),
    ];
    for (rules, arrival, departure, expected) in cases {
        let mut house = House::new();
        let set = house.run(put_restrictions("double", 10, 12, rules.clone()));
        assert!(matches!(set, Outcome::Restrictions(set) if *set.rules == rules));
        let listed = house.free(arrival, departure);
        for command in [by_room(1, "101", arrival, departure), by_type(2, "double", arrival, departure)] {
            match (house.run(command), expected) {
                (Outcome::Reserved(_), None) => {}
                (Outcome::Refused(refusal), Some((rule, on))) => assert_eq!(refusal, restricted(rule, on)),
                (other, _) => panic!("{rules:?} {arrival}..{departure}: {other:?}"),
            }
        }
        // What is listed as free is what a reservation by name gets; another type has rules of its own.
        assert_eq!(
            listed.contains(&"101".to_owned()),
            expected.is_none(),
            "{rules:?} {arrival}..{departure}"
        );
        assert!(listed.contains(&"201".to_owned()));
        house.reserved(by_room(3, "201", arrival, departure));
        sound(&house);
    }
}

#[test]
fn a_rule_comes_after_the_stay_itself_and_before_what_is_sold() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 10, 12));
    house.run(put_restrictions(
        "double",
        0,
        30,
        Rules { closed: true, min_stay: Some(5), ..Rules::default() },
    ));
    let refused = |house: &mut House, change: fn(&mut Reserve)| {
        let mut command = by_room(2, "101", 10, 12);
        change(&mut command);
        house.refused(command)
    };
    assert_eq!(refused(&mut house, |_| {}), restricted(Rule::Closed, 10));
    assert_eq!(refused(&mut house, |command| command.expected_total = Some(1)), restricted(Rule::Closed, 10));
    assert_eq!(refused(&mut house, |command| command.expected_total = Some(-1)), Refusal::InvalidAmount);
    let unpriced = refused(&mut house, |command| command.currency = Currency::new("HUF"));
    assert!(matches!(unpriced, Refusal::NotPriced { .. }));
    let group = group(&[by_room(3, "201", 10, 12), by_type(4, "double", 10, 12)]);
    let refusal = Box::new(restricted(Rule::Closed, 10));
    assert_eq!(house.refused(group), Refusal::Member { index: 1, refusal });
    sound(&house);
}

#[test]
fn a_range_is_replaced_whole_and_no_rule_clears_it() {
    let mut house = House::new();
    let rules = |house: &House| -> Vec<(i32, i32, Rules)> {
        let found = house.ledger.restrictions(&hotel(), day(0), day(30)).unwrap();
        let shown = found
            .into_iter()
            .map(|set| (day(0).nights_to(set.from), day(0).nights_to(set.to), Rules::clone(&set.rules)));
        shown.collect()
    };
    house.run(put_restrictions("double", -5, 20, min_stay(3)));
    house.run(put_restrictions("double", 5, 8, closed()));
    assert_eq!(rules(&house), [(0, 5, min_stay(3)), (5, 8, closed()), (8, 20, min_stay(3))]);
    sound(&house);
    // All rules of these dates go, also those that the new ones don't name.
    house.run(put_restrictions("double", 4, 6, max_stay(9)));
    assert_eq!(rules(&house)[1..3], [(4, 6, max_stay(9)), (6, 8, closed())]);
    house.run(put_restrictions("double", 3, 10, Rules::default()));
    assert_eq!(rules(&house), [(0, 3, min_stay(3)), (10, 20, min_stay(3))]);
    house.run(put_restrictions("double", -9, 99, Rules::default()));
    assert_eq!((rules(&house), house.ledger.header().records.restrictions), (vec![], 0));
    sound(&house);
    assert_eq!(house.refused(put_restrictions("cave", 0, 1, closed())), Refusal::RoomTypeNotFound);
    assert_eq!(house.refused(put_restrictions("double", 1, 1, closed())), Refusal::InvalidStay);
    assert_eq!(House::empty().refused(put_restrictions("double", 0, 1, closed())), Refusal::PropertyNotFound);
}

#[test]
fn an_amendment_is_judged_for_what_changes() {
    let dates = |arrival: i32, departure: i32| Amend {
        arrival: Some(day(arrival)),
        departure: Some(day(departure)),
        ..amend(1)
    };
    let to_suite = || Amend { room_type: Some(kind("suite")), ..amend(1) };
    // A double is booked for the days 10 to 13, then a rule is set for all types, and the stay is changed.
    type Case = (Rules, (i32, i32), Amend, Broken);
    let cases: Vec<Case> = vec![
        (closed(), (10, 13), dates(11, 13), None),
        (closed(), (0, 30), Amend { occupancy: Some(1), ..amend(1) }, None),
        (closed(), (0, 30), Amend { room: Some(RoomChange::Pin(room("102"))), ..amend(1) }, None),
        (closed(), (13, 14), dates(10, 13), None),
        (closed(), (13, 14), dates(10, 14), Some((Rule::Closed, 13))),
        (closed(), (0, 30), dates(8, 13), Some((Rule::Closed, 8))),
        (closed(), (0, 30), to_suite(), Some((Rule::Closed, 10))),
        (closed_to_arrival(), (0, 30), dates(10, 15), None),
        (closed_to_arrival(), (0, 30), dates(11, 13), Some((Rule::ClosedToArrival, 11))),
        (closed_to_arrival(), (0, 30), to_suite(), Some((Rule::ClosedToArrival, 10))),
        (closed_to_departure(), (0, 30), dates(9, 13), None),
        (closed_to_departure(), (0, 30), dates(10, 12), Some((Rule::ClosedToDeparture, 12))),
        (min_stay(5), (10, 11), dates(10, 14), Some((Rule::MinStay, 10))),
        (min_stay(5), (10, 11), dates(10, 15), None),
        (min_stay(5), (10, 11), dates(11, 12), None),
        (min_stay(5), (0, 30), dates(10, 13), None),
        (max_stay(2), (0, 30), dates(10, 12), None),
        (max_stay(2), (0, 30), to_suite(), Some((Rule::MaxStay, 10))),
        (min_advance(99), (0, 30), dates(10, 14), None),
        (min_advance(99), (0, 30), dates(9, 13), Some((Rule::MinAdvanceDays, 9))),
        (max_advance(1), (0, 30), dates(10, 12), None),
        (max_advance(1), (0, 30), dates(11, 13), Some((Rule::MaxAdvanceDays, 11))),
    ];
    for (rules, (from, to), change, expected) in cases {
        let mut house = House::new();
        let before = house.reserved(by_room(1, "101", 10, 13));
        for room_type in ["double", "suite"] {
            house.run(put_restrictions(room_type, from, to, rules.clone()));
        }
        match (house.run(change.clone()), expected) {
            (Outcome::Changed(_), None) => {}
            (Outcome::Refused(refusal), Some((rule, on))) => {
                assert_eq!(refusal, restricted(rule, on), "{rules:?} {change:?}");
                assert_eq!(house.get(1), before);
            }
            (other, _) => panic!("{rules:?} {change:?}: {other:?}"),
        }
        sound(&house);
    }
}

#[test]
fn what_was_sold_keeps_its_stay_and_an_upgrade_at_the_desk_is_nobodys_rule() {
    let mut house = House::on_clock();
    house.reserved(by_room(1, "101", 0, 3));
    for room_type in ["double", "suite"] {
        house.run(put_restrictions(room_type, -9, 30, closed()));
    }
    assert_eq!(house.changed(assign(1, "201")).room_type, kind("suite"));
    house.changed(Command::CheckIn(change(1)));
    house.run(House::roll(1));
    let longer = Amend { departure: Some(day(4)), ..amend(1) };
    assert_eq!(house.refused(longer), restricted(Rule::Closed, 3));
    house.changed(Amend { departure: Some(day(2)), ..amend(1) }.into());
    house.changed(Command::CheckOut(change(1)));
    sound(&house);
}
