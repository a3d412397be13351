//! Free rooms, availability, search and lists.

use super::support::*;
use crate::ledger::*;

fn ask(house: &House, set: impl Fn(&mut FreeRoomsQuery)) -> Result<Vec<String>, Refusal> {
    let mut query = free_rooms(10, 13);
    set(&mut query);
    let rooms = house.ledger.free_rooms(&query)?;
    Ok(rooms.iter().map(|free| format!("{} {}", free.room, free.price.total())).collect())
}

#[test]
fn free_rooms_narrowed_down() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 12, 14));
    type Set = fn(&mut FreeRoomsQuery);
    type Case = (&'static str, Set, Result<&'static [&'static str], Refusal>);
    let cases: [Case; 16] = [
        ("all", |_| (), Ok(&["102 420", "103 420", "201 900"])),
        ("limit", |q| q.limit = 2, Ok(&["102 420", "103 420"])),
        ("type", |q| q.room_type = Some(kind("suite")), Ok(&["201 900"])),
        ("room", |q| q.room = Some(room("103")), Ok(&["103 420"])),
        ("taken room", |q| q.room = Some(room("101")), Ok(&[])),
        (
            "room of another type",
            |q| (q.room, q.room_type) = (Some(room("103")), Some(kind("suite"))),
            Ok(&[]),
        ),
        ("currency", |q| q.currency = Currency::new("USD"), Ok(&["102 480", "103 480", "201 750"])),
        ("no such price", |q| q.currency = Currency::new("CHF"), Ok(&[])),
        ("a single's price", |q| q.occupancy = 1, Ok(&["102 300", "103 300"])),
        ("too many for all", |q| q.occupancy = 3, Ok(&[])),
        (
            "too many for the type",
            |q| (q.occupancy, q.room_type) = (3, Some(kind("suite"))),
            Err(Refusal::OccupancyInvalid { max_occupancy: 2 }),
        ),
        ("nobody", |q| q.occupancy = 0, Err(Refusal::OccupancyInvalid { max_occupancy: 2 })),
        (
            "past dates",
            |q| (q.arrival, q.departure) = (day(-5), day(-4)),
            Ok(&["101 140", "102 140", "103 140", "201 300"]),
        ),
        ("no night", |q| q.departure = q.arrival, Err(Refusal::InvalidStay)),
        ("no room", |q| q.room = Some(room("999")), Err(Refusal::RoomNotFound)),
        ("an unknown currency", |q| q.currency_known = false, Err(Refusal::InvalidCurrency)),
    ];
    for (name, set, expected) in cases {
        let expected = expected.map(|rooms| rooms.iter().map(|room| room.to_string()).collect());
        assert_eq!(ask(&house, set), expected, "{name}");
    }
}

#[test]
fn a_room_that_is_only_planned_for_others_is_free() {
    let mut house = House::new();
    house.reserved(by_type(1, "double", 12, 14));
    assert_eq!(house.get(1).room, Some(room("101")));
    assert_eq!(house.free(10, 13), ["101", "102", "103", "201"]);
    house.reserved(by_room(2, "101", 10, 13));
    assert_eq!(house.get(1).room, Some(room("102")));
    assert_eq!(house.free(10, 13), ["102", "103", "201"]);
}

#[test]
fn availability_counts_each_night_by_what_it_holds() {
    let mut house = House::new();
    house.run(put_room_type("double", 1));
    house.reserved(by_room(1, "101", 10, 12));
    let mut hold = by_type(2, "double", 11, 13);
    hold.hold_seconds = Some(60);
    house.reserved(hold);
    house.reserved(by_room(3, "103", 11, 12));
    house.reserved(by_type(4, "double", 11, 12));
    house.changed(Command::Cancel(change(3)));
    let all = house.ledger.availability(&hotel(), day(9), day(14)).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), [&kind("double"), &kind("suite")]);
    let shown: Vec<_> = all[&kind("double")].iter().map(|n| (n.date, n.held, n.sold, n.available)).collect();
    let expected = [(9, 0, 0, 4), (10, 0, 1, 3), (11, 1, 2, 1), (12, 1, 0, 3), (13, 0, 0, 4)]
        .map(|(n, h, s, a)| (day(n), h, s, a));
    assert_eq!(shown, expected);
    let first = all[&kind("suite")][0];
    assert_eq!((first.rooms, first.out_of_order, first.blocked, first.available), (1, 0, 0, 1));
    let refused = |from, to| house.ledger.availability(&hotel(), from, to).unwrap_err();
    assert_eq!(refused(day(3), day(3)), Refusal::InvalidStay);
    assert_eq!(refused(day(0), day(AVAILABILITY_NIGHTS_MAX + 1)), Refusal::StayTooLong);
    assert!(house.ledger.availability(&hotel(), day(0), day(AVAILABILITY_NIGHTS_MAX)).is_ok());
}

