//! Which stays may be asked for at all: the limits of dates, occupancy and holds.

use super::book::TypeBook;
use super::date::Date;
use super::outcome::Refusal;

/// Nights of the longest stay.
pub const NIGHTS_MAX: i32 = 366;

/// Days from the business date to the latest departure.
pub const HORIZON_DAYS: i32 = 1_100;

/// Seconds of the longest hold.
pub const HOLD_SECONDS_MAX: u64 = 86_400;

/// What of a stay's dates is wrong in itself.
pub fn length(arrival: Date, departure: Date) -> Result<(), Refusal> {
    if departure <= arrival {
        return Err(Refusal::InvalidStay);
    }
    if arrival.nights_to(departure) > NIGHTS_MAX {
        return Err(Refusal::StayTooLong);
    }
    Ok(())
}

pub fn not_in_past(arrival: Date, business_date: Date) -> Result<(), Refusal> {
    if arrival < business_date {
        return Err(Refusal::ArrivalInPast { business_date });
    }
    Ok(())
}

pub fn within_horizon(departure: Date, business_date: Date) -> Result<(), Refusal> {
    let latest_departure = business_date.plus(HORIZON_DAYS);
    if departure > latest_departure {
        return Err(Refusal::BeyondHorizon { latest_departure });
    }
    Ok(())
}

pub fn occupancy(occupancy: u32, room_type: &TypeBook) -> Result<(), Refusal> {
    let max_occupancy = room_type.record.room_type.max_occupancy;
    if !(1..=max_occupancy).contains(&occupancy) {
        return Err(Refusal::OccupancyInvalid { max_occupancy });
    }
    Ok(())
}

pub fn hold(seconds: Option<u64>) -> Result<(), Refusal> {
    if seconds.is_some_and(|seconds| !(1..=HOLD_SECONDS_MAX).contains(&seconds)) {
        return Err(Refusal::HoldTtlInvalid);
    }
    Ok(())
}
