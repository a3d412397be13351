//! Leap days, the ends of years, and business dates that skip a day or are asked to go back.

use super::support::*;
use crate::ledger::*;

/// A house of doubles 101 and 102, on a date of its own, with prices for some years around it.
fn house(business_date: FirstBusinessDate) -> House {
    let mut house = House::empty();
    house.run(put_property(business_date));
    house.run(put_room_type("double", 0));
    house.run(put_room("101", "double"));
    house.run(put_room("102", "double"));
    let target = RateTarget::RoomType(kind("double"));
    house.run(put_rates(target, date("2026-01-01"), date("2032-01-01"), prices(&[("EUR", 2, 140)])));
    house
}

fn stay(n: u128, arrival: &str, departure: &str) -> Reserve {
    Reserve { arrival: date(arrival), departure: date(departure), ..by_room(n, "101", 0, 1) }
}

fn business_date(house: &House) -> String {
    house.ledger.property(&hotel()).unwrap().business_date.to_string()
}

fn audit_to(house: &mut House, to: &str) {
    let audit = NightAudit { property: hotel(), business_date: date(to) };
    assert!(matches!(house.run(Command::NightAudit(audit)), Outcome::Property { .. }));
}

fn sold(house: &House, from: &str, to: &str) -> Vec<(String, u32)> {
    let nights = house.ledger.availability(&hotel(), date(from), date(to)).unwrap();
    nights[&kind("double")].iter().map(|night| (night.date.to_string(), night.sold)).collect()
}

fn rows(rows: &[(&str, u32)]) -> Vec<(String, u32)> {
    rows.iter().map(|(date, count)| ((*date).to_owned(), *count)).collect()
}

#[test]
fn a_stay_has_the_29th_of_february_where_there_is_one() {
    let mut house = house(FirstBusinessDate::Manual(date("2027-02-01")));
    let common = house.reserved(stay(1, "2027-02-27", "2027-03-02"));
    let leap = house.reserved(stay(2, "2028-02-27", "2028-03-02"));
    let nights = |stay: &Reservation| -> Vec<String> {
        stay.price.nights().map(|(night, _)| night.to_string()).collect()
    };
    assert_eq!(nights(&common), ["2027-02-27", "2027-02-28", "2027-03-01"]);
    assert_eq!(nights(&leap), ["2028-02-27", "2028-02-28", "2028-02-29", "2028-03-01"]);
    assert_eq!((common.price.total(), leap.price.total()), (420, 560));
    assert_eq!(
        sold(&house, "2028-02-28", "2028-03-03"),
        rows(&[("2028-02-28", 1), ("2028-02-29", 1), ("2028-03-01", 1), ("2028-03-02", 0)])
    );
    // The night alone: taken by name, free beside it.
    let refusal = house.refused(stay(3, "2028-02-29", "2028-03-01"));
    assert_eq!(refusal, Refusal::RoomUnavailable { nights: vec![date("2028-02-29")] });
    let elsewhere = Reserve { wanted: Wanted::Room(room("102")), ..stay(3, "2028-02-29", "2028-03-01") };
    assert_eq!(house.reserved(elsewhere).price.total(), 140);
}

#[test]
fn a_year_of_nights_is_366_whatever_the_year() {
    let mut house = house(FirstBusinessDate::Manual(date("2027-06-01")));
    assert_eq!(house.reserved(stay(1, "2028-01-01", "2029-01-01")).price.amounts.len(), 366);
    assert_eq!(house.refused(stay(2, "2029-01-01", "2030-01-03")), Refusal::StayTooLong);
    assert_eq!(house.reserved(stay(2, "2029-01-01", "2030-01-02")).price.amounts.len(), 366);
    // 1,100 days ahead, of which one is a 29th of February.
    let latest_departure = date("2030-06-05");
    assert_eq!(date("2027-06-01").nights_to(latest_departure), 1_100);
    house.reserved(stay(3, "2030-06-01", "2030-06-05"));
    let refusal = house.refused(stay(4, "2030-06-05", "2030-06-06"));
    assert_eq!(refusal, Refusal::BeyondHorizon { latest_departure });
}

