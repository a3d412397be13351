//! How the persisted vocabulary takes part in the state hash. Every field of every variant does.

use super::command::*;
use super::digest::{Digest, Digester, digest_fields, digest_later};
use super::event::Mark;
use super::outcome::{BlockShown, Booking, Outcome, RatesSet, Refusal, Rule};
use super::property::{Block, BlockStatus, BusinessDateMode, Property, Room, RoomType};
use super::reservation::{Price, Reservation, Status, Stretch, WaitlistEntry, WaitlistStatus};

digest_fields! {
    Property { property, name, location, time_zone, currency, business_date, business_date_mode }
    RoomType { property, room_type, name, max_occupancy, overbooking_limit }
    Room { property, room, room_type }
    Block { property, block, room_type, from, to, rooms, status, release_date }
    WaitlistEntry {
        id, property, guest, room_type, arrival, departure, occupancy, currency, status, reservation, created_at,
        updated_at,
    }
    Price { currency, from, amounts }
    Reservation {
        id, booking_id, property, room_type, room, room_pinned, guest, arrival, departure, occupancy, status,
        hold_expires_at, price, block, external_ref, revision, lsn, created_at, updated_at;
        room_from = 1, released_from = 2, slept = 3,
    }
    Stretch { room_type, room, from, to }
    Booking { id, reservations }
    RatesSet { target, from, to, prices }

    Submission { key, command }
    PutProperty {
        property, name, location, time_zone, time_zone_known, currency, currency_known, business_date,
    }
    PutRoomType { property, room_type, name, max_occupancy, overbooking_limit }
    PutRoom { property, room, room_type }
    PutRates { property, target, from, to, prices, currencies_known }
    PutRestrictions { property, room_type, from, to, rules }
    Rules {
        closed, closed_to_arrival, closed_to_departure, min_stay, max_stay, min_advance_days, max_advance_days,
    }
    Reserve {
        id, booking_id, property, guest, wanted, arrival, departure, occupancy, currency, currency_known,
        hold_seconds, expected_total, block, external_ref,
    }
    Change { reservation, if_match }
    RollBusinessDate { property, date }
    NightAudit { property, business_date }
    Amend { reservation, if_match, arrival, departure, room_type, room, occupancy }
    Assign { reservation, if_match, room }
    BookGroup { booking_id, property, guest, stays }
    GroupStay {
        id, wanted, arrival, departure, occupancy, currency, currency_known, hold_seconds, expected_total, block,
        external_ref,
    }
    BookingChange { booking }
    ImportBooking { booking_id, property, guest, stays }
    ImportedStay {
        id, room_type, room, room_pinned, arrival, departure, occupancy, status, hold_expires_at, price,
        currency_known, external_ref;
        block = 1,
    }
    PutOutOfOrder { property, room, from, to, reason }
    EndOutOfOrder { property, room, from, to }
    PutBlock { property, block, room_type, from, to, rooms, status, release_date }
    RetireRoom { property, room }
    JoinWaitlist {
        id, property, guest, room_type, arrival, departure, occupancy, currency, currency_known,
    }
    LeaveWaitlist { property, id }
    SetAside { lsn }
    Mark { lsn, chain }
}

impl Digest for EndDue {
    fn digest(&self, _: &mut Digester) {
        let EndDue {} = self;
    }
}

impl Digest for BusinessDateMode {
    fn digest(&self, digester: &mut Digester) {
        digester.word(match self {
            BusinessDateMode::Clock => 1,
            BusinessDateMode::Manual => 2,
        });
    }
}

impl Digest for BlockStatus {
    fn digest(&self, digester: &mut Digester) {
        digester.word(match self {
            BlockStatus::Tentative => 1,
            BlockStatus::Definite => 2,
            BlockStatus::Canceled => 3,
        });
    }
}

impl Digest for WaitlistStatus {
    fn digest(&self, digester: &mut Digester) {
        digester.word(match self {
            WaitlistStatus::Waiting => 1,
            WaitlistStatus::Offered => 2,
            WaitlistStatus::Booked => 3,
            WaitlistStatus::Lapsed => 4,
            WaitlistStatus::Withdrawn => 5,
        });
    }
}

