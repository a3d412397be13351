//! Reading and judging files of the format, before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Counts;
use crate::cli::exchange::{Booking, FORMAT, Rate, Record, WaitlistEntry};
use crate::cli::import::source;
use crate::client::ImportedStay;
use crate::ledger::{BlockId, Date, PropertyId, RoomId, RoomTypeId};

/// The longest line: a booking of as many reservations as one may have stays far under it.
const LINE_BYTES_MAX: u64 = 32 << 20;
/// Complaints that are collected; a file of another format would have one a line.
const WRONG_MAX: usize = 20;
/// Reservations of one booking, at most.
const RESERVATIONS_MAX: usize = 500;
/// What a booking or a waitlist entry is called is part of an idempotency key.
const NAME_CHARS_MAX: usize = 100;

/// The records of all files, in order.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub items: Vec<Item>,
    pub counts: Counts,
}

#[derive(Debug)]
pub(super) struct Item {
    /// `file:line`.
    pub place: String,
    pub record: Record,
}

/// Reads all files; all that is wrong is told at once, as far as it fits a screen.
pub(super) fn read(files: &[PathBuf]) -> Result<Contents, Vec<String>> {
    let mut contents = Contents::default();
    let mut known = Known::default();
    let mut wrong = Vec::new();
    for file in files {
        if let Err(reason) = read_file(file, &mut contents, &mut known, &mut wrong) {
            wrong.push(reason);
        }
        if wrong.len() >= WRONG_MAX {
            wrong.push("and maybe more".to_owned());
            break;
        }
    }
    if wrong.is_empty() { Ok(contents) } else { Err(wrong) }
}

