//! The hotels before their first booking: room types, rooms and rates.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::capacity::{self, Capacity};
use super::rows::{Hotel, Row};
use crate::client::{Client, ClientError, FirstBusinessDate, Key, PutProperty, PutRoom, PutRoomType};
use crate::ledger::{Currency, Date, RoomTypeId};
use crate::wire::Rate;

/// Persons in a room, at most.
const OCCUPANCY_MAX: u32 = 6;
/// Rooms that are written at the same time.
const AT_ONCE: usize = 16;

/// Defines a hotel so that the first of its rows may be booked. A hotel that is there keeps its business date.
pub(super) async fn define(
    client: &Client,
    hotel: Hotel,
    rows: &[Row],
    capacity: &Capacity,
) -> Result<(), ClientError> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.hotel == hotel).collect();
    let Some(opens) = rows.iter().map(|row| row.booked).min() else { return Ok(()) };
    let property = hotel.property();
    let currency = Currency::new("EUR").expect("three upper-case letters");
    let body = PutProperty {
        name: hotel.name().to_owned(),
        location: location(hotel).to_owned(),
        time_zone: "Europe/Lisbon".to_owned(),
        currency,
        business_date: FirstBusinessDate::Manual(opens),
    };
    client.put_property(&property, &body, Key::Fresh).await?;
    let of_capacity = capacity.keys().filter(|(of, _)| *of == hotel).map(|(_, room_type)| room_type);
    let room_types: BTreeSet<&RoomTypeId> =
        rows.iter().map(|row| &row.room_type).chain(of_capacity).collect();
    for room_type in room_types {
        let body = PutRoomType {
            name: format!("Type {room_type}"),
            max_occupancy: OCCUPANCY_MAX,
            overbooking_limit: 0,
        };
        client.put_room_type(&property, room_type, &body, Key::Fresh).await?;
        let count = capacity.get(&(hotel, room_type.clone())).copied().unwrap_or(0);
        let body = PutRoom { room_type: room_type.clone() };
        let rooms: Vec<_> = capacity::rooms(room_type, count).collect();
        stream::iter(&rooms)
            .map(async |room| client.put_room(&property, room, &body, Key::Fresh).await.map(drop))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        for (from, to, amount) in rates(&rows, room_type) {
            let amounts = (1..=OCCUPANCY_MAX).map(|occupancy| (occupancy, amount)).collect();
            let prices = [(currency, amounts)].into();
            let rate = Rate { room_type: Some(room_type.clone()), room: None, from, to, prices };
            client.put_rates(&property, &rate, Key::Fresh).await?;
        }
    }
    Ok(())
}

/// Where the authors say that the hotels are.
fn location(hotel: Hotel) -> &'static str {
    match hotel {
        Hotel::City => "Lisbon",
        Hotel::Resort => "Algarve",
    }
}

/// The price of a type's nights by month: the mean of its rows that arrive then, in cents. A month in which none arrives
/// has the price of the month before.
fn rates(rows: &[&Row], room_type: &RoomTypeId) -> Vec<(Date, Date, i64)> {
    let mut sums: BTreeMap<Date, (f64, u32)> = BTreeMap::new();
    let mut until = Date::MIN;
    for row in rows.iter().filter(|row| row.room_type == *room_type) {
        let (sum, count) = sums.entry(month(row.arrival)).or_default();
        *sum += row.adr;
        *count += 1;
        until = until.max(row.departure).max(row.arrival.plus(1));
    }
    let starts: Vec<Date> = sums.keys().copied().collect();
    let ends = starts.iter().skip(1).copied().chain([until]);
    let amounts = sums.values().map(|(sum, count)| (sum / f64::from(*count) * 100.0).round().max(0.0) as i64);
    starts.iter().copied().zip(ends).zip(amounts).map(|((from, to), amount)| (from, to, amount)).collect()
}

/// The first day of the month.
pub(super) fn month(date: Date) -> Date {
    let text = date.to_string();
    format!("{}-01", &text[..7]).parse().expect("every month has a first day")
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::day;
    use super::super::rows::{End, Row};
    use super::*;

    #[test]
    fn a_night_costs_the_mean_of_its_month_or_of_the_month_before() {
        let row = |arrival: &str, nights, adr| Row {
            number: 1,
            hotel: Hotel::City,
            room_type: RoomTypeId::new("A").unwrap(),
            booked: day("2015-01-01"),
            arrival: day(arrival),
            departure: day(arrival).plus(nights),
            occupancy: 1,
            adr,
            changed: false,
            end: End::Canceled(day("2015-01-01")),
        };
        let rows = [row("2015-07-31", 1, 75.0), row("2015-07-01", 2, 76.01), row("2015-10-02", 40, 0.0)];
        let rows: Vec<&Row> = rows.iter().collect();
        let expected = [("2015-07-01", "2015-10-01", 7_551), ("2015-10-01", "2015-11-11", 0)]
            .map(|(from, to, amount)| (day(from), day(to), amount));
        assert_eq!(rates(&rows, &RoomTypeId::new("A").unwrap()), expected);
        assert_eq!(rates(&rows, &RoomTypeId::new("B").unwrap()), []);
    }
}
