//! Writes a hotel to a cluster so that a second time leaves the same state.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::file::{Hotel, Range};
use crate::cli::output;
use crate::client::{Client, ClientError, FirstBusinessDate, Key, PutProperty, PutRoom, PutRoomType};
use crate::ledger::{Date, Prices, PropertyId, RoomId, RoomTypeId};
use crate::wire::Rate;

/// Rooms that are written at the same time: enough to share the flushes of the log, few enough to leave room for others.
const ROOMS_AT_ONCE: usize = 16;

pub(super) async fn write(client: &Client, hotel: &Hotel, time_zone: &str) -> Result<(), ClientError> {
    let existed = client.property_if_there(&hotel.property).await?.is_some();
    let property = PutProperty {
        name: hotel.name.clone(),
        location: hotel.location.clone(),
        time_zone: time_zone.to_owned(),
        currency: hotel.currency,
        business_date: FirstBusinessDate::Manual(hotel.business_date),
    };
    let written = client.put_property(&hotel.property, &property, Key::Fresh).await?.value;
    if written.business_date != hotel.business_date {
        output::tell!(
            "property {} was there before and keeps its business date {}",
            hotel.property,
            written.business_date
        );
    }
    let room_type = RoomTypeId::new("room").expect("a valid id");
    let body = PutRoomType { name: "Room".to_owned(), max_occupancy: 2, overbooking_limit: 0 };
    client.put_room_type(&hotel.property, &room_type, &body, Key::Fresh).await?;
    if existed {
        say_what_left(client, hotel, &room_type).await?;
    }
    let body = PutRoom { room_type };
    stream::iter(&hotel.rooms)
        .map(|(room, ranges)| write_room(client, &hotel.property, room, &body, ranges, existed))
        .buffer_unordered(ROOMS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// A room that a newer file no longer has may have been sold, or be somebody's own: it is not taken off the market unasked.
async fn say_what_left(client: &Client, hotel: &Hotel, room_type: &RoomTypeId) -> Result<(), ClientError> {
    let property = &hotel.property;
    let rooms = client.rooms(property).await?.value.rooms;
    let left = rooms.iter().filter(|it| it.room_type == *room_type && !hotel.rooms.contains_key(&it.room));
    for it in left {
        let room = &it.room;
        output::tell!(
            "room {room} of {property} is not in the file: it stays as it is, and can be sold at the prices it has"
        );
    }
    Ok(())
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
    use std::sync::{Arc, Mutex};

    use axum::extract::{Request, State};
    use axum::http::{Method, StatusCode};
    use serde_json::{Value, json};

    use super::super::file;
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn gaps_are_all_that_the_ranges_leave() {
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

    /// What a stand-in for a node was asked to write: path and body.
    type Written = Arc<Mutex<Vec<(String, Value)>>>;

    /// Knows the hotel once it was written, and echoes what it is told.
    async fn stand_in(State(written): State<Written>, request: Request) -> (StatusCode, String) {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let mut resource: Value = serde_json::from_slice(&bytes).unwrap_or(json!({}));
        if parts.method == Method::PUT {
            written.lock().unwrap().push((path.clone(), resource.clone()));
        } else if written.lock().unwrap().is_empty() {
            let problem = json!({"type": "about:blank", "title": "t", "status": 404, "detail": "d",
                "code": "property_not_found"});
            return (StatusCode::NOT_FOUND, problem.to_string());
        }
        if parts.method == Method::GET && path.ends_with("/rooms") {
            let rooms = json!({"rooms": [{"room": "101", "room_type": "room"}, {"room": "102", "room_type": "room"}]});
            return (StatusCode::OK, rooms.to_string());
        }
        match path.split('/').skip(4).step_by(2).last() {
            Some("room-types") => resource["room_type"] = json!("room"),
            Some("rooms") => resource["room"] = json!("101"),
            Some(_) => {}
            None => {
                resource = json!({"property": "7", "name": "H", "location": "L", "time_zone": "UTC",
                    "currency": "EUR", "business_date": "2024-01-01", "business_date_mode": "manual"});
            }
        }
        (StatusCode::OK, resource.to_string())
    }

    #[tokio::test]
    async fn a_hotel_is_written_top_down_and_the_second_time_clears_what_the_file_no_longer_prices() {
        let written = Written::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(vec![format!("http://{}", listener.local_addr().unwrap())]).unwrap();
        let router = axum::Router::new().fallback(stand_in).with_state(written.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let file = r#"{"HotelId": 7, "HotelName": "H", "Location": "L", "AvailabilitiesAt": {"2024-01-01": [
            {"RoomIdentifier": "101", "OneAdultOccupancyPrice": {"Currency": "EUR", "Value": 109.0},
             "TwoAdultsOccupancyPrice": {"Currency": "EUR", "Value": 0}}]}}"#;
        let hotel = file::read(file.as_bytes()).unwrap();

        write(&client, &hotel, "Europe/Budapest").await.unwrap();
        let rate = |from: &str, to: &str, prices: Value| {
            let body = json!({"room": "101", "from": from, "to": to, "prices": prices});
            ("/v1/properties/7/rates".to_owned(), body)
        };
        let defined = [
            (
                "/v1/properties/7".to_owned(),
                json!({"name": "H", "location": "L", "time_zone": "Europe/Budapest", "currency": "EUR",
                    "business_date": "2024-01-01"}),
            ),
            (
                "/v1/properties/7/room-types/room".to_owned(),
                json!({"name": "Room", "max_occupancy": 2, "overbooking_limit": 0}),
            ),
            ("/v1/properties/7/rooms/101".to_owned(), json!({"room_type": "room"})),
        ];
        let priced = rate("2024-01-01", "2024-01-02", json!({"EUR": {"1": 10_900}}));
        let first: Vec<(String, Value)> = std::mem::take(&mut *written.lock().unwrap());
        assert_eq!(first, [&defined[..], std::slice::from_ref(&priced)].concat());

        written.lock().unwrap().push(defined[0].clone());
        write(&client, &hotel, "Europe/Budapest").await.unwrap();
        let cleared =
            [rate("0001-01-01", "2024-01-01", json!({})), rate("2024-01-02", "9999-12-31", json!({}))];
        let second = written.lock().unwrap().clone();
        assert_eq!(second[1..], [&defined[..], &cleared[..], std::slice::from_ref(&priced)].concat());
        server.abort();
    }
}
