//! No room is sold twice for one night, in any answer that shows the whole house.

use std::collections::BTreeMap;

use innkeeper::wire::Reservation;

use super::Violation;

pub fn check(shown: &[Reservation]) -> Result<(), Violation> {
    let mut taken = BTreeMap::new();
    for it in shown.iter().filter(|it| it.status.is_live()) {
        let Some(room) = &it.room else { continue };
        for night in it.arrival.until(it.departure) {
            if let Some(other) = taken.insert((room.as_str(), night), it.id) {
                return Err(format!("room-night: {room} on {night} belongs to {other} and to {}", it.id));
            }
        }
    }
    Ok(())
}
