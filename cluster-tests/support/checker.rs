//! What a cluster promised, held against what it shows after.
//!
//! Given the record of a load and the ledger's own list and counts, it finds: an acknowledged booking that is gone
//! or changed; a key that became two reservations; a reservation of an attempt that was refused, or of none; a
//! room-night sold twice, or more rooms than there are; a refusal for nights that nobody ever had; counts that
//! disagree with the list; and positions in the log that contradict the order in which clients were answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use super::cluster::Cluster;
use super::hotel::Hotel;
use super::load::{Booking, Outcome};

/// Complaints that a failure prints; the first few tell the rest.
const SHOWN: usize = 20;

/// What the ledger shows after a load.
#[derive(Clone)]
pub struct Found {
    pub reservations: Vec<Value>,
    /// By room type, a row a night.
    pub availability: Value,
    /// Rooms of each type.
    pub rooms: u64,
}

/// Asks every node for what it shows, which must be the same everywhere, and checks the load's record against it.
/// Answers how many bookings were acknowledged.
pub async fn holds(cluster: &Cluster, hotel: &Hotel, history: &[Booking]) -> usize {
    cluster.agree().await;
    let mut seen: Option<Found> = None;
    for api in cluster.apis() {
        let reservations = hotel.reservations(&api).await;
        let availability = hotel.availability(&api).await;
        if let Some(first) = &seen {
            assert!(first.reservations == reservations, "two nodes list other reservations");
            assert_eq!(first.availability, availability, "two nodes count otherwise");
        }
        seen = Some(Found { reservations, availability, rooms: hotel.rooms });
    }
    let complaints = complaints(history, &seen.expect("a cluster has nodes"));
    if !complaints.is_empty() {
        let record = cluster.dir().join("history.txt");
        std::fs::write(&record, format!("{history:#?}")).expect("a record of the load");
        let shown: Vec<&String> = complaints.iter().take(SHOWN).collect();
        panic!("{} promises broken, of {} bookings: {shown:#?}", complaints.len(), history.len());
    }
    history.iter().filter(|booking| matches!(booking.booked.outcome, Outcome::Acknowledged(_))).count()
}

/// Every broken promise in words; none where all hold.
pub fn complaints(history: &[Booking], found: &Found) -> Vec<String> {
    let mut complaints = Vec::new();
    let by_key = by_key(found, &mut complaints);
    let had = had(found);
    for booking in history {
        complaints.extend(fate(booking, by_key.get(booking.key.as_str()).copied()));
        complaints.extend(unfounded_refusal(booking, found, &had));
    }
    let asked: BTreeSet<&str> = history.iter().map(|booking| booking.key.as_str()).collect();
    for key in by_key.keys().filter(|key| !asked.contains(*key)) {
        complaints.push(format!("`{key}` is a reservation that nobody asked for"));
    }
    complaints.extend(sold_twice(found));
    complaints.extend(miscounted(found));
    complaints.extend(out_of_order(history));
    complaints
}

fn by_key<'a>(found: &'a Found, complaints: &mut Vec<String>) -> BTreeMap<&'a str, &'a Value> {
    let mut by_key = BTreeMap::new();
    for reservation in &found.reservations {
        let key = text(reservation, "external_ref");
        if by_key.insert(key, reservation).is_some() {
            complaints.push(format!("`{key}` became more than one reservation"));
        }
    }
    by_key
}

/// What became of one booking, against what its client was told.
fn fate(booking: &Booking, found: Option<&Value>) -> Option<String> {
    let key = &booking.key;
    match (&booking.booked.outcome, found) {
        (Outcome::Acknowledged(told), None) => Some(format!("`{key}` was acknowledged and is lost: {told}")),
        (Outcome::Acknowledged(told), Some(found)) => changed(booking, told, found),
        (Outcome::Refused(problem), Some(_)) => Some(format!("`{key}` was refused and stands: {problem}")),
        (Outcome::NothingHappened, Some(_)) => {
            Some(format!("`{key}` happened where nodes {:?} said that nothing did", booking.booked.nodes))
        }
        (Outcome::Unknown(why), Some(found)) => {
            not_as_asked(booking, found).map(|other| format!("{other}, after {why}"))
        }
        (_, None) => None,
    }
}