#[test]
fn pages_of_reservations_neither_lose_nor_repeat() {
    let mut house = House::new();
    for n in 0..23 {
        let mut command = by_room(100 - n, "101", 3 * n as i32, 3 * n as i32 + 2);
        command.guest = format!("guest-{}", n % 2).into();
        command.external_ref = (n == 7).then(|| "their-7".into());
        house.reserved(command);
    }
    house.changed(Command::Cancel(change(95)));
    let list = |filter: ReservationFilter, limit: usize| {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..100 {
            let page = house.ledger.reservations(&hotel(), &filter, after, limit).unwrap();
            assert!(page.reservations.len() <= limit);
            found.extend(page.reservations.iter().map(|r| 100 - r.id.0.as_u128() as i32));
            after = page.next;
            if after.is_none() {
                return found;
            }
        }
        panic!("the pages have no end");
    };
    let all = ReservationFilter::default();
    let arrived = |from: Option<i32>, to: Option<i32>| ReservationFilter {
        arrival_from: from.map(day),
        arrival_to: to.map(day),
        ..Default::default()
    };
    for limit in [1, 2, 7, 22, 23, 24, 1_000] {
        assert_eq!(list(all.clone(), limit), (0..23).rev().collect::<Vec<_>>());
        let canceled = ReservationFilter { status: Some(Status::Canceled), ..Default::default() };
        assert_eq!(list(canceled, limit), [5]);
        let odd = ReservationFilter { guest: Some("guest-1".into()), ..Default::default() };
        assert_eq!(list(odd, limit), (0..23).filter(|n| n % 2 == 1).rev().collect::<Vec<_>>());
        let theirs = ReservationFilter { external_ref: Some("their-7".into()), ..Default::default() };
        assert_eq!(list(theirs, limit), [7]);
        assert_eq!(list(arrived(Some(6), Some(12)), limit), [3, 2]);
        assert_eq!(list(arrived(None, Some(3)), limit), [0]);
        assert_eq!(list(arrived(Some(66), None), limit), [22]);
    }
    let nowhere = PropertyId::new("nowhere").unwrap();
    assert_eq!(house.ledger.reservations(&nowhere, &all, None, 1), Err(Refusal::PropertyNotFound));
}

/// Properties `p0`… with one room each, at locations in turn.
fn chain(locations: &[&str]) -> House {
    let mut house = House::empty();
    for (n, location) in locations.iter().enumerate() {
        let property = PropertyId::new(&format!("p{n}")).unwrap();
        let own = property.clone();
        house.run(PutProperty {
            property,
            location: (*location).into(),
            ..put_property(FirstBusinessDate::Manual(day(0)))
        });
        house.run(PutRoomType { property: own.clone(), ..put_room_type("double", 0) });
        house.run(PutRoom { property: own.clone(), ..put_room("1", "double") });
        let rates = prices(&[("EUR", 2, 100 + n as i64)]);
        let rates = put_rates(RateTarget::RoomType(kind("double")), day(0), day(99), rates);
        house.run(PutRates { property: own, ..rates });
    }
    house
}

fn search(location: Option<&str>) -> SearchQuery {
    SearchQuery {
        location: location.map(Box::from),
        arrival: day(1),
        departure: day(3),
        occupancy: 2,
        currency: None,
        currency_known: true,
        limit: 100,
        after: None,
    }
}

fn names(page: &FoundPage) -> Vec<String> {
    page.properties.iter().map(|found| found.property.property.to_string()).collect()
}

