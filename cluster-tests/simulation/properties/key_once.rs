//! A retried request happens once: at most one reservation bears an operation's number.

use std::collections::BTreeMap;

use innkeeper::wire::Reservation;

use super::Violation;

pub fn check(last: &[Reservation]) -> Result<(), Violation> {
    let mut seen = BTreeMap::new();
    for it in last {
        if let Some(earlier) = seen.insert(&it.external_ref, it.id) {
            let number = it.external_ref.as_deref().unwrap_or("none");
            return Err(format!("key once: {number} made {earlier} and {}", it.id));
        }
    }
    Ok(())
}
