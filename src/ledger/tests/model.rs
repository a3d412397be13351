//! Thousands of random commands against a naive model: a list of stays, looked through for everything.
//!
//! Which room a stay by type is planned for is the ledger's to choose: the model looks whether the choice may be, takes
//! it over, and leaves it to the tests of planning whether a refusal for want of a plan was right.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::support::*;
use crate::ledger::*;

const NIGHTS: i32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Reserve { room: Option<u8>, double: bool, arrival: i32, nights: i32, hold: bool, key: Option<u8> },
    Change { call: Call, reservation: u8, key: Option<u8> },
    Limit { double: bool, limit: u32 },
    Room { room: u8, double: bool },
    Wait { seconds: u64 },
    Roll { to: i32 },
    Restore,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Confirm,
    Cancel,
    CheckIn,
    CheckOut,
    NoShow,
}

impl Call {
    fn command(self, change: Change) -> Command {
        match self {
            Call::Confirm => Command::Confirm(change),
            Call::Cancel => Command::Cancel(change),
            Call::CheckIn => Command::CheckIn(change),
            Call::CheckOut => Command::CheckOut(change),
            Call::NoShow => Command::NoShow(change),
        }
    }
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => Just(Call::Confirm),
        4 => Just(Call::Cancel),
        3 => Just(Call::CheckIn),
        2 => Just(Call::CheckOut),
        1 => Just(Call::NoShow),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || proptest::option::weighted(0.3, 0..40u8);
    prop_oneof![
        12 => (proptest::option::of(0..5u8), any::<bool>(), -1..NIGHTS, 0..5, any::<bool>(), key())
            .prop_map(|(room, double, arrival, nights, hold, key)| Step::Reserve { room, double, arrival, nights, hold, key }),
        13 => (call(), any::<u8>(), key()).prop_map(|(call, reservation, key)| Step::Change { call, reservation, key }),
        2 => (any::<bool>(), 0..3u32).prop_map(|(double, limit)| Step::Limit { double, limit }),
        2 => (0..5u8, any::<bool>()).prop_map(|(room, double)| Step::Room { room, double }),
        3 => (1..90u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (0..6).prop_map(|to| Step::Roll { to }),
        1 => Just(Step::Restore),
    ]
}

#[derive(Clone, Debug)]
struct Stay {
    id: u128,
    double: bool,
    room: Option<u8>,
    room_from: i32,
    pinned: bool,
    arrival: i32,
    departure: i32,
    /// The end of the nights that a no-show keeps.
    released_from: i32,
    status: Status,
    ends: u64,
    revision: u64,
}

impl Stay {
    fn has(&self, night: i32) -> bool {
        let to = if self.status == Status::NoShow { self.released_from } else { self.departure };
        !matches!(self.status, Status::Canceled | Status::Expired) && (self.arrival..to).contains(&night)
    }

    fn has_room(&self, room: u8, night: i32) -> bool {
        self.room == Some(room) && self.has(night) && night >= self.room_from
    }

    /// Whether it stands in the way of plans for rooms of the type.
    fn is_fixed_in(&self, double: bool, today: i32) -> bool {
        let has_nights = (today..40).any(|night| self.has(night));
        self.double == double && self.room.is_some() && !self.may_move() && has_nights
    }

    fn may_move(&self) -> bool {
        matches!(self.status, Status::Held | Status::Confirmed) && !self.pinned
    }
}

/// What the model expects of an outcome: enough to tell all of them apart.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    Reservation(u128, Status, u64, Option<u8>),
    Refused(Refusal),
    Inventory,
}

#[derive(Clone)]
struct Model {
    stays: Vec<Stay>,
    /// Whether each of the five rooms is a double; not there when `None`.
    rooms: [Option<bool>; 5],
    limits: [u32; 2],
    today: i32,
    now: u64,
    keys: BTreeMap<u8, (String, Expected)>,
}

fn type_of(double: bool) -> RoomTypeId {
    kind(if double { "double" } else { "suite" })
}

fn name(room: u8) -> RoomId {
    crate::ledger::tests::support::room(&format!("r{room}"))
}

fn number(room: &RoomId) -> u8 {
    room.as_str()[1..].parse().unwrap()
}

