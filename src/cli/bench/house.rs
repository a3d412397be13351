//! The rooms that are sold in a trial: many, for years, at one price.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::cli::output;
use crate::client::{
    Client, ClientError, FirstBusinessDate, Key, PutProperty, PutRoom, PutRoomType, Reserve, Stay,
};
use crate::ledger::{Currency, Date, PropertyId, RoomId, RoomTypeId};
use crate::wire::{Property, Rate};

/// Rooms of a house that has to be defined.
const ROOMS: u32 = 2_000;
/// Nights from the business date on that are sold: as many as may be booked ahead.
const NIGHTS: u64 = 1_000;
const AT_ONCE: usize = 64;
/// The business date of a house that is new.
const FIRST_DATE: &str = "2027-01-01";
const NAME: &str = "Bench";
const LOCATION: &str = "Nowhere";

pub(super) struct House {
    pub property: PropertyId,
    rooms: Vec<RoomId>,
    opens: Date,
    /// Nights that were offered so far.
    next: AtomicU64,
}

impl House {
    /// Finds the house, or defines it.
    pub async fn open(
        client: &Client,
        property: &PropertyId,
        connections: u32,
    ) -> Result<House, ClientError> {
        let (opens, lacks) = match client.property_if_there(property).await? {
            Some(found) => (found.business_date, is_own_unpriced(client, &found).await?),
            None => (FIRST_DATE.parse().expect("a date"), true),
        };
        if lacks {
            output::tell!("Defining the property `{property}` with {ROOMS} rooms.");
            define(client, property, opens).await?;
        }
        let rooms = client.rooms(property).await?.value.rooms.into_iter().map(|it| it.room).collect();
        // Another start than the last trial's, so that most nights are free.
        let next = rand::random_range(0..NIGHTS * 1_000) * u64::from(connections);
        Ok(House { property: property.clone(), rooms, opens, next: AtomicU64::new(next) })
    }

    pub fn has_rooms(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// A night in a room, which no other request of this trial asks for until all were asked for.
    pub fn stay(&self) -> Reserve {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let rooms = self.rooms.len() as u64;
        let room = self.rooms[(n % rooms) as usize].clone();
        let arrival = self.opens.plus(((n / rooms) % NIGHTS) as i32);
        let stay = Stay {
            room: Some(room),
            room_type: None,
            arrival,
            departure: arrival.plus(1),
            occupancy: 1,
            currency: None,
            hold_seconds: None,
            expected_total: None,
            block: None,
            external_ref: None,
        };
        Reserve { guest: "bench".to_owned(), stay }
    }
}

/// Whether it is one of ours and has no price for the last night that is sold: a trial was broken off before the prices, which
/// come last, or its business date has moved on.
async fn is_own_unpriced(client: &Client, found: &Property) -> Result<bool, ClientError> {
    let last = found.business_date.plus(NIGHTS as i32 - 1);
    let is_own = (&*found.name, &*found.location) == (NAME, LOCATION);
    Ok(is_own && client.rates(&found.property, last, last.plus(1)).await?.value.rates.is_empty())
}

/// Defines all of it anew, with prices from `opens` on; a business date that it has stays.
async fn define(client: &Client, property: &PropertyId, opens: Date) -> Result<(), ClientError> {
    let euro = Currency::new("EUR").expect("three upper-case letters");
    let body = PutProperty {
        name: NAME.to_owned(),
        location: LOCATION.to_owned(),
        time_zone: "UTC".to_owned(),
        currency: euro,
        business_date: FirstBusinessDate::Manual(opens),
    };
    client.put_property(property, &body, Key::Fresh).await?;
    let room_type = RoomTypeId::new("room").expect("a valid id");
    let body = PutRoomType { name: "Room".to_owned(), max_occupancy: 2, overbooking_limit: 0 };
    client.put_room_type(property, &room_type, &body, Key::Fresh).await?;
    let body = PutRoom { room_type: room_type.clone() };
    let rooms = (1..=ROOMS).map(|n| RoomId::new(&n.to_string()).expect("digits"));
    stream::iter(rooms)
        .map(async |room| client.put_room(property, &room, &body, Key::Fresh).await.map(drop))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let prices = [(euro, [(1, 10_000), (2, 12_000)].into())].into();
    let (from, to) = (opens, opens.plus(NIGHTS as i32 + 1));
    let rate = Rate { room_type: Some(room_type), room: None, from, to, prices };
    client.put_rates(property, &rate, Key::Fresh).await?;
    Ok(())
}
