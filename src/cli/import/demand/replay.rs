//! Replays the rows against a cluster, day by day, as the hotels lived them.
//!
//! Whatever decides who gets a room happens in one order: hotels and room types don't touch one another, and within a
//! type reservations are made one after the other. So two replays leave the same stays in the same rooms. Each call has
//! a key of its own, made of the row's number, and a replay that broke off is completed by running it again.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use tokio::sync::Mutex;

use super::calendar::{Day, Step, Steps, days};
use super::rows::{Hotel, Row};
use crate::client::{Amend, Client, ClientError, Key, ListQuery, Reserve, StatusChange, Stay};
use crate::ledger::{Date, ReservationId, Status};

/// Changes of one type's reservations that are under way at the same time.
const AT_ONCE: usize = 16;
/// Reservations that are asked for at once.
const PAGE: u32 = 1_000;

/// What became of the rows of a hotel.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Reservations by the number of their row.
    pub accepted: BTreeMap<usize, ReservationId>,
    /// Rows that were refused, by code.
    pub refused: BTreeMap<String, Refusals>,
    /// What went otherwise than the data says with rows that were accepted.
    pub troubles: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub rows: u64,
    /// The first of them, in words.
    pub example: String,
}

/// Replays one hotel's rows from the property's business date on.
pub(super) async fn replay(
    client: &Client,
    hotel: Hotel,
    rows: &[Row],
    bar: &ProgressBar,
) -> Result<Replayed, ClientError> {
    let replayed = Mutex::new(Replayed::default());
    let days = days(rows.iter().filter(|row| row.hotel == hotel));
    let mut today = client.property(&hotel.property()).await?.value.business_date;
    let after = days.keys().next_back().map(|last| last.plus(1));
    for (date, day) in &days {
        today = move_on(client, hotel, today, *date).await?;
        live(client, day, &replayed, bar).await?;
    }
    // Who has not come by now is a no-show.
    if let Some(after) = after {
        move_on(client, hotel, today, after).await?;
    }
    Ok(replayed.into_inner())
}

/// Moves the business date, one day at a time as the hotel did. A replay that goes on after it broke off is ahead.
async fn move_on(client: &Client, hotel: Hotel, today: Date, to: Date) -> Result<Date, ClientError> {
    for date in today.plus(1).until(to.plus(1)) {
        client.night_audit(&hotel.property(), date, Key::Fresh).await?;
    }
    Ok(today.max(to))
}

async fn live(
    client: &Client,
    day: &Day<'_>,
    replayed: &Mutex<Replayed>,
    bar: &ProgressBar,
) -> Result<(), ClientError> {
    let types = stream::iter(day.values()).map(|steps| live_type(client, steps, replayed, bar));
    types.buffer_unordered(AT_ONCE).try_collect().await
}

/// A day of one room type.
async fn live_type(
    client: &Client,
    steps: &Steps<'_>,
    replayed: &Mutex<Replayed>,
    bar: &ProgressBar,
) -> Result<(), ClientError> {
    for (step, rows) in steps {
        // Who comes first is served first; the others don't stand in each other's way.
        let at_once = if *step == Step::Reserve { 1 } else { AT_ONCE };
        let all = stream::iter(rows).map(|row| take(client, *step, row, replayed, bar));
        all.buffer_unordered(at_once).try_collect::<()>().await?;
    }
    Ok(())
}

