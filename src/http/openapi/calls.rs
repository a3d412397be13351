//! The calls of the API, one row each: what the document says beside the schemas.

use self::Kind::{Change, Local, Read, Write};

/// What a call has in common with others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answered from this node, without asking anybody.
    Local,
    /// Answered by the ledger, as consistent as is asked for.
    Read,
    /// Goes through the log, under an idempotency key.
    Write,
    /// A write that may be bound to a revision.
    Change,
    /// Many writes, with keys of their own.
    Batch,
}

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub kind: Kind,
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    /// Parameters of the query; those with an exclamation mark are required.
    pub query: &'static [&'static str],
    /// The schema of the body, where there is one.
    pub body: Option<&'static str>,
    /// Statuses, each with a schema, a media type, or nothing.
    pub answers: &'static [(u16, &'static str)],
    /// Codes that this call can answer, beside those of its kind.
    pub refusals: &'static [&'static [&'static str]],
}

const fn call(
    kind: Kind,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    answers: &'static [(u16, &'static str)],
) -> Call {
    Call { kind, method, path, summary, query: &[], body: None, answers, refusals: &[] }
}

impl Call {
    const fn query(mut self, query: &'static [&'static str]) -> Call {
        self.query = query;
        self
    }

    const fn body(mut self, schema: &'static str) -> Call {
        self.body = Some(schema);
        self
    }

    const fn refusals(mut self, refusals: &'static [&'static [&'static str]]) -> Call {
        self.refusals = refusals;
        self
    }
}

const PROPERTY: &[&str] = &["property_not_found"];
const ROOM_TYPE: &[&str] = &["room_type_not_found"];
const ROOM: &[&str] = &["room_not_found"];
const RESERVATION: &[&str] = &["reservation_not_found"];
const BOOKING: &[&str] = &["booking_not_found"];
const ENTRY: &[&str] = &["waitlist_entry_not_found"];
/// What a stay that is waited for is judged by.
const WAITED_STAY: &[&str] = &[
    "invalid_stay",
    "stay_too_long",
    "arrival_in_past",
    "beyond_horizon",
    "occupancy_invalid",
    "invalid_currency",
    "not_priced",
];
const STATE: &[&str] = &["invalid_state"];
const CAPACITY: &[&str] = &["capacity_below_sold"];
const CURRENCY: &[&str] = &["invalid_currency"];
const AMOUNT: &[&str] = &["invalid_amount"];
/// What a stay is judged by.
const STAY: &[&str] = &[
    "room_type_not_found",
    "room_not_found",
    "invalid_stay",
    "stay_too_long",
    "arrival_in_past",
    "beyond_horizon",
    "occupancy_invalid",
    "not_priced",
    "restricted",
    "room_unavailable",
    "no_availability",
];
/// What a new stay is judged by as well.
const NEW_STAY: &[&str] = &[
    "block_not_found",
    "hold_ttl_invalid",
    "invalid_currency",
    "invalid_amount",
    "price_changed",
    "invalid_state",
];
/// What a stay is judged by that another ledger judged before.
const IMPORTED_STAY: &[&str] = &[
    "room_type_not_found",
    "room_not_found",
    "block_not_found",
    "invalid_stay",
    "stay_too_long",
    "beyond_horizon",
    "occupancy_invalid",
    "hold_ttl_invalid",
    "not_priced",
    "room_unavailable",
    "no_availability",
];
/// What a question about a stay is judged by, whichever house is asked.
const QUERIED_STAY: &[&str] = &["invalid_stay", "stay_too_long", "occupancy_invalid", "invalid_currency"];

/// What any command may be refused for.
const RETRIED: &[&str] = &[
    "property_not_found",
    "room_type_not_found",
    "room_not_found",
    "reservation_not_found",
    "booking_not_found",
    "block_not_found",
    "waitlist_entry_not_found",
    "version_mismatch",
    "hold_expired",
    "invalid_state",
    "invalid_stay",
    "stay_too_long",
    "arrival_in_past",
    "beyond_horizon",
    "occupancy_invalid",
    "hold_ttl_invalid",
    "not_priced",
    "invalid_time_zone",
    "invalid_currency",
    "invalid_amount",
    "restricted",
    "room_unavailable",
    "no_availability",
    "price_changed",
    "capacity_below_sold",
];

/// What a question about the past is refused for.
const PAST: &[&str] = &["history_gone", "position_in_future"];