/// An error ends the file; what is wrong with a line does not.
fn read_file(
    path: &Path,
    contents: &mut Contents,
    known: &mut Known,
    wrong: &mut Vec<String>,
) -> Result<(), String> {
    let shown = path.display();
    let mut file = source::open(path).map_err(|reason| format!("{shown}: {reason}"))?;
    let mut has_header = false;
    for number in 1.. {
        let place = format!("{shown}:{number}");
        let line = source::line(&mut *file, LINE_BYTES_MAX).map_err(|reason| format!("{place}: {reason}"))?;
        let Some(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        let record = parse(&line).map_err(|reason| format!("{place}: {reason}"));
        if !has_header {
            has_header = header(record?).map_err(|reason| format!("{place}: {reason}"))?;
            continue;
        }
        match record
            .and_then(|record| known.judge(&record).map(|()| record).map_err(|why| format!("{place}: {why}")))
        {
            Ok(record) => {
                contents.counts.add(&record);
                contents.items.push(Item { place, record });
            }
            Err(reason) => wrong.push(reason),
        }
        if wrong.len() >= WRONG_MAX {
            return Ok(());
        }
    }
    if has_header { Ok(()) } else { Err(format!("{shown}: is empty; it begins with {}", first_line())) }
}

fn first_line() -> String {
    Record::Innkeeper(crate::cli::exchange::Header { format: FORMAT }).line()
}

fn parse(line: &str) -> Result<Record, String> {
    serde_json::from_str(line.trim_start_matches('\u{feff}')).map_err(|error| {
        // Every record is one line, so that only the column says where.
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        if error.column() == 0 { reason.to_owned() } else { format!("{reason} (column {})", error.column()) }
    })
}

fn header(record: Record) -> Result<bool, String> {
    match record {
        Record::Innkeeper(header) if header.format == FORMAT => Ok(true),
        Record::Innkeeper(header) => {
            Err(format!("format {} is not known; this release reads {FORMAT}", header.format))
        }
        _ => Err(format!("the first line has to be {}", first_line())),
    }
}

impl Counts {
    fn add(&mut self, record: &Record) {
        *match record {
            Record::Innkeeper(_) => return,
            Record::Property(_) => &mut self.properties,
            Record::RoomType(_) => &mut self.room_types,
            Record::Room(_) => &mut self.rooms,
            Record::Rate(_) => &mut self.rates,
            Record::Restriction(_) => &mut self.restrictions,
            Record::OutOfOrder(_) => &mut self.out_of_order,
            Record::Block(_) => &mut self.blocks,
            Record::WaitlistEntry(_) => &mut self.waitlist_entries,
            Record::Booking(booking) => {
                self.reservations += booking.reservations.len() as u64;
                &mut self.bookings
            }
        } += 1;
    }
}

/// What the lines so far defined.
#[derive(Default)]
struct Known {
    properties: BTreeMap<PropertyId, KnownProperty>,
}

#[derive(Default)]
struct KnownProperty {
    room_types: BTreeSet<RoomTypeId>,
    rooms: BTreeSet<RoomId>,
    blocks: BTreeSet<BlockId>,
    bookings: BTreeSet<String>,
    waitlist: BTreeSet<String>,
}

impl Known {
    /// What is wrong with a record, as far as the files tell.
    fn judge(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Innkeeper(_) => Err("belongs on the first line only".to_owned()),
            Record::Property(it) => {
                let twice = self.properties.insert(it.property.clone(), KnownProperty::default()).is_some();
                new(!twice, "property", &it.property)
            }
            Record::RoomType(it) => {
                let property = self.property(&it.property)?;
                new(property.room_types.insert(it.room_type.clone()), "room type", &it.room_type)
            }
            Record::Room(it) => {
                let property = self.property(&it.property)?;
                property.has_type(&it.room_type)?;
                new(property.rooms.insert(it.room.clone()), "room", &it.room)
            }
            Record::Rate(it) => self.property(&it.property)?.judge_rate(it),
            Record::Restriction(it) => {
                self.property(&it.property)?.has_type(&it.room_type)?;
                range(it.from, it.to)
            }
            Record::OutOfOrder(it) => {
                self.property(&it.property)?.has_room(&it.room)?;
                range(it.from, it.to)
            }
            Record::Block(it) => {
                let property = self.property(&it.property)?;
                property.has_type(&it.room_type)?;
                range(it.from, it.to)?;
                new(property.blocks.insert(it.block.clone()), "block", &it.block)
            }
            Record::Booking(it) => self.property(&it.property)?.judge_booking(it),
            Record::WaitlistEntry(it) => self.property(&it.property)?.judge_entry(it),
        }
    }

    fn property(&mut self, id: &PropertyId) -> Result<&mut KnownProperty, String> {
        self.properties.get_mut(id).ok_or_else(|| format!("no line before it defines property {id}"))
    }
}

impl KnownProperty {
    fn has_type(&self, id: &RoomTypeId) -> Result<(), String> {
        let known = self.room_types.contains(id);
        if known { Ok(()) } else { Err(format!("no line before it defines room type {id}")) }
    }

    fn has_room(&self, id: &RoomId) -> Result<(), String> {
        let known = self.rooms.contains(id);
        if known { Ok(()) } else { Err(format!("no line before it defines room {id}")) }
    }

    fn judge_rate(&self, it: &Rate) -> Result<(), String> {
        range(it.from, it.to)?;
        match (&it.room_type, &it.room) {
            (Some(room_type), None) => self.has_type(room_type),
            (None, Some(room)) => self.has_room(room),
            _ => Err("give one of `room_type` and `room`".to_owned()),
        }
    }

    fn judge_booking(&mut self, it: &Booking) -> Result<(), String> {
        name("booking", &it.booking)?;
        if !(1..=RESERVATIONS_MAX).contains(&it.reservations.len()) {
            return Err(format!("`reservations` has to be 1 to {RESERVATIONS_MAX}"));
        }
        for (index, stay) in it.reservations.iter().enumerate() {
            self.judge_stay(stay).map_err(|why| format!("reservation {index}: {why}"))?;
        }
        new(self.bookings.insert(it.booking.clone()), "booking", &it.booking)
    }