/// One step of one row.
async fn take(
    client: &Client,
    step: Step,
    row: &Row,
    replayed: &Mutex<Replayed>,
    bar: &ProgressBar,
) -> Result<(), ClientError> {
    bar.inc(1);
    if step == Step::Reserve {
        let made = client.reserve(&row.hotel.property(), &reserve(row), key(row, step)).await;
        let mut replayed = replayed.lock().await;
        match refusal(made.map(|answer| answer.value.id))? {
            Ok(id) => replayed.accept(row, id),
            Err((code, detail)) => replayed.refuse(row, code, &detail),
        }
        return Ok(());
    }
    let Some(id) = replayed.lock().await.accepted.get(&row.number).copied() else { return Ok(()) };
    let changed = match change(step) {
        Some(to) => client.change(id, to, None, key(row, step)).await,
        None => {
            let changes = Amend { occupancy: Some(row.occupancy), ..Amend::default() };
            client.amend(id, &changes, None, key(row, step)).await
        }
    };
    if let Err((code, detail)) = refusal(changed)? {
        let trouble = format!("d{}: {step:?} on its day was refused: {code}: {detail}", row.number);
        replayed.lock().await.troubles.push(trouble);
    }
    Ok(())
}

/// Apart from an answer that is missing: a refusal is an outcome.
fn refusal<T>(sent: Result<T, ClientError>) -> Result<Result<T, (String, String)>, ClientError> {
    match sent {
        Ok(value) => Ok(Ok(value)),
        Err(ClientError::Refused(refused)) if refused.problem.status < 429 => {
            Ok(Err((refused.problem.code, refused.problem.detail)))
        }
        Err(error) => Err(error),
    }
}

impl Replayed {
    fn accept(&mut self, row: &Row, id: ReservationId) {
        self.accepted.insert(row.number, id);
    }

    fn refuse(&mut self, row: &Row, code: String, detail: &str) {
        let refusals = self.refused.entry(code).or_default();
        refusals.rows += 1;
        if refusals.example.is_empty() {
            refusals.example = format!("d{}: {detail}", row.number);
        }
    }
}

fn key(row: &Row, step: Step) -> Key {
    Key::Given(format!("innkeeper-demand:d{}:{step:?}", row.number))
}

fn reserve(row: &Row) -> Reserve {
    let stay = Stay {
        room: None,
        room_type: Some(row.room_type.clone()),
        arrival: row.arrival,
        departure: row.departure,
        occupancy: first_occupancy(row),
        currency: None,
        hold_seconds: None,
        expected_total: None,
        block: None,
        external_ref: None,
    };
    Reserve { guest: format!("d{}", row.number), stay }
}

/// The data says that a reservation was changed and not how: it is made for another number of persons. The rate is the
/// same for any number, so that nothing else comes of it.
fn first_occupancy(row: &Row) -> u32 {
    match row.occupancy {
        2..=6 if row.changed => row.occupancy - 1,
        1 if row.changed => 2,
        occupancy => occupancy,
    }
}

fn change(step: Step) -> Option<StatusChange> {
    match step {
        Step::Reserve | Step::Change => None,
        Step::Cancel | Step::CancelOnBookingDay => Some(StatusChange::Cancel),
        Step::CheckIn => Some(StatusChange::CheckIn),
        Step::CheckOut | Step::CheckOutOnArrivalDay => Some(StatusChange::CheckOut),
        Step::NoShow => Some(StatusChange::NoShow),
    }
}

/// How the accepted reservations of a hotel stand in the cluster.
pub(super) async fn statuses(
    client: &Client,
    hotel: Hotel,
    replayed: &Replayed,
) -> Result<BTreeMap<Status, u64>, ClientError> {
    let accepted: BTreeSet<ReservationId> = replayed.accepted.values().copied().collect();
    let mut counts = BTreeMap::new();
    let mut query = ListQuery { limit: Some(PAGE), ..ListQuery::default() };
    loop {
        let page = client.reservations(&hotel.property(), &query).await?.value;
        for reservation in page.reservations.iter().filter(|it| accepted.contains(&it.id)) {
            *counts.entry(reservation.status).or_default() += 1;
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(counts);
        }
    }
}

/// Calls that a replay makes for these rows, beside night audits.
pub(super) fn calls(rows: &[Row]) -> u64 {
    let days = days(rows);
    days.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values).map(|rows| rows.len() as u64).sum()
}
