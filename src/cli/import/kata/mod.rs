//! `--format kata`: hotels of the public booking kata, one a file.

mod file;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Import, broken_off, nothing_imported};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::settings::Sources;
use crate::ledger::PropertyId;

/// The largest file that is read; it is held in memory whole.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What stdout says about an import.
#[derive(Debug, Serialize)]
struct Summary {
    dry_run: bool,
    hotels: Vec<Imported>,
}

#[derive(Debug, Serialize)]
struct Imported {
    file: PathBuf,
    property: PropertyId,
    name: String,
    rooms: usize,
    /// Dates that the file gives.
    dates: usize,
    /// Ranges of dates with prices, over all rooms.
    rates: usize,
}

pub(super) async fn run(import: Import, sources: &Sources) -> Result<(), Failure> {
    let output_format = import.target.format(sources)?;
    let client = import.target.client(sources)?;
    let hotels = read_all(&import.files)?;
    let time_zone = import.time_zone.as_deref().unwrap_or("UTC");
    let mut summary = Summary { dry_run: import.dry_run, hotels: Vec::new() };
    for (file, hotel) in hotels {
        if !import.dry_run {
            write::write(&client, &hotel, time_zone)
                .await
                .map_err(|error| Failure::Failed(format!("{}: {}", file.display(), broken_off(error))))?;
            output::tell!("{}: property {} is written", file.display(), hotel.property);
        }
        summary.hotels.push(Imported {
            file,
            property: hotel.property,
            name: hotel.name,
            rooms: hotel.rooms.len(),
            dates: hotel.dates,
            rates: hotel.rooms.values().map(Vec::len).sum(),
        });
    }
    output::show(output_format, &summary, table)
}

/// Reads and judges every file; all that is wrong is told at once.
fn read_all(files: &[PathBuf]) -> Result<Vec<(PathBuf, file::Hotel)>, Failure> {
    let mut hotels = Vec::new();
    let mut wrong = Vec::new();
    let mut first_file: BTreeMap<PropertyId, &Path> = BTreeMap::new();
    for file in files {
        match read(file) {
            Ok(hotel) => {
                if let Some(first) = first_file.insert(hotel.property.clone(), file) {
                    wrong.push(format!(
                        "{}: HotelId: {} is the hotel of {} too; import one of the two",
                        file.display(),
                        hotel.property,
                        first.display()
                    ));
                }
                hotels.push((file.clone(), hotel));
            }
            Err(reason) => wrong.push(format!("{}: {reason}", file.display())),
        }
    }
    if wrong.is_empty() {
        return Ok(hotels);
    }
    Err(nothing_imported(&wrong))
}

fn read(file: &Path) -> Result<file::Hotel, String> {
    let unreadable = |error: std::io::Error| format!("can't be read: {error}");
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes; split it by hotel"));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    file::read(&bytes).map_err(|wrong| wrong.to_string())
}

fn table(summary: &Summary) -> String {
    let rows = summary.hotels.iter().map(|hotel| {
        [
            hotel.property.to_string(),
            hotel.name.clone(),
            hotel.rooms.to_string(),
            hotel.dates.to_string(),
            hotel.rates.to_string(),
        ]
    });
    let table = output::table(["property", "name", "rooms", "dates", "rates"], rows);
    let last = if summary.dry_run { "\n\nA dry run: nothing was written." } else { "" };
    format!("{table}{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hotel_file(dir: &Path, name: &str, id: &str) -> PathBuf {
        let path = dir.join(name);
        let json = format!(
            r#"{{"HotelId": {id}, "HotelName": "H", "Location": "L", "AvailabilitiesAt": {{"2017-09-16": []}}}}"#
        );
        std::fs::write(&path, json).unwrap();
        path
    }

    #[test]
    fn one_bad_file_stops_all_and_each_bad_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let good = hotel_file(dir.path(), "good.json", "1");
        let twin = hotel_file(dir.path(), "twin.json", "\"1\"");
        let bad = hotel_file(dir.path(), "bad.json", "-1");
        let missing = dir.path().join("missing.json");
        assert_eq!(read_all(std::slice::from_ref(&good)).unwrap().len(), 1);
        let failure = read_all(&[good, twin, bad, missing]).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        let text = failure.to_string();
        for named in ["twin.json: HotelId", "bad.json: HotelId", "missing.json: can't be read"] {
            assert!(text.contains(named), "{text}");
        }
    }
}