impl Digest for Status {
    fn digest(&self, digester: &mut Digester) {
        digester.word(match self {
            Status::Held => 1,
            Status::Confirmed => 2,
            Status::Canceled => 3,
            Status::Expired => 4,
            Status::InHouse => 5,
            Status::CheckedOut => 6,
            Status::NoShow => 7,
        });
    }
}

impl Digest for Rule {
    fn digest(&self, digester: &mut Digester) {
        digester.word(match self {
            Rule::Closed => 1,
            Rule::ClosedToArrival => 2,
            Rule::ClosedToDeparture => 3,
            Rule::MinStay => 4,
            Rule::MaxStay => 5,
            Rule::MinAdvanceDays => 6,
            Rule::MaxAdvanceDays => 7,
        });
    }
}

/// A tag, then the fields of the variant.
macro_rules! tagged {
    ($digester:ident, $tag:literal $(, $field:expr)*) => {{
        $digester.word($tag);
        $($field.digest($digester);)*
    }};
}

impl Digest for RateTarget {
    fn digest(&self, d: &mut Digester) {
        match self {
            RateTarget::RoomType(room_type) => tagged!(d, 1, room_type),
            RateTarget::Room(room) => tagged!(d, 2, room),
        }
    }
}

impl Digest for Wanted {
    fn digest(&self, d: &mut Digester) {
        match self {
            Wanted::Room(room) => tagged!(d, 1, room),
            Wanted::RoomType(room_type) => tagged!(d, 2, room_type),
        }
    }
}

impl Digest for RoomChange {
    fn digest(&self, d: &mut Digester) {
        match self {
            RoomChange::Pin(room) => tagged!(d, 1, room),
            RoomChange::Unpin => tagged!(d, 2),
        }
    }
}

impl Digest for FirstBusinessDate {
    fn digest(&self, d: &mut Digester) {
        match self {
            FirstBusinessDate::Clock(date) => tagged!(d, 1, date),
            FirstBusinessDate::Manual(date) => tagged!(d, 2, date),
        }
    }
}

impl Digest for Command {
    fn digest(&self, d: &mut Digester) {
        match self {
            Command::PutProperty(command) => tagged!(d, 1, command),
            Command::PutRoomType(command) => tagged!(d, 2, command),
            Command::PutRoom(command) => tagged!(d, 3, command),
            Command::PutRates(command) => tagged!(d, 4, command),
            Command::Reserve(command) => tagged!(d, 5, command),
            Command::Confirm(command) => tagged!(d, 6, command),
            Command::Cancel(command) => tagged!(d, 7, command),
            Command::RollBusinessDate(command) => tagged!(d, 8, command),
            Command::EndDue(command) => tagged!(d, 9, command),
            Command::CheckIn(command) => tagged!(d, 10, command),
            Command::CheckOut(command) => tagged!(d, 11, command),
            Command::NoShow(command) => tagged!(d, 12, command),
            Command::NightAudit(command) => tagged!(d, 13, command),
            Command::Amend(command) => tagged!(d, 14, command),
            Command::Assign(command) => tagged!(d, 15, command),
            Command::BookGroup(command) => tagged!(d, 16, command),
            Command::ConfirmBooking(command) => tagged!(d, 17, command),
            Command::CancelBooking(command) => tagged!(d, 18, command),
            Command::PutOutOfOrder(command) => tagged!(d, 19, command),
            Command::EndOutOfOrder(command) => tagged!(d, 20, command),
            Command::PutRestrictions(command) => tagged!(d, 21, command),
            Command::PutBlock(command) => tagged!(d, 22, command),
            Command::RetireRoom(command) => tagged!(d, 23, command),
            Command::ImportBooking(command) => tagged!(d, 24, command),
            Command::JoinWaitlist(command) => tagged!(d, 25, command),
            Command::LeaveWaitlist(command) => tagged!(d, 26, command),
            Command::Retry(command) => tagged!(d, 27, command),
            Command::Discard(command) => tagged!(d, 28, command),
            Command::ForgetHistory(mark) => tagged!(d, 29, mark),
        }
    }
}

