//! The columns of "Hotel booking demand datasets" (Antonio, de Almeida and Nunes, Data in Brief 22, 2019) that a replay
//! needs.
//!
//! Reading is pure but for the file: every row is read before the first is replayed, and what can't be read is named by
//! its line. Rows that no hotel would take, without nights or guests, are rows like others: the cluster refuses them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::import::source;
use crate::ledger::{Date, PropertyId, RoomTypeId};

/// Complaints that are collected before reading ends.
const WRONG_MAX: usize = 20;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A reservation as it was made and as it ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// From 1, over all files.
    pub number: usize,
    pub hotel: Hotel,
    pub room_type: RoomTypeId,
    pub booked: Date,
    pub arrival: Date,
    pub departure: Date,
    /// Adults and children.
    pub occupancy: u32,
    /// The price of a night, in whole currency.
    pub adr: f64,
    /// It was changed between its booking and its end; the data does not say how.
    pub changed: bool,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hotel {
    City,
    Resort,
}

/// How a reservation ended, and on which day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Canceled(Date),
    CheckedOut(Date),
    NoShow(Date),
}

impl Hotel {
    pub const ALL: [Hotel; 2] = [Hotel::City, Hotel::Resort];

    /// As the data writes it.
    pub fn name(self) -> &'static str {
        match self {
            Hotel::City => "City Hotel",
            Hotel::Resort => "Resort Hotel",
        }
    }

    pub fn property(self) -> PropertyId {
        let id = match self {
            Hotel::City => "city-hotel",
            Hotel::Resort => "resort-hotel",
        };
        PropertyId::new(id).expect("a valid id")
    }

    /// By its name or by its property's id.
    pub fn find(text: &str) -> Result<Hotel, String> {
        let is = |hotel: &Hotel| hotel.name() == text || hotel.property().as_str() == text;
        let found = Hotel::ALL.into_iter().find(is);
        found.ok_or_else(|| format!("`{text}` is no hotel of this data; expected City Hotel or Resort Hotel"))
    }
}

#[derive(Deserialize)]
struct Columns<'a> {
    hotel: &'a str,
    lead_time: i32,
    arrival_date_year: i16,
    arrival_date_month: &'a str,
    arrival_date_day_of_month: i8,
    stays_in_weekend_nights: u16,
    stays_in_week_nights: u16,
    adults: u16,
    children: &'a str,
    reserved_room_type: &'a str,
    booking_changes: u32,
    adr: f64,
    reservation_status: &'a str,
    reservation_status_date: &'a str,
}

/// Reads all files; all that is wrong is told at once, as far as it fits a screen.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Row>, Vec<String>> {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        if let Err(reason) = read_file(file, &mut rows, &mut wrong) {
            wrong.push(format!("{}: {reason}", file.display()));
        }
    }
    if wrong.is_empty() { Ok(rows) } else { Err(wrong) }
}

fn read_file(path: &Path, rows: &mut Vec<Row>, wrong: &mut Vec<String>) -> Result<(), String> {
    let mut reader = csv::Reader::from_reader(source::open(path)?);
    let head = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| error.to_string())? {
        let columns: Result<Columns<'_>, _> = record.deserialize(Some(&head));
        let row = columns
            .map_err(|error| unreadable(&error, &head))
            .and_then(|it| it.row(rows.len() + wrong.len() + 1));
        match row {
            Ok(row) => rows.push(row),
            Err(reason) => {
                let line = record.position().map_or(0, csv::Position::line);
                wrong.push(format!("{}:{line}: {reason}", path.display()));
            }
        }
        if wrong.len() >= WRONG_MAX {
            return Err("there may be more".to_owned());
        }
    }
    Ok(())
}

/// Names the column, where one is to blame.
fn unreadable(error: &csv::Error, head: &csv::StringRecord) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => match err.field().and_then(|at| head.get(at as usize)) {
            Some(column) => format!("{column}: {}", err.kind()),
            None => err.to_string(),
        },
        _ => error.to_string(),
    }
}

