//! The night audit: the business date moves on by hand, and who did not arrive is a no-show.
//!
//! The date moves at once. No-shows are marked in turns: what one command has left is due, like a hold that ended, and
//! is marked by the commands behind it; until then [`awaits`] says that it counts as marked.

use std::sync::Arc;

use super::command::NightAudit;
use super::due::{self, ENDED_MAX};
use super::id::PropertyId;
use super::in_house::mark_no_show;
use super::outcome::{Outcome, Refusal};
use super::property::{BusinessDateMode, Property};
use super::record::{PropertyRecord, Record, ReservationRecord};
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::txn::{Halt, Txn};
use super::{block, plan};
use crate::planted::{Bug, planted};

pub fn run(txn: &mut Txn<'_>, command: &NightAudit) -> Result<Outcome, Halt> {
    let PropertyRecord { property: before, key, offering, .. } = txn.book(&command.property)?.record.clone();
    let Property { business_date_mode: mode, business_date, .. } = *before;
    if mode == BusinessDateMode::Clock || command.business_date < business_date {
        return Err(Refusal::AuditNotAllowed { mode, business_date }.into());
    }
    if command.business_date == business_date {
        return Ok(Outcome::Property { created: false, property: before });
    }
    let property = Arc::new(Property { business_date: command.business_date, ..(*before).clone() });
    txn.put(Record::Property(PropertyRecord {
        property: Arc::clone(&property),
        key: key.map(|key| key.keeping(&before)),
        auditing: Some(txn.lsn()),
        offering,
    }))?;
    // The date has moved, whatever of the rest fails: that stays due.
    let marked = due::attempt(txn, |txn| mark(txn, &command.property, ENDED_MAX))?;
    due::attempt(txn, |txn| block::release(txn, &command.property, marked.unwrap_or(ENDED_MAX)))?;
    Ok(Outcome::Property { created: false, property })
}

/// Marks at most `left` no-shows of the audits that are not done, and gives how much else may be done.
pub fn go_on(txn: &mut Txn<'_>, mut left: usize) -> Result<usize, Halt> {
    while left > 0 {
        let Some(property) = txn.audits.first().map(|(property, ())| property.clone()) else { break };
        left = mark(txn, &property, left)?;
    }
    Ok(left)
}

/// Whether the reservation is a no-show of an audit that has not come to it yet.
pub fn awaits(ledger: &Ledger, reservation: &Reservation) -> bool {
    if reservation.status != Status::Confirmed {
        return false;
    }
    let Ok(book) = ledger.book(&reservation.property) else { return false };
    // A hold that was confirmed after the audit, with an arrival before it, is left to the next.
    let audited = book.record.auditing.is_some_and(|audit| reservation.lsn < audit);
    audited && reservation.arrival < book.business_date()
}

/// Marks at most `left` no-shows of one audit, and gives how many may still be marked. Where that is any, the audit is
/// done.
pub fn mark(txn: &mut Txn<'_>, property: &PropertyId, left: usize) -> Result<usize, Halt> {
    let book = txn.book(property)?;
    let today = book.business_date();
    let before_today = book.expected.iter().take_while(|((arrival, _), _)| *arrival < today);
    let awaiting = before_today.map(|(_, slot)| txn.at(*slot)).filter(|stay| awaits(txn, &stay.reservation));
    let found: Vec<ReservationRecord> = awaiting.take(left).collect();
    let left = left - found.len();
    let mut freed = Vec::new();
    for record in found {
        let unlucky = planted(Bug::DuePanics) && record.reservation.occupancy == 2;
        assert!(!unlucky, "what is due for two is broken, on purpose");
        freed.extend(mark_no_show(txn, record)?.1);
    }
    plan::give(txn, &freed)?;
    if left > 0 {
        let record = PropertyRecord { auditing: None, ..txn.book(property)?.record.clone() };
        txn.put(Record::Property(record))?;
        plan::give_late(txn, property)?;
    }
    Ok(left)
}
