//! How many rooms of each type each hotel has: `hotel,room_type,rooms`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::rows::Hotel;
use crate::cli::import::source;
use crate::ledger::{NotAnId, RoomId, RoomTypeId};

/// Rooms of one type, at most.
const ROOMS_MAX: u32 = 9_999;

pub(super) type Capacity = BTreeMap<(Hotel, RoomTypeId), u32>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    hotel: String,
    room_type: String,
    rooms: u32,
}

pub(super) fn read(path: &Path) -> Result<Capacity, Vec<String>> {
    let shown = path.display();
    let mut capacity = Capacity::new();
    let mut wrong = Vec::new();
    let file = source::open(path).map_err(|reason| vec![format!("{shown}: {reason}")])?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    for columns in reader.deserialize() {
        let taken = columns.map_err(|error: csv::Error| error.to_string());
        if let Err(reason) = taken.and_then(|columns| add(&mut capacity, &columns)) {
            wrong.push(format!("{shown}: {reason}"));
        }
    }
    if capacity.is_empty() && wrong.is_empty() {
        wrong.push(format!(
            "{shown}: has no rooms; expected lines of hotel,room_type,rooms under these names"
        ));
    }
    if wrong.is_empty() { Ok(capacity) } else { Err(wrong) }
}

fn add(capacity: &mut Capacity, columns: &Columns) -> Result<(), String> {
    let Columns { hotel, room_type, rooms } = columns;
    let id = RoomTypeId::new(room_type).map_err(|error| format!("room_type `{room_type}`: {error}"))?;
    if *rooms > ROOMS_MAX {
        return Err(format!("{hotel} {room_type}: {rooms} rooms are more than {ROOMS_MAX}"));
    }
    room(&id, ROOMS_MAX).map_err(|error| format!("room_type `{room_type}`: with four digits, {error}"))?;
    match capacity.insert((Hotel::find(hotel)?, id), *rooms) {
        None => Ok(()),
        Some(_) => Err(format!("{hotel} {room_type} is there twice")),
    }
}

/// The rooms of a type, named so that they sort by number.
pub(super) fn rooms(room_type: &RoomTypeId, count: u32) -> impl Iterator<Item = RoomId> + '_ {
    (1..=count).map(move |n| room(room_type, n).expect("short enough, as was found when it was read"))
}

fn room(room_type: &RoomTypeId, n: u32) -> Result<RoomId, NotAnId> {
    RoomId::new(&format!("{room_type}{n:04}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Capacity, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rooms.csv");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn hotels_go_by_name_or_by_id() {
        let capacity = read_text("hotel,room_type,rooms\nCity Hotel,A,195\nresort-hotel, B ,0\n").unwrap();
        let kind = |id| RoomTypeId::new(id).unwrap();
        let expected = [((Hotel::City, kind("A")), 195), ((Hotel::Resort, kind("B")), 0)];
        assert_eq!(capacity, Capacity::from(expected));
        let names: Vec<String> = rooms(&kind("A"), 2).map(|room| room.to_string()).collect();
        assert_eq!(names, ["A0001", "A0002"]);
    }

    #[test]
    fn what_can_not_be_read_is_told() {
        let long = format!("hotel,room_type,rooms\nCity Hotel,{},1\n", "x".repeat(61));
        for (text, named) in [
            (long.as_str(), "with four digits"),
            ("", "has no rooms"),
            ("hotel,room_type,rooms\n", "has no rooms"),
            ("hotel,rooms\nCity Hotel,1\n", "room_type"),
            ("hotel,room_type,rooms\nInn,A,1\n", "`Inn`"),
            ("hotel,room_type,rooms\nCity Hotel,A,-1\n", "rooms"),
            ("hotel,room_type,rooms\nCity Hotel,A,10000\n", "more than"),
            ("hotel,room_type,rooms\nCity Hotel,a b,1\n", "`a b`"),
            ("hotel,room_type,rooms\nCity Hotel,A,1\ncity-hotel,A,2\n", "twice"),
        ] {
            let wrong = read_text(text).unwrap_err();
            assert!(wrong[0].contains(named), "{text}: {wrong:?}");
        }
    }
}
