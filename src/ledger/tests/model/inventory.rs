//! What the house has: room types, rooms, prices, restrictions, blocks.

use super::*;

fn sorted(mut nights: Vec<Date>) -> Vec<Date> {
    nights.sort_unstable();
    nights.dedup();
    nights
}

fn not_empty(nights: Vec<Date>) -> Result<(), Refusal> {
    if nights.is_empty() { Ok(()) } else { Err(Refusal::CapacityBelowSold { nights: sorted(nights) }) }
}

impl Model {
    pub fn put_property(&mut self, command: &PutProperty) -> Result<Outcome, Refusal> {
        if !command.time_zone_known {
            return Err(Refusal::InvalidTimeZone);
        }
        let known = command.currency.filter(|_| command.currency_known);
        self.property.currency = known.ok_or(Refusal::InvalidCurrency)?;
        (self.property.name, self.property.location) = (command.name.clone(), command.location.clone());
        self.property.time_zone = command.time_zone.clone();
        Ok(Outcome::Property { created: false, property: Arc::new(self.property.clone()) })
    }

    pub fn put_room_type(&mut self, command: &PutRoomType) -> Result<Outcome, Refusal> {
        if command.max_occupancy == 0 {
            return Err(Refusal::OccupancyInvalid { max_occupancy: 0 });
        }
        let room_type = RoomType {
            property: command.property.clone(),
            room_type: command.room_type.clone(),
            name: command.name.clone(),
            max_occupancy: command.max_occupancy,
            overbooking_limit: command.overbooking_limit,
        };
        let created = self.room_type(&room_type.room_type).is_err();
        if !created {
            let rooms = self.rooms_of(&room_type.room_type).len();
            not_empty(self.over(&room_type.room_type, rooms + room_type.overbooking_limit as usize))?;
        }
        self.types.retain(|old| old.room_type != room_type.room_type);
        self.types.push(room_type.clone());
        Ok(Outcome::RoomType { created, room_type: Arc::new(room_type) })
    }

    pub fn put_room(&mut self, command: &PutRoom) -> Result<Outcome, Refusal> {
        let PutRoom { property, room, room_type } = command.clone();
        self.room_type(&room_type)?;
        let old = self.type_of(&room).ok();
        let created = old.is_none();
        if old.is_some_and(|old| old != room_type) {
            // What is out of order goes along.
            let mut open = self.clone();
            open.closed.retain(|(closed, _), _| *closed != room);
            not_empty(open.needed(&room)?)?;
        }
        self.rooms.insert(room.clone(), (room_type.clone(), true));
        Ok(Outcome::Room { created, room: Arc::new(Room { property, room, room_type }) })
    }

    pub fn retire_room(&mut self, command: &RetireRoom) -> Result<Outcome, Refusal> {
        let room = &command.room;
        let room_type = self.type_of(room)?;
        self.closed.retain(|(closed, _), _| closed != room);
        self.rates.retain(|(target, _), _| *target != RateTarget::Room(room.clone()));
        not_empty(self.needed(room)?)?;
        self.rooms.insert(room.clone(), (room_type, false));
        Ok(Outcome::Removed)
    }

    /// The nights on which its type can't do without the room, which is not out of order.
    fn needed(&self, room: &RoomId) -> Result<Vec<Date>, Refusal> {
        let room_type = self.type_of(room)?;
        let mut nights = self.over(&room_type, self.capacity(&room_type).saturating_sub(1));
        nights.extend(self.overstays(room).then_some(self.today()));
        nights.extend(self.clear(room, self.today(), day(80), 0).err().unwrap_or_default());
        Ok(nights)
    }

    /// Whether somebody who should have left is still in the room.
    pub fn overstays(&self, room: &RoomId) -> bool {
        let is_there = |stay: &Reservation| {
            let is_late = stay.status == Status::InHouse && stay.departure <= self.today();
            is_late && stay.room.as_ref() == Some(room)
        };
        self.stays.iter().any(is_there)
    }

