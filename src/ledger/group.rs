//! Bookings of several reservations: made and changed together, all or none.

use super::command::{BookGroup, BookingChange, Change, GroupStay, Reserve, Wanted};
use super::id::{BookingId, IdempotencyKey, ReservationId};
use super::outcome::{Booking, Outcome, Refusal};
use super::record::Member;
use super::reservation::Status;
use super::state::Ledger;
use super::status::{self, status};
use super::txn::{Halt, Txn};
use super::{plan, reserve};

/// The reservations are made one after the other. Once one can't be made the others are judged by what stands against them
/// whatever is sold: what is sold depends on those that would have been made. Only rooms by name are asked for behind one
/// for which no room of its type was left: one that is taken, by others or by those before it, would be so all the more with
/// that one made too, and is told of first. One at another price than was expected has its place, and is told of last.
pub fn book(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &BookGroup) -> Result<Outcome, Halt> {
    txn.book(&command.property)?;
    let of = command.stays.len() as u32;
    let mut refused = Refused::default();
    for (index, stay) in (0..of).zip(&command.stays) {
        let mut stay = command.reserve(stay);
        if refused.is_settled_for(&stay) || stay.expected_total.is_some_and(|expected| expected < 0) {
            if let Some(refusal) = reserve::stands_against(txn, &stay) {
                refused.add(index, refusal);
            }
            continue;
        }
        let expected = stay.expected_total.take();
        let made = reserve::make(txn, key, &stay, Some(Member { index, of }));
        let total = refused.add_of(index, made)?.map(|made| made.price.total());
        if let Some(total) = total.filter(|total| expected.is_some_and(|expected| expected != *total)) {
            refused.add(index, Refusal::PriceChanged { total });
        }
    }
    refused.into_result()?;
    Ok(Outcome::Booked(shown(txn, command.booking_id)))
}

/// Of the members that are refused the one that is told: whose reason is the first in the contract's order, and of these
/// the first in the booking.
#[derive(Default)]
struct Refused(Option<(u32, Refusal)>);

impl Refused {
    /// Whether what is sold can't be a reason against the stay that would be told.
    fn is_settled_for(&self, stay: &Reserve) -> bool {
        match &self.0 {
            None | Some((_, Refusal::PriceChanged { .. })) => false,
            Some((_, Refusal::NoAvailability { .. })) => matches!(stay.wanted, Wanted::RoomType(_)),
            Some(_) => true,
        }
    }

    fn add(&mut self, index: u32, refusal: Refusal) {
        if self.0.as_ref().is_none_or(|(_, told)| refusal.place() < told.place()) {
            self.0 = Some((index, refusal));
        }
    }

    /// What became of a member, if it was not refused; an error where it failed otherwise.
    fn add_of<T>(&mut self, index: u32, became: Result<T, Halt>) -> Result<Option<T>, Halt> {
        match became {
            Ok(made) => Ok(Some(made)),
            Err(Halt::Refused(refusal)) => {
                self.add(index, refusal);
                Ok(None)
            }
            Err(failed @ Halt::Failed(_)) => Err(failed),
        }
    }

    /// The refusal that is told, where there is one.
    fn into_result(self) -> Result<(), Refusal> {
        match self.0 {
            None => Ok(()),
            Some((index, refusal)) => Err(Refusal::Member { index, refusal: Box::new(refusal) }),
        }
    }
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
    change(txn, command.booking, Status::Confirmed, status::confirm)?;
    Ok(Outcome::BookingChanged(shown(txn, command.booking)))
}

pub fn cancel(txn: &mut Txn<'_>, command: &BookingChange) -> Result<Outcome, Halt> {
    let mut freed = Vec::new();
    change(txn, command.booking, Status::Canceled, |txn, member| status::cancel_of(txn, member, &mut freed))?;
    plan::give(txn, &freed)?;
    Ok(Outcome::BookingChanged(shown(txn, command.booking)))
}

/// Brings all members to a status; those that have it are left alone. Each is judged by its own state alone, so that those
/// behind one that is refused are as well.
fn change(
    txn: &mut Txn<'_>,
    booking: BookingId,
    to: Status,
    mut change: impl FnMut(&mut Txn<'_>, &Change) -> Result<Outcome, Halt>,
) -> Result<(), Halt> {
    let members: Vec<ReservationId> = txn.members(booking).map(|member| member.reservation.id).collect();
    if members.is_empty() {
        return Err(Refusal::BookingNotFound.into());
    }
    let mut refused = Refused::default();
    for (index, reservation) in (0..).zip(members) {
        if status(txn, &txn.find(reservation)?.reservation) != to {
            refused.add_of(index, change(txn, &Change { reservation, if_match: None }))?;
        }
    }
    Ok(refused.into_result()?)
}

/// The booking as it stands.
pub fn shown(ledger: &Ledger, id: BookingId) -> Booking {
    let reservations = ledger.members(id).map(|member| member.reservation).collect();
    Booking { id, reservations }
}
