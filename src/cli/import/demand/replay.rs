//! Replays the rows against a cluster, day by day, as the hotels lived them.
//!
//! Whatever decides who gets a room happens in one order: hotels and room types don't touch one another, and within a
//! type reservations are made one after the other. So two replays leave the same stays in the same rooms. Each call has
//! a key of its own, made of the hotel and the row's number, and a replay that broke off is completed by running it again:
//! but for who got a room from the waitlist before that, of whom it is no longer known on which day.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use tokio::sync::Mutex;

use super::calendar::{Day, Step, Steps, days};
use super::rows::{Hotel, Row};
use crate::client::{
    Amend, Answer, Client, ClientError, JoinWaitlist, Key, ListQuery, Reserve, StatusChange, Stay,
};
use crate::ledger::{Date, ReservationId, Status, WaitlistId, WaitlistStatus};
use crate::wire;

/// Changes of one type's reservations that are under way at the same time.
const AT_ONCE: usize = 16;
/// The code of a refusal after which it makes sense to wait.
const NO_ROOM: &str = "no_availability";

/// What became of the rows of a hotel.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Reservations by the number of their row.
    pub accepted: BTreeMap<usize, ReservationId>,
    /// Rows that were refused, by code.
    pub refused: BTreeMap<String, Refusals>,
    /// Rows that went to the waitlist, by number.
    pub waited: BTreeMap<usize, WaitlistId>,
    /// How many of them were booked.
    pub booked: u64,
    /// Rows whose reservation an earlier import had asked for.
    pub earlier: u64,
    /// What went otherwise than the data says with rows that were accepted.
    pub troubles: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub rows: u64,
    /// The first of them, in words.
    pub example: String,
}

/// A replay of one hotel's rows under way.
pub(super) struct Course<'c> {
    pub client: &'c Client,
    pub hotel: Hotel,
    pub bar: &'c ProgressBar,
    /// Whether rows that find no room wait for one.
    pub waits: bool,
    replayed: Mutex<Replayed>,
}

