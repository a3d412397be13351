//! Houses, the commands that fill them, and the ledger as a node applies them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use innkeeper::ledger::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

/// Rooms of a house, all of one type.
pub const ROOMS: usize = 10_000;
/// Rooms that are taken where a house is 95 % full.
pub const FULL: usize = ROOMS * 95 / 100;
/// Nights of a stay.
pub const NIGHTS: i32 = 3;
/// Commands of a batch.
pub const BATCH: usize = 64;

pub fn day(days: i32) -> Date {
    let first: Date = "2027-01-01".parse().expect("a date");
    first.plus(days)
}

pub fn hotel(n: usize) -> PropertyId {
    PropertyId::new(&format!("hotel-{n}")).expect("a name")
}

pub fn double() -> RoomTypeId {
    RoomTypeId::new("double").expect("a name")
}

pub fn room(n: usize) -> RoomId {
    RoomId::new(&format!("{n:05}")).expect("a name")
}

/// Reservations' ids rise, as those of a node do.
pub fn reservation_id(n: u64) -> ReservationId {
    ReservationId(Uuid::from_u128((u128::from(n) << 80) | 0x7000_8000_0000_0000_0000))
}

/// A number that looks like any other, the same for the same `n`.
pub fn scattered(n: u64) -> u128 {
    let mut random = StdRng::seed_from_u64(n);
    random.random()
}

/// The commands that define houses, with a price on each night of three years.
pub fn houses(count: usize) -> Vec<Submission> {
    let eur = Currency::new("EUR").expect("a code");
    let mut commands = Vec::new();
    for n in 0..count {
        commands.push(Command::PutProperty(PutProperty {
            property: hotel(n),
            name: "Grand".into(),
            location: "Győr".into(),
            time_zone: "Europe/Budapest".into(),
            time_zone_known: true,
            currency: Some(eur),
            currency_known: true,
            business_date: FirstBusinessDate::Clock(day(0)),
        }));
        commands.push(Command::PutRoomType(PutRoomType {
            property: hotel(n),
            room_type: double(),
            name: "Double".into(),
            max_occupancy: 2,
            overbooking_limit: 0,
        }));
        commands.push(Command::PutRates(PutRates {
            property: hotel(n),
            target: RateTarget::RoomType(double()),
            from: day(0),
            to: day(1_100),
            prices: BTreeMap::from([(eur, BTreeMap::from([(1, 12_000), (2, 14_000)]))]),
            currencies_known: true,
        }));
        let rooms =
            (0..ROOMS).map(|n_room| PutRoom { property: hotel(n), room: room(n_room), room_type: double() });
        commands.extend(rooms.map(Command::PutRoom));
    }
    commands.into_iter().map(|command| Submission { key: None, command }).collect()
}

/// A stay of [`NIGHTS`] nights from a day on. `n` names it.
pub fn stay(n: u64, property: PropertyId, wanted: Wanted, arrival: i32) -> Submission {
    let id = reservation_id(n);
    keyed(
        n,
        Command::Reserve(Box::new(Reserve {
            id,
            booking_id: BookingId(id.0),
            property,
            guest: format!("guest-{n}").into(),
            wanted,
            arrival: day(arrival),
            departure: day(arrival + NIGHTS),
            occupancy: 2,
            currency: None,
            currency_known: true,
            hold_seconds: None,
            expected_total: None,
            block: None,
            external_ref: None,
        })),
    )
}

/// A command under a key of its own.
pub fn keyed(n: u64, command: Command) -> Submission {
    let key = IdempotencyKey {
        text: format!("order-{n}").into(),
        digest: scattered(n),
        request_digest: scattered(!n),
    };
    Submission { key: Some(key), command }
}

/// A ledger and how it is applied to.
pub struct Applying {
    pub ledger: Ledger,
    pub commits: Vec<Commit>,
    next: u64,
    now: u64,
}

impl Applying {
    /// With the houses and nothing sold.
    pub fn new(houses_count: usize) -> Applying {
        let mut applying =
            Applying { ledger: Ledger::new(), commits: Vec::new(), next: 1, now: 1_800_000_000_000 };
        applying.all(&houses(houses_count));
        applying.commits.clear();
        applying
    }

    /// One house with so many stays by type, one behind the other from its business date on: 95 % of the rooms are taken
    /// on the nights of each, the rest are free throughout.
    pub fn full(live: usize) -> Applying {
        Applying::filled((0..live).map(|n| (n / FULL) as i32 * NIGHTS).collect())
    }

    /// One house, 95 % full too, by stays that began on any day: what is free lies scattered, a night here and there.
    pub fn fragmented(live: usize) -> Applying {
        let a_day = FULL / NIGHTS as usize;
        Applying::filled((0..live).map(|n| (n / a_day) as i32).collect())
    }

    /// As [`Applying::fragmented`], and of ten stays three have the room that they have by name, as guests ask for it.
    pub fn pinned(live: usize) -> Applying {
        let mut applying = Applying::fragmented(live);
        let filter = ReservationFilter::default();
        let all = applying.ledger.reservations(&hotel(0), &filter, None, live).expect("a house");
        let pins: Vec<_> = all
            .reservations
            .iter()
            .enumerate()
            .filter(|(n, _)| scattered(*n as u64) % 10 < 3)
            .filter_map(|(_, stay)| {
                let room = stay.room.clone()?;
                let assign = Assign { reservation: stay.id, if_match: None, room };
                Some(Submission { key: None, command: Command::Assign(assign) })
            })
            .collect();
        applying.all(&pins);
        applying.commits.clear();
        applying
    }

    fn filled(mut arrivals: Vec<i32>) -> Applying {
        let mut applying = Applying::new(1);
        arrivals.shuffle(&mut StdRng::seed_from_u64(7));
        for arrivals in arrivals.chunks(1_000) {
            let stays: Vec<_> = arrivals.iter().map(|arrival| applying.by_type(*arrival)).collect();
            applying.all(&stays);
            applying.commits.clear();
        }
        applying
    }

    /// A number that no command had.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn by_type(&mut self, arrival: i32) -> Submission {
        stay(self.number(), hotel(0), Wanted::RoomType(double()), arrival)
    }

    /// Applies commands as a node does: in batches, with the events and the state hash of each. Everything is done.
    /// Gives the time; what is answered is thrown away outside of it, as other threads do it.
    pub fn all(&mut self, submissions: &[Submission]) -> Duration {
        let mut answers = Vec::with_capacity(submissions.len());
        self.commits.reserve(submissions.len());
        let began = Instant::now();
        for batch in submissions.chunks(BATCH) {
            self.now += 1;
            let applied = self.ledger.apply_all(Timestamp(self.now), batch);
            let (applied, commits) = applied.expect("the ledger is whole");
            answers.extend(applied);
            self.commits.extend(commits);
            std::hint::black_box(self.ledger.state_hash());
        }
        let took = began.elapsed();
        let refused = answers.iter().find(|answer| {
            matches!(answer.outcome, Outcome::Refused(_) | Outcome::Quarantined { .. }) || answer.replayed
        });
        assert!(refused.is_none(), "{refused:?}");
        took
    }

    /// Goes back to where the commits began.
    pub fn undo(&mut self) {
        while let Some(commit) = self.commits.pop() {
            self.ledger.rewind(&commit, None).expect("the newest commit fits");
        }
    }
}

/// A generator of its own for each measurement, so that all see the same, whatever else is measured.
pub fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A whole number below `end`.
pub fn below(random: &mut StdRng, end: usize) -> usize {
    random.random_range(0..end)
}
