//! The order of LSNs explains every answer: it is an order (no two writes share a place), it agrees with real time, and
//! a naive house that carries the writes out in that order answers what the clients were answered.

use std::collections::{BTreeMap, BTreeSet};

use innkeeper::ledger::{Lsn, Timestamp};
use innkeeper::wire::Reservation;

use super::Violation;
use crate::history::{Answered, Call, History, Operation, Reply};
use crate::model::House;

/// `stamps` are known log times; `last` is what every node shows at the end, and `last_lsn` where.
pub fn check(
    history: &History,
    stamps: BTreeMap<Lsn, Timestamp>,
    last: &[Reservation],
    last_lsn: Lsn,
) -> Result<(), Violation> {
    let mut ordered = placed(history);
    real_time(&ordered)?;
    let mut house = House::new(history, stamps);
    // A read at a position sees the write there.
    ordered.sort_by_key(|(lsn, operation, _)| (*lsn, !operation.call.is_write(), operation.number));
    let mut last_write = None;
    for (lsn, operation, answered) in ordered {
        if operation.call.is_write() && last_write.replace(lsn) == Some(lsn) {
            return Err(format!("linearizability: two writes at LSN {lsn}, one is #{}", operation.number));
        }
        let number = operation.number;
        let wrong = |reason: String| {
            format!("linearizability: #{number} at LSN {lsn}: {reason}; it was {operation:?}")
        };
        house.answer(lsn, &operation.call, &answered.reply, number).map_err(wrong)?;
    }
    house.shows(last_lsn, last).map_err(|reason| format!("linearizability: at the end, {reason}"))
}

/// Operations with their places, as far as their answers tell.
fn placed(history: &History) -> Vec<(Lsn, &Operation, &Answered)> {
    let placed: Vec<(Lsn, &Operation, &Answered)> = (history.answered())
        .filter(|(operation, _)| !matches!(operation.call, Call::List { local: true }))
        .filter_map(|(operation, answered)| Some((answered.position()?, operation, answered)))
        .collect();
    let repeats = |operation: &Operation, answered: &Answered| {
        answered.replayed && matches!(operation.call, Call::Amend { .. })
    };
    let mut made: BTreeSet<Lsn> = (placed.iter())
        .filter(|(_, operation, answered)| operation.call.is_write() && !repeats(operation, answered))
        .map(|(lsn, ..)| *lsn)
        .collect();
    // A change that changed nothing answers with the revision that was there; repeated, it does not tell its own place. Of several
    // alike whose answers were all lost, the first may have made it.
    let tells = |(lsn, operation, answered): &(Lsn, &Operation, &Answered)| {
        !repeats(operation, answered) || made.insert(*lsn)
    };
    placed.into_iter().filter(tells).collect()
}

/// What begins after something has ended stands behind it. Each operation lies between its first attempt and its last
/// answer, and so does its place.
fn real_time(placed: &[(Lsn, &Operation, &Answered)]) -> Result<(), Violation> {
    let mut began: Vec<(Lsn, &Operation)> =
        placed.iter().map(|(lsn, operation, _)| (*lsn, *operation)).collect();
    let mut ended = began.clone();
    began.sort_by_key(|(_, operation)| operation.began_ms);
    ended.sort_by_key(|(_, operation)| operation.ended_ms);
    let mut ended = ended.into_iter().peekable();
    let mut floor: Option<(Lsn, usize)> = None;
    for (position, operation) in began {
        while let Some((lsn, before)) = ended.next_if(|(_, before)| before.ended_ms < operation.began_ms) {
            floor = floor.max(Some((lsn, before.number)));
        }
        let Some((lsn, before)) = floor else { continue };
        let is_behind = if operation.call.is_write() { position > lsn } else { position >= lsn };
        if !is_behind {
            return Err(format!(
                "linearizability: #{before} had ended at LSN {lsn} before #{} began, which is at {position}",
                operation.number
            ));
        }
    }
    Ok(())
}

/// Whether an answer shows the whole house.
pub fn shows_all(call: &Call, reply: &Reply) -> bool {
    matches!((call, reply), (Call::List { .. }, Reply::Reservations(_)))
}