fn changed(booking: &Booking, told: &Value, found: &Value) -> Option<String> {
    let key = &booking.key;
    let status = text(found, "status");
    let mut told = told.clone();
    match booking.canceled.as_ref().map(|told| &told.outcome) {
        Some(Outcome::Acknowledged(canceled)) => told = canceled.clone(),
        Some(Outcome::Unknown(_)) if status == "canceled" => {
            // Nobody was told how the change left it; what the change doesn't touch still stands.
            for field in ["status", "revision", "lsn", "updated_at", "room"] {
                told[field] = found[field].clone();
            }
        }
        Some(Outcome::Refused(problem)) => {
            return Some(format!("`{key}`: its cancellation was refused: {problem}"));
        }
        _ => {}
    }
    if told["room_pinned"] == false {
        // The planned room of an unpinned stay may change without a revision.
        told["room"] = found["room"].clone();
    }
    (told != *found)
        .then(|| format!("`{key}` was acknowledged as {told} and is {found}"))
        .or_else(|| not_as_asked(booking, found))
}

fn not_as_asked(booking: &Booking, found: &Value) -> Option<String> {
    let asked = booking.request.as_object().expect("a request is an object");
    let other = asked.iter().find(|(field, value)| found[field.as_str()] != **value)?;
    Some(format!("`{}` asked for {other:?} and got {found}", booking.key))
}

/// How many stays ever had a room, or one of a type, on a night; by field, its value and the night.
type Had<'a> = BTreeMap<(&'static str, &'a str, String), u64>;

fn had(found: &Found) -> Had<'_> {
    let mut had = Had::new();
    for stay in &found.reservations {
        for night in nights(stay) {
            for field in ["room", "room_type"] {
                *had.entry((field, text(stay, field), night.clone())).or_default() += 1;
            }
        }
    }
    had
}

/// A refusal is only right where somebody had what was asked for.
fn unfounded_refusal(booking: &Booking, found: &Found, had: &Had<'_>) -> Option<String> {
    let Outcome::Refused(problem) = &booking.booked.outcome else { return None };
    let unfounded = |why: &str| Some(format!("`{}` was refused, {why}: {problem}", booking.key));
    let request = &booking.request;
    let (field, others) = match text(problem, "code") {
        "room_unavailable" => ("room", 1),
        "no_availability" if problem["fragmented"] == true => return None,
        "no_availability" => ("room_type", found.rooms),
        _ => return unfounded("with a code that this load can't earn"),
    };
    let nights = problem["nights"].as_array().cloned().unwrap_or_default();
    if nights.is_empty() {
        return unfounded("for no night");
    }
    for night in nights.iter().map(|night| night.as_str().unwrap_or_default()) {
        if !covers(request, night) {
            return unfounded("for a night that it didn't ask for");
        }
        let had = had.get(&(field, text(request, field), night.to_owned())).copied().unwrap_or(0);
        if had < others {
            return unfounded("for a night that nobody ever had");
        }
    }
    None
}

/// Stays that stand, by what they take: held and confirmed ones.
fn live(found: &Found) -> impl Iterator<Item = &Value> {
    found.reservations.iter().filter(|stay| matches!(text(stay, "status"), "held" | "confirmed"))
}

fn sold_twice(found: &Found) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut taken: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for stay in live(found).filter(|stay| !stay["room"].is_null()) {
        for night in nights(stay) {
            let (room, key) = (text(stay, "room"), text(stay, "external_ref"));
            if let Some(other) = taken.insert((room, night.clone()), key) {
                complaints.push(format!("room {room} is sold twice on {night}: to `{other}` and to `{key}`"));
            }
        }
    }
    for (room_type, sold) in &counted(found) {
        for (night, count) in sold.iter().filter(|(_, count)| **count > found.rooms) {
            complaints.push(format!("{count} of {} rooms `{room_type}` are sold on {night}", found.rooms));
        }
    }
    complaints
}

/// Live stays by room type and night.
fn counted(found: &Found) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for stay in live(found) {
        let of_type = counts.entry(text(stay, "room_type").to_owned()).or_default();
        for night in nights(stay) {
            *of_type.entry(night).or_default() += 1;
        }
    }
    counts
}

fn miscounted(found: &Found) -> Vec<String> {
    let mut complaints = Vec::new();
    let counts = counted(found);
    let types = found.availability.as_object().expect("availability is an object");
    for (room_type, rows) in types {
        for row in rows.as_array().expect("a row a night") {
            let date = text(row, "date");
            let listed = counts.get(room_type).and_then(|nights| nights.get(date)).copied().unwrap_or(0);
            let number = |field: &str| row[field].as_i64().unwrap_or(i64::MIN / 8);
            let taken = number("held") + number("sold");
            let left = number("rooms") - number("out_of_order") - taken - number("blocked");
            if number("rooms") != found.rooms as i64 || taken != listed as i64 || number("available") != left
            {
                complaints.push(format!("`{room_type}`: {row}, but {listed} stays are listed on {date}"));
            }
        }
    }
    for (room_type, date) in
        counts.iter().flat_map(|(of, nights)| nights.keys().map(move |night| (of, night)))
    {
        let rows = types.get(room_type).and_then(Value::as_array);
        if !rows.is_some_and(|rows| rows.iter().any(|row| row["date"] == **date)) {
            complaints.push(format!("availability doesn't show `{room_type}` on {date}"));
        }
    }
    complaints
}