#[test]
fn the_business_date_is_rolled_through_a_leap_day_and_over_the_end_of_a_year() {
    let mut house = house(FirstBusinessDate::Manual(date("2027-12-30")));
    for (n, arrival, departure) in [
        (1, "2027-12-31", "2028-01-02"),
        (2, "2028-02-28", "2028-02-29"),
        (3, "2028-02-29", "2028-03-01"),
        (4, "2028-03-01", "2028-03-02"),
    ] {
        house.reserved(stay(n, arrival, departure));
    }
    let status = |house: &House, n| house.get(n).status;
    audit_to(&mut house, "2027-12-31");
    house.changed(Command::CheckIn(change(1)));
    audit_to(&mut house, "2028-01-01");
    // Both nights of the turn of the year, by the date on which each begins.
    assert_eq!(
        sold(&house, "2027-12-31", "2028-01-03"),
        rows(&[("2027-12-31", 1), ("2028-01-01", 1), ("2028-01-02", 0)])
    );
    audit_to(&mut house, "2028-01-02");
    assert_eq!(house.changed(Command::CheckOut(change(1))).departure, date("2028-01-02"));

    // Who does not come on the 28th, or on the 29th, is missed on the day behind it.
    audit_to(&mut house, "2028-02-28");
    assert_eq!(status(&house, 2), Status::Confirmed);
    audit_to(&mut house, "2028-02-29");
    assert_eq!([2, 3].map(|n| status(&house, n)), [Status::NoShow, Status::Confirmed]);
    let early = house.refused(stay(9, "2028-02-28", "2028-03-01"));
    assert_eq!(early, Refusal::ArrivalInPast { business_date: date("2028-02-29") });
    audit_to(&mut house, "2028-03-01");
    assert_eq!([3, 4].map(|n| status(&house, n)), [Status::NoShow, Status::Confirmed]);
    assert_eq!(business_date(&house), "2028-03-01");
    house.ledger.audit().unwrap();
}

#[test]
fn what_is_set_for_a_leap_day_or_new_years_eve_counts_on_that_night_only() {
    let mut house = house(FirstBusinessDate::Manual(date("2027-06-01")));
    let on = |from: &str, to: &str, rules: Rules| PutRestrictions {
        from: date(from),
        to: date(to),
        ..put_restrictions("double", 0, 1, rules)
    };
    house.run(on("2027-12-31", "2028-01-01", Rules { min_stay: Some(3), ..Rules::default() }));
    house.run(on("2028-02-29", "2028-03-01", Rules { closed: true, ..Rules::default() }));
    let closure =
        PutOutOfOrder { from: date("2028-02-28"), to: date("2028-02-29"), ..put_out_of_order("102", 0, 1) };
    house.run(closure);
    let restricted = |rule, on: &str| Refusal::Restricted { rule, date: date(on) };
    let eve = house.refused(stay(1, "2027-12-31", "2028-01-02"));
    assert_eq!(eve, restricted(Rule::MinStay, "2027-12-31"));
    house.reserved(stay(1, "2027-12-31", "2028-01-03"));
    house.reserved(stay(2, "2027-12-30", "2027-12-31"));
    let leap = house.refused(stay(3, "2028-02-27", "2028-03-03"));
    assert_eq!(leap, restricted(Rule::Closed, "2028-02-29"));
    house.reserved(stay(3, "2028-02-27", "2028-02-29"));
    house.reserved(stay(4, "2028-03-01", "2028-03-02"));
    let other =
        |n, arrival, departure| Reserve { wanted: Wanted::Room(room("102")), ..stay(n, arrival, departure) };
    let flooded = house.refused(other(5, "2028-02-27", "2028-02-29"));
    assert_eq!(flooded, Refusal::RoomUnavailable { nights: vec![date("2028-02-28")] });
    house.reserved(other(5, "2028-02-27", "2028-02-28"));
}

#[test]
fn a_date_that_follows_the_clock_skips_days_and_never_goes_back() {
    let mut house = house(FirstBusinessDate::Clock(date("2011-12-29")));
    let target = RateTarget::RoomType(kind("double"));
    house.run(put_rates(target, date("2011-12-01"), date("2012-12-01"), prices(&[("EUR", 2, 140)])));
    let roll = |to: &str| Command::RollBusinessDate(RollBusinessDate { property: hotel(), date: date(to) });
    house.reserved(stay(1, "2011-12-30", "2012-01-01"));
    // Samoa had no 30th of December in 2011.
    house.run(roll("2011-12-31"));
    assert_eq!(business_date(&house), "2011-12-31");
    // Where clocks are set back over midnight, it is yesterday again for an hour.
    house.run(roll("2011-12-30"));
    assert_eq!(business_date(&house), "2011-12-31");
    assert_eq!(house.changed(Command::CheckIn(change(1))).status, Status::InHouse);
    house.ledger.audit().unwrap();
}
