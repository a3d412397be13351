//! `import`: brings hotels in from files of other systems.
//!
//! All files are read and judged before the first write; writing is repeatable, so that an import that broke off is
//! finished by running it again.

mod kata;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::Failure;
use super::settings::Sources;
use super::{Target, output};
use crate::ledger::PropertyId;

/// The largest file that is read; it is held in memory whole.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Brings hotels in from files
#[derive(Args, Debug)]
pub(super) struct Import {
    /// What the files hold
    #[arg(long, value_name = "FORMAT")]
    format: InputFormat,
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Read and judge the files, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The hotels' time zone, as an IANA name
    #[arg(long, value_name = "NAME", default_value = "UTC", value_parser = time_zone)]
    time_zone: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InputFormat {
    /// One hotel a file, as the booking kata writes it: rooms and prices by date
    Kata,
}

fn time_zone(name: &str) -> Result<String, String> {
    jiff::tz::TimeZone::get(name)
        .map(|_| name.to_owned())
        .map_err(|_| "expected an IANA time zone, as in Europe/Budapest".to_owned())
}

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

impl Import {
    pub async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let InputFormat::Kata = self.format;
        let output_format = self.target.format(sources)?;
        let client = self.target.client(sources)?;
        let hotels = read_all(&self.files)?;
        let mut summary = Summary { dry_run: self.dry_run, hotels: Vec::new() };
        for (file, hotel) in hotels {
            if !self.dry_run {
                write::write(&client, &hotel, &self.time_zone).await.map_err(|failure| {
                    let file = file.display();
                    Failure::Failed(format!("{file}: {failure}\nRunning the same import again completes it."))
                })?;
                eprintln!("{}: property {} is written", file.display(), hotel.property);
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
}

/// Reads and judges every file; all that is wrong is told at once.
fn read_all(files: &[PathBuf]) -> Result<Vec<(PathBuf, kata::Hotel)>, Failure> {
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
    Err(Failure::Failed(format!("nothing is imported, because of\n{}", wrong.join("\n"))))
}

fn read(file: &Path) -> Result<kata::Hotel, String> {
    let unreadable = |error: std::io::Error| format!("can't be read: {error}");
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes; split it by hotel"));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    kata::read(&bytes).map_err(|wrong| wrong.to_string())
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