/// No position twice, and what was answered before something else was asked stands before it in the log.
fn out_of_order(history: &[Booking]) -> Vec<String> {
    let mut done: Vec<(u64, Instant, Instant, &str)> = Vec::new();
    for booking in history {
        for told in std::iter::once(&booking.booked).chain(&booking.canceled) {
            if let Outcome::Acknowledged(reservation) = &told.outcome {
                let lsn = reservation["lsn"].as_u64().unwrap_or_default();
                done.push((lsn, told.started, told.ended, &booking.key));
            }
        }
    }
    done.sort_by_key(|(lsn, ..)| *lsn);
    let mut complaints: Vec<String> = done
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| format!("`{}` and `{}` have the same LSN {}", pair[0].3, pair[1].3, pair[0].0))
        .collect();
    let mut first_ended: Option<(Instant, u64, &str)> = None;
    for &(lsn, started, ended, key) in done.iter().rev() {
        if let Some((before, later_lsn, later)) = first_ended
            && before < started
        {
            complaints.push(format!(
                "`{later}` was answered before `{key}` was asked, but has LSN {later_lsn} > {lsn}"
            ));
        }
        if first_ended.is_none_or(|(before, ..)| ended < before) {
            first_ended = Some((ended, lsn, key));
        }
    }
    complaints
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Dates as ISO 8601 texts are ordered like dates.
fn covers(stay: &Value, night: &str) -> bool {
    text(stay, "arrival") <= night && night < text(stay, "departure")
}

fn nights(stay: &Value) -> Vec<String> {
    let date = |field| text(stay, field).parse::<jiff::civil::Date>().expect("a stay has dates");
    let departure = date("departure");
    date("arrival")
        .series(jiff::Span::new().days(1))
        .take_while(|night| *night < departure)
        .map(|night| night.to_string())
        .collect()
}