    fn judge_entry(&mut self, it: &WaitlistEntry) -> Result<(), String> {
        name("entry", &it.entry)?;
        self.has_type(&it.room_type)?;
        if it.departure <= it.arrival {
            return Err("`departure` has to be later than `arrival`".to_owned());
        }
        new(self.waitlist.insert(it.entry.clone()), "waitlist entry", &it.entry)
    }

    fn judge_stay(&self, stay: &ImportedStay) -> Result<(), String> {
        self.has_type(&stay.room_type)?;
        stay.room.as_ref().map_or(Ok(()), |room| self.has_room(room))?;
        if let Some(block) = stay.block.as_ref().filter(|block| !self.blocks.contains(block)) {
            return Err(format!("no line before it defines block {block}"));
        }
        if stay.departure < stay.arrival {
            return Err("`departure` is before `arrival`".to_owned());
        }
        let nights: BTreeSet<Date> = stay.price.nights.iter().map(|night| night.date).collect();
        match stay.arrival.until(stay.departure).find(|night| !nights.contains(night)) {
            Some(night) => Err(format!("the price has no amount for {night}")),
            None => Ok(()),
        }
    }
}

fn new(is_new: bool, what: &str, id: impl std::fmt::Display) -> Result<(), String> {
    if is_new { Ok(()) } else { Err(format!("{what} {id} is there twice")) }
}

/// What the writer of the file calls something.
fn name(field: &str, name: &str) -> Result<(), String> {
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=NAME_CHARS_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(format!("`{field}` has to be 1 to {NAME_CHARS_MAX} visible ASCII characters"))
    }
}

