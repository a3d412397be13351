//! Bookings of several reservations, made here or taken over from elsewhere.

use super::desk::{judge_length, no_availability};
use super::space::Choice;
use super::*;

fn of_member<T>(index: u32, result: Result<T, Refusal>) -> Result<T, Refusal> {
    result.map_err(|refusal| Refusal::Member { index, refusal: Box::new(refusal) })
}

/// A reservation of a booking as one by itself.
fn member(command: &BookGroup, stay: &GroupStay) -> Reserve {
    Reserve {
        id: stay.id,
        booking_id: command.booking_id,
        property: command.property.clone(),
        guest: command.guest.clone(),
        wanted: stay.wanted.clone(),
        arrival: stay.arrival,
        departure: stay.departure,
        occupancy: stay.occupancy,
        currency: stay.currency,
        currency_known: stay.currency_known,
        hold_seconds: stay.hold_seconds,
        expected_total: stay.expected_total,
        block: stay.block.clone(),
        external_ref: stay.external_ref.clone(),
    }
}

impl Model {
    pub fn book_group(&mut self, command: &BookGroup, seen: &Seen<'_>) -> Result<Outcome, Refusal> {
        let free_of_price = |stay: &GroupStay| GroupStay { expected_total: None, ..stay.clone() };
        let mut reservations = Vec::new();
        let mut stays_made: Vec<GroupStay> = Vec::new();
        // Who is refused, and why.
        let mut refused: Vec<(u32, Refusal)> = Vec::new();
        for (index, stay) in command.stays.iter().enumerate() {
            let expected = stay.expected_total;
            // What is sold is no matter any more; a room by name that is taken is told before a full type.
            let settled = |(_, refusal): &(u32, Refusal)| match refusal {
                Refusal::PriceChanged { .. } => false,
                Refusal::NoAvailability { .. } => matches!(stay.wanted, Wanted::RoomType(_)),
                _ => true,
            };
            if refused.iter().any(settled) || expected.is_some_and(|expected| expected < 0) {
                let against = self.judge_reserve(&member(command, stay)).err();
                refused.extend(against.map(|refusal| (index as u32, refusal)));
                continue;
            }
            // The house with those that were made before it, and this one.
            let stays = [&stays_made[..], &[free_of_price(stay)]].concat();
            let house = seen.if_asked(BookGroup { stays: stays.clone(), ..command.clone() });
            let planned = house.ledger.reservation(stay.id).ok().and_then(|made| made.room.clone());
            match self.reserve(&member(command, &free_of_price(stay)), planned) {
                Ok(made) => {
                    let total = made.price.total();
                    if expected.is_some_and(|expected| expected != total) {
                        refused.push((index as u32, Refusal::PriceChanged { total }));
                    }
                    reservations.push(made);
                    stays_made = stays;
                    self.take_over_rooms(&house);
                }
                Err(refusal) => refused.push((index as u32, refusal)),
            }
        }
        match refused.into_iter().min_by_key(|(index, refusal)| (refusal.place(), *index)) {
            Some((index, refusal)) => of_member(index, Err(refusal)),
            None => Ok(Outcome::Booked(Booking { id: command.booking_id, reservations })),
        }
    }

    pub fn import(&mut self, command: &ImportBooking, seen: &Seen<'_>) -> Result<Outcome, Refusal> {
        let mut reservations = Vec::new();
        for (index, stay) in command.stays.iter().enumerate() {
            let stays = command.stays[..=index].to_vec();
            let house = seen.if_asked(ImportBooking { stays, ..command.clone() });
            let planned = house.ledger.reservation(stay.id).ok().and_then(|made| made.room.clone());
            let made = self.import_stay(command, stay, planned);
            reservations.push(of_member(index as u32, made)?);
            self.take_over_rooms(&house);
        }
        Ok(Outcome::Booked(Booking { id: command.booking_id, reservations }))
    }