const RESERVED: &[(u16, &str)] = &[(201, "Reservation")];
const CHANGED: &[(u16, &str)] = &[(200, "Reservation")];
const DATES: &[&str] = &["from!", "to!"];

pub const CALLS: &[Call] = &[
    call(Read, "GET", "/v1/properties", "All properties", &[(200, "Properties")]),
    call(Read, "GET", "/v1/properties/{property}", "One property", &[(200, "Property")])
        .refusals(&[PROPERTY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}",
        "Define or replace a property",
        &[(200, "Property"), (201, "Property")],
    )
    .body("PropertyFields")
    .refusals(&[CURRENCY, &["invalid_time_zone"]]),
    call(
        Write,
        "POST",
        "/v1/properties/{property}/night-audit",
        "Move the business date by hand",
        &[(200, "Property")],
    )
    .body("NightAuditFields")
    .refusals(&[PROPERTY, STATE]),
    call(Read, "GET", "/v1/properties/{property}/room-types", "Its room types", &[(200, "RoomTypes")])
        .refusals(&[PROPERTY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}/room-types/{room_type}",
        "Define or replace a room type",
        &[(200, "RoomType"), (201, "RoomType")],
    )
    .body("RoomTypeFields")
    .refusals(&[PROPERTY, CAPACITY, &["occupancy_invalid"]]),
    call(Read, "GET", "/v1/properties/{property}/rooms", "Its rooms", &[(200, "Rooms")])
        .refusals(&[PROPERTY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}/rooms/{room}",
        "Define a room, or change its type",
        &[(200, "Room"), (201, "Room")],
    )
    .body("RoomFields")
    .refusals(&[PROPERTY, ROOM_TYPE, CAPACITY]),
    call(Write, "DELETE", "/v1/properties/{property}/rooms/{room}", "Retire a room", &[(204, "")])
        .refusals(&[PROPERTY, ROOM, CAPACITY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}/rooms/{room}/out-of-order",
        "Take a room out of order for some nights",
        &[(200, "OutOfOrder")],
    )
    .body("OutOfOrderFields")
    .refusals(&[PROPERTY, ROOM, CAPACITY]),
    call(
        Write,
        "DELETE",
        "/v1/properties/{property}/rooms/{room}/out-of-order",
        "Take it into service again on some nights",
        &[(204, "")],
    )
    .query(DATES)
    .refusals(&[PROPERTY, ROOM]),
    call(
        Read,
        "GET",
        "/v1/properties/{property}/out-of-order",
        "When rooms are out of order",
        &[(200, "OutOfOrders")],
    )
    .query(DATES)
    .refusals(&[PROPERTY]),
    call(
        Read,
        "GET",
        "/v1/properties/{property}/rooms/{room}/calendar.ics",
        "When the room is taken, for other channels",
        &[(200, "text/calendar")],
    )
    .refusals(&[PROPERTY, ROOM]),
    call(Read, "GET", "/v1/properties/{property}/rates", "Prices by range", &[(200, "Rates")])
        .query(DATES)
        .refusals(&[PROPERTY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}/rates",
        "Replace the prices of a room type or a room on some nights",
        &[(200, "Rate")],
    )
    .body("Rate")
    .refusals(&[PROPERTY, ROOM_TYPE, ROOM, CURRENCY, AMOUNT, &["occupancy_invalid"]]),
    call(Read, "GET", "/v1/properties/{property}/restrictions", "Rules by range", &[(200, "Restrictions")])
        .query(DATES)
        .refusals(&[PROPERTY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}/restrictions",
        "Replace the rules of a room type on some dates",
        &[(200, "Restriction")],
    )
    .body("RestrictionFields")
    .refusals(&[PROPERTY, ROOM_TYPE]),
    call(Read, "GET", "/v1/properties/{property}/blocks", "Its blocks", &[(200, "Blocks")])
        .refusals(&[PROPERTY]),
    call(
        Write,
        "PUT",
        "/v1/properties/{property}/blocks/{block}",
        "Define or replace a block (an allotment)",
        &[(200, "Block"), (201, "Block")],
    )
    .body("BlockFields")
    .refusals(&[PROPERTY, ROOM_TYPE, CAPACITY, &["beyond_horizon", "no_availability"]]),
    call(Read, "GET", "/v1/properties/{property}/waitlist", "Who waits, or did, by id", &[(200, "Waitlist")])
        .query(&["limit", "cursor"])
        .refusals(&[PROPERTY]),
    call(
        Write,
        "POST",
        "/v1/properties/{property}/waitlist",
        "Wait for a stay by room type",
        &[(201, "WaitlistEntry")],
    )
    .body("WaitlistFields")
    .refusals(&[PROPERTY, ROOM_TYPE, WAITED_STAY]),
    call(
        Read,
        "GET",
        "/v1/properties/{property}/waitlist/{id}",
        "An entry of the waitlist",
        &[(200, "WaitlistEntry")],
    )
    .refusals(&[PROPERTY, ENTRY]),
    call(
        Write,
        "DELETE",
        "/v1/properties/{property}/waitlist/{id}",
        "Wait no longer, and give back what was offered",
        &[(204, "")],
    )
    .refusals(&[PROPERTY, ENTRY, STATE]),
    call(
        Read,
        "GET",
        "/v1/properties/{property}/reservations",
        "Reservations, by id",
        &[(200, "Reservations")],
    )
    .query(&["guest", "status", "external_ref", "arrival_from", "arrival_to", "limit", "cursor"])
    .refusals(&[PROPERTY]),
    call(Write, "POST", "/v1/properties/{property}/reservations", "Make a reservation, or a hold", RESERVED)
        .body("ReserveFields")
        .refusals(&[PROPERTY, STAY, NEW_STAY]),
    call(
        Write,
        "POST",
        "/v1/properties/{property}/bookings",
        "Make 1 to 500 reservations, all or none",
        &[(201, "Booking")],
    )
    .body("BookFields")
    .refusals(&[PROPERTY, STAY, NEW_STAY]),
    call(
        Write,
        "POST",
        "/v1/properties/{property}/imports",
        "Take over 1 to 500 reservations that another ledger made, as they stand, all or none",
        &[(201, "Booking")],
    )
    .body("ImportFields")
    .refusals(&[PROPERTY, IMPORTED_STAY, STATE, CURRENCY, AMOUNT]),
    call(Read, "GET", "/v1/bookings/{id}", "A booking", &[(200, "Booking")])
        .query(&["as_of"])
        .refusals(&[BOOKING, PAST]),
    call(Write, "POST", "/v1/bookings/{id}/confirm", "Confirm all its holds", &[(200, "Booking")])
        .refusals(&[BOOKING, STATE, &["hold_expired"]]),
    call(Write, "POST", "/v1/bookings/{id}/cancel", "Cancel all its reservations", &[(200, "Booking")])
        .refusals(&[BOOKING, STATE]),
    call(Read, "GET", "/v1/reservations/{id}", "A reservation", CHANGED)
        .query(&["as_of"])
        .refusals(&[RESERVATION, PAST]),
    call(Read, "GET", "/v1/reservations/{id}/history", "Its versions, oldest first", &[(200, "Versions")])
        .refusals(&[RESERVATION, &["history_gone"]]),
    call(Change, "PATCH", "/v1/reservations/{id}", "Change the stay in one step", CHANGED)
        .body("AmendFields")
        .refusals(&[RESERVATION, STATE, STAY]),
    call(Change, "POST", "/v1/reservations/{id}/confirm", "Confirm a hold", CHANGED).refusals(&[
        RESERVATION,
        STATE,
        &["hold_expired"],
    ]),
    call(Change, "POST", "/v1/reservations/{id}/cancel", "Cancel", CHANGED).refusals(&[RESERVATION, STATE]),
    call(Change, "POST", "/v1/reservations/{id}/check-in", "The guest arrives", CHANGED).refusals(&[
        RESERVATION,
        STATE,
        &["room_unavailable"],
    ]),
    call(Change, "POST", "/v1/reservations/{id}/check-out", "The guest leaves", CHANGED)
        .refusals(&[RESERVATION, STATE]),
    call(Change, "POST", "/v1/reservations/{id}/no-show", "The guest did not come", CHANGED)
        .refusals(&[RESERVATION, STATE]),
    call(Change, "POST", "/v1/reservations/{id}/assign", "Pin to a room", CHANGED)
        .body("AssignFields")
        .refusals(&[RESERVATION, ROOM, STATE, &["occupancy_invalid", "room_unavailable", "no_availability"]]),
    call(
        Read,
        "GET",
        "/v1/properties/{property}/free-rooms",
        "Rooms that are free for a stay, with its price",
        &[(200, "FreeRooms")],
    )
    .query(&["arrival!", "departure!", "occupancy!", "currency", "room", "room_type", "limit", "as_of"])
    .refusals(&[PROPERTY, ROOM, ROOM_TYPE, QUERIED_STAY, &["beyond_horizon"], PAST]),
    call(
        Read,
        "GET",
        "/v1/properties/{property}/availability",
        "How much of each room type is left, by night",
        &[(200, "Availability")],
    )
    .query(&["from!", "to!", "as_of"])
    .refusals(&[PROPERTY, PAST]),
    call(Read, "GET", "/v1/search", "Properties that have a free room for a stay", &[(200, "Found")])
        .query(&["location", "arrival!", "departure!", "occupancy!", "currency", "limit", "cursor"])
        .refusals(&[QUERIED_STAY]),
    call(
        Kind::Batch,
        "POST",
        "/v1/batch",
        "Many writes, each alone and in order, each with a result of its own",
        &[(200, "BatchResults")],
    )
    .query(&["return"])
    .body("Batch"),
    call(
        Local,
        "GET",
        "/v1/events",
        "What was changed, in order; with `Accept: text/event-stream` as a stream",
        &[(200, "Events")],
    )
    .query(&["after", "limit", "wait_ms", "property", "consistency", "max_staleness_ms", "min_lsn"])
    .refusals(&[PAST, &["malformed", "too_stale"]]),
    call(Local, "GET", "/v1/quarantine", "Commands that applying set aside", &[(200, "Quarantine")])
        .query(&["consistency"])
        .refusals(&[&["malformed"]]),
    call(
        Write,
        "POST",
        "/v1/quarantine/{lsn}/retry",
        "Apply a command again that was set aside; the answer is that of its own call",
        &[(200, "AsItsCall"), (201, "AsItsCall"), (204, "")],
    )
    .refusals(&[&["not_found"], RETRIED]),
    call(Write, "POST", "/v1/quarantine/{lsn}/discard", "Forget a command that was set aside", &[(204, "")])
        .refusals(&[&["not_found"]]),
    call(Local, "GET", "/v1/cluster", "The members, as this node sees them", &[(200, "Cluster")])
        .query(&["consistency"])
        .refusals(&[&["malformed"]]),
    call(Local, "POST", "/v1/cluster/snapshot", "Take a snapshot on this node", &[(202, "Empty")])
        .refusals(&[&["malformed", "idempotency_key_invalid", "too_large", "unsupported_media_type"]]),
    call(
        Local,
        "POST",
        "/v1/cluster/resume",
        "Decide that the nodes which have paused at one entry of the log go on with what their build makes of it",
        &[(200, "Decided")],
    )
    .body("PausedAt")
    .refusals(&[
        STATE,
        &[
            "malformed",
            "idempotency_key_invalid",
            "too_large",
            "unsupported_media_type",
            "no_leader",
            "outcome_unknown",
        ],
    ]),
    call(Local, "GET", "/v1/cluster/state-hash", "The hash of this node's state", &[(200, "StateHash")])
        .query(&["consistency"])
        .refusals(&[&["malformed"]]),
    call(Local, "GET", "/livez", "Whether the process runs", &[(200, "Health")]),
    call(Local, "GET", "/readyz", "Whether the node may serve", &[(200, "Health")]),
    call(Local, "GET", "/metrics", "Numbers for Prometheus", &[(200, "text/plain")]),
    call(Local, "GET", "/openapi.json", "This document", &[(200, "Document")]),
    call(Local, "GET", "/docs", "This document, for people", &[(200, "text/html")]),
];

/// What a kind of call can be refused for, whichever it is.
pub fn common_refusals(call: &Call) -> Vec<&'static str> {
    let mut codes = vec!["internal"];
    // Health and numbers are asked for in trouble, and never shed.
    if !matches!(call.path, "/livez" | "/readyz" | "/metrics") {
        codes.push("overloaded");
    }
    // All else is refused while a node starts.
    if call.path != "/livez" {
        codes.push("not_ready");
    }
    match call.kind {
        Local => {}
        Read => codes.extend(["malformed", "no_leader", "too_stale"]),
        Kind::Batch => codes.extend(["malformed", "idempotency_key_invalid"]),
        Write | Change => codes.extend([
            "malformed",
            "idempotency_key_invalid",
            "idempotency_key_reused",
            "too_large",
            "quarantined",
            "no_leader",
            "outcome_unknown",
        ]),
    }
    if call.kind == Change {
        codes.push("version_mismatch");
    }
    // Where a body is needed, and where none is and one is sent.
    if matches!(call.kind, Write | Change | Kind::Batch) {
        codes.extend(["unsupported_media_type", "too_large"]);
    }
    codes
}