impl Columns<'_> {
    fn row(&self, number: usize) -> Result<Row, String> {
        if self.lead_time < 0 || !self.adr.is_finite() {
            return Err("lead_time and adr have to be numbers, and lead_time not below 0".to_owned());
        }
        let arrival = self.arrival()?;
        let nights = i32::from(self.stays_in_weekend_nights) + i32::from(self.stays_in_week_nights);
        let ended = status_date(self.reservation_status_date)?;
        let booked = arrival.plus(-self.lead_time);
        let end = match self.reservation_status {
            // Nobody cancels what is not booked.
            "Canceled" => End::Canceled(ended.max(booked)),
            "Check-Out" => End::CheckedOut(ended.max(arrival)),
            "No-Show" => End::NoShow(ended.max(arrival)),
            other => return Err(format!("reservation_status: `{other}` is not known")),
        };
        Ok(Row {
            number,
            hotel: Hotel::find(self.hotel)?,
            room_type: RoomTypeId::new(self.reserved_room_type.trim())
                .map_err(|error| format!("reserved_room_type: {error}"))?,
            booked,
            arrival,
            departure: arrival.plus(nights),
            occupancy: u32::from(self.adults) + self.children()?,
            adr: self.adr,
            changed: self.booking_changes > 0,
            end,
        })
    }

    fn arrival(&self) -> Result<Date, String> {
        let month = MONTHS.iter().position(|name| *name == self.arrival_date_month);
        let month = month.ok_or_else(|| format!("`{}` is no month", self.arrival_date_month))? as i8 + 1;
        civil(self.arrival_date_year, month, self.arrival_date_day_of_month)
    }

    /// Unknown in a few rows: then there are none.
    fn children(&self) -> Result<u32, String> {
        match self.children {
            "NA" | "NULL" | "" => Ok(0),
            // The published file writes them as 1.0 as well.
            text => text
                .trim_end_matches(".0")
                .parse::<u16>()
                .map(u32::from)
                .map_err(|_| format!("children: `{text}` is no number")),
        }
    }
}

fn civil(year: i16, month: i8, day: i8) -> Result<Date, String> {
    format!("{year:04}-{month:02}-{day:02}").parse().map_err(|error| format!("{error}"))
}

/// `7/31/2015`, or `2015-07-31`.
fn status_date(text: &str) -> Result<Date, String> {
    let wrong = || format!("reservation_status_date: `{text}` is no date");
    let mut parts = text.split('/');
    let (Some(month), Some(day), Some(year), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return text.parse().map_err(|_| wrong());
    };
    match (year.parse(), month.parse(), day.parse()) {
        (Ok(year), Ok(month), Ok(day)) => civil(year, month, day),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HEAD: &str = "hotel,is_canceled,lead_time,arrival_date_year,arrival_date_month,arrival_date_day_of_month,stays_in_weekend_nights,stays_in_week_nights,adults,children,babies,reserved_room_type,booking_changes,adr,reservation_status,reservation_status_date";

    pub fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn read_lines(lines: &[&str]) -> Result<Vec<Row>, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demand.csv");
        std::fs::write(&path, [&[HEAD], lines].concat().join("\n")).unwrap();
        read(&[path])
    }

    #[test]
    fn rows_say_when_they_were_booked_and_how_they_ended() {
        let rows = read_lines(&[
            "Resort Hotel,0,342,2015,July,1,0,2,2,0,0,C,3,75.5,Check-Out,7/3/2015",
            "City Hotel,1,0,2016,February,29,2,5,1,1.0,1,A,0,0,Canceled,2016-02-29",
            "City Hotel,1,1,2016,February,29,0,0,0,NA,0,A,0,0,No-Show,2/24/2016",
        ])
        .unwrap();
        let expected = Row {
            number: 1,
            hotel: Hotel::Resort,
            room_type: RoomTypeId::new("C").unwrap(),
            booked: day("2014-07-24"),
            arrival: day("2015-07-01"),
            departure: day("2015-07-03"),
            occupancy: 2,
            adr: 75.5,
            changed: true,
            end: End::CheckedOut(day("2015-07-03")),
        };
        assert_eq!(rows[0], expected);
        assert_eq!((rows[1].number, rows[1].occupancy, rows[1].departure), (2, 2, day("2016-03-07")));
        assert_eq!(rows[1].end, End::Canceled(day("2016-02-29")));
        // Nobody is missed before they were to come.
        assert_eq!((rows[2].end, rows[2].occupancy), (End::NoShow(day("2016-02-29")), 0));
    }

    #[test]
    fn what_can_not_be_read_is_named_by_its_line() {
        let good = "City Hotel,0,1,2016,May,1,0,1,2,0,0,A,0,75,Check-Out,5/2/2016";
        for (old, new, named) in [
            ("City Hotel", "Inn", "`Inn` is no hotel"),
            ("May", "Mai", "`Mai` is no month"),
            (",1,0,1,2,", ",32,0,1,2,", "2016-05-32"),
            ("5/2/2016", "13/2/2016", "2016-13-02"),
            ("5/2/2016", "soon", "`soon` is no date"),
            ("Check-Out", "Left", "`Left` is not known"),
            ("75", "dear", "adr"),
            (",0,0,A", ",x,0,A", "`x` is no number"),
        ] {
            let bad = good.replacen(old, new, 1);
            let wrong = read_lines(&[good, &bad]).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains("demand.csv:3: ") && wrong[0].contains(named), "{wrong:?}");
        }
        assert!(read(&["/nowhere/at/all.csv".into()]).unwrap_err()[0].contains("can't be read"));
    }
}