#[test]
fn search_finds_places_in_any_case_that_have_a_room() {
    let mut house = chain(&["Győr", "Wien", "GYŐR", "győr", "Győr-Sopron"]);
    let found = |house: &House, query: &SearchQuery| names(&house.ledger.search(query).unwrap());
    for text in ["Győr", "GYŐR", "gyŐr"] {
        assert_eq!(found(&house, &search(Some(text))), ["p0", "p2", "p3"]);
    }
    assert_eq!(found(&house, &search(None)), ["p0", "p1", "p2", "p3", "p4"]);
    assert!(found(&house, &search(Some("Pécs"))).is_empty());
    let streets = chain(&["Große Straße", "GROSSE STRASSE", "grosse strasse", "Grose Strase", "Diyarbakır"]);
    for streets in [&streets, &streets.restored()] {
        for text in ["große straße", "GROẞE STRAẞE", "Grosse Strasse"] {
            assert_eq!(found(streets, &search(Some(text))), ["p0", "p1", "p2"], "{text}");
        }
        assert_eq!(found(streets, &search(Some("DIYARBAKIR"))), ["p4"]);
        streets.ledger.audit().unwrap();
    }
    // A full house is not found, one that moved away neither.
    let p2 = PropertyId::new("p2").unwrap();
    house.reserved(Reserve { property: p2, ..by_room(1, "1", 2, 3) });
    let moved = PutProperty {
        property: PropertyId::new("p3").unwrap(),
        location: "Bécs".into(),
        ..put_property(FirstBusinessDate::Manual(day(0)))
    };
    house.run(moved);
    assert_eq!(found(&house, &search(Some("győr"))), ["p0"]);
    assert_eq!(found(&house.restored(), &search(Some("BÉCS"))), ["p3"]);
    house.ledger.audit().unwrap();
    let page = house.ledger.search(&search(Some("győr"))).unwrap();
    assert_eq!(page.properties[0].rooms[0].price.total(), 200);
    let refused = |query| house.ledger.search(&query).unwrap_err();
    assert_eq!(refused(SearchQuery { departure: day(1), ..search(None) }), Refusal::InvalidStay);
    assert_eq!(refused(SearchQuery { currency_known: false, ..search(None) }), Refusal::InvalidCurrency);
    assert!(matches!(
        refused(SearchQuery { occupancy: 0, ..search(None) }),
        Refusal::OccupancyInvalid { .. }
    ));
}

#[test]
fn pages_of_search_neither_lose_nor_repeat() {
    let house = chain(&["Wien", "Graz", "Wien", "Wien", "Linz", "Wien"]);
    for (location, expected) in
        [(Some("wien"), vec!["p0", "p2", "p3", "p5"]), (None, vec!["p0", "p1", "p2", "p3", "p4", "p5"])]
    {
        for limit in 1..8 {
            let mut query = SearchQuery { limit, ..search(location) };
            let mut found = Vec::new();
            loop {
                let page = house.ledger.search(&query).unwrap();
                assert!(page.properties.len() <= limit);
                found.extend(names(&page));
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected);
        }
    }
}

/// A hundred rooms of a house, each with the prices of a year: a page of many such would be hundreds of megabytes.
#[test]
fn a_page_of_search_ends_where_it_lists_many_nights() {
    let mut house = chain(&["Wien", "Wien", "Wien"]);
    for n in 0..3 {
        let property = PropertyId::new(&format!("p{n}")).unwrap();
        for room in 2..=100 {
            house.run(PutRoom { property: property.clone(), ..put_room(&format!("{room:03}"), "double") });
        }
        let rates =
            put_rates(RateTarget::RoomType(kind("double")), day(0), day(400), prices(&[("EUR", 2, 9)]));
        house.run(PutRates { property, ..rates });
    }
    let mut query = SearchQuery { departure: day(367), ..search(None) };
    let first = house.ledger.search(&query).unwrap();
    assert_eq!(names(&first), ["p0", "p1"]);
    assert!(first.properties.iter().all(|found| found.rooms.len() == 100));
    query.after = first.next;
    let rest = house.ledger.search(&query).unwrap();
    assert_eq!((names(&rest), rest.next), (vec!["p2".to_owned()], None));
}

/// A page that found nothing says where to go on.
#[test]
fn a_page_of_reservations_looks_at_some_thousands_of_them() {
    let mut house = House::new();
    for n in 0..5_001 {
        house.reserved(by_room(n, "101", 10, 11));
        house.changed(Command::Cancel(change(n)));
    }
    let filter = ReservationFilter { guest: Some("guest-5000".into()), ..Default::default() };
    let page = |after| house.ledger.reservations(&hotel(), &filter, after, 10).unwrap();
    let first = page(None);
    assert_eq!((first.reservations, first.next), (vec![], Some(id(4_999))));
    let second = page(first.next);
    assert_eq!((second.reservations[0].id, second.next), (id(5_000), None));
}

