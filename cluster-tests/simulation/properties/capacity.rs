//! No night of a type has more stays than the type has rooms, in any answer that shows the whole house.

use std::collections::BTreeMap;

use innkeeper::wire::Reservation;

use super::Violation;
use crate::clients::{ROOMS, TYPE, TYPE_ROOMS};

pub fn check(shown: &[Reservation]) -> Result<(), Violation> {
    let mut stays = BTreeMap::new();
    for it in shown.iter().filter(|it| it.status.is_live()) {
        for night in it.arrival.until(it.departure) {
            let count: &mut usize = stays.entry((it.room_type.as_str(), night)).or_default();
            *count += 1;
            let rooms = if it.room_type.as_str() == TYPE { TYPE_ROOMS.len() } else { ROOMS.len() };
            if *count > rooms {
                return Err(format!("capacity: {count} stays of type {} on {night}", it.room_type));
            }
        }
    }
    Ok(())
}
