//! `--format innkeeper`: what `export` wrote, or another system in its format.
//!
//! Each booking is taken over under a key that is made of its name in the file, so that an import that broke off, and
//! one that is run again, takes nothing over twice; what was made in this very cluster is passed over.

mod judge;
mod read;
mod there;
mod write;

use serde::Serialize;

use write::Written;

use super::{Import, broken_off, nothing_imported};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::settings::Sources;

/// Refusals that an error message shows; the rest are counted.
const SHOWN_MAX: usize = 20;

/// What stdout says about an import.
#[derive(Debug, Serialize)]
struct Summary {
    dry_run: bool,
    #[serde(flatten)]
    counts: Counts,
    /// Bookings and waitlist entries that an earlier import had taken over already, or that were made in this cluster.
    already_there: u64,
    refused: Vec<Refused>,
    /// No booking was written, since something that is set for the houses was refused.
    ended_early: bool,
}

/// Records of each kind in the files, and the reservations of the bookings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    properties: u64,
    room_types: u64,
    rooms: u64,
    rates: u64,
    restrictions: u64,
    out_of_order: u64,
    blocks: u64,
    bookings: u64,
    reservations: u64,
    waitlist_entries: u64,
}

/// A record that the cluster did not take.
#[derive(Debug, Serialize)]
struct Refused {
    /// `file:line`.
    place: String,
    code: String,
    detail: String,
}

pub(super) async fn run(import: Import, sources: &Sources) -> Result<(), Failure> {
    let format = import.target.format(sources)?;
    let client = import.target.client(sources)?;
    let contents = read::read(&import.files).map_err(|reasons| nothing_imported(&reasons))?;
    let written = if import.dry_run {
        Written::default()
    } else {
        write::write(&client, &contents).await.map_err(broken_off)?
    };
    let Written { already_there, refused, ended_early } = written;
    let summary =
        Summary { dry_run: import.dry_run, counts: contents.counts, already_there, refused, ended_early };
    let taken = all_taken(&summary.refused, ended_early);
    match (output::show(format, &summary, table), taken) {
        (Err(unshown), Err(refused)) => Err(Failure::Failed(format!("{refused}\n{unshown}"))),
        (shown, taken) => shown.and(taken),
    }
}

fn all_taken(refused: &[Refused], ended_early: bool) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    let shown = refused.iter().take(SHOWN_MAX);
    let mut lines: Vec<String> =
        shown.map(|it| format!("{}: {}: {}", it.place, it.code, it.detail)).collect();
    if refused.len() > SHOWN_MAX {
        lines.push(format!("and {} more; --output json lists them all", refused.len() - SHOWN_MAX));
    }
    if ended_early {
        lines.push(
            "No booking and nothing else that builds on these was written; mend them and run it again."
                .into(),
        );
    }
    Err(Failure::Failed(format!("{} records were refused:\n{}", refused.len(), lines.join("\n"))))
}

fn table(summary: &Summary) -> String {
    let Counts { properties, room_types, rooms, rates, restrictions, out_of_order, .. } = summary.counts;
    let Counts { blocks, bookings, reservations, waitlist_entries, .. } = summary.counts;
    let rows = [
        ("properties", properties),
        ("room types", room_types),
        ("rooms", rooms),
        ("rates", rates),
        ("restrictions", restrictions),
        ("out of order", out_of_order),
        ("blocks", blocks),
        ("bookings", bookings),
        ("reservations", reservations),
        ("waitlist entries", waitlist_entries),
        ("already there", summary.already_there),
        ("refused", summary.refused.len() as u64),
    ];
    let table =
        output::table(["records", "count"], rows.map(|(what, count)| [what.to_owned(), count.to_string()]));
    let last = if summary.dry_run { "\n\nA dry run: nothing was written." } else { "" };
    format!("{table}{last}")
}
