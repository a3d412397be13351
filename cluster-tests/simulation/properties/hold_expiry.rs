//! No linearizable read that begins after a hold's end shows it held.
//!
//! The log's clock follows the median of the members' clocks; `slack_ms` is how far that may be from the true time.

use innkeeper::ledger::Status;

use super::Violation;
use crate::clock::EPOCH_MS;
use crate::history::{Call, History, Reply};
use crate::model::millis;

pub fn check(history: &History, slack_ms: u64) -> Result<(), Violation> {
    for (operation, answered) in history.answered() {
        let shown = match (&operation.call, &answered.reply) {
            (Call::List { local: false }, Reply::Reservations(shown)) => &shown[..],
            (Call::Show(_), Reply::Reservation(it)) => std::slice::from_ref(&**it),
            _ => continue,
        };
        for it in shown.iter().filter(|it| it.status == Status::Held) {
            let Some(end) = &it.hold_expires_at else { continue };
            if millis(end) + slack_ms < EPOCH_MS + operation.began_ms {
                return Err(format!(
                    "hold expiry: #{} began at {} ms and shows {} held until {end}",
                    operation.number, operation.began_ms, it.id
                ));
            }
        }
    }
    Ok(())
}