impl<'c> Course<'c> {
    pub fn new(client: &'c Client, hotel: Hotel, bar: &'c ProgressBar, waits: bool) -> Course<'c> {
        Course { client, hotel, bar, waits, replayed: Mutex::default() }
    }

    /// Replays the hotel's rows from the property's business date on.
    pub async fn run(self, rows: &[Row]) -> Result<Replayed, ClientError> {
        let days = days(rows.iter().filter(|row| row.hotel == self.hotel));
        let mut today = self.client.property(&self.hotel.property()).await?.value.business_date;
        let after = days.keys().next_back().map(|last| last.plus(1));
        for (date, day) in &days {
            today = self.move_on(today, *date).await?;
            match self.waits {
                true => self.live_in_order(day).await?,
                false => self.live(day).await?,
            }
        }
        // Who has not come by now is a no-show.
        if let Some(after) = after {
            self.move_on(today, after).await?;
        }
        Ok(self.replayed.into_inner())
    }

    /// Moves the business date, one day at a time as the hotel did. A replay that goes on after it broke off is ahead.
    async fn move_on(&self, today: Date, to: Date) -> Result<Date, ClientError> {
        for date in today.plus(1).until(to.plus(1)) {
            self.client.night_audit(&self.hotel.property(), date, Key::Fresh).await?;
        }
        Ok(today.max(to))
    }

    async fn live(&self, day: &Day<'_>) -> Result<(), ClientError> {
        let types = stream::iter(day.values()).map(|steps| self.live_type(steps));
        types.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// A day of one room type.
    async fn live_type(&self, steps: &Steps<'_>) -> Result<(), ClientError> {
        for (step, rows) in steps {
            // Who comes first is served first; the others don't stand in each other's way.
            let at_once = if *step == Step::Reserve { 1 } else { AT_ONCE };
            let all = stream::iter(rows).map(|row| self.take(*step, row));
            all.buffer_unordered(at_once).try_collect::<()>().await?;
        }
        Ok(())
    }

    /// A day on which whatever is freed is offered to those who wait: which of them gets it depends on the order, so
    /// that one thing is done after the other.
    async fn live_in_order(&self, day: &Day<'_>) -> Result<(), ClientError> {
        for step in Step::ALL {
            if matches!(step, Step::Reserve | Step::CheckIn) {
                self.accept_offers().await?;
            }
            for row in day.values().filter_map(|steps| steps.get(&step)).flatten() {
                self.take(step, row).await?;
            }
        }
        // What came free behind the last of them is taken on this day as well, and who arrives on it comes late.
        loop {
            let late = self.accept_offers().await?;
            if late.is_empty() {
                return Ok(());
            }
            for step in [Step::CheckIn, Step::CheckOutOnArrivalDay, Step::NoShow] {
                let rows = day.values().filter_map(|steps| steps.get(&step)).flatten();
                for row in rows.filter(|row| late.contains(&row.number)) {
                    self.carry_out(step, row).await?;
                }
            }
        }
    }

    /// One step of one row, when its turn comes.
    async fn take(&self, step: Step, row: &Row) -> Result<(), ClientError> {
        self.bar.inc(1);
        self.carry_out(step, row).await
    }

    async fn carry_out(&self, step: Step, row: &Row) -> Result<(), ClientError> {
        if step == Step::Reserve {
            return self.reserve(row).await;
        }
        let replayed = self.replayed.lock().await;
        let (id, waits) =
            (replayed.accepted.get(&row.number).copied(), replayed.waited.get(&row.number).copied());
        drop(replayed);
        let Some(id) = id else {
            let gives_up = matches!(step, Step::Cancel | Step::CancelOnBookingDay);
            return match waits.filter(|_| gives_up) {
                Some(entry) => self.leave_waitlist(row, entry).await,
                None => Ok(()),
            };
        };
        let changed = match change(step) {
            Some(to) => self.client.change(id, to, None, self.key(row.number, step.name())).await,
            None => {
                let changes = Amend { occupancy: Some(row.occupancy), ..Amend::default() };
                self.client.amend(id, &changes, None, self.key(row.number, step.name())).await
            }
        };
        if let Err((code, detail)) = refusal(changed)? {
            let trouble = format!("d{}: {step:?} on its day was refused: {code}: {detail}", row.number);
            self.replayed.lock().await.troubles.push(trouble);
        }
        Ok(())
    }

    async fn reserve(&self, row: &Row) -> Result<(), ClientError> {
        let made = self
            .client
            .reserve(&self.hotel.property(), &reserve(row), self.key(row.number, Step::Reserve.name()))
            .await;
        if is_of_earlier_import(&made) {
            self.replayed.lock().await.earlier += 1;
        }
        match refusal(made.map(|answer| answer.value.id))? {
            Ok(id) => self.replayed.lock().await.accept(row.number, id),
            Err((code, detail)) => {
                let waits = self.waits && code == NO_ROOM;
                self.replayed.lock().await.refuse(row, code, &detail);
                if waits {
                    self.join_waitlist(row).await?;
                }
            }
        }
        Ok(())
    }

    /// A refused row waits. In a replay that is run again it may have been booked since.
    async fn join_waitlist(&self, row: &Row) -> Result<(), ClientError> {
        let wish = JoinWaitlist {
            guest: guest(row),
            room_type: row.room_type.clone(),
            arrival: row.arrival,
            departure: row.departure,
            occupancy: first_occupancy(row),
            currency: None,
        };
        let key = self.key(row.number, "Wait");
        let property = self.hotel.property();
        let joined = self.client.join_waitlist(&property, &wish, key).await?;
        let id = joined.value.id;
        self.replayed.lock().await.waited.insert(row.number, id);
        if joined.meta.replayed {
            let entry = self.client.waitlist_entry(&property, id).await?.value;
            if let (WaitlistStatus::Booked, Some(made)) = (entry.status, entry.reservation) {
                self.replayed.lock().await.accept_late(row.number, made);
            }
        }
        Ok(())
    }

    async fn leave_waitlist(&self, row: &Row, entry: WaitlistId) -> Result<(), ClientError> {
        let key = self.key(row.number, "Leave");
        // An entry that lapsed is over as well.
        refusal(self.client.leave_waitlist(&self.hotel.property(), entry, key).await).map(drop)
    }

    /// Rows are counted in each file: two hotels that are brought in one after the other have the same numbers.
    fn key(&self, row: usize, step: &str) -> Key {
        Key::Given(format!("innkeeper-demand:{}:d{row}:{step}", self.hotel.property()))
    }

    /// Whoever is offered a room takes it: the numbers of those rows. A replay makes no holds but these.
    async fn accept_offers(&self) -> Result<BTreeSet<usize>, ClientError> {
        let mut taken = BTreeSet::new();
        let property = self.hotel.property();
        let held = ListQuery { status: Some(Status::Held), ..ListQuery::default() };
        let waiting: BTreeSet<usize> = self.replayed.lock().await.waited.keys().copied().collect();
        let accept = async |page: Vec<wire::Reservation>| {
            for offered in page {
                let row = offered.guest.strip_prefix('d').and_then(|number| number.parse().ok());
                // In a replay that is run again, who has not come to wait yet has his offer already.
                let Some(row) = row.filter(|row| waiting.contains(row)) else { continue };
                let key = self.key(row, "Accept");
                let confirmed = self.client.change(offered.id, StatusChange::Confirm, None, key).await;
                if refusal(confirmed)?.is_ok() {
                    self.replayed.lock().await.accept_late(row, offered.id);
                    taken.insert(row);
                }
            }
            Ok(())
        };
        self.client.every_reservation(&property, held, accept).await?;
        Ok(taken)
    }
}

