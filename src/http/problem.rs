//! The one table that turns refusals and failures into answers (RFC 9457).

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::routes::LSN;
use crate::history::NotTold;
use crate::ledger::{BusinessDateMode, Lsn, Refusal};
use crate::node::{NotInPast, NotRead, Unready};
use crate::replication::{NotApplied, NotDecided};
use crate::wire;

/// Declares the codes of the contract, each with its status, its name and its title.
macro_rules! codes {
    ($($variant:ident $status:literal $name:literal $title:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($variant),* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            fn parts(self) -> (u16, &'static str, &'static str) {
                match self { $(Code::$variant => ($status, $name, $title)),* }
            }

            pub fn status(self) -> u16 {
                self.parts().0
            }

            /// The code as answers write it.
            pub fn name(self) -> &'static str {
                self.parts().1
            }
        }
    };
}

codes! {
    Malformed             400 "malformed"               "The request can't be read"
    IdempotencyKeyInvalid 400 "idempotency_key_invalid" "The idempotency key can't be used"
    NotFound              404 "not_found"               "No such resource"
    PropertyNotFound      404 "property_not_found"      "No such property"
    RoomTypeNotFound      404 "room_type_not_found"     "No such room type"
    RoomNotFound          404 "room_not_found"          "No such room"
    ReservationNotFound   404 "reservation_not_found"   "No such reservation"
    BookingNotFound       404 "booking_not_found"       "No such booking"
    BlockNotFound         404 "block_not_found"         "No such block"
    WaitlistEntryNotFound 404 "waitlist_entry_not_found" "No such entry of the waitlist"
    MethodNotAllowed      405 "method_not_allowed"      "The method is not allowed here"
    NoAvailability        409 "no_availability"         "A night of the stay is full"
    RoomUnavailable       409 "room_unavailable"        "The room is taken"
    Restricted            409 "restricted"              "A rule forbids the stay"
    PriceChanged          409 "price_changed"           "The price is another one"
    InvalidState          409 "invalid_state"           "The state does not allow this"
    CapacityBelowSold     409 "capacity_below_sold"     "More is sold than would be left"
    HoldExpired           410 "hold_expired"            "The hold has ended"
    HistoryGone           410 "history_gone"            "No longer kept"
    VersionMismatch       412 "version_mismatch"        "The reservation was changed since"
    TooLarge              413 "too_large"               "The request is too large"
    UnsupportedMediaType  415 "unsupported_media_type"  "The body must be JSON"
    IdempotencyKeyReused  422 "idempotency_key_reused"  "The idempotency key belongs to another request"
    InvalidStay           422 "invalid_stay"            "The stay has no night"
    StayTooLong           422 "stay_too_long"           "The stay is too long"
    ArrivalInPast         422 "arrival_in_past"         "The arrival is in the past"
    BeyondHorizon         422 "beyond_horizon"          "The departure is too far ahead"
    OccupancyInvalid      422 "occupancy_invalid"       "The occupancy is not possible"
    HoldTtlInvalid        422 "hold_ttl_invalid"        "The hold's time is not possible"
    NotPriced             422 "not_priced"              "A night has no price"
    InvalidTimeZone       422 "invalid_time_zone"       "The time zone is not known"
    InvalidCurrency       422 "invalid_currency"        "The currency is not known"
    InvalidAmount         422 "invalid_amount"          "An amount is not possible"
    PositionInFuture      422 "position_in_future"      "No command has that position yet"
    Overloaded            429 "overloaded"              "Too much is waiting"
    Quarantined           500 "quarantined"             "The command was set aside"
    Internal              500 "internal"                "A bug in Innkeeper"
    NoLeader              503 "no_leader"               "No leader"
    OutcomeUnknown        503 "outcome_unknown"         "The outcome is unknown"
    TooStale              503 "too_stale"               "This node's state is too old for the read"
    NotReady              503 "not_ready"               "The node may not serve"
}

/// Seconds after which what was shed is worth another try.
const RETRY_AFTER_S: u64 = 1;

