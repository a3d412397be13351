//! What goes to stdout: tables for people, JSON for programs.

use std::io::{ErrorKind, Write};
use std::str::FromStr;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::money;
use crate::client::Meta;
use crate::wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    Table,
    /// The answer as the API gives it.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        <Format as ValueEnum>::from_str(text, false).map_err(|_| "expected table or json".to_owned())
    }
}

/// A line on stderr for whoever watches. One that is full or gone changes nothing about what is done.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(super) use tell;

/// Prints data in the asked format; the table is made only where it is wanted.
pub(super) fn show<T: Serialize>(
    format: Format,
    data: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => print(&table(data)),
        Format::Json => show_json(data),
    }
}

/// Prints an answer as the API gives it.
pub(super) fn show_json<T: Serialize>(data: &T) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(data).expect("answers are structs with named fields"))
}

/// Prints what a write was answered. That it was done outlasts a stdout that takes nothing.
pub(super) fn show_done<T: Serialize>(
    format: Format,
    meta: &Meta,
    data: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if meta.is_of_earlier_call() {
        tell!("This key was used before: here is what came of it then.");
    }
    show(format, data, table).map_err(|failure| {
        let again = meta.key.as_ref().map_or_else(String::new, |key| {
            format!(
                " The same command with --idempotency-key {key} shows the answer, and does nothing again."
            )
        });
        Failure::Failed(format!("{failure}\nIt was done.{again}"))
    })
}

/// A line, or several, on stdout.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_while_read(text).map(drop)
}

/// Like [`print`]; false once whoever read us has read enough, as `head` does.
pub(super) fn print_while_read(text: &str) -> Result<bool, Failure> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Failed(format!("stdout can't be written to: {error}"))),
    }
}

/// Rows under headings, in a form that cut and awk can take apart too.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// What is not known or not set.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Properties, a line each.
pub(super) fn properties(all: &[wire::Property]) -> String {
    let rows = all.iter().map(|it| {
        [
            it.property.to_string(),
            it.name.clone(),
            it.location.clone(),
            it.time_zone.clone(),
            it.currency.to_string(),
            it.business_date.to_string(),
            wire::word(&it.business_date_mode),
        ]
    });
    table(["property", "name", "location", "time zone", "currency", "business date", "moved by"], rows)
}

/// Reservations, a line each.
pub(super) fn reservations(all: &[wire::Reservation]) -> String {
    let rows = all.iter().map(|it| {
        [
            it.id.to_string(),
            wire::word(&it.status),
            or_dash(it.room.as_ref()),
            it.room_type.to_string(),
            it.guest.clone(),
            it.arrival.to_string(),
            it.departure.to_string(),
            it.occupancy.to_string(),
            money::format(it.price.total, it.price.currency),
        ]
    });
    let head =
        ["reservation", "status", "room", "room type", "guest", "arrival", "departure", "occupancy", "total"];
    table(head, rows)
}

/// One reservation, a line a field.
pub(super) fn reservation(reservation: &wire::Reservation) -> String {
    let status = wire::word(&reservation.status);
    let mut rows = vec![
        ["reservation", &reservation.id.to_string()].map(str::to_owned),
        ["status", &status].map(str::to_owned),
        ["property", reservation.property.as_str()].map(str::to_owned),
        ["room", &or_dash(reservation.room.as_ref())].map(str::to_owned),
        ["room type", reservation.room_type.as_str()].map(str::to_owned),
        ["guest", &reservation.guest].map(str::to_owned),
        ["arrival", &reservation.arrival.to_string()].map(str::to_owned),
        ["departure", &reservation.departure.to_string()].map(str::to_owned),
        ["occupancy", &reservation.occupancy.to_string()].map(str::to_owned),
        ["total", &money::format(reservation.price.total, reservation.price.currency)].map(str::to_owned),
        ["revision", &reservation.revision.to_string()].map(str::to_owned),
        ["lsn", &reservation.lsn.to_string()].map(str::to_owned),
    ];
    if let Some(end) = &reservation.hold_expires_at {
        rows.insert(2, ["held until", end].map(str::to_owned));
    }
    if let Some(external_ref) = &reservation.external_ref {
        rows.push(["external ref", external_ref].map(str::to_owned));
    }
    let width = rows.iter().map(|[name, _]| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|[name, value]| format!("{name:width$}  {value}")).collect();
    lines.join("\n")
}
