//! The judgement of a long history: fast enough for any run, and not blind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use innkeeper::ledger::{Date, Lsn, Timestamp};
use innkeeper::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

use super::clock::EPOCH_MS;
use super::history::{Answered, Call, History, Operation, Outcome, Reply, Wanted};
use super::properties::linearizability;

const OPERATIONS: u64 = 100_000;
const ROOMS: u64 = 500;
const NIGHTS: u64 = 300;
/// A checker that takes longer has failed.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// A hotel that takes one command after the other, and the record of its clients.
struct Recorder {
    history: History,
    last: BTreeMap<Uuid, wire::Reservation>,
    taken: BTreeSet<(&'static str, Date)>,
}

impl Recorder {
    /// Clients ask in turn, `overlapping` of them at a time.
    fn record(&mut self, lsn: u64, overlapping: u64, call: Call, reply: Reply) {
        let answered = Answered { lsn: Lsn(lsn), replayed: false, reply };
        self.history.operations.push(Operation {
            number: lsn as usize,
            call,
            began_ms: 10 * lsn.saturating_sub(overlapping),
            ended_ms: 10 * lsn + 5,
            outcome: Outcome::Answered(answered),
        });
    }

    fn reserve(&mut self, lsn: u64, room: &'static str, arrival: Date, departure: Date) {
        let keyed = true;
        let call =
            Call::Reserve { wanted: Wanted::Room(room), arrival, departure, hold_seconds: None, keyed };
        let nights = || arrival.until(departure).map(|night| (room, night));
        let reply = if nights().any(|night| self.taken.contains(&night)) {
            refusal("room_unavailable")
        } else {
            self.taken.extend(nights());
            let made = reservation(lsn, room, arrival, departure);
            self.last.insert(made.id.0, made.clone());
            Reply::Reservation(Box::new(made))
        };
        self.record(lsn, 8, call, reply);
    }

    fn cancel(&mut self, lsn: u64, id: Uuid) {
        let it = self.last.get_mut(&id).expect("it was made");
        let reply = if it.status.is_live() {
            it.status = innkeeper::ledger::Status::Canceled;
            (it.revision, it.lsn) = (it.revision + 1, Lsn(lsn));
            it.updated_at = instant(lsn);
            let room = it.room.as_ref().expect("by room").as_str();
            self.taken.retain(|(other, night)| *other != room || !(it.arrival..it.departure).contains(night));
            Reply::Reservation(Box::new(it.clone()))
        } else {
            refusal("invalid_state")
        };
        self.record(lsn, 8, Call::Cancel(id), reply);
    }
}

fn instant(lsn: u64) -> String {
    let instant = jiff::Timestamp::from_millisecond((EPOCH_MS + 10 * lsn) as i64).expect("an instant");
    format!("{instant:.3}")
}

fn reservation(lsn: u64, room: &str, arrival: Date, departure: Date) -> wire::Reservation {
    let id = Uuid::from_u128(u128::from(lsn));
    let value: Value = json!({
        "id": id, "booking_id": id, "property": "inn", "room_type": "single", "room": room, "room_pinned": true,
        "guest": "g", "arrival": arrival, "departure": departure, "occupancy": 1, "status": "confirmed",
        "hold_expires_at": null, "price": {"currency": "EUR", "nights": [], "total": 0}, "block": null,
        "external_ref": format!("op-{lsn}"), "revision": 1, "lsn": lsn, "created_at": instant(lsn),
        "updated_at": instant(lsn),
    });
    serde_json::from_value(value).expect("a reservation of the contract")
}

fn refusal(code: &str) -> Reply {
    let value = json!({"type": "t", "title": "t", "status": 409, "detail": "d", "code": code});
    Reply::Refused(Box::new(serde_json::from_value(value).expect("a problem of the contract")))
}

fn recorded() -> Recorder {
    let mut random = StdRng::seed_from_u64(1);
    let rooms: Vec<&'static str> = (0..ROOMS).map(|n| &*format!("r{n}").leak()).collect();
    let first: Date = "2027-02-01".parse().expect("a date");
    let mut recorder =
        Recorder { history: History::default(), last: BTreeMap::new(), taken: BTreeSet::new() };
    for lsn in 1..=OPERATIONS {
        let arrival = first.plus(random.random_range(0..NIGHTS as i32));
        let made = Uuid::from_u128(u128::from(random.random_range(1..=lsn)));
        if lsn % 3 == 0 && recorder.last.contains_key(&made) {
            recorder.cancel(lsn, made);
        } else {
            let room = rooms[random.random_range(0..rooms.len())];
            recorder.reserve(lsn, room, arrival, arrival.plus(random.random_range(1..5)));
        }
    }
    recorder
}

fn judge(recorder: &Recorder) -> Result<(), String> {
    let last: Vec<wire::Reservation> = recorder.last.values().cloned().collect();
    let stamps = BTreeMap::from([(Lsn(OPERATIONS), Timestamp(EPOCH_MS + 10 * OPERATIONS))]);
    let began = Instant::now();
    let judged = linearizability::check(&recorder.history, stamps, &last, Lsn(OPERATIONS));
    assert!(began.elapsed() < JUDGED_WITHIN, "{OPERATIONS} operations took {:?}", began.elapsed());
    judged
}

#[test]
fn a_hundred_thousand_operations_are_judged_in_seconds() {
    let mut recorder = recorded();
    let began = Instant::now();
    judge(&recorder).expect("the record is right");
    eprintln!("{OPERATIONS} operations judged in {:?}", began.elapsed());

    // Late in the record: one refusal becomes a sale, of nights that somebody has.
    let refused = recorder.history.operations.iter_mut().rev().find_map(|operation| {
        let Outcome::Answered(answered) = &mut operation.outcome else { return None };
        let Call::Reserve { wanted: Wanted::Room(room), arrival, departure, .. } = operation.call else {
            return None;
        };
        matches!(answered.reply, Reply::Refused(_)).then_some((answered, room, arrival, departure))
    });
    let (answered, room, arrival, departure) = refused.expect("some room was taken");
    let sold = reservation(answered.lsn.0, room, arrival, departure);
    recorder.last.insert(sold.id.0, sold.clone());
    answered.reply = Reply::Reservation(Box::new(sold));
    let found = judge(&recorder).expect_err("a room was sold twice");
    assert!(found.contains("it was sold, and"), "{found}");
}
