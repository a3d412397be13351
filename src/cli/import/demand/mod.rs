//! `--format demand`: replays a published data set of two hotels' bookings, for trials at the size of real ones.
//!
//! Every row is reserved on the day on which it was booked, and changed, canceled, checked in, checked out or missed on
//! its day, while night audits move the business date along. Which rows are accepted is up to the capacity.

mod calendar;
mod capacity;
mod chart;
mod define;
mod replay;
mod rows;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde::Serialize;

use super::{Import, broken_off, nothing_imported};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::progress;
use crate::cli::settings::Sources;
use crate::client::{Client, ClientError};
use crate::ledger::Status;
use crate::wire;
use capacity::Capacity;
use chart::Month;
use replay::{Course, Replayed};
use rows::{Hotel, Row};

/// What went otherwise than the data says, as much of it as is shown.
const TROUBLES_SHOWN: usize = 10;

/// What stdout says about a replay.
#[derive(Debug, Default, Serialize)]
struct Summary {
    rows: u64,
    accepted: u64,
    /// Rows by the code of their refusal.
    refused: BTreeMap<String, u64>,
    /// Accepted rows by how they stand at the end.
    statuses: BTreeMap<Status, u64>,
}

/// What is shown to a person only.
#[derive(Debug, Default)]
struct Report {
    summary: Summary,
    /// The first refusal of each code, in words.
    examples: BTreeMap<String, String>,
    months: Vec<(Hotel, Vec<Month>)>,
    /// Rows that went to the waitlist, and those of them that were booked.
    waited: u64,
    booked: u64,
    /// Rows that an earlier import had dealt with.
    earlier: u64,
    troubles: Vec<String>,
    took: Duration,
}

pub(super) async fn run(import: Import, sources: &Sources) -> Result<(), Failure> {
    let format = import.target.format(sources)?;
    let client = import.target.client(sources)?;
    let Some(capacity) = &import.capacity else {
        return Err(Failure::Usage("--format demand needs --capacity FILE.csv".to_owned()));
    };
    let (read, capacity) = (rows::read(&import.files), capacity::read(capacity));
    let (rows, capacity) = match (read, capacity) {
        (Ok(rows), Ok(capacity)) => (rows, capacity),
        (rows, capacity) => {
            let reasons = [rows.err().unwrap_or_default(), capacity.err().unwrap_or_default()].concat();
            return Err(nothing_imported(&reasons));
        }
    };
    if import.dry_run {
        let summary = Summary { rows: rows.len() as u64, ..Summary::default() };
        return output::show(format, &summary, |summary| {
            format!("A dry run: {} rows were read, nothing was written.", summary.rows)
        });
    }
    let report = replay_all(&client, &rows, &capacity, import.waitlist).await.map_err(broken_off)?;
    show(format, &report)
}

async fn replay_all(
    client: &Client,
    rows: &[Row],
    capacity: &Capacity,
    waits: bool,
) -> Result<Report, ClientError> {
    let began = Instant::now();
    let bar = progress::bar(replay::calls(rows), "calls");
    let hotels = Hotel::ALL.into_iter().filter(|hotel| rows.iter().any(|row| row.hotel == *hotel));
    let replays = hotels.map(async |hotel| {
        define::define(client, hotel, rows, capacity).await?;
        let replayed = Course::new(client, hotel, &bar, waits).run(rows).await?;
        let statuses = replay::statuses(client, hotel, &replayed).await?;
        Ok::<_, ClientError>((hotel, replayed, statuses, chart::months(client, hotel, rows).await?))
    });
    let ended = try_join_all(replays).await?;
    bar.finish_and_clear();
    let mut report = Report { took: began.elapsed(), ..Report::default() };
    report.summary.rows = rows.len() as u64;
    for (hotel, replayed, statuses, months) in ended {
        report.add(replayed, statuses);
        report.months.push((hotel, months));
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, replayed: Replayed, statuses: BTreeMap<Status, u64>) {
        let summary = &mut self.summary;
        summary.accepted += replayed.accepted.len() as u64;
        self.waited += replayed.waited.len() as u64;
        self.booked += replayed.booked;
        self.earlier += replayed.earlier;
        for (status, count) in statuses {
            *summary.statuses.entry(status).or_default() += count;
        }
        for (code, refusals) in replayed.refused {
            *summary.refused.entry(code.clone()).or_default() += refusals.rows;
            self.examples.entry(code).or_insert(refusals.example);
        }
        self.troubles.extend(replayed.troubles);
    }
}

fn show(format: Format, report: &Report) -> Result<(), Failure> {
    if report.earlier > 0 {
        output::tell!(
            "{} rows had been dealt with by an earlier import: they keep what became of them, with the rooms of then",
            report.earlier
        );
    }
    for trouble in report.troubles.iter().take(TROUBLES_SHOWN) {
        output::tell!("{trouble}");
    }
    if report.troubles.len() > TROUBLES_SHOWN {
        output::tell!("and {} more like these", report.troubles.len() - TROUBLES_SHOWN);
    }
    match format {
        Format::Json => output::show(format, &report.summary, |_| String::new()),
        Format::Table => output::print(&text(report)),
    }
}

fn text(report: &Report) -> String {
    let Summary { rows, accepted, refused, statuses } = &report.summary;
    let took = format!("{:.1}", report.took.as_secs_f64());
    let mut parts = vec![format!(
        "{rows} rows: {accepted} accepted, {} refused, in {took} s",
        refused.values().sum::<u64>()
    )];
    if report.waited > 0 {
        parts.push(format!("{} rows waited, {} of them were booked", report.waited, report.booked));
    }
    let statuses = statuses.iter().map(|(status, count)| [wire::word(status), count.to_string()]);
    parts.push(output::table(["status", "rows"], statuses));
    let refused = refused.iter().map(|(code, count)| {
        [code.clone(), count.to_string(), report.examples.get(code).cloned().unwrap_or_default()]
    });
    parts.push(output::table(["refused", "rows", "the first of them"], refused));
    parts.extend(report.months.iter().map(|(hotel, months)| chart::chart(*hotel, months)));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}