fn days(nights: Vec<i32>) -> Vec<Date> {
    nights.into_iter().map(day).collect()
}

impl Model {
    fn end_due(&mut self) {
        let mut due: Vec<(u64, u128)> = Vec::new();
        for stay in &self.stays {
            if stay.status == Status::Held && stay.ends <= self.now {
                due.push((stay.ends, stay.id));
            }
        }
        due.sort_unstable();
        for (_, id) in due {
            self.end(id, Status::Expired);
        }
    }

    fn find(&mut self, id: u128) -> &mut Stay {
        self.stays.iter_mut().find(|stay| stay.id == id).unwrap()
    }

    fn end(&mut self, id: u128, status: Status) {
        let stay = self.find(id);
        stay.status = status;
        stay.revision += 1;
    }

    /// Takes over which rooms the ledger plans for those who may move, and looks whether they may have them.
    fn take_over_plans(&mut self, house: &House) {
        for n in 0..self.stays.len() {
            let stay = &mut self.stays[n];
            // A hold may get a room on the way to its end, in one and the same command.
            if stay.pinned || !(stay.may_move() || stay.status == Status::Expired) {
                continue;
            }
            let shown = house.get(stay.id);
            stay.room = shown.room.as_ref().map(number);
            stay.room_from = shown.room_from.map_or(stay.arrival, |from| day(0).nights_to(from));
        }
        for stay in self.stays.iter().filter(|stay| stay.may_move()) {
            let Some(room) = stay.room else {
                self.assert_no_room_left(stay);
                continue;
            };
            // A room may change its type once its stays are over.
            let is_over = stay.departure <= self.today;
            assert!(is_over || self.rooms[room as usize] == Some(stay.double), "{stay:?}");
            for night in stay.room_from..stay.departure {
                let guests = self.stays.iter().filter(|other| other.has_room(room, night));
                assert_eq!(guests.count(), 1, "night {night} of {stay:?}");
            }
        }
    }

    /// No single room is free for whoever has none and is still to come. That a date goes by frees no room: who is late
    /// gets one at check-in.
    fn assert_no_room_left(&self, stay: &Stay) {
        let is_to_come = stay.arrival >= self.today;
        let left = |room: &&u8| is_to_come && self.is_free(**room, stay.arrival, stay.departure);
        assert_eq!(self.rooms_of(stay.double).iter().find(left), None, "{stay:?}");
    }

    fn is_free(&self, room: u8, from: i32, to: i32) -> bool {
        self.taken(room, from, to).is_empty()
    }

    fn taken(&self, room: u8, from: i32, to: i32) -> Vec<i32> {
        (from..to).filter(|night| self.stays.iter().any(|stay| stay.has_room(room, *night))).collect()
    }

    /// The nights on which the room is taken by somebody who can't move, or can't be given up.
    fn blocked(&self, room: u8, from: i32, to: i32) -> Vec<i32> {
        let double = self.rooms[room as usize].unwrap();
        let is_full = |night| self.count(double, night) >= self.capacity(double);
        let stays_there =
            |stay: &Stay, night| stay.has_room(room, night) && (!stay.may_move() || is_full(night));
        let taken = |night: &i32| self.stays.iter().any(|stay| stays_there(stay, *night));
        (from..to).filter(taken).collect()
    }

    fn count(&self, double: bool, night: i32) -> usize {
        self.stays.iter().filter(|stay| stay.double == double && stay.has(night)).count()
    }

    fn rooms_of(&self, double: bool) -> Vec<u8> {
        (0..5).filter(|room| self.rooms[*room as usize] == Some(double)).collect()
    }

    fn capacity(&self, double: bool) -> usize {
        self.rooms_of(double).len() + self.limits[usize::from(double)] as usize
    }

    fn over(&self, double: bool, capacity: usize) -> Vec<i32> {
        (self.today..40).filter(|night| self.count(double, *night) > capacity).collect()
    }