    pub fn put_rates(&mut self, command: &PutRates) -> Result<Outcome, Refusal> {
        let PutRates { target, from, to, prices, .. } = command.clone();
        let room_type = match &target {
            RateTarget::RoomType(room_type) => room_type.clone(),
            RateTarget::Room(room) => self.type_of(room)?,
        };
        let max_occupancy = self.room_type(&room_type)?.max_occupancy;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        for by_occupancy in prices.values() {
            if by_occupancy.keys().any(|occupancy| *occupancy == 0 || *occupancy > max_occupancy) {
                return Err(Refusal::OccupancyInvalid { max_occupancy });
            }
        }
        if !command.currencies_known {
            return Err(Refusal::InvalidCurrency);
        }
        if prices.values().flat_map(|by_occupancy| by_occupancy.values()).any(|amount| *amount < 0) {
            return Err(Refusal::InvalidAmount);
        }
        for night in from.until(to) {
            self.rates.insert((target.clone(), night), prices.clone());
        }
        Ok(Outcome::Rates(RatesSet { target, from, to, prices }))
    }

    pub fn put_restrictions(&mut self, command: &PutRestrictions) -> Result<Outcome, Refusal> {
        let PutRestrictions { property, room_type, from, to, rules } = command.clone();
        self.room_type(&room_type)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        for night in from.until(to) {
            self.rules.insert((room_type.clone(), night), rules.clone());
        }
        let rules = Arc::new(rules);
        Ok(Outcome::Restrictions(RestrictionRecord { property, room_type, from, to, rules }))
    }

    pub fn put_out_of_order(&mut self, command: &PutOutOfOrder) -> Result<Outcome, Refusal> {
        let PutOutOfOrder { property, room, from, to, reason } = command.clone();
        let room_type = self.type_of(&room)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        self.closed.retain(|(closed, night), _| *closed != room || *night < from || *night >= to);
        let first = from.max(self.today());
        let mut nights = self.full(&room_type, first, to, 0);
        nights.extend(self.clear(&room, first, to, 0).err().unwrap_or_default());
        not_empty(nights)?;
        for night in from.until(to) {
            self.closed.insert((room.clone(), night), reason.clone());
        }
        Ok(Outcome::OutOfOrder(Arc::new(OutOfOrderRecord { property, room, from, to, reason })))
    }

    pub fn end_out_of_order(&mut self, command: &EndOutOfOrder) -> Result<Outcome, Refusal> {
        let EndOutOfOrder { room, from, to, .. } = command;
        self.type_of(room)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        self.closed.retain(|(closed, night), _| closed != room || night < from || night >= to);
        Ok(Outcome::Removed)
    }

    pub fn put_block(&mut self, command: &PutBlock) -> Result<Outcome, Refusal> {
        let PutBlock { property, block: id, room_type, from, to, rooms, status, release_date } =
            command.clone();
        let today = self.today();
        self.room_type(&room_type)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        self.judge_horizon(to)?;
        let old = self.blocks.get(&id).cloned();
        let before_type = old.as_ref().map(|old| old.0.room_type.clone()).filter(|old| *old != room_type);
        let uncovered = |night: &Date| {
            let of_before = before_type.as_ref().map_or(0, |of| self.picked_up_of(&id, of, *night));
            let picked_up = self.picked_up_of(&id, &room_type, *night);
            let covered = from <= *night && *night < to && picked_up <= rooms;
            of_before > 0 || (picked_up > 0 && !covered)
        };
        not_empty(today.until(day(80)).filter(uncovered).collect())?;
        let released = status == BlockStatus::Definite && release_date.is_some_and(|date| date <= today);
        let created = old.is_none();
        let block = Block {
            property,
            block: id.clone(),
            room_type: room_type.clone(),
            from,
            to,
            rooms,
            status,
            release_date,
        };
        self.blocks.remove(&id);
        let before = self.clone();
        self.blocks.insert(id.clone(), (block.clone(), released));
        let is_short = |night: &Date| {
            let kept = self.left_of(&id, *night) as usize;
            kept > 0 && before.taken(&block.room_type, *night) + kept > self.capacity(&block.room_type)
        };
        let nights: Vec<Date> = from.max(today).until(to).filter(is_short).collect();
        if !nights.is_empty() {
            return Err(Refusal::NoAvailability { nights, fragmented: false });
        }
        let picked_up = from.until(to).map(|night| self.picked_up(&id, night)).collect();
        Ok(Outcome::Block(BlockShown { created, block: Arc::new(block), picked_up, released }))
    }
}
