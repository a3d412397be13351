//! Writes a hotel to a cluster so that a second time leaves the same state.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::kata::{Hotel, Range};
use crate::cli::failure::Failure;
use crate::client::{Client, ClientError, FirstBusinessDate, Key, PutProperty, PutRoom, PutRoomType};
use crate::ledger::{Date, Prices, PropertyId, RoomId, RoomTypeId};
use crate::wire::Rate;

/// Rooms that are written at the same time: enough to share the flushes of the log, few enough to leave room for others.
const ROOMS_AT_ONCE: usize = 16;

pub(super) async fn write(client: &Client, hotel: &Hotel, time_zone: &str) -> Result<(), Failure> {
    let existed = exists(client, &hotel.property).await?;
    let property = PutProperty {
        name: hotel.name.clone(),
        location: hotel.location.clone(),
        time_zone: time_zone.to_owned(),
        currency: hotel.currency,
        business_date: FirstBusinessDate::Manual(hotel.business_date),
    };
    let written = client.put_property(&hotel.property, &property, Key::Fresh).await?.value;
    if written.business_date != hotel.business_date {
        eprintln!(
            "property {} was there before and keeps its business date {}",
            hotel.property, written.business_date
        );
    }
    let room_type = RoomTypeId::new("room").expect("a valid id");
    let body = PutRoomType { name: "Room".to_owned(), max_occupancy: 2, overbooking_limit: 0 };
    client.put_room_type(&hotel.property, &room_type, &body, Key::Fresh).await?;
    let body = PutRoom { room_type };
    stream::iter(&hotel.rooms)
        .map(|(room, ranges)| write_room(client, &hotel.property, room, &body, ranges, existed))
        .buffer_unordered(ROOMS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(())
}

async fn exists(client: &Client, property: &PropertyId) -> Result<bool, ClientError> {
    match client.property(property).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("property_not_found") => Ok(false),
        Err(error) => Err(error),
    }
}

async fn write_room(
    client: &Client,
    property: &PropertyId,
    room: &RoomId,
    body: &PutRoom,
    ranges: &[Range],
    existed: bool,
) -> Result<(), ClientError> {
    client.put_room(property, room, body, Key::Fresh).await?;
    // What an earlier import priced and this file does not has to go.
    let cleared = if existed { gaps(ranges) } else { Vec::new() };
    for (from, to, prices) in cleared
        .into_iter()
        .map(|(from, to)| (from, to, Prices::new()))
        .chain(ranges.iter().map(|range| (range.from, range.to, range.prices.clone())))
    {
        let rate = Rate { room_type: None, room: Some(room.clone()), from, to, prices };
        client.put_rates(property, &rate, Key::Fresh).await?;
    }
    Ok(())
}

/// The dates that are in no range. `ranges` are in order and apart.
fn gaps(ranges: &[Range]) -> Vec<(Date, Date)> {
    let starts = std::iter::once(Date::MIN).chain(ranges.iter().map(|range| range.to));
    let ends = ranges.iter().map(|range| range.from).chain(std::iter::once(Date::MAX));
    starts.zip(ends).filter(|(start, end)| start < end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_all_that_the_ranges_leave() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        let range = |from, to| Range { from: day(from), to: day(to), prices: Prices::new() };
        assert_eq!(gaps(&[]), [(Date::MIN, Date::MAX)]);
        let ranges = [
            range("2024-01-01", "2024-01-03"),
            range("2024-01-03", "2024-01-04"),
            range("2024-02-01", "2024-02-02"),
        ];
        let expected = [
            (Date::MIN, day("2024-01-01")),
            (day("2024-01-04"), day("2024-02-01")),
            (day("2024-02-02"), Date::MAX),
        ];
        assert_eq!(gaps(&ranges), expected);
    }
}
