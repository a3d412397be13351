//! The log's time is the true time, as near as the members' clocks allow: a change is stamped between its first attempt
//! and its last answer.
//!
//! `slack_ms` is how far the median of the members' clocks may be from the true time.

use super::Violation;
use crate::clock::EPOCH_MS;
use crate::history::{History, Reply};
use crate::model::millis;

pub fn check(history: &History, slack_ms: u64) -> Result<(), Violation> {
    for (operation, answered) in history.answered().filter(|(operation, _)| operation.call.is_write()) {
        let Reply::Reservation(it) = &answered.reply else { continue };
        if answered.replayed || it.lsn != answered.lsn {
            // It shows what was done before, or changed nothing.
            continue;
        }
        let stamp = millis(&it.updated_at);
        let earliest = (EPOCH_MS + operation.began_ms).saturating_sub(slack_ms);
        let latest = (EPOCH_MS + slack_ms).saturating_add(operation.ended_ms);
        if !(earliest..=latest).contains(&stamp) {
            return Err(format!(
                "log clock: #{} was stamped {}, {} ms from when it began",
                operation.number,
                it.updated_at,
                stamp as i64 - (EPOCH_MS + operation.began_ms) as i64
            ));
        }
    }
    Ok(())
}