/// A checker is worth what it catches: each row plants one bug in a record that is right.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::hotel::date;
    use super::super::load::Told;
    use super::*;

    type Plant = fn(&mut Vec<Booking>, &mut Found);

    fn told(at: Instant, second: u64, outcome: Outcome) -> Told {
        let started = at + Duration::from_secs(second);
        Told { started, ended: started + Duration::from_millis(500), outcome, nodes: vec![1] }
    }

    fn stay(key: &str, room: u64, arrival: u64, departure: u64, lsn: u64) -> (Value, Value) {
        let request = json!({"guest": "guest-1", "room": format!("n{room}"), "arrival": date(arrival),
                             "departure": date(departure), "occupancy": 1, "external_ref": key});
        let mut reservation = request.clone();
        for (field, value) in [("status", json!("confirmed")), ("room_type", json!("named"))] {
            reservation[field] = value;
        }
        reservation["room_pinned"] = json!(true);
        reservation["updated_at"] = json!("2026-12-01T00:00:00.000Z");
        reservation["lsn"] = json!(lsn);
        reservation["revision"] = json!(1);
        (request, reservation)
    }

    /// Two neighbours in one room, one canceled stay, one refusal, one unknown that happened and one that didn't.
    fn right() -> (Vec<Booking>, Found) {
        let at = Instant::now();
        let mut history = Vec::new();
        let mut reservations = Vec::new();
        for (n, (arrival, departure)) in [(0, 2), (2, 5), (5, 6)].into_iter().enumerate() {
            let key = format!("k{n}");
            let (request, reservation) = stay(&key, 1, arrival, departure, 10 + n as u64);
            let booked = told(at, n as u64, Outcome::Acknowledged(reservation.clone()));
            reservations.push(reservation);
            history.push(Booking { key, request, booked, canceled: None });
        }
        let mut canceled = reservations[2].clone();
        canceled["status"] = json!("canceled");
        canceled["revision"] = json!(2);
        canceled["lsn"] = json!(20);
        history[2].canceled = Some(told(at, 5, Outcome::Acknowledged(canceled.clone())));
        reservations[2] = canceled;
        let refused = json!({"code": "room_unavailable", "nights": [date(4)]});
        let others = [
            ("refused", (4, 6), Outcome::Refused(refused)),
            ("happened", (7, 8), Outcome::Unknown("silence".into())),
            ("vanished", (8, 9), Outcome::Unknown("silence".into())),
            ("shed", (9, 10), Outcome::NothingHappened),
        ];
        for (key, (arrival, departure), outcome) in others {
            let (request, reservation) = stay(key, 1, arrival, departure, 30);
            if key == "happened" {
                reservations.push(reservation);
            }
            history.push(Booking { key: key.into(), request, booked: told(at, 6, outcome), canceled: None });
        }
        let mut found = Found { reservations, availability: json!({}), rooms: 1 };
        recount(&mut found);
        (history, found)
    }

    fn recount(found: &mut Found) {
        let counts = counted(found);
        let rows: Vec<Value> = (0..12)
            .map(|n| {
                let sold = counts.get("named").and_then(|nights| nights.get(&date(n))).copied().unwrap_or(0);
                json!({"date": date(n), "rooms": 1, "out_of_order": 0, "held": 0, "sold": sold, "blocked": 0,
                       "available": 1 - sold as i64})
            })
            .collect();
        found.availability = json!({"named": rows});
    }

    fn acknowledged(booking: &mut Booking) -> &mut Value {
        match &mut booking.booked.outcome {
            Outcome::Acknowledged(reservation) => reservation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_that_is_right_has_no_complaints() {
        let (history, found) = right();
        assert_eq!(complaints(&history, &found), Vec::<String>::new());
    }

    #[test]
    fn each_planted_bug_is_caught() {
        let plants: [(&str, Plant); 15] = [
            ("is lost", |_, found| {
                found.reservations.remove(0);
                recount(found);
            }),
            ("was acknowledged as", |_, found| found.reservations[1]["guest"] = json!("another")),
            ("asked for", |_, found| found.reservations[3]["occupancy"] = json!(2)),
            ("became more than one", |_, found| {
                let (_, again) = stay("k0", 2, 0, 2, 40);
                found.reservations.push(again);
            }),
            ("is sold twice", |history, found| {
                let (request, reservation) = stay("twice", 1, 1, 3, 41);
                let booked = Told {
                    outcome: Outcome::Acknowledged(reservation.clone()),
                    ..history.last().expect("a record").booked.clone()
                };
                history.push(Booking { key: "twice".into(), request, booked, canceled: None });
                found.reservations.push(reservation);
                recount(found);
            }),
            ("rooms `named` are sold", |history, found| {
                let (request, mut reservation) = stay("over", 1, 0, 1, 41);
                reservation["room"] = Value::Null;
                history.push(Booking { key: "over".into(), request, ..history[4].clone() });
                found.reservations.push(reservation);
                recount(found);
            }),
            ("was refused and stands", |_, found| {
                let (_, reservation) = stay("refused", 2, 4, 6, 42);
                found.reservations.push(reservation);
            }),
            ("said that nothing did", |_, found| {
                let (_, reservation) = stay("shed", 2, 9, 10, 42);
                found.reservations.push(reservation);
            }),
            ("nobody asked for", |_, found| {
                let (_, reservation) = stay("invented", 2, 9, 10, 42);
                found.reservations.push(reservation);
            }),
            ("that nobody ever had", |history, _| {
                history[3].booked.outcome =
                    Outcome::Refused(json!({"code": "room_unavailable", "nights": [date(4), date(10)]}));
                history[3].request["departure"] = json!(date(11));
            }),
            ("can't earn", |history, _| {
                history[3].booked.outcome = Outcome::Refused(json!({"code": "internal"}));
            }),
            ("stays are listed", |_, found| found.availability["named"][3]["sold"] = json!(0)),
            ("doesn't show", |_, found| found.availability["named"] = json!([])),
            ("have the same LSN", |history, found| {
                acknowledged(&mut history[1])["lsn"] = json!(10);
                found.reservations[1]["lsn"] = json!(10);
            }),
            ("was answered before", |history, found| {
                acknowledged(&mut history[0])["lsn"] = json!(15);
                found.reservations[0]["lsn"] = json!(15);
            }),
        ];
        for (words, plant) in plants {
            let (mut history, mut found) = right();
            plant(&mut history, &mut found);
            let complaints = complaints(&history, &found);
            assert!(
                complaints.iter().any(|complaint| complaint.contains(words)),
                "`{words}`: {complaints:?}"
            );
        }
    }

    #[test]
    fn an_unacknowledged_cancellation_may_have_happened_or_not() {
        for status in ["canceled", "confirmed"] {
            let (mut history, mut found) = right();
            history[1].canceled = Some(told(Instant::now(), 9, Outcome::Unknown("silence".into())));
            found.reservations[1]["status"] = json!(status);
            recount(&mut found);
            assert_eq!(complaints(&history, &found), Vec::<String>::new(), "{status}");
        }
    }
}
