//! Reading and judging files of the format, before anything is written.

use std::path::{Path, PathBuf};

use super::Counts;
use super::judge::Known;
use crate::cli::exchange::{End, FORMAT, Header, Record};
use crate::cli::import::source;

/// The longest line: a booking of as many reservations as one may have stays far under it.
const LINE_BYTES_MAX: u64 = 32 << 20;
/// Complaints that are collected; a file of another format would have one a line.
const WRONG_MAX: usize = 20;

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
    let mut header = None;
    let mut end = None;
    let mut records = 0;
    for number in 1.. {
        let place = format!("{shown}:{number}");
        let line = source::line(&mut *file, LINE_BYTES_MAX).map_err(|reason| format!("{place}: {reason}"))?;
        let Some(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        let record = parse(&line).map_err(|reason| format!("{place}: {reason}"));
        if header.is_none() {
            header = Some(first(record?).map_err(|reason| format!("{place}: {reason}"))?);
            continue;
        }
        if end.is_some() {
            return Err(format!("{place}: nothing may stand behind the `end`"));
        }
        records += 1;
        let judged = record.and_then(|record| match known.judge(&record) {
            Ok(()) => Ok(record),
            Err(why) => Err(format!("{place}: {why}")),
        });
        match judged {
            Ok(Record::End(it)) => {
                records -= 1;
                end = Some(it);
            }
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
    let header = header.ok_or_else(|| format!("{shown}: is empty; it begins with {}", first_line()))?;
    whole(&header, end.as_ref(), records).map_err(|reason| format!("{shown}: {reason}"))
}

/// Whether nothing is missing in the middle or at the end.
fn whole(header: &Header, end: Option<&End>, records: u64) -> Result<(), String> {
    match end {
        None if header.ended => Err(format!(
            "is cut off behind {records} records: its first line promises an `end`; export it again"
        )),
        Some(end) if end.records != records => Err(format!(
            "has {records} records and not the {} that its `end` counts; export it again, or write the right number there",
            end.records
        )),
        None | Some(_) => Ok(()),
    }
}

fn first_line() -> String {
    Record::Innkeeper(Header { format: FORMAT, ended: false }).line()
}

fn parse(line: &str) -> Result<Record, String> {
    serde_json::from_str(line.trim_start_matches('\u{feff}')).map_err(|error| {
        // Every record is one line, so that only the column says where.
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        if error.column() == 0 { reason.to_owned() } else { format!("{reason} (column {})", error.column()) }
    })
}

fn first(record: Record) -> Result<Header, String> {
    match record {
        Record::Innkeeper(header) if header.format == FORMAT => Ok(header),
        Record::Innkeeper(header) => {
            Err(format!("format {} is not known; this release reads {FORMAT}", header.format))
        }
        _ => Err(format!("the first line has to be {}", first_line())),
    }
}

impl Counts {
    fn add(&mut self, record: &Record) {
        *match record {
            Record::Innkeeper(_) | Record::End(_) => return,
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"innkeeper":{"format":1}}"#;
    const GRAND: &str = r#"{"property":{"property":"grand","name":"Grand","location":"Budapest","time_zone":"Europe/Budapest","currency":"EUR","business_date":"clock"}}"#;
    const TYPE: &str =
        r#"{"room_type":{"property":"grand","room_type":"double","name":"Double","max_occupancy":2}}"#;
    const ROOM: &str = r#"{"room":{"property":"grand","room":"101","room_type":"double"}}"#;

    const RULE: &str = r#"{"restriction":{"property":"grand","room_type":"double","from":"2027-01-01","to":"2027-01-02","min_stay":2}}"#;
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
        let closed = r#"{"out_of_order":{"property":"grand","room":"101","from":"2027-01-01","to":"2027-01-02","reason":"paint"}}"#;
        let of_block = booking("b-2", &[("\"price\"", "\"block\":\"fair\",\"room_pinned\":null,\"price\"")]);
        let first = booking("b-1", &[]);
        let lines = [HEADER, GRAND, TYPE, ROOM, rate, RULE, closed, BLOCK, &first, "", &of_block, WAITING];
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
    fn what_may_be_left_out_may_be_null() {
        let cases = [
            (GRAND, r#","business_date":"clock""#, "business_date"),
            (TYPE, "", "overbooking_limit"),
            (WAITING, r#","currency":"EUR""#, "currency"),
            (RULE, "", "closed"),
            (RULE, "", "closed_to_arrival"),
            (RULE, "", "closed_to_departure"),
            (BLOCK, "", "release_date"),
        ];
        for (line, told, field) in cases {
            let without = parse(&line.replace(told, "")).unwrap();
            let null = line.replace(told, "").replace("}}", &format!(r#","{field}":null}}}}"#));
            assert_eq!(parse(&null).unwrap(), without, "{null}");
            assert_eq!(parse(&without.line()).unwrap(), without, "{field}");
        }
        assert_eq!(parse(&GRAND.replace(r#","business_date":"clock""#, "")), parse(GRAND));
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
        let nowhere = GRAND.replace("Europe/Budapest", "Europe/Foo");
        let unpaid = GRAND.replace("EUR", "XYZ");
        let by_hand = GRAND.replace("\"clock\"", "\"2027-01-01\"");
        let for_nobody = TYPE.replace(":2}", ":0}");
        let rate = r#"{"rate":{"property":"grand","room_type":"double","from":"2027-01-01","to":"2028-01-01","prices":{"EUR":{"1":10900}}}}"#;
        let priced_twice = rate.replace(r#""1":10900"#, r#""1":10900,"1":2"#);
        let (negative, crowded) = (rate.replace("10900", "-5"), rate.replace("\"1\"", "\"3\""));
        let far_block = BLOCK.replace("2027-03-03", "2037-03-10");
        let late_block = BLOCK.replace("2027-03", "2031-03");
        let long_closure = r#"{"out_of_order":{"property":"grand","room":"101","from":"2027-01-01","to":"2038-01-02","reason":"paint"}}"#;
        let nobody_knows_where = booking("b", &[("confirmed", "in_house"), (r#""room":"101","#, "")]);
        let apart = booking("b", &[(r#""amount":1}"#, r#""amount":1},{"date":"2027-03-03","amount":1}"#)]);
        let year = booking("b", &[("2027-03-02", "2028-03-03")]);
        let no_end = booking("b", &[("confirmed", "held")]);
        let no_guest = booking("b", &[(r#""guest":"g""#, r#""guest":"""#)]);
        let refunded = booking("b", &[(r#""amount":1"#, r#""amount":-1"#)]);
        let no_night_at_all = booking("b", &[("2027-03-02", "2027-03-01")]);
        let early = booking("b", &[("confirmed", "in_house")]);
        let gone = booking("b", &[("confirmed", "checked_out")]);
        let far = booking("b", &[("2027", "2037")]);
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
            (vec![HEADER, GRAND, TYPE, ROOM, &backwards], ":5:", "later than `arrival`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &unknown_room], ":5:", "room 999"),
            (vec![HEADER, GRAND, TYPE, ROOM, &no_status], ":5:", "unknown variant `gone`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &unnamed], ":5:", "visible ASCII"),
            (vec![HEADER, GRAND, TYPE, ROOM, &twice, &twice], ":6:", "booking b is there twice"),
            (vec![HEADER, GRAND, TYPE, ROOM, &of_no_block], ":5:", "block fair"),
            (vec![HEADER, GRAND, TYPE, BLOCK, BLOCK], ":5:", "block fair is there twice"),
            (vec![HEADER, GRAND, TYPE, WAITING, WAITING], ":5:", "waitlist entry w-1 is there twice"),
            (vec![HEADER, GRAND, TYPE, &no_stay], ":4:", "later than `arrival`"),
            (vec![HEADER, GRAND, HEADER], ":3:", "first line only"),
            (vec![HEADER, &nowhere], ":2:", "`time_zone`: Europe/Foo"),
            (vec![HEADER, &unpaid], ":2:", "ISO 4217"),
            (vec![HEADER, GRAND, TYPE, &priced_twice], ":4:", "duplicate field `1`"),
            (vec![HEADER, GRAND, &for_nobody], ":3:", "`max_occupancy`"),
            (vec![HEADER, GRAND, TYPE, &far_block], ":4:", "more than 3660 nights"),
            (vec![HEADER, &by_hand, TYPE, &late_block], ":4:", "`to` is more than 1100 days"),
            (vec![HEADER, GRAND, TYPE, ROOM, &long_closure], ":5:", "more than 3660 nights"),
            (vec![HEADER, GRAND, TYPE, ROOM, &nobody_knows_where], ":5:", "has a `room`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &apart], ":5:", "follow one another"),
            (vec![HEADER, GRAND, TYPE, ROOM, &year], ":5:", "at most 366 nights"),
            (vec![HEADER, GRAND, TYPE, &negative], ":4:", "minor units, not -5"),
            (vec![HEADER, GRAND, TYPE, &crowded], ":4:", "takes 2 at most, not 3"),
            (vec![HEADER, GRAND, TYPE, ROOM, &no_end], ":5:", "`hold_expires_at`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &no_guest], ":5:", "`guest`"),
            (vec![HEADER, GRAND, TYPE, ROOM, &refunded], ":5:", "minor units, not -1"),
            (vec![HEADER, GRAND, TYPE, ROOM, &no_night_at_all], ":5:", "later than `arrival`"),
            (vec![HEADER, &by_hand, TYPE, ROOM, &early], ":5:", "its arrival is after"),
            (vec![HEADER, &by_hand, TYPE, ROOM, &gone], ":5:", "its departure is after"),
            (vec![HEADER, &by_hand, TYPE, ROOM, &far], ":5:", "the latest is 2030-01-05"),
        ] {
            let wrong = read_lines(&lines).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains(place) && wrong[0].contains(why), "{wrong:?} lacks {why}");
        }
    }

    #[test]
    fn a_file_that_was_cut_off_does_not_pass_for_a_whole_one() {
        let promising = r#"{"innkeeper":{"format":1,"ended":true}}"#;
        let end = |records: u64| format!(r#"{{"end":{{"records":{records}}}}}"#);
        for (lines, why) in [
            (vec![promising, GRAND, TYPE, ROOM], "cut off behind 3 records"),
            (vec![promising, GRAND, TYPE, &end(3)], "has 2 records and not the 3"),
            (vec![HEADER, GRAND, TYPE, &end(1)], "has 2 records and not the 1"),
            (vec![promising, GRAND, &end(1), TYPE], ":4: nothing may stand behind"),
        ] {
            let wrong = read_lines(&lines).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(why), "{wrong:?} lacks {why}");
        }
        for first in [HEADER, promising] {
            let contents = read_lines(&[first, GRAND, "", TYPE, &end(2)]).unwrap();
            assert_eq!(contents.items.len(), 2);
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