#[test]
fn lists_are_by_id_and_their_property_must_exist() {
    let house = House::new();
    let rooms: Vec<_> = house.ledger.rooms(&hotel()).unwrap().iter().map(|r| r.room.to_string()).collect();
    assert_eq!(rooms, ["101", "102", "103", "201"]);
    let types: Vec<_> =
        house.ledger.room_types(&hotel()).unwrap().iter().map(|t| t.room_type.to_string()).collect();
    assert_eq!(types, ["double", "suite"]);
    assert_eq!(house.ledger.properties().count(), 1);
    let nowhere = PropertyId::new("nowhere").unwrap();
    let not_found = Refusal::PropertyNotFound;
    assert_eq!(house.ledger.rooms(&nowhere).unwrap_err(), not_found);
    assert_eq!(house.ledger.room_types(&nowhere).unwrap_err(), not_found);
    assert_eq!(house.ledger.rates(&nowhere, day(0), day(1)).unwrap_err(), not_found);
    assert_eq!(house.ledger.availability(&nowhere, day(0), day(1)).unwrap_err(), not_found);
    assert_eq!(house.ledger.reservation(id(1)).unwrap_err(), Refusal::ReservationNotFound);
    assert!(house.ledger.property(&nowhere).is_none());
    assert_eq!(house.ledger.rates(&hotel(), day(1), day(1)).unwrap_err(), Refusal::InvalidStay);
    let clipped = house.ledger.rates(&hotel(), day(5), day(7)).unwrap();
    assert_eq!(clipped.len(), 3);
    assert!(clipped.iter().all(|set| (set.from, set.to) == (day(5), day(7))));
}

