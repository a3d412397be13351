//! Planning rooms, against all plans that there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::support::*;
use crate::ledger::*;

/// What takes nights of a room, or looks for one: `[from, to)`.
pub type Nights = (i32, i32);

/// Whether the stays fit into rooms whose nights are taken in part: the plainest search through all plans.
pub fn fits(rooms: &[Vec<Nights>], stays: &[Nights]) -> bool {
    fn place(
        rooms: &[Vec<Nights>],
        stays: &[Nights],
        until: &mut Vec<i32>,
        dead: &mut BTreeSet<Vec<i32>>,
    ) -> bool {
        let Some((from, to)) = stays.first() else { return true };
        let mut seen: Vec<i32> = until.iter().map(|until| *until.max(from)).collect();
        seen.push(stays.len() as i32);
        if dead.contains(&seen) {
            return false;
        }
        for room in 0..rooms.len() {
            if until[room] > *from || rooms[room].iter().any(|taken| taken.0 < *to && *from < taken.1) {
                continue;
            }
            let before = std::mem::replace(&mut until[room], *to);
            let fits = place(rooms, &stays[1..], until, dead);
            until[room] = before;
            if fits {
                return true;
            }
        }
        dead.insert(seen);
        false
    }
    let mut stays = stays.to_vec();
    stays.sort_unstable();
    place(rooms, &stays, &mut vec![i32::MIN; rooms.len()], &mut BTreeSet::new())
}

/// A house of doubles `r0`, `r1`, … with nothing else.
fn house(rooms: usize, limit: u32) -> House {
    let mut house = House::empty();
    house.run(put_property(FirstBusinessDate::Clock(day(0))));
    house.run(put_room_type("double", limit));
    for n in 0..rooms {
        house.run(put_room(&format!("r{n}"), "double"));
    }
    let rates = prices(&[("EUR", 2, 100)]);
    house.run(put_rates(RateTarget::RoomType(kind("double")), day(-10), day(700), rates));
    house
}

fn sound(house: &House) {
    house.ledger.audit().unwrap();
    let restored = house.restored();
    restored.ledger.audit().unwrap();
    assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
}

fn in_days(date: Date) -> i32 {
    day(0).nights_to(date)
}

fn stays(house: &House) -> Vec<std::sync::Arc<Reservation>> {
    house.ledger.reservations(&hotel(), &ReservationFilter::default(), None, 10_000).unwrap().reservations
}

/// What an onlooker sees before a command: what can't move, by room; what may; and how many rooms each night takes.
struct Seen {
    today: i32,
    rooms: Vec<RoomId>,
    fixed: Vec<Vec<Nights>>,
    /// With the room of each.
    movable: Vec<(usize, Nights)>,
    taken: Vec<i32>,
    roomless: Vec<i32>,
    capacity: i32,
}

const DAYS: usize = 40;

impl Seen {
    fn of(house: &House, limit: u32, but: Option<u128>) -> Seen {
        let today = in_days(house.ledger.property(&hotel()).unwrap().business_date);
        let rooms: Vec<RoomId> =
            house.ledger.rooms(&hotel()).unwrap().iter().map(|room| room.room.clone()).collect();
        let mut seen = Seen {
            today,
            fixed: vec![Vec::new(); rooms.len()],
            movable: Vec::new(),
            taken: vec![0; DAYS],
            roomless: vec![0; DAYS],
            capacity: rooms.len() as i32 + limit as i32,
            rooms,
        };
        for stay in stays(house).iter().filter(|stay| but.is_none_or(|but| stay.id != id(but))) {
            let Some((arrival, departure)) = stay.nights() else { continue };
            let nights = (in_days(arrival).max(today), in_days(departure));
            if nights.0 >= nights.1 {
                continue;
            }
            for night in nights.0..nights.1 {
                seen.taken[night as usize] += 1;
                seen.roomless[night as usize] += i32::from(stay.room.is_none());
            }
            let Some(room) = &stay.room else { continue };
            let place = seen.rooms.iter().position(|own| own == room).unwrap();
            let nights = (nights.0.max(stay.room_from.map_or(0, in_days)), nights.1);
            match stay.room_pinned || stay.status == Status::InHouse {
                true => seen.fixed[place].push(nights),
                false => seen.movable.push((place, nights)),
            }
        }
        for record in house.ledger.records() {
            let Record::OutOfOrder(closure) = record else { continue };
            let place = seen.rooms.iter().position(|own| *own == closure.room).unwrap();
            let nights = (in_days(closure.from).max(today), in_days(closure.to));
            for night in nights.0..nights.1.min(DAYS as i32) {
                seen.taken[night as usize] += 1;
            }
            if nights.0 < nights.1 {
                seen.fixed[place].push(nights);
            }
        }
        seen
    }