    /// Where the plan decides, what was `seen` has to be one of the answers that may be.
    fn reserve(&mut self, id: u128, step: &Step, seen: &Expected) -> Expected {
        let Step::Reserve { room, double, arrival, nights, hold, .. } = *step else { unreachable!() };
        let departure = arrival + nights;
        let double = match room {
            Some(room) => match self.rooms[room as usize] {
                Some(double) => double,
                None => return Expected::Refused(Refusal::RoomNotFound),
            },
            None => double,
        };
        if nights <= 0 {
            return Expected::Refused(Refusal::InvalidStay);
        }
        if arrival < self.today {
            return Expected::Refused(Refusal::ArrivalInPast { business_date: day(self.today) });
        }
        let full: Vec<i32> =
            (arrival..departure).filter(|n| self.count(double, *n) >= self.capacity(double)).collect();
        let no_availability = |nights, fragmented| {
            Expected::Refused(Refusal::NoAvailability { nights: days(nights), fragmented })
        };
        let planned = match room {
            Some(room) => {
                let blocked = self.blocked(room, arrival, departure);
                if !blocked.is_empty() {
                    return Expected::Refused(Refusal::RoomUnavailable { nights: days(blocked) });
                }
                if !full.is_empty() {
                    return no_availability(full, false);
                }
                let taken = self.taken(room, arrival, departure);
                let unmoved = Expected::Refused(Refusal::RoomUnavailable { nights: days(taken.clone()) });
                if !taken.is_empty() && *seen == unmoved {
                    return unmoved;
                }
                Some(room)
            }
            None => {
                if !full.is_empty() {
                    return no_availability(full, false);
                }
                let rooms = self.rooms_of(double);
                let free = rooms.iter().find(|room| self.is_free(**room, arrival, departure)).copied();
                let night_with_none =
                    (arrival..departure).any(|n| rooms.iter().all(|room| !self.is_free(*room, n, n + 1)));
                let nobody_stays = self.stays.iter().all(|stay| !stay.is_fixed_in(double, self.today));
                let unplanned = no_availability(vec![], true);
                if free.is_none() && !night_with_none && !nobody_stays && *seen == unplanned {
                    return unplanned;
                }
                match seen {
                    Expected::Reservation(.., room) if free.is_none() && !night_with_none => *room,
                    _ => free,
                }
            }
        };
        let status = if hold { Status::Held } else { Status::Confirmed };
        let (ends, pinned) = (self.now + 60_000, room.is_some());
        self.stays.push(Stay {
            id,
            double,
            room: planned,
            room_from: arrival,
            pinned,
            arrival,
            departure,
            released_from: arrival,
            status,
            ends,
            revision: 1,
        });
        Expected::Reservation(id, status, 1, planned)
    }

    fn change(&mut self, id: u128, call: Call, seen: &Expected) -> Expected {
        let Some(stay) = self.stays.iter().find(|stay| stay.id == id).cloned() else {
            return Expected::Refused(Refusal::ReservationNotFound);
        };
        let today = self.today;
        match (call, stay.status) {
            (Call::Confirm, Status::Held) => {
                let stay = self.find(id);
                stay.status = Status::Confirmed;
                stay.revision += 1;
            }
            (Call::Confirm, Status::Expired) => return Expected::Refused(Refusal::HoldExpired),
            (Call::Cancel, Status::Held | Status::Confirmed) => self.end(id, Status::Canceled),
            (Call::CheckIn, Status::Confirmed) if stay.arrival <= today && today < stay.departure => {
                let rooms = self.rooms_of(stay.double);
                let free = rooms.iter().find(|room| self.is_free(**room, today, stay.departure));
                let moved = match seen {
                    Expected::Reservation(.., room) => *room,
                    _ => None,
                };
                let Some(room) = stay.room.or(free.copied()).or(moved) else {
                    let full = |night: &i32| rooms.iter().all(|room| !self.is_free(*room, *night, night + 1));
                    let nights = days((today..stay.departure).filter(full).collect());
                    return Expected::Refused(Refusal::RoomUnavailable { nights });
                };
                let new = self.find(id);
                (new.status, new.room, new.revision) = (Status::InHouse, Some(room), stay.revision + 1);
                new.room_from = if stay.room.is_none() { today } else { stay.room_from };
            }
            (Call::CheckOut, Status::InHouse) => {
                self.find(id).departure = stay.departure.min(today);
                self.end(id, Status::CheckedOut);
            }
            (Call::NoShow, Status::Confirmed) if stay.arrival <= today => {
                self.find(id).released_from = today.min(stay.departure);
                self.end(id, Status::NoShow);
            }
            (_, state) => return Expected::Refused(Refusal::InvalidState { state }),
        }
        let stay = self.find(id);
        // A room is shown as the command left it, also where it was given away in the same breath.
        Expected::Reservation(id, stay.status, stay.revision, stay.room)
    }