/// Whoever asks so does it again where nobody waits.
#[test]
fn a_query_stops_where_it_would_look_at_more_than_it_may() {
    let mut house = House::new();
    for n in 1..=3 {
        house.reserved(by_room(n, "101", 20 * n as i32, 20 * n as i32 + 1));
    }
    let rooms = |ledger: &Ledger, query: FreeRoomsQuery, looks_max| {
        let found = ledger.free_rooms_within(&query, looks_max).unwrap();
        assert!(found.as_ref().is_none_or(|found| *found == ledger.free_rooms(&query).unwrap()));
        found.is_some()
    };
    let listed = |ledger: &Ledger, filter: ReservationFilter, limit, looks_max| {
        let found = ledger.reservations_within(&hotel(), &filter, None, limit, looks_max).unwrap();
        let whole = ledger.reservations(&hotel(), &filter, None, limit).unwrap();
        assert!(found.as_ref().is_none_or(|found| *found == whole));
        found.is_some()
    };
    // What each has to look at.
    type Ask<'a> = &'a dyn Fn(&Ledger, usize) -> bool;
    let cases: [(&str, Ask<'_>, usize); 7] = [
        ("all rooms", &|ledger, most| rooms(ledger, free_rooms(10, 13), most), 4),
        (
            "two rooms",
            &|ledger, most| rooms(ledger, FreeRoomsQuery { limit: 2, ..free_rooms(10, 13) }, most),
            2,
        ),
        (
            "two rooms behind one that is taken",
            &|ledger, most| rooms(ledger, FreeRoomsQuery { limit: 2, ..free_rooms(20, 21) }, most),
            3,
        ),
        (
            "one room",
            &|ledger, most| {
                rooms(ledger, FreeRoomsQuery { room: Some(room("201")), ..free_rooms(10, 13) }, most)
            },
            1,
        ),
        ("two reservations", &|ledger, most| listed(ledger, ReservationFilter::default(), 2, most), 2),
        ("all reservations", &|ledger, most| listed(ledger, ReservationFilter::default(), 9, most), 3),
        (
            "those that are canceled",
            &|ledger, most| {
                let status = Some(Status::Canceled);
                listed(ledger, ReservationFilter { status, ..Default::default() }, 1, most)
            },
            3,
        ),
    ];
    for (name, ask, looks) in cases {
        assert!(!ask(&house.ledger, looks - 1), "{name}");
        assert!(ask(&house.ledger, looks), "{name}");
    }
    // A property is looked at as well as its rooms, and the rooms of the last one count for themselves.
    let three = chain(&["Wien", "Wien", "Wien"]);
    let query = search(Some("wien"));
    assert_eq!(three.ledger.search_within(&query, 4), Ok(None));
    assert_eq!(three.ledger.search_within(&query, 5), three.ledger.search(&query).map(Some));
    let first = SearchQuery { limit: 1, ..query };
    assert_eq!(three.ledger.search_within(&first, 0), Ok(None));
    assert_eq!(three.ledger.search_within(&first, 1), three.ledger.search(&first).map(Some));
    // Who is refused is told so before the first look.
    let nobody = FreeRoomsQuery { occupancy: 0, ..free_rooms(10, 13) };
    assert!(house.ledger.free_rooms_within(&nobody, 0).is_err());
}

/// Each room of a small house may be searched for in vain: what has few rooms is not soon looked at.
#[test]
fn what_is_searched_for_counts_for_many_looks() {
    let mut house = House::new();
    let more: Vec<String> = (501..=557).map(|n| n.to_string()).collect();
    for id in &more {
        house.run(put_room(id, "double"));
    }
    // On each night one room is free, and none on both.
    for n in 0..58 {
        house.reserved(by_type(n, "double", 10, 12));
    }
    house.reserved(by_room(60, "556", 8, 11));
    house.reserved(by_room(61, "557", 11, 14));
    let query = FreeRoomsQuery { room_type: Some(kind("double")), ..free_rooms(10, 12) };
    assert_eq!(house.ledger.free_rooms(&query).unwrap(), []);
    // No room is like another, so that all are tried for all.
    let doubles = ["101", "102", "103"].into_iter().chain(more.iter().map(String::as_str));
    for (n, id) in doubles.take(58).enumerate() {
        house.reserved(by_room(100 + n as u128, id, 30 + n as i32, 31 + n as i32));
    }
    assert_eq!(house.ledger.free_rooms_within(&query, 500), Ok(None));
    let one = FreeRoomsQuery { room: Some(room("101")), ..query.clone() };
    assert_eq!(house.ledger.free_rooms_within(&one, 500), Ok(Some(vec![])), "which is one search");
    assert_eq!(house.ledger.free_rooms(&query).unwrap(), []);
}

#[test]
fn what_one_answer_can_not_hold_is_refused() {
    let mut house = House::new();
    let (from, to) = (HORIZON_DAYS - BLOCK_NIGHTS_MAX, HORIZON_DAYS);
    let most = 1_000_000 / BLOCK_NIGHTS_MAX;
    for n in 0..most {
        let id = format!("b{n}");
        house.run(PutBlock { status: BlockStatus::Tentative, ..put_block(&id, from, to, 1) });
    }
    let left = 1_000_000 % BLOCK_NIGHTS_MAX;
    let more = |nights| PutBlock { status: BlockStatus::Canceled, ..put_block("more", 0, nights, 1) };
    assert_eq!(house.refused(more(left + 1)), Refusal::TooManyRanges);
    house.run(more(left));
    assert_eq!(house.ledger.blocks(&hotel()).unwrap().len(), most as usize + 1);
    house.ledger.audit().unwrap();
    assert_eq!(house.restored().refused(more(left + 1)), Refusal::TooManyRanges);
    // One that is made shorter makes room.
    house.run(PutBlock { status: BlockStatus::Canceled, ..put_block("b0", from, from + 1, 1) });
    house.run(more(left + 1));
    house.ledger.audit().unwrap();

    let (first, end) = (day(0), day(AVAILABILITY_NIGHTS_MAX));
    for n in 2..=1_000_000 / AVAILABILITY_NIGHTS_MAX {
        house.run(put_room_type(&format!("type-{n}"), 0));
    }
    assert_eq!(house.ledger.availability(&hotel(), first, end).unwrap_err(), Refusal::StayTooLong);
    let fewer = house.ledger.availability(&hotel(), first, end.plus(-10)).unwrap();
    assert_eq!(fewer.len(), 1 + (1_000_000 / AVAILABILITY_NIGHTS_MAX) as usize);
}

#[test]
fn the_properties_apart_answer_as_the_state_did() {
    let mut house = House::new();
    house.reserved(by_room(1, "101", 12, 14));
    house.run(put_block("fair", 20, 22, 1));
    house.run(put_out_of_order("103", 12, 14));
    let apart = house.ledger.properties_apart();
    let answers = |ledger: &Ledger| {
        (
            (ledger.lsn(), ledger.stamp(), ledger.properties().cloned().collect::<Vec<_>>()),
            ledger.reservations(&hotel(), &ReservationFilter::default(), None, 10),
            ledger.free_rooms(&free_rooms(10, 13)),
            ledger.availability(&hotel(), day(10), day(30)),
            ledger.search(&search(None)),
            ledger.rates(&hotel(), day(0), day(30)),
            ledger.blocks(&hotel()),
            ledger.out_of_order(&hotel(), day(0), day(30)),
            ledger.rooms(&hotel()).map(|rooms| rooms.into_iter().cloned().collect::<Vec<_>>()),
        )
    };
    let before = answers(&house.ledger);
    assert_eq!(answers(&apart), before);
    house.changed(Command::Cancel(change(1)));
    house.run(put_room("104", "double"));
    assert_ne!(answers(&house.ledger), before);
    assert_eq!(answers(&apart), before);
}