/// Whether the outcome is that of an earlier import.
fn is_of_earlier_import<T>(sent: &Result<Answer<T>, ClientError>) -> bool {
    let meta = match sent {
        Ok(answer) => &answer.meta,
        Err(ClientError::Refused(refused)) => &refused.meta,
        Err(_) => return false,
    };
    meta.is_of_earlier_call()
}

/// Apart from an answer that is missing: a refusal is an outcome.
fn refusal<T>(sent: Result<T, ClientError>) -> Result<Result<T, (String, String)>, ClientError> {
    match sent {
        Ok(value) => Ok(Ok(value)),
        Err(ClientError::Refused(refused)) if refused.is_final() => {
            Ok(Err((refused.problem.code, refused.problem.detail)))
        }
        Err(error) => Err(error),
    }
}

impl Replayed {
    fn accept(&mut self, row: usize, id: ReservationId) {
        self.accepted.insert(row, id);
    }

    /// A row that was refused got a room from the waitlist.
    fn accept_late(&mut self, row: usize, id: ReservationId) {
        self.accept(row, id);
        self.booked += 1;
        if let Some(refusals) = self.refused.get_mut(NO_ROOM) {
            refusals.rows -= 1;
        }
        self.refused.retain(|_, refusals| refusals.rows > 0);
    }

    fn refuse(&mut self, row: &Row, code: String, detail: &str) {
        let refusals = self.refused.entry(code).or_default();
        refusals.rows += 1;
        if refusals.example.is_empty() {
            refusals.example = format!("d{}: {detail}", row.number);
        }
    }
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
    Reserve { guest: guest(row), stay }
}

fn guest(row: &Row) -> String {
    format!("d{}", row.number)
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
    let count = async |page: Vec<wire::Reservation>| {
        for reservation in page.iter().filter(|it| accepted.contains(&it.id)) {
            *counts.entry(reservation.status).or_default() += 1;
        }
        Ok(())
    };
    client.every_reservation(&hotel.property(), ListQuery::default(), count).await?;
    Ok(counts)
}

/// Calls that a replay makes for these rows, beside night audits.
pub(super) fn calls(rows: &[Row]) -> u64 {
    let days = days(rows);
    days.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values).map(|rows| rows.len() as u64).sum()
}
