//! The sample property of a `dev` cluster, and the booking that shows that every node takes and gives the same.

use super::plan::Plan;
use super::{Client, client_of};
use crate::cli::failure::Failure;
use crate::cli::{money, output};
use crate::client::{
    ClientError, FirstBusinessDate, Key, ListQuery, PutProperty, PutRoom, PutRoomType, Reserve, Stay,
};
use crate::ledger::{Currency, Date, PropertyId, RoomId, RoomTypeId};
use crate::wire;

/// Nights from the business date on that have a price.
const PRICED_NIGHTS: i32 = 400;
const FIRST_GUEST: &str = "first-guest";

/// A type of room: its id, name, most persons, rooms, and the price of a night in cents by occupancy.
const ROOM_TYPES: [(&str, &str, &[&str], &[i64]); 2] = [
    ("double", "Double room", &["101", "102", "103", "104", "105", "106"], &[10_900, 14_000]),
    ("family", "Family room", &["201", "202", "203", "204"], &[14_900, 18_000, 21_000, 23_500]),
];

/// The booking of the first start, and how it came to be.
pub(super) struct Booked {
    pub reservation: wire::Reservation,
    pub story: String,
}

pub(super) fn property() -> PropertyId {
    PropertyId::new("sample").expect("a valid id")
}

pub(super) fn double() -> RoomTypeId {
    RoomTypeId::new("double").expect("a valid id")
}

/// Defines the sample and books through a follower, once in the life of a cluster; later shows what was booked.
pub(super) async fn book(plan: &Plan) -> Result<Booked, Failure> {
    let leader = leader(&client_of(plan, plan.ids())).await?;
    let follower = plan.ids().find(|id| *id != leader).unwrap_or(leader);
    let reader = plan.ids().rfind(|id| *id != follower).unwrap_or(follower);
    if let Some(earlier) = earlier(&client_of(plan, [reader])).await? {
        let story =
            format!("Booked at an earlier start and still there, says node {reader}: {}.", told(&earlier));
        return Ok(Booked { reservation: earlier, story });
    }
    let client = client_of(plan, plan.ids());
    output::tell!("Defining the property `{}`.", property());
    let business_date = define(&client).await?;
    let arrival = business_date.plus(30);
    let stay = stay(FIRST_GUEST, arrival, arrival.plus(3));
    let booked = client_of(plan, [follower]).reserve(&property(), &stay, Key::Fresh).await?.value;
    let read = client_of(plan, [reader]).reservation(booked.id).await?.value;
    if read != booked {
        return Err(Failure::Failed(format!(
            "node {follower} booked {booked:?}, and node {reader} shows {read:?}"
        )));
    }
    let role = if follower == leader { "the only one" } else { "a follower" };
    let story = format!(
        "Booked through node {follower} ({role}; node {leader} leads) and read back at node {reader}: {}.",
        told(&booked)
    );
    Ok(Booked { reservation: booked, story })
}

/// The node that leads, as the cluster sees it.
pub(super) async fn leader(client: &Client) -> Result<u64, Failure> {
    let cluster = client.cluster().await?.value;
    cluster.leader.ok_or_else(|| Failure::Failed("the nodes are ready, and none of them leads".to_owned()))
}

/// One room of the sample for two persons.
pub(super) fn stay(guest: &str, arrival: Date, departure: Date) -> Reserve {
    let stay = Stay {
        room: None,
        room_type: Some(double()),
        arrival,
        departure,
        occupancy: 2,
        currency: None,
        hold_seconds: None,
        expected_total: None,
        block: None,
        external_ref: None,
    };
    Reserve { guest: guest.to_owned(), stay }
}

/// A reservation in a few words.
pub(super) fn told(reservation: &wire::Reservation) -> String {
    let room =
        reservation.room.as_ref().map_or_else(|| "no room yet".to_owned(), |room| format!("room {room}"));
    format!(
        "{room} from {} to {} for {}, reservation {}",
        reservation.arrival,
        reservation.departure,
        money::format(reservation.price.total, reservation.price.currency),
        reservation.id
    )
}

async fn earlier(client: &Client) -> Result<Option<wire::Reservation>, ClientError> {
    let query = ListQuery { guest: Some(FIRST_GUEST.to_owned()), limit: Some(1), ..ListQuery::default() };
    match client.reservations(&property(), &query).await {
        Ok(answer) => Ok(answer.value.reservations.into_iter().next()),
        Err(error) if error.code() == Some("property_not_found") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the property whole; a start that broke off half-way is completed by the next. Answers its business date.
async fn define(client: &Client) -> Result<Date, ClientError> {
    let euro = Currency::new("EUR").expect("three upper-case letters");
    let body = PutProperty {
        name: "Sample House".to_owned(),
        location: "Budapest".to_owned(),
        time_zone: "Europe/Budapest".to_owned(),
        currency: euro,
        business_date: FirstBusinessDate::Clock,
    };
    let property = property();
    let business_date = client.put_property(&property, &body, Key::Fresh).await?.value.business_date;
    for (room_type, name, rooms, amounts) in ROOM_TYPES {
        let room_type = RoomTypeId::new(room_type).expect("a valid id");
        let body =
            PutRoomType { name: name.to_owned(), max_occupancy: amounts.len() as u32, overbooking_limit: 0 };
        client.put_room_type(&property, &room_type, &body, Key::Fresh).await?;
        for room in rooms {
            let room = RoomId::new(room).expect("a valid id");
            client.put_room(&property, &room, &PutRoom { room_type: room_type.clone() }, Key::Fresh).await?;
        }
        let rate = wire::Rate {
            room_type: Some(room_type),
            room: None,
            from: business_date,
            to: business_date.plus(PRICED_NIGHTS),
            prices: [(euro, (1..).zip(amounts.iter().copied()).collect())].into(),
        };
        client.put_rates(&property, &rate, Key::Fresh).await?;
    }
    Ok(business_date)
}
