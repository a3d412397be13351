//! The ledger's commands and queries, at ten thousand and at a million live reservations.

use std::time::Instant;

use innkeeper::ledger::*;

use crate::house::{
    Applying, FULL, NIGHTS, ROOMS, below, day, double, hotel, keyed, random, reservation_id, room, stay,
};
use crate::report::Report;

const ROUNDS: usize = 21;

pub fn measure(report: &mut Report) {
    for (live, named, commands) in [(10_000, "10k", 256), (1_000_000, "1M", 4_096)] {
        if report.wants(&format!("ledger/{named}/")) {
            let mut house = Applying::full(live);
            // Arrivals whose nights are all full.
            let days = (live / FULL) * NIGHTS as usize - NIGHTS as usize + 1;
            reserve_by_room(report, &mut house, named, days);
            reserve_by_type(report, &mut house, named, days, commands);
            change(report, &mut house, named, live, commands);
            free_rooms(report, &house, named, days);
        }
    }
    if report.wants("ledger/fragmented/") {
        let days = 100_000 / (FULL / NIGHTS as usize);
        reserve_by_type(report, &mut Applying::fragmented(100_000), "fragmented", days, 256);
    }
    if report.wants("ledger/pinned/") {
        let days = 100_000 / (FULL / NIGHTS as usize);
        free_rooms(report, &Applying::pinned(100_000), "pinned", days);
    }
}

/// Rooms at random, on nights behind those of the others.
fn reserve_by_room(report: &mut Report, house: &mut Applying, live: &str, days: usize) {
    let mut random = random(1);
    report.rounds(&format!("ledger/{live}/reserve_by_room"), ROUNDS, || {
        let first = days + 3 * NIGHTS as usize;
        let mut commands = Vec::new();
        let mut chosen = std::collections::BTreeSet::new();
        while commands.len() < 4_096 {
            let (n, slot) = (below(&mut random, ROOMS), below(&mut random, 200));
            if chosen.insert((n, slot)) {
                let arrival = (first + slot * NIGHTS as usize) as i32;
                commands.push(stay(house.number(), hotel(0), Wanted::Room(room(n)), arrival));
            }
        }
        let took = house.all(&commands);
        house.undo();
        (took, commands.len())
    });
}

/// Stays like those that fill the house.
fn reserve_by_type(report: &mut Report, house: &mut Applying, live: &str, days: usize, commands: usize) {
    let mut random = random(2);
    report.rounds(&format!("ledger/{live}/reserve_by_type"), ROUNDS, || {
        let commands: Vec<_> =
            (0..commands).map(|_| house.by_type(below(&mut random, days) as i32)).collect();
        let took = house.all(&commands);
        house.undo();
        (took, commands.len())
    });
}

/// Stays at random give back their last night; stays at random are canceled.
fn change(report: &mut Report, house: &mut Applying, live: &str, count: usize, commands: usize) {
    let mut random = random(3);
    // The houses' own commands took the numbers before.
    let first = 2;
    let mut stays = |house: &mut Applying, command: fn(ReservationId, Date) -> Command| {
        let mut chosen = std::collections::BTreeSet::new();
        while chosen.len() < commands {
            chosen.insert(first + below(&mut random, count) as u64);
        }
        let found = chosen.into_iter().map(|n| {
            let id = reservation_id(n);
            let departure = house.ledger.reservation(id).expect("it was made").departure;
            (house.number(), command(id, departure))
        });
        found.collect::<Vec<_>>().into_iter().map(|(n, command)| keyed(n, command)).collect::<Vec<_>>()
    };
    let amend = |reservation, departure: Date| {
        let departure = Some(departure.plus(-1));
        Command::Amend(Box::new(Amend {
            reservation,
            if_match: None,
            arrival: None,
            departure,
            room_type: None,
            room: None,
            occupancy: None,
        }))
    };
    let cancel = |reservation, _| Command::Cancel(Change { reservation, if_match: None });
    for (name, command) in [("amend", amend as fn(ReservationId, Date) -> Command), ("cancel", cancel)] {
        report.rounds(&format!("ledger/{live}/{name}"), ROUNDS, || {
            let commands = stays(house, command);
            let took = house.all(&commands);
            house.undo();
            (took, commands.len())
        });
    }
}

/// A week on the full nights: a page of what can be had, and one room.
fn free_rooms(report: &mut Report, house: &Applying, live: &str, days: usize) {
    let mut random = random(4);
    let mut ask = |name: &str, limit, one_room: bool, count: usize| {
        report.rounds(&format!("ledger/{live}/{name}"), ROUNDS, || {
            let mut took = std::time::Duration::ZERO;
            for _ in 0..count {
                let arrival = day(below(&mut random, days) as i32);
                let query = FreeRoomsQuery {
                    property: hotel(0),
                    arrival,
                    departure: arrival.plus(7),
                    occupancy: 2,
                    currency: None,
                    currency_known: true,
                    room: one_room.then(|| room(below(&mut random, ROOMS))),
                    room_type: (!one_room).then(double),
                    limit,
                };
                let began = Instant::now();
                let found = house.ledger.free_rooms(&query);
                took += began.elapsed();
                assert!(found.is_ok_and(|found| one_room || !found.is_empty()));
            }
            (took, count)
        });
    };
    ask("free_rooms_for_a_week", 100, false, 16);
    ask("free_room_for_a_week", 1, true, 256);
}