fn range(from: Date, to: Date) -> Result<(), String> {
    if from < to { Ok(()) } else { Err("`to` has to be later than `from`".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"innkeeper":{"format":1}}"#;
    const GRAND: &str = r#"{"property":{"property":"grand","name":"Grand","location":"Budapest","time_zone":"Europe/Budapest","currency":"EUR","business_date":"clock"}}"#;
    const TYPE: &str =
        r#"{"room_type":{"property":"grand","room_type":"double","name":"Double","max_occupancy":2}}"#;
    const ROOM: &str = r#"{"room":{"property":"grand","room":"101","room_type":"double"}}"#;

    const BLOCK: &str = r#"{"block":{"property":"grand","block":"fair","room_type":"double","from":"2027-03-01","to":"2027-03-03","rooms":1,"status":"definite"}}"#;
    const WAITING: &str = r#"{"waitlist_entry":{"property":"grand","entry":"w-1","guest":"g","room_type":"double","arrival":"2027-03-01","departure":"2027-03-02","occupancy":1,"currency":"EUR"}}"#;

    fn booking(name: &str, changes: &[(&str, &str)]) -> String {
        let line = format!(
            r#"{{"booking":{{"property":"grand","booking":"{name}","guest":"g","reservations":[{{"room_type":"double","room":"101","arrival":"2027-03-01","departure":"2027-03-02","occupancy":1,"status":"confirmed","price":{{"currency":"EUR","nights":[{{"date":"2027-03-01","amount":1}}]}}}}]}}}}"#
        );
        changes.iter().fold(line, |line, (old, new)| line.replace(old, new))
    }

    fn read_lines(lines: &[&str]) -> Result<Contents, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hotels.ndjson");
        std::fs::write(&path, lines.join("\n")).unwrap();
        read(&[path])
    }

    #[test]
    fn a_whole_file_is_read_and_counted() {
        let rate = r#"{"rate":{"property":"grand","room_type":"double","from":"2027-01-01","to":"2028-01-01","prices":{"EUR":{"1":10900,"2":14000}}}}"#;
        let rule = r#"{"restriction":{"property":"grand","room_type":"double","from":"2027-01-01","to":"2027-01-02","min_stay":2}}"#;
        let closed = r#"{"out_of_order":{"property":"grand","room":"101","from":"2027-01-01","to":"2027-01-02","reason":"paint"}}"#;
        let of_block = booking("b-2", &[("\"price\"", "\"block\":\"fair\",\"price\"")]);
        let first = booking("b-1", &[]);
        let lines = [HEADER, GRAND, TYPE, ROOM, rate, rule, closed, BLOCK, &first, "", &of_block, WAITING];
        let contents = read_lines(&lines).unwrap();
        let counts = Counts {
            properties: 1,
            room_types: 1,
            rooms: 1,
            rates: 1,
            restrictions: 1,
            out_of_order: 1,
            blocks: 1,
            bookings: 2,
            reservations: 2,
            waitlist_entries: 1,
        };
        assert_eq!(contents.counts, counts);
        assert!(contents.items[8].place.ends_with("hotels.ndjson:11"), "{:?}", contents.items[8]);
        // Written again, a line says the same.
        for item in &contents.items {
            assert_eq!(parse(&item.record.line()).unwrap(), item.record);
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        let no_night = booking("b", &[("2027-03-02", "2027-03-03")]);
        let backwards = booking("b", &[("2027-03-02", "2027-02-03")]);
        let unknown_room = booking("b", &[(r#""room":"101""#, r#""room":"999""#)]);
        let no_status = booking("b", &[("confirmed", "gone")]);
        let unnamed = booking("", &[]);
        let twice = booking("b", &[]);
        let of_no_block = booking("b", &[("\"price\"", "\"block\":\"fair\",\"price\"")]);
        let no_stay = WAITING.replace("2027-03-02", "2027-03-01");
        for (lines, place, why) in [
            (vec![GRAND], ":1:", "the first line has to be"),
            (vec![r#"{"innkeeper":{"format":2}}"#], ":1:", "format 2"),
            (vec![], "", "is empty"),
            (vec![HEADER, "x"], ":2:", "column"),
            (vec![HEADER, r#"{"hotel":{}}"#], ":2:", "unknown variant"),
            (vec![HEADER, TYPE], ":2:", "property grand"),
            (vec![HEADER, GRAND, GRAND], ":3:", "twice"),
            (vec![HEADER, GRAND, ROOM], ":3:", "room type double"),
            (vec![HEADER, GRAND, TYPE, ROOM, &no_night], ":5:", "no amount for 2027-03-02"),
            (vec![HEADER, GRAND, TYPE, ROOM, &backwards], ":5:", "before `arrival`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &unknown_room], ":5:", "room 999"),
            (vec![HEADER, GRAND, TYPE, ROOM, &no_status], ":5:", "unknown variant `gone`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &unnamed], ":5:", "visible ASCII"),
            (vec![HEADER, GRAND, TYPE, ROOM, &twice, &twice], ":6:", "booking b is there twice"),
            (vec![HEADER, GRAND, TYPE, ROOM, &of_no_block], ":5:", "block fair"),
            (vec![HEADER, GRAND, TYPE, BLOCK, BLOCK], ":5:", "block fair is there twice"),
            (vec![HEADER, GRAND, TYPE, WAITING, WAITING], ":5:", "waitlist entry w-1 is there twice"),
            (vec![HEADER, GRAND, TYPE, &no_stay], ":4:", "later than `arrival`"),
            (vec![HEADER, GRAND, HEADER], ":3:", "first line only"),
        ] {
            let wrong = read_lines(&lines).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains(place) && wrong[0].contains(why), "{wrong:?} lacks {why}");
        }
    }

    #[test]
    fn every_bad_line_is_named_up_to_a_screenful() {
        let wrong = read_lines(&[HEADER, "x", GRAND, "y"]).unwrap_err();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        let bad = ["x"; 100];
        let wrong = read_lines(&[&[HEADER], &bad[..]].concat()).unwrap_err();
        assert_eq!(wrong.len(), WRONG_MAX + 1, "{wrong:?}");
    }
}
