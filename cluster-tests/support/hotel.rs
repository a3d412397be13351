//! The property that most stories sell: priced rooms of two types in 2027, and how to ask for them.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::http::{Api, Call};

/// The first night that is priced, and the property's business date.
pub const OPENS: jiff::civil::Date = jiff::civil::date(2027, 1, 1);

/// Minor units a night, for one guest and for two.
pub const PRICES: [i64; 2] = [10_900, 14_000];

/// A property that has been defined, with `rooms` rooms of each of the types `named` and `counted`, by which the
/// load asks for rooms.
#[derive(Clone)]
pub struct Hotel {
    pub property: String,
    /// Rooms of each type: `n1`… and `c1`….
    pub rooms: u64,
}

/// The `n`th date after the opening.
pub fn date(n: u64) -> String {
    OPENS.saturating_add(jiff::Span::new().days(n as i64)).to_string()
}

impl Hotel {
    /// Defines it through the first node, and waits until every node shows it.
    pub async fn open(cluster: &Cluster, property: &str, rooms: u64) -> Hotel {
        let hotel = Hotel { property: property.to_owned(), rooms };
        let api = cluster.api(1);
        api.put(
            &hotel.path(""),
            &json!({"name": "Grand", "location": "Budapest", "time_zone": "Europe/Budapest",
                    "currency": "EUR", "business_date": date(0)}),
        )
        .key(&format!("{property}-open"))
        .expect(201)
        .await;
        for (room_type, letter) in [("named", 'n'), ("counted", 'c')] {
            api.put(
                &hotel.path(&format!("/room-types/{room_type}")),
                &json!({"name": room_type, "max_occupancy": 2, "overbooking_limit": 0}),
            )
            .key(&format!("{property}-{room_type}"))
            .expect(201)
            .await;
            for room in 1..=rooms {
                api.put(&hotel.path(&format!("/rooms/{letter}{room}")), &json!({"room_type": room_type}))
                    .key(&format!("{property}-{letter}{room}"))
                    .expect(201)
                    .await;
            }
            api.put(
                &hotel.path("/rates"),
                &json!({"room_type": room_type, "from": date(0), "to": date(400),
                        "prices": {"EUR": {"1": PRICES[0], "2": PRICES[1]}}}),
            )
            .key(&format!("{property}-{room_type}-rates"))
            .expect(200)
            .await;
        }
        cluster.agree().await;
        hotel
    }

    /// A path under the property.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/properties/{}{rest}", self.property)
    }

    /// A stay of one guest in a named room; arrival and departure count from the opening.
    pub fn stay(&self, room: &str, arrival: u64, departure: u64, key: &str) -> Value {
        json!({"guest": format!("guest-{key}"), "room": room, "arrival": date(arrival),
               "departure": date(departure), "occupancy": 1, "external_ref": key})
    }

    /// Books a named room, under a key that is the reservation's `external_ref` too.
    pub fn reserve(&self, api: &Api, room: &str, arrival: u64, departure: u64, key: &str) -> Call {
        self.post(api, &self.stay(room, arrival, departure, key)).key(key)
    }

    pub fn post(&self, api: &Api, stay: &Value) -> Call {
        api.post(&self.path("/reservations"), stay)
    }

    /// All reservations, by the pages of the list.
    pub async fn reservations(&self, api: &Api) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = api.get(&self.path(&format!("/reservations?limit=1000{cursor}"))).expect(200).await;
            let reservations = page["reservations"].as_array().expect("a list of reservations");
            all.extend(reservations.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
            assert!(!reservations.is_empty(), "an empty page with a next one");
        }
    }

    /// The nights of the opening's year and a bit, by room type.
    pub async fn availability(&self, api: &Api) -> Value {
        let path = self.path(&format!("/availability?from={}&to={}", date(0), date(400)));
        api.get(&path).expect(200).await["room_types"].clone()
    }

    /// The names of the rooms that one guest could book.
    pub async fn free_rooms(&self, api: &Api, arrival: u64, departure: u64) -> Vec<String> {
        let path = self.path(&format!(
            "/free-rooms?arrival={}&departure={}&occupancy=1&limit=1000",
            date(arrival),
            date(departure)
        ));
        let rooms = api.get(&path).expect(200).await;
        let rooms = rooms["rooms"].as_array().expect("a list of rooms").iter();
        rooms.map(|room| room["room"].as_str().expect("a room's name").to_owned()).collect()
    }
}
