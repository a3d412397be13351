//! A room's calendar as other channels subscribe to it: iCalendar (RFC 5545), whole days, no word about the guest.
//!
//! Every stay that takes the room on the business date or later, a planned one too, and the nights on which it is out of
//! order. `DTEND` is not part of an event: it is the departure day.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use icalendar::{Calendar, Component, Event, Property};

use super::access::read;
use super::extract::{Params, Segments};
use super::problem::Problem;
use super::render;
use crate::ledger::{
    Date, Ledger, OutOfOrderRecord, PropertyId, Reservation, RoomId, RoomOccupation, Status, Timestamp,
};
use crate::node::Node;

pub async fn show(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let room: RoomId = segments.get(1, "room")?;
    let ask = |ledger: &Ledger| Ok((ledger.room_occupation(&property, &room)?, ledger.stamp()));
    let ((occupation, at), lsn) = read(&node, Params::of(request.uri())?, ask).await?;
    let body = text(&property, &room, &occupation, at);
    let mut response =
        (StatusCode::OK, [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")], body).into_response();
    render::reflect(&mut response, lsn);
    Ok(response)
}

/// `at` is the log time of the state that is shown.
fn text(property: &PropertyId, room: &RoomId, occupation: &RoomOccupation, at: Timestamp) -> String {
    let mut calendar = Calendar::empty();
    for (name, value) in [("VERSION", "2.0"), ("PRODID", "-//Innkeeper//EN"), ("CALSCALE", "GREGORIAN")] {
        calendar.append_property((name, value));
    }
    // Without a method, which would ask for an organizer (RFC 5546, 3.2.1), DTSTAMP is when the event was last revised (section
    // 3.8.7.2). A retry of the same state is the same text.
    calendar.name(&format!("{property}/{room}"));
    calendar.extend(occupation.stays.iter().filter_map(|stay| of_stay(stay)));
    calendar.extend(occupation.closures.iter().map(|closure| of_closure(closure, at)));
    let text = calendar.to_string();
    if calendar.components.is_empty() { text.replace(END, &format!("{UTC}{END}")) } else { text }
}

const END: &str = "END:VCALENDAR\r\n";

/// A calendar has a component at least (section 3.6): where nothing takes the room, the time zone of its instants.
const UTC: &str = "BEGIN:VTIMEZONE\r\n\
    TZID:UTC\r\n\
    BEGIN:STANDARD\r\n\
    DTSTART:19700101T000000\r\n\
    TZOFFSETFROM:+0000\r\n\
    TZOFFSETTO:+0000\r\n\
    END:STANDARD\r\n\
    END:VTIMEZONE\r\n";

/// The nights on which the stay has this room.
fn of_stay(stay: &Reservation) -> Option<Event> {
    let (from, to) = stay.room_nights()?;
    let (summary, status) = match stay.status {
        Status::Held => ("Held", "TENTATIVE"),
        _ => ("Reserved", "CONFIRMED"),
    };
    let mut event = whole_days(&format!("{}@innkeeper", stay.id), from, to, summary, stay.updated_at);
    event.append_property(Property::new("STATUS", status));
    event.append_property(Property::new("LAST-MODIFIED", utc(stay.updated_at)));
    event.append_property(Property::new("SEQUENCE", (stay.revision - 1).to_string()));
    Some(event.done())
}

fn of_closure(closure: &OutOfOrderRecord, at: Timestamp) -> Event {
    let OutOfOrderRecord { property, room, from, to, .. } = closure;
    // Its name may be longer than a line, which is folded badly then.
    let name = blake3::hash(format!("{property}/{room}/{from}").as_bytes());
    let id = *name.as_bytes().first_chunk().expect("it has 32 bytes");
    let id = uuid::Builder::from_custom_bytes(id).into_uuid();
    whole_days(&format!("{id}@innkeeper"), *from, *to, "Out of order", at).done()
}

fn whole_days(uid: &str, from: Date, to: Date, summary: &str, at: Timestamp) -> Event {
    let mut event = Event::new();
    event.uid(uid).summary(summary);
    event.append_property(Property::new("DTSTAMP", utc(at)));
    for (name, date) in [("DTSTART", from), ("DTEND", to)] {
        let digits = date.to_string().replace('-', "");
        event.append_property(Property::new(name, digits).add_parameter("VALUE", "DATE").done());
    }
    event
}

/// Form 2 of section 3.3.5, which knows no milliseconds.
fn utc(at: Timestamp) -> String {
    let digits = render::instant(Timestamp(at.0 / 1_000 * 1_000)).replace(['-', ':'], "");
    digits.replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupation() -> RoomOccupation {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let closure = OutOfOrderRecord {
            property: "grand".parse().unwrap(),
            room: "101".parse().unwrap(),
            from: date("2028-02-28"),
            to: date("2028-03-01"),
            reason: "painting, and a \"secret\"".into(),
        };
        RoomOccupation { stays: Vec::new(), closures: vec![Arc::new(closure)] }
    }

    #[test]
    fn a_calendar_is_this_text() {
        let (property, room) = ("grand".parse().unwrap(), "101".parse().unwrap());
        let text = text(&property, &room, &occupation(), Timestamp(1_830_000_000_123));
        let expected = "BEGIN:VCALENDAR\r\n\
            VERSION:2.0\r\n\
            PRODID:-//Innkeeper//EN\r\n\
            CALSCALE:GREGORIAN\r\n\
            NAME:grand/101\r\n\
            X-WR-CALNAME:grand/101\r\n\
            BEGIN:VEVENT\r\n\
            DTEND;VALUE=DATE:20280301\r\n\
            DTSTAMP:20271228T132000Z\r\n\
            DTSTART;VALUE=DATE:20280228\r\n\
            SUMMARY:Out of order\r\n\
            UID:b5e9f089-a1c5-8fd9-a78c-69208c2537ff@innkeeper\r\n\
            END:VEVENT\r\n\
            END:VCALENDAR\r\n";
        assert_eq!(text, expected);
    }

    /// Section 3.1.
    #[test]
    fn no_line_is_longer_than_75_octets_however_long_the_names_are() {
        for length in 1..=64 {
            let name = "x".repeat(length);
            let (property, room) = (PropertyId::new(&name).unwrap(), RoomId::new(&name).unwrap());
            let mut occupation = occupation();
            let closure = Arc::make_mut(&mut occupation.closures[0]);
            (closure.property, closure.room) = (property.clone(), room.clone());
            let text = text(&property, &room, &occupation, Timestamp(1_830_000_000_123));
            assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        }
    }

    #[test]
    fn the_calendar_of_a_room_that_nothing_takes_has_a_component_all_the_same() {
        let (property, room) = ("grand".parse().unwrap(), "101".parse().unwrap());
        let nothing = RoomOccupation { stays: Vec::new(), closures: Vec::new() };
        let text = text(&property, &room, &nothing, Timestamp(1_830_000_000_123));
        assert_eq!(text.matches("BEGIN:").count(), text.matches("END:").count());
        assert!(text.contains("BEGIN:VTIMEZONE\r\nTZID:UTC\r\n") && text.ends_with(END), "{text}");
    }
}