    fn import_stay(
        &mut self,
        command: &ImportBooking,
        stay: &ImportedStay,
        seen: Option<RoomId>,
    ) -> Result<Arc<Reservation>, Refusal> {
        let room_type = self.room_type(&stay.room_type)?.clone();
        let type_of_room = stay.room.as_ref().map(|room| self.type_of(room)).transpose()?;
        if stay.block.as_ref().is_some_and(|block| !self.blocks.contains_key(block)) {
            return Err(Refusal::BlockNotFound);
        }
        let (ImportedStay { arrival, departure, status, .. }, today) = (stay, self.today());
        let (arrival, departure, status) = (*arrival, *departure, *status);
        let possible = match status {
            Status::Held => stay.hold_expires_at.is_some(),
            Status::InHouse => arrival <= today && stay.room.is_some(),
            Status::CheckedOut => departure <= today,
            Status::NoShow => arrival <= today,
            _ => true,
        };
        if !possible {
            return Err(Refusal::InvalidState { state: status });
        }
        if status != Status::CheckedOut || departure != arrival {
            judge_length(arrival, departure)?;
        }
        if status.is_live() {
            self.judge_horizon(departure)?;
        }
        if stay.occupancy == 0 {
            return Err(Refusal::OccupancyInvalid { max_occupancy: room_type.max_occupancy });
        }
        if stay.hold_expires_at.is_some_and(|end| end.0 > self.now + 86_400_000) {
            return Err(Refusal::HoldTtlInvalid);
        }
        let priced: Vec<Date> = stay.price.nights().map(|(night, _)| night).collect();
        let nights: Vec<Date> = arrival.until(departure).filter(|night| !priced.contains(night)).collect();
        if !nights.is_empty() {
            return Err(Refusal::NotPriced { nights });
        }
        if !stay.currency_known {
            return Err(Refusal::InvalidCurrency);
        }
        if stay.price.amounts.iter().any(|amount| *amount < 0) {
            return Err(Refusal::InvalidAmount);
        }
        let mut made = Reservation {
            id: stay.id,
            booking_id: command.booking_id,
            property: command.property.clone(),
            room_type: stay.room_type.clone(),
            room: stay.room.clone(),
            room_pinned: stay.room.is_some() && stay.room_pinned,
            guest: command.guest.clone(),
            arrival,
            departure,
            occupancy: stay.occupancy,
            status,
            hold_expires_at: stay.hold_expires_at.filter(|_| status == Status::Held),
            price: stay.price.clone(),
            block: stay.block.clone(),
            external_ref: stay.external_ref.clone(),
            room_from: None,
            released_from: (status == Status::NoShow).then_some(arrival),
            slept: None,
            revision: 1,
            lsn: self.lsn,
            created_at: Timestamp(self.now),
            updated_at: Timestamp(self.now),
        };
        if arrival.until(departure).any(|night| space::has(&made, night)) {
            self.place_import(&mut made, type_of_room, seen)?;
        }
        Ok(self.push(made))
    }

    /// Finds what was sold elsewhere its nights here; nights that are past are not argued about.
    fn place_import(
        &self,
        made: &mut Reservation,
        type_of_room: Option<RoomTypeId>,
        seen: Option<RoomId>,
    ) -> Result<(), Refusal> {
        let (today, departure) = (self.today(), made.departure);
        let first = made.arrival.max(today);
        if space::may_move(made) {
            made.room = None;
        }
        let keeps = |block: &&BlockId| {
            let (block, released) = &self.blocks[*block];
            block.status == BlockStatus::Definite && !released
        };
        let block = made.block.clone();
        let block = block.as_ref().filter(keeps);
        let kept = |room_type: &RoomTypeId| {
            usize::from(block.is_some_and(|block| self.blocks[block].0.room_type == *room_type))
        };
        if let Some(room) = &made.room {
            let of_room = type_of_room.unwrap();
            if made.status.is_live() {
                made.room_type = of_room.clone();
            }
            self.clear(room, first, departure, kept(&of_room))
                .map_err(|nights| Refusal::RoomUnavailable { nights })?;
            let others = |night: &Date| self.stays.iter().any(|stay| space::has_room(stay, room, *night));
            if made.arrival.until(first.min(departure)).any(|night| others(&night)) {
                made.room_from = Some(first.min(departure));
            }
        }
        if let Some(block) = block.filter(|_| kept(&made.room_type) > 0) {
            let none_left = |night: &Date| self.left_of(block, *night) == 0;
            no_availability(first.until(departure).filter(none_left).collect())?;
        }
        // Who was upgraded keeps what he had.
        let is_of_type = |block: &&BlockId| self.blocks[*block].0.room_type == made.room_type;
        let block = made.block.as_ref().filter(is_of_type);
        let is_beyond = |night: &Date| {
            let beyond = |id| self.is_outside(id, *night) || self.is_picked_up(id, &made.room_type, *night);
            block.is_some_and(beyond)
        };
        no_availability(first.until(departure).filter(is_beyond).collect())?;
        no_availability(self.full(&made.room_type, first, departure, kept(&made.room_type)))?;
        if space::may_move(made) && first < departure {
            made.room = match self.choose(&made.room_type, first, departure) {
                Choice::Room(room) => Some(room),
                Choice::Some => seen,
                Choice::Overbooked | Choice::Fragmented => None,
            };
            made.room_from = Some(first).filter(|_| made.room.is_some() && made.arrival < first);
        }
        Ok(())
    }
}