    fn limit(&mut self, double: bool, limit: u32) -> Expected {
        let over = self.over(double, self.rooms_of(double).len() + limit as usize);
        if !over.is_empty() {
            return Expected::Refused(Refusal::CapacityBelowSold { nights: days(over) });
        }
        self.limits[usize::from(double)] = limit;
        Expected::Inventory
    }

    fn room(&mut self, room: u8, double: bool) -> Expected {
        let old = self.rooms[room as usize];
        if old == Some(double) {
            return Expected::Inventory;
        }
        if let Some(old) = old {
            let mut nights = self.over(old, self.capacity(old).saturating_sub(1));
            nights.extend(self.taken(room, self.today, 40));
            nights.sort_unstable();
            nights.dedup();
            if !nights.is_empty() {
                return Expected::Refused(Refusal::CapacityBelowSold { nights: days(nights) });
            }
        }
        self.rooms[room as usize] = Some(double);
        Expected::Inventory
    }
}

fn seen(outcome: &Outcome) -> Expected {
    match outcome {
        Outcome::Reserved(r) | Outcome::Changed(r) => {
            Expected::Reservation(r.id.0.as_u128(), r.status, r.revision, r.room.as_ref().map(number))
        }
        Outcome::Refused(refusal) => Expected::Refused(refusal.clone()),
        Outcome::Room { .. } | Outcome::RoomType { .. } => Expected::Inventory,
        other => panic!("unexpected {other:?}"),
    }
}

fn start() -> (House, Model) {
    let mut house = House::empty();
    house.run(put_property(FirstBusinessDate::Clock(day(0))));
    for double in [false, true] {
        let room_type = type_of(double);
        house.run(put_room_type(room_type.as_str(), 0));
        let rates = prices(&[("EUR", 2, 100)]);
        house.run(put_rates(RateTarget::RoomType(room_type), day(-10), day(100), rates));
    }
    let model = Model {
        stays: Vec::new(),
        rooms: [None; 5],
        limits: [0; 2],
        today: 0,
        now: house.now.0,
        keys: BTreeMap::new(),
    };
    let mut both = (house, model);
    for (room, double) in [(0, true), (1, true), (2, true), (3, false)] {
        let outcome = both.0.run(PutRoom { property: hotel(), room: name(room), room_type: type_of(double) });
        assert_eq!(seen(&outcome), both.1.room(room, double));
    }
    both
}

/// The house once what is due has ended: what the next command finds.
fn ended(house: &House) -> House {
    let mut ended = House { ledger: house.ledger.clone(), now: house.now, commits: Vec::new() };
    ended.run(Command::EndDue(EndDue {}));
    ended
}

