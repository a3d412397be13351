//! Bookings of several reservations: made and changed together, all or none.

use super::command::{BookGroup, BookingChange, Change, GroupStay, Reserve};
use super::id::{BookingId, IdempotencyKey, ReservationId};
use super::outcome::{Booking, Outcome, Refusal};
use super::record::Member;
use super::reservation::Status;
use super::reserve;
use super::state::Ledger;
use super::status::{self, status};
use super::txn::{Halt, Txn};

/// The reservations are judged and made one after the other; the first that is refused is named.
pub fn book(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &BookGroup) -> Result<Outcome, Halt> {
    txn.book(&command.property)?;
    let of = command.stays.len() as u32;
    for (index, stay) in (0..of).zip(&command.stays) {
        let stay = command.reserve(stay);
        let made = reserve::make(txn, key, &stay, Some(Member { index, of }));
        made.map_err(|halt| of_member(index, halt))?;
    }
    Ok(Outcome::Booked(shown(txn, command.booking_id)))
}

impl BookGroup {
    fn reserve(&self, stay: &GroupStay) -> Reserve {
        let GroupStay { id, wanted, arrival, departure, occupancy, currency, .. } = stay;
        Reserve {
            id: *id,
            booking_id: self.booking_id,
            property: self.property.clone(),
            guest: self.guest.clone(),
            wanted: wanted.clone(),
            arrival: *arrival,
            departure: *departure,
            occupancy: *occupancy,
            currency: *currency,
            currency_known: stay.currency_known,
            hold_seconds: stay.hold_seconds,
            expected_total: stay.expected_total,
            block: stay.block.clone(),
            external_ref: stay.external_ref.clone(),
        }
    }
}

pub fn confirm(txn: &mut Txn<'_>, command: &BookingChange) -> Result<Outcome, Halt> {
    change(txn, command.booking, Status::Confirmed, status::confirm)
}

pub fn cancel(txn: &mut Txn<'_>, command: &BookingChange) -> Result<Outcome, Halt> {
    change(txn, command.booking, Status::Canceled, status::cancel)
}

/// Brings all members to a status; those that have it are left alone.
fn change(
    txn: &mut Txn<'_>,
    booking: BookingId,
    to: Status,
    change: fn(&mut Txn<'_>, &Change) -> Result<Outcome, Halt>,
) -> Result<Outcome, Halt> {
    let members: Vec<ReservationId> = txn.members(booking).map(|member| member.reservation.id).collect();
    if members.is_empty() {
        return Err(Refusal::BookingNotFound.into());
    }
    for (index, reservation) in (0..).zip(members) {
        if status(txn, &txn.find(reservation)?.reservation) != to {
            change(txn, &Change { reservation, if_match: None }).map_err(|halt| of_member(index, halt))?;
        }
    }
    Ok(Outcome::BookingChanged(shown(txn, booking)))
}

/// The booking as it stands.
pub fn shown(ledger: &Ledger, id: BookingId) -> Booking {
    let reservations = ledger.members(id).map(|member| member.reservation).collect();
    Booking { id, reservations }
}

/// Says which member was refused.
pub fn of_member(index: u32, halt: Halt) -> Halt {
    match halt {
        Halt::Refused(refusal) => Refusal::Member { index, refusal: Box::new(refusal) }.into(),
        failed @ Halt::Failed(_) => failed,
    }
}