impl Digest for Outcome {
    fn digest(&self, d: &mut Digester) {
        match self {
            Outcome::Property { created, property } => tagged!(d, 1, created, property),
            Outcome::RoomType { created, room_type } => tagged!(d, 2, created, room_type),
            Outcome::Room { created, room } => tagged!(d, 3, created, room),
            Outcome::Rates(set) => tagged!(d, 4, set),
            Outcome::Reserved(reservation) => tagged!(d, 5, reservation),
            Outcome::Changed(reservation) => tagged!(d, 6, reservation),
            Outcome::Done => tagged!(d, 7),
            Outcome::Refused(refusal) => tagged!(d, 8, refusal),
            Outcome::Quarantined { lsn } => tagged!(d, 9, lsn),
            Outcome::Booked(booking) => tagged!(d, 10, booking),
            Outcome::BookingChanged(booking) => tagged!(d, 11, booking),
            Outcome::OutOfOrder(set) => tagged!(d, 12, set),
            Outcome::Removed => tagged!(d, 13),
            Outcome::Restrictions(set) => tagged!(d, 14, set),
            Outcome::Block(shown) => tagged!(d, 15, shown),
            Outcome::Waitlisted(entry) => tagged!(d, 16, entry),
        }
    }
}

impl Digest for BlockShown {
    fn digest(&self, d: &mut Digester) {
        let BlockShown { created, block, picked_up, released } = self;
        created.digest(d);
        block.digest(d);
        picked_up.digest(d);
        digest_later(1, &released.then_some(true), d);
    }
}

impl Digest for Refusal {
    fn digest(&self, d: &mut Digester) {
        match self {
            Refusal::IdempotencyKeyReused => tagged!(d, 1),
            Refusal::PropertyNotFound => tagged!(d, 2),
            Refusal::RoomTypeNotFound => tagged!(d, 3),
            Refusal::RoomNotFound => tagged!(d, 4),
            Refusal::ReservationNotFound => tagged!(d, 5),
            Refusal::BlockNotFound => tagged!(d, 6),
            Refusal::VersionMismatch { revision } => tagged!(d, 7, revision),
            Refusal::HoldExpired => tagged!(d, 8),
            Refusal::InvalidState { state } => tagged!(d, 9, state),
            Refusal::InvalidStay => tagged!(d, 10),
            Refusal::StayTooLong => tagged!(d, 11),
            Refusal::ArrivalInPast { business_date } => tagged!(d, 12, business_date),
            Refusal::BeyondHorizon { latest_departure } => tagged!(d, 13, latest_departure),
            Refusal::OccupancyInvalid { max_occupancy } => tagged!(d, 14, max_occupancy),
            Refusal::HoldTtlInvalid => tagged!(d, 15),
            Refusal::NotPriced { nights } => tagged!(d, 16, nights),
            Refusal::InvalidTimeZone => tagged!(d, 17),
            Refusal::InvalidCurrency => tagged!(d, 18),
            Refusal::InvalidAmount => tagged!(d, 19),
            Refusal::RoomUnavailable { nights } => tagged!(d, 20, nights),
            Refusal::NoAvailability { nights, fragmented } => tagged!(d, 21, nights, fragmented),
            Refusal::PriceChanged { total } => tagged!(d, 22, total),
            Refusal::CapacityBelowSold { nights } => tagged!(d, 23, nights),
            Refusal::BookingNotFound => tagged!(d, 25),
            Refusal::Member { index, refusal } => tagged!(d, 26, index, refusal),
            Refusal::Restricted { rule, date } => tagged!(d, 27, rule, date),
            Refusal::BlockNotDefinite { state } => tagged!(d, 28, state),
            Refusal::WaitlistEntryNotFound => tagged!(d, 29),
            Refusal::NotWaiting { state } => tagged!(d, 30, state),
            Refusal::NotSetAside => tagged!(d, 31),
            Refusal::TooManyRanges => tagged!(d, 32),
            Refusal::AuditNotAllowed { mode, business_date } => tagged!(d, 24, mode, business_date),
        }
    }
}