/// Runs one step on both, and compares the outcomes.
fn run(house: &mut House, model: &mut Model, n: usize, step: &Step) {
    house.now = Timestamp(model.now);
    let ids: Vec<u128> = model.stays.iter().map(|stay| stay.id).collect();
    let any_reservation = |pick: u8| match ids.len() {
        0 => 424_242,
        count => ids[pick as usize % count],
    };
    let id_now = n as u128 + 1;
    let (command, key): (Command, Option<u8>) = match *step {
        Step::Reserve { room, double, arrival, nights, hold, key } => {
            let wanted = match room {
                Some(room) => Wanted::Room(name(room)),
                None => Wanted::RoomType(type_of(double)),
            };
            let mut command = reserve(id_now, wanted, arrival, arrival + nights);
            command.hold_seconds = hold.then_some(60);
            (command.into(), key)
        }
        Step::Change { call, reservation, key } => (call.command(change(any_reservation(reservation))), key),
        Step::Limit { double, limit } => (put_room_type(type_of(double).as_str(), limit).into(), None),
        Step::Room { room, double } => {
            (PutRoom { property: hotel(), room: name(room), room_type: type_of(double) }.into(), None)
        }
        Step::Wait { seconds } => {
            model.now += seconds * 1_000;
            return;
        }
        Step::Roll { to } => {
            model.end_due();
            let date = day(to);
            let outcome = house.run(Command::RollBusinessDate(RollBusinessDate { property: hotel(), date }));
            assert_eq!(outcome, Outcome::Done);
            model.today = model.today.max(to);
            return;
        }
        Step::Restore => {
            *house = house.restored();
            return;
        }
    };
    model.end_due();
    model.take_over_plans(&ended(house));
    // The request is what was asked, without the id that the node made for it.
    let asked = match (step, &command) {
        (Step::Reserve { room, double, arrival, nights, hold, .. }, _) => {
            format!("{room:?} {double} {arrival} {nights} {hold}")
        }
        (_, command) => format!("{command:?}"),
    };
    let request_digest =
        asked.bytes().fold(7u128, |sum, byte| sum.wrapping_mul(1_000_003) ^ u128::from(byte));
    let applied = house.submit(&Submission { key: key.map(|n| key_of(n, request_digest)), command });
    let seen = seen(&applied.outcome);
    let stored = key.and_then(|key| model.keys.get(&key)).cloned();
    let (expected, replayed) = match stored {
        Some((request, expected)) if request == asked => (expected, true),
        Some(_) => (Expected::Refused(Refusal::IdempotencyKeyReused), false),
        None => {
            let expected = match *step {
                Step::Reserve { .. } => model.reserve(id_now, step, &seen),
                Step::Change { call, reservation, .. } => {
                    model.change(any_reservation(reservation), call, &seen)
                }
                Step::Limit { double, limit } => model.limit(double, limit),
                Step::Room { room, double } => model.room(room, double),
                Step::Wait { .. } | Step::Roll { .. } | Step::Restore => unreachable!(),
            };
            if let Some(key) = key {
                model.keys.insert(key, (asked, expected.clone()));
            }
            (expected, false)
        }
    };
    assert_eq!((seen, applied.replayed), (expected, replayed), "{step:?}");
    model.take_over_plans(house);
}

fn key_of(n: u8, request_digest: u128) -> IdempotencyKey {
    crate::ledger::tests::support::key(n.into(), request_digest)
}

/// Every night, every room, every reservation.
fn same(house: &House, model: &Model) {
    let nights = house.ledger.availability(&hotel(), day(0), day(NIGHTS + 5)).unwrap();
    for double in [false, true] {
        for (n, shown) in (0..).zip(&nights[&type_of(double)]) {
            let stays = || model.stays.iter().filter(|stay| stay.double == double && stay.has(n));
            let held = stays().filter(|stay| stay.status == Status::Held).count();
            let sold = stays().count() - held;
            let available = model.capacity(double) as i64 - (held + sold) as i64;
            assert_eq!(
                (shown.held as usize, shown.sold as usize, shown.available),
                (held, sold, available),
                "night {n}"
            );
        }
    }
    for stay in &model.stays {
        let shown = house.get(stay.id);
        let room = stay.room.map(name);
        assert_eq!(
            (shown.status, shown.revision, &shown.room, shown.room_pinned),
            (stay.status, stay.revision, &room, stay.pinned)
        );
    }
    for arrival in 0..NIGHTS {
        let shown = house.free(arrival, arrival + 2);
        for room in 0..5u8 {
            let Some(double) = model.rooms[room as usize] else { continue };
            let has_space = (arrival..arrival + 2).all(|n| model.count(double, n) < model.capacity(double));
            let is_shown = shown.contains(&name(room).to_string());
            assert!(is_shown || !has_space || !model.is_free(room, arrival, arrival + 2));
            let is_blocked = !model.blocked(room, arrival, arrival + 2).is_empty();
            assert!(!is_shown || has_space && !is_blocked, "{room} on {arrival}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_ledger_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..250)) {
        let (mut house, mut model) = start();
        for (n, step) in steps.iter().enumerate() {
            run(&mut house, &mut model, n, step);
            house.now = Timestamp(model.now);
            if n % 8 == 0 {
                house.ledger.audit().unwrap();
            }
        }
        // What is due shows only once a command has come.
        house.run(Command::EndDue(EndDue {}));
        model.end_due();
        model.take_over_plans(&house);
        same(&house, &model);
        house.ledger.audit().unwrap();
        let restored = house.restored();
        prop_assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
        same(&restored, &model);
        restored.ledger.audit().unwrap();
    }
}