    fn full(&self, from: i32, to: i32) -> Vec<i32> {
        (from..to).filter(|night| self.taken[*night as usize] >= self.capacity).collect()
    }

    /// Whether every room is taken on some night.
    fn has_no_room(&self, from: i32, to: i32) -> bool {
        let in_rooms = |night: usize| self.taken[night] - self.roomless[night];
        (from..to).any(|night| in_rooms(night as usize) >= self.rooms.len() as i32)
    }

    fn fits_type(&self, nights: Nights) -> bool {
        let mut stays: Vec<Nights> = self.movable.iter().map(|(_, nights)| *nights).collect();
        stays.push(nights);
        fits(&self.fixed, &stays)
    }

    /// Whether the room can be had, leaving those without a room for whom there is none.
    fn fits_room(&self, room: usize, (from, to): Nights) -> bool {
        let overlaps = |nights: &Nights| nights.0 < to && from < nights.1;
        if self.fixed[room].iter().any(overlaps) {
            return false;
        }
        let in_the_way = |(place, nights): &(usize, Nights)| *place == room && overlaps(nights);
        let nights = self.movable.iter().filter(|stay| in_the_way(stay)).map(|(_, nights)| nights);
        if nights.clone().any(|nights| !self.full(nights.0.max(from), nights.1.min(to)).is_empty()) {
            return false;
        }
        let loses = |stay: &(usize, Nights)| {
            in_the_way(stay) && self.has_no_room(stay.1.0.max(from), stay.1.1.min(to))
        };
        let stays: Vec<Nights> =
            self.movable.iter().filter(|stay| !loses(stay)).map(|(_, nights)| *nights).collect();
        let mut fixed = self.fixed.clone();
        fixed[room].push((from, to));
        fits(&fixed, &stays)
    }

