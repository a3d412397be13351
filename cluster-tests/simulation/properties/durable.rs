//! What was acknowledged is there at the end, at every node, and what was refused is not.

use std::collections::BTreeMap;

use innkeeper::wire::Reservation;

use super::Violation;
use crate::history::{Call, History, Outcome, Reply};

pub fn check(history: &History, last: &[Reservation]) -> Result<(), Violation> {
    let by_id: BTreeMap<_, _> = last.iter().map(|it| (it.id, it)).collect();
    for (operation, answered) in history.answered().filter(|(operation, _)| operation.call.is_write()) {
        let Reply::Reservation(it) = &answered.reply else { continue };
        let number = operation.number;
        match by_id.get(&it.id) {
            None => return Err(format!("durable: #{number} was acknowledged and {} is gone", it.id)),
            Some(now) if now.revision < it.revision => {
                return Err(format!(
                    "durable: #{number} left {} at revision {}, and it is at {}",
                    it.id, it.revision, now.revision
                ));
            }
            Some(_) => {}
        }
    }
    for operation in &history.operations {
        let never = matches!(operation.outcome, Outcome::NothingHappened)
            || matches!(&operation.outcome, Outcome::Answered(answered) if matches!(answered.reply, Reply::Refused(_)));
        let name = format!("op-{}", operation.number);
        let happened = matches!(operation.call, Call::Reserve { .. })
            && last.iter().any(|it| it.external_ref.as_deref() == Some(&*name));
        if never && happened {
            return Err(format!("durable: #{} was refused, and its reservation is there", operation.number));
        }
    }
    Ok(())
}