#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    facts: Map<String, Value>,
    /// The position of the command that was refused.
    lsn: Option<Lsn>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem { code, detail: detail.into(), facts: Map::new(), lsn: None }
    }

    /// A field that can't be read; `reason` says what it should be.
    pub fn malformed(field: &str, reason: impl Display) -> Problem {
        Problem::new(Code::Malformed, format!("`{field}`: {reason}"))
    }

    pub fn overloaded(detail: &str) -> Problem {
        Problem::new(Code::Overloaded, format!("{detail}; nothing happened, retry later"))
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn at(mut self, lsn: Lsn) -> Problem {
        self.lsn = Some(lsn);
        self
    }

    pub fn fact(mut self, name: &str, value: Value) -> Problem {
        self.facts.insert(name.to_owned(), value);
        self
    }

    pub fn to_wire(&self) -> wire::Problem {
        let (status, code, title) = self.code.parts();
        wire::Problem {
            kind: format!("urn:innkeeper:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: self.detail.clone(),
            code: code.to_owned(),
            facts: self.facts.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.to_wire();
        let status = StatusCode::from_u16(body.status).expect("the table holds HTTP statuses");
        let body = serde_json::to_vec(&body).expect("a problem has string keys and finite numbers");
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(self.code);
        if matches!(self.code, Code::Overloaded | Code::NoLeader) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if let Some(lsn) = self.lsn {
            response.headers_mut().insert(LSN, HeaderValue::from(lsn.0));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        use Refusal::*;
        let (code, detail) = match &refusal {
            IdempotencyKeyReused => (
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used for another request; use a new key for a new request"
                    .to_owned(),
            ),
            PropertyNotFound => (
                Code::PropertyNotFound,
                "there is no such property; check its id, or define it first".to_owned(),
            ),
            RoomTypeNotFound => (
                Code::RoomTypeNotFound,
                "the property has no such room type; check its id, or define it first".to_owned(),
            ),
            RoomNotFound => (
                Code::RoomNotFound,
                "the property has no such room; check its id, or define it first".to_owned(),
            ),
            ReservationNotFound => {
                (Code::ReservationNotFound, "there is no reservation with this id".to_owned())
            }
            Member { index, refusal } => {
                let mut problem = Problem::from((**refusal).clone());
                problem.detail = format!("reservation {index} of the booking: {}", problem.detail);
                return problem.fact("index", json!(index));
            }
            BookingNotFound => (Code::BookingNotFound, "there is no booking with this id".to_owned()),
            NotSetAside => (
                Code::NotFound,
                "no command that was set aside has this LSN; `quarantine` lists those that are".to_owned(),
            ),
            WaitlistEntryNotFound => {
                (Code::WaitlistEntryNotFound, "the property has no such entry of its waitlist".to_owned())
            }
            NotWaiting { state } => (
                Code::InvalidState,
                format!("the entry is {}, and can't be taken back; cancel its reservation where there is one", wire::word(state)),
            ),
            BlockNotFound => (Code::BlockNotFound, "the property has no such block".to_owned()),
            VersionMismatch { revision } => (
                Code::VersionMismatch,
                format!("the reservation is at revision {revision}; read it again and decide anew"),
            ),
            HoldExpired => {
                (Code::HoldExpired, "the hold ended before it was confirmed; reserve again".to_owned())
            }
            InvalidState { state } => (
                Code::InvalidState,
                format!("the reservation is {}, and does not allow this now", wire::word(state)),
            ),
            BlockNotDefinite { state } => (
                Code::InvalidState,
                format!("the block is {}; only from a definite one rooms can be taken", wire::word(state)),
            ),
            AuditNotAllowed { mode: BusinessDateMode::Clock, .. } => (
                Code::InvalidState,
                "the property's business date follows the clock; only one that is moved by hand has night audits"
                    .to_owned(),
            ),
            AuditNotAllowed { business_date, .. } => (
                Code::InvalidState,
                format!("the business date is {business_date} already, and only moves forward"),
            ),
            InvalidStay => (
                Code::InvalidStay,
                "`departure` must be later than `arrival`, and is not moved to before the business date"
                    .to_owned(),
            ),
            StayTooLong => (
                Code::StayTooLong,
                "a stay has at most 366 nights, a block at most 3,660".to_owned(),
            ),
            ArrivalInPast { business_date } => (
                Code::ArrivalInPast,
                format!("`arrival` is before the property's business date, {business_date}"),
            ),
            BeyondHorizon { latest_departure } => (
                Code::BeyondHorizon,
                format!(
                    "`departure` is more than 1,100 days ahead of the business date; the latest is {latest_departure}"
                ),
            ),
            OccupancyInvalid { max_occupancy: 0 | u32::MAX } => (
                Code::OccupancyInvalid,
                "`occupancy` must be at least 1, and so must what a room type holds".to_owned(),
            ),
            OccupancyInvalid { max_occupancy } => (
                Code::OccupancyInvalid,
                format!("`occupancy` must be from 1 to {max_occupancy} in this room type"),
            ),
            HoldTtlInvalid => (Code::HoldTtlInvalid, "`hold_seconds` must be from 1 to 86,400".to_owned()),
            NotPriced { nights } => (
                Code::NotPriced,
                format!(
                    "{} has no price for exactly this occupancy in this currency; set a rate of the room type, or ask \
                     for a room that has a rate of its own",
                    nights_text(nights)
                ),
            ),
            InvalidTimeZone => {
                (Code::InvalidTimeZone, "`time_zone` must be an IANA name such as Europe/Budapest".to_owned())
            }
            InvalidCurrency => {
                (Code::InvalidCurrency, "a currency must be an ISO 4217 code such as EUR".to_owned())
            }
            InvalidAmount => {
                (Code::InvalidAmount, "an amount must be from 0 to 1,000,000,000,000 minor units".to_owned())
            }
            Restricted { rule, date } => {
                (Code::Restricted, format!("`{}` is set for {date} and forbids the stay", wire::word(rule)))
            }
            RoomUnavailable { nights } => {
                (Code::RoomUnavailable, format!("the room is not free on {}", nights_text(nights)))
            }
            NoAvailability { fragmented: true, .. } => (
                Code::NoAvailability,
                "every night has a free room, but no room is free for the whole stay".to_owned(),
            ),
            NoAvailability { nights, .. } => {
                (Code::NoAvailability, format!("the room type, or what its block keeps, is full on {}", nights_text(nights)))
            }
            PriceChanged { total } => (
                Code::PriceChanged,
                format!("the stay now costs {total} in minor units; accept that or decide anew"),
            ),
            TooManyRanges => (
                Code::TooLarge,
                "too many ranges of dates, or nights of blocks, are set here; clear or shorten those that are past, \
                 or set fewer and longer ranges"
                    .to_owned(),
            ),
            CapacityBelowSold { nights } => (
                Code::CapacityBelowSold,
                format!("more is sold than would be left on {}", nights_text(nights)),
            ),
        };
        with_facts(Problem::new(code, detail), &refusal)
    }
}

/// The facts that the contract promises beside a code.
fn with_facts(problem: Problem, refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::VersionMismatch { revision } => problem.fact("revision", json!(revision)),
        Refusal::InvalidState { state } => problem.fact("state", json!(state)),
        Refusal::NotWaiting { state } => problem.fact("state", json!(state)),
        Refusal::BlockNotDefinite { state } => problem.fact("state", json!(state)),
        Refusal::AuditNotAllowed { mode, .. } => problem.fact("state", json!(mode)),
        Refusal::Restricted { rule, date } => problem.fact("rule", json!(rule)).fact("date", json!(date)),
        Refusal::NotPriced { nights }
        | Refusal::RoomUnavailable { nights }
        | Refusal::CapacityBelowSold { nights } => problem.fact("nights", json!(nights)),
        Refusal::NoAvailability { nights, fragmented } => {
            let problem = problem.fact("nights", json!(nights));
            if *fragmented { problem.fact("fragmented", json!(true)) } else { problem }
        }
        Refusal::PriceChanged { total } => problem.fact("total", json!(total)),
        _ => problem,
    }
}

fn nights_text(nights: &[crate::ledger::Date]) -> String {
    const SHOWN: usize = 3;
    let mut text = nights.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if nights.len() > SHOWN {
        text.push_str(&format!(" and {} more nights", nights.len() - SHOWN));
    }
    text
}

impl From<NotApplied> for Problem {
    fn from(not_applied: NotApplied) -> Problem {
        match not_applied {
            NotApplied::NoLeader => Problem::new(
                Code::NoLeader,
                "no leader took the command in time; nothing happened, retry later",
            ),
            NotApplied::Overloaded => Problem::overloaded("too many commands wait on this node"),
            NotApplied::TooLarge => Problem::new(
                Code::TooLarge,
                "the command is larger than an entry of the log may be; split it",
            ),
            NotApplied::Unknown => Problem::new(
                Code::OutcomeUnknown,
                "the command may or may not have happened; retry it with the same Idempotency-Key to learn which",
            ),
        }
    }
}

impl From<NotDecided> for Problem {
    fn from(not_decided: NotDecided) -> Problem {
        let detail = not_decided.to_string();
        let state = match not_decided {
            NotDecided::NoLeader => return Problem::new(Code::NoLeader, detail),
            NotDecided::Unknown => return Problem::new(Code::OutcomeUnknown, detail),
            NotDecided::NotPaused { .. } => "not_paused",
            NotDecided::PausedElsewhere { .. } => "paused_elsewhere",
            NotDecided::Unreadable { .. } => "unreadable",
            NotDecided::OthersGoOn { .. } => "others_go_on",
        };
        Problem::new(Code::InvalidState, detail).fact("state", json!(state))
    }
}

impl From<NotRead> for Problem {
    fn from(not_read: NotRead) -> Problem {
        match not_read {
            NotRead::NoLeader => Problem::new(
                Code::NoLeader,
                "no leader confirmed the read in time; retry later, or read with consistency=local",
            ),
            NotRead::Overloaded => Problem::overloaded("too many reads wait on this node"),
            NotRead::TooStale => Problem::new(
                Code::TooStale,
                "this node is behind what the read asked for; ask another node or allow more staleness",
            ),
            NotRead::Paused => Problem::new(
                Code::NotReady,
                "this node has paused applying and serves nothing; ask another node, and see its log for the reason",
            ),
        }
    }
}

impl From<NotTold> for Problem {
    fn from(not_told: NotTold) -> Problem {
        match not_told {
            NotTold::Gone { first } => {
                let position = format!("{}-{}", first.0.saturating_sub(1), u32::MAX);
                let remedy = format!("ask for what comes from there on, as events do after `{position}`");
                Problem::new(Code::HistoryGone, format!("{not_told}; {remedy}"))
                    .fact("first_lsn", json!(first))
            }
            NotTold::Missing => Problem::new(
                Code::NotReady,
                "this node's history lacks what was asked for and is being rebuilt; ask another node, or retry later",
            ),
            NotTold::InFuture => Problem::new(Code::PositionInFuture, not_told.to_string()),
        }
    }
}

impl From<NotInPast> for Problem {
    fn from(not_in_past: NotInPast) -> Problem {
        match not_in_past {
            NotInPast::NotTold(not_told) => not_told.into(),
            NotInPast::NotRead(not_read) => not_read.into(),
            NotInPast::Refused(refusal) => refusal.into(),
            NotInPast::TooLong => Problem::new(
                Code::NotReady,
                format!(
                    "{not_in_past}; ask for what is not so long ago, ask another node, or retry when less is asked of this one"
                ),
            ),
        }
    }
}

impl From<Unready> for Problem {
    fn from(unready: Unready) -> Problem {
        Problem::new(Code::NotReady, unready.to_string()).fact("check", json!(unready.check()))
    }
}