    fn free_rooms(&self, nights: Nights) -> Vec<String> {
        let free = |room: &usize| self.full(nights.0, nights.1).is_empty() && self.fits_room(*room, nights);
        (0..self.rooms.len()).filter(free).map(|room| self.rooms[room].to_string()).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Reserve { room: Option<usize>, arrival: i32, nights: i32 },
    Cancel { stay: usize },
    CheckIn { stay: usize },
    Assign { stay: usize, room: usize },
    Dates { stay: usize, arrival: i32, nights: i32 },
    Unpin { stay: usize },
    Close { room: usize, from: i32, nights: i32 },
    Open { room: usize, from: i32, nights: i32 },
    Roll,
}

fn step(pins: bool) -> impl Strategy<Value = Step> {
    let room = move || (0..6usize).prop_map(move |n| (pins && n < 2).then_some(n));
    let pinning = u32::from(pins);
    prop_oneof![
        12 => (room(), 0..14i32, 1..6i32)
            .prop_map(|(room, arrival, nights)| Step::Reserve { room, arrival, nights }),
        4 => any::<usize>().prop_map(|stay| Step::Cancel { stay }),
        2 * pinning => any::<usize>().prop_map(|stay| Step::CheckIn { stay }),
        2 * pinning => (any::<usize>(), any::<usize>()).prop_map(|(stay, room)| Step::Assign { stay, room }),
        3 => (any::<usize>(), 0..14i32, 1..6i32)
            .prop_map(|(stay, arrival, nights)| Step::Dates { stay, arrival, nights }),
        pinning => any::<usize>().prop_map(|stay| Step::Unpin { stay }),
        2 * pinning => (any::<usize>(), 0..14i32, 1..6i32)
            .prop_map(|(room, from, nights)| Step::Close { room, from, nights }),
        pinning => (any::<usize>(), 0..14i32, 1..6i32)
            .prop_map(|(room, from, nights)| Step::Open { room, from, nights }),
        1 => Just(Step::Roll),
    ]
}

/// Runs a step; whether it was carried out is what all plans say.
fn run(house: &mut House, limit: u32, n: u128, step: &Step) {
    let all = stays(house);
    let pick = |stay: usize| all.get(stay % all.len().max(1)).map_or(77_777, |stay| stay.id.0.as_u128());
    let seen = Seen::of(house, limit, None);
    let rooms = seen.rooms.len();
    let name = |room: usize| seen.rooms[room % rooms].to_string();
    let today = seen.today;
    match *step {
        Step::Reserve { room: Some(room), arrival, nights } => {
            let (room, nights) = (room % rooms, (today + arrival, today + arrival + nights));
            let expected = seen.full(nights.0, nights.1).is_empty() && seen.fits_room(room, nights);
            let outcome = house.run(by_room(n, &name(room), nights.0, nights.1));
            assert_eq!(matches!(outcome, Outcome::Reserved(_)), expected, "{step:?} {outcome:?}");
        }
        Step::Reserve { room: None, arrival, nights } => {
            let nights = (today + arrival, today + arrival + nights);
            let outcome = house.run(by_type(n, "double", nights.0, nights.1));
            let fragmented = Refusal::NoAvailability { nights: vec![], fragmented: true };
            match outcome {
                Outcome::Reserved(stay) => {
                    assert!(seen.full(nights.0, nights.1).is_empty());
                    assert_eq!(stay.room.is_none(), seen.has_no_room(nights.0, nights.1));
                }
                Outcome::Refused(refusal) if refusal == fragmented => assert!(!seen.fits_type(nights)),
                Outcome::Refused(Refusal::NoAvailability { nights: named, fragmented: false }) => {
                    let full: Vec<Date> = seen.full(nights.0, nights.1).into_iter().map(day).collect();
                    assert_eq!(named, full);
                }
                other => panic!("{other:?}"),
            }
        }
        Step::Cancel { stay } => drop(house.run(Command::Cancel(change(pick(stay))))),
        Step::CheckIn { stay } => {
            let stay = pick(stay);
            let others = Seen::of(house, limit, Some(stay));
            let outcome = house.run(Command::CheckIn(change(stay)));
            if let Outcome::Refused(Refusal::RoomUnavailable { .. }) = outcome {
                let nights = (today, in_days(house.get(stay).departure));
                assert!(others.has_no_room(nights.0, nights.1) || !others.fits_type(nights));
            }
        }
        Step::Assign { stay, room } => {
            let (stay, room) = (pick(stay), room % rooms);
            let others = Seen::of(house, limit, Some(stay));
            let outcome = house.run(assign(stay, &name(room)));
            let refused = matches!(outcome, Outcome::Refused(Refusal::RoomUnavailable { .. }));
            if refused || matches!(outcome, Outcome::Changed(_)) {
                let stay = house.get(stay);
                let nights = (in_days(stay.arrival).max(today), in_days(stay.departure));
                assert!(nights.0 >= nights.1 || refused != others.fits_room(room, nights), "{outcome:?}");
            }
        }
        Step::Dates { stay, arrival, nights } => {
            let stay = pick(stay);
            let nights = (today + arrival, today + arrival + nights);
            let others = Seen::of(house, limit, Some(stay));
            let dates = Amend { arrival: Some(day(nights.0)), departure: Some(day(nights.1)), ..amend(stay) };
            let outcome = house.run(dates);
            match outcome {
                Outcome::Refused(Refusal::NoAvailability { fragmented: true, .. }) => {
                    assert!(!others.fits_type(nights));
                }
                Outcome::Refused(Refusal::RoomUnavailable { .. }) => {
                    let own = house.get(stay).room.clone().unwrap();
                    let room = others.rooms.iter().position(|room| *room == own).unwrap();
                    assert!(!others.fits_room(room, nights));
                }
                _ => {}
            }
        }
        Step::Unpin { stay } => {
            let unpin = Amend { room: Some(RoomChange::Unpin), ..amend(pick(stay)) };
            house.run(unpin);
        }
        Step::Close { room, from, nights } => {
            let (room, nights) = (room % rooms, (today + from, today + from + nights));
            let name = name(room);
            house.run(end_out_of_order(&name, nights.0, nights.1));
            let seen = Seen::of(house, limit, None);
            let expected = seen.full(nights.0, nights.1).is_empty() && seen.fits_room(room, nights);
            let outcome = house.run(put_out_of_order(&name, nights.0, nights.1));
            assert_eq!(matches!(outcome, Outcome::OutOfOrder(_)), expected, "{step:?} {outcome:?}");
        }
        Step::Open { room, from, nights } => {
            house.run(end_out_of_order(&name(room), today + from, today + from + nights));
        }
        Step::Roll if today < 12 => drop(house.run(House::roll(today + 1))),
        Step::Roll => {}
    }
}

/// Only who may move has moved, and nobody was told.
fn unnoticed(before: &[std::sync::Arc<Reservation>], house: &House) {
    for old in before {
        let new = house.ledger.reservation(old.id).unwrap();
        if new.revision == old.revision {
            let same = Reservation { room: old.room.clone(), room_from: old.room_from, ..(*new).clone() };
            assert_eq!(same, **old);
            assert!(new.room == old.room || !old.room_pinned && old.status != Status::InHouse);
        }
    }
}

/// Steps that a restored twin is run beside the house, before another one is.
const BESIDE: u128 = 5;

fn play(rooms: usize, limit: u32, steps: &[Step]) {
    let mut house = house(rooms, limit);
    let mut twin = house.restored();
    for (n, step) in (1u128..).zip(steps) {
        let before = stays(&house);
        // Not in the order of time: a twin has its stays in that of their ids.
        let id = n * 37 % 61;
        for house in [&mut house, &mut twin] {
            house.later(1);
            run(house, limit, id, step);
        }
        assert_eq!(twin.ledger.state_hash(), house.ledger.state_hash(), "{step:?}");
        if n.is_multiple_of(BESIDE) {
            twin = house.restored();
        }
        house.ledger.audit().unwrap();
        unnoticed(&before, &house);
        let seen = Seen::of(&house, limit, None);
        let nights = (seen.today + n as i32 % 9, seen.today + n as i32 % 9 + 1 + n as i32 % 4);
        assert_eq!(house.free(nights.0, nights.1), seen.free_rooms(nights));
    }
    sound(&house);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn where_nothing_is_pinned_what_fits_by_count_is_taken(
        rooms in 1..6usize,
        limit in 0..2u32,
        steps in proptest::collection::vec(step(false), 1..60),
    ) {
        play(rooms, limit, &steps);
    }

    #[test]
    fn where_something_is_pinned_a_small_house_is_looked_through(
        rooms in 1..6usize,
        limit in 0..2u32,
        steps in proptest::collection::vec(step(true), 1..60),
    ) {
        play(rooms, limit, &steps);
    }

    /// Beyond the size that is looked through, so that the search that all rooms share is the one that a reservation makes.
    #[test]
    fn a_large_and_nearly_full_house_lists_exactly_the_rooms_that_can_be_reserved_by_name(
        stays in proptest::collection::vec((0..24u8, 0..16i32, 1..8i32, 0..80usize), 300..420),
        limit in 0..2u32,
        pinned in 1..10u8,
    ) {
        let mut house = house(80, limit);
        for (n, (pins, arrival, nights, room)) in (1..).zip(stays) {
            let departure = arrival + nights;
            if pins < pinned {
                house.run(by_room(n, &format!("r{room}"), arrival, departure));
            } else {
                house.run(by_type(n, "double", arrival, departure));
            }
        }
        for (arrival, departure) in [(2, 4), (6, 13), (9, 10)] {
            let gets = |name: &String| {
                let mut other = House { ledger: house.ledger.clone(), now: house.now, commits: Vec::new() };
                matches!(other.run(by_room(9_999, name, arrival, departure)), Outcome::Reserved(_))
            };
            let mut names: Vec<String> = (0..80).map(|n| format!("r{n}")).collect();
            names.sort();
            let expected: Vec<String> = names.into_iter().filter(gets).collect();
            prop_assert_eq!(house.free(arrival, departure), expected);
        }
    }
}

/// By the number of a room or by type, `[from, to)`.
type Asked = (Option<usize>, i32, i32);

/// Where only the search through all plans finds one, and stays that arrive on one day may be given rooms in any order.
#[test]
fn who_moves_for_whom_is_the_same_in_a_ledger_that_was_restored() {
    let cases: [(usize, &[Asked], Asked); 2] = [
        (3, &[(None, 5, 8), (None, 2, 5), (None, 5, 6), (None, 4, 7), (Some(0), 1, 3)], (Some(1), 4, 5)),
        (
            4,
            &[(None, 5, 6), (None, 4, 7), (Some(1), 6, 7), (Some(1), 2, 5), (None, 5, 7), (None, 4, 5)],
            (None, 4, 6),
        ),
    ];
    let reserve = |n: u128, (room, from, to): Asked| match room {
        Some(room) => by_room(n, &format!("r{room}"), from, to),
        None => by_type(n, "double", from, to),
    };
    for (rooms, before, last) in cases {
        let mut own = house(rooms, 0);
        // Ids against the order of time: a restored ledger has its stays in the other order.
        for (n, asked) in (1..).zip(before) {
            own.reserved(reserve(100 - n, *asked));
        }
        let mut restored = own.restored();
        let [kept, remade] = [&mut own, &mut restored].map(|house| house.reserved(reserve(50, last)));
        assert_eq!(kept, remade);
        assert_eq!(stays(&own), stays(&restored));
        assert_eq!(own.ledger.state_hash(), restored.ledger.state_hash());
        sound(&own);
    }
}

#[test]
fn an_amended_stay_is_answered_with_the_room_that_it_has_in_the_end() {
    let mut house = house(2, 1);
    house.reserved(by_type(1, "double", 1, 5));
    house.reserved(by_room(2, "r1", 1, 3));
    house.reserved(by_type(3, "double", 1, 4));
    let room_of = |house: &House, n| house.get(n).room.clone();
    assert_eq!((room_of(&house, 1), room_of(&house, 3)), (Some(room("r0")), None));
    // What it leaves of its room goes to the stay that has none, for which it moves itself.
    let later =
        Submission { key: Some(key(1, 1)), command: Amend { arrival: Some(day(3)), ..amend(1) }.into() };
    let answered = house.submit(&later).outcome;
    assert_eq!((room_of(&house, 1), room_of(&house, 3)), (Some(room("r1")), Some(room("r0"))));
    assert_eq!(answered, Outcome::Changed(house.get(1)));
    let again = house.submit(&later);
    assert_eq!((again.replayed, again.outcome), (true, answered));
    sound(&house);
}

#[test]
fn who_had_no_room_on_nights_that_are_gone_gets_one_for_those_to_come() {
    for on_clock in [false, true] {
        let mut house = if on_clock { House::on_clock() } else { House::new() };
        house.run(put_room_type("suite", 1));
        house.reserved(by_room(1, "201", 0, 2));
        let mut waits = by_type(2, "suite", 0, 4);
        waits.hold_seconds = Some(3_600);
        assert_eq!(house.reserved(waits).room, None);
        let rolled = match on_clock {
            true => House::roll(2),
            false => Command::NightAudit(NightAudit { property: hotel(), business_date: day(2) }),
        };
        house.run(rolled);
        let stay = house.get(2);
        assert_eq!((stay.room.clone(), stay.room_from, stay.revision), (Some(room("201")), Some(day(2)), 1));
        // Who comes now comes behind.
        assert_eq!(house.reserved(by_type(3, "suite", 2, 4)).room, None);
        house.changed(Command::Confirm(change(2)));
        assert_eq!(house.changed(Command::CheckIn(change(2))).room, Some(room("201")));
        house.ledger.audit().unwrap();
        assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
    }
}

#[test]
fn a_stay_gets_a_room_that_is_free_as_it_is_behind_many_for_whom_nothing_is() {
    let mut house = House::new();
    house.run(put_room_type("suite", 30));
    house.run(put_room("202", "suite"));
    for (n, id, night) in [(1, "201", 10), (2, "202", 10), (3, "201", 11), (4, "202", 11)] {
        house.reserved(by_room(n, id, night, night + 1));
    }
    let none = |stay: Arc<Reservation>| assert_eq!(stay.room, None);
    (5..25).for_each(|n| none(house.reserved(by_type(n, "suite", 10, 12))));
    none(house.reserved(by_type(25, "suite", 10, 11)));
    // First a night that helps nobody, then one that helps the youngest alone.
    house.changed(Command::Cancel(change(4)));
    house.changed(Command::Cancel(change(1)));
    assert_eq!(house.get(25).room, Some(room("201")));
    house.ledger.audit().unwrap();
}
