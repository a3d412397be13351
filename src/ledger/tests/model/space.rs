//! Who has which room on which night, and what is left: counted stay by stay.

use super::super::plan::{Nights, fits};
use super::*;

/// Whether the stay takes the night of its type.
pub fn has(stay: &Reservation, night: Date) -> bool {
    let to = match stay.status {
        Status::Canceled | Status::Expired => return false,
        Status::NoShow => stay.released_from.unwrap(),
        _ => stay.departure,
    };
    stay.arrival <= night && night < to
}

/// Of which type the stay takes the night, and of which room where it has one then.
pub fn place_on(stay: &Reservation, night: Date) -> Option<(RoomTypeId, Option<RoomId>)> {
    if !has(stay, night) {
        return None;
    }
    for Stretch { room_type, room, from, to } in stay.slept.iter().flatten() {
        if *from <= night && night < *to {
            return Some((room_type.clone(), room.clone()));
        }
    }
    let room = stay.room.clone().filter(|_| stay.room_from.is_none_or(|from| from <= night));
    Some((stay.room_type.clone(), room))
}

pub fn has_room(stay: &Reservation, room: &RoomId, night: Date) -> bool {
    place_on(stay, night).is_some_and(|(_, had)| had.as_ref() == Some(room))
}

pub fn may_move(stay: &Reservation) -> bool {
    matches!(stay.status, Status::Held | Status::Confirmed) && !stay.room_pinned
}

/// Where a stay by type goes.
pub enum Choice {
    /// There is a room; which one is left to the ledger.
    Some,
    Room(RoomId),
    Overbooked,
    Fragmented,
}

fn count(date: Date) -> i32 {
    day(0).nights_to(date)
}

impl Model {
    pub fn today(&self) -> Date {
        self.property.business_date
    }

    pub fn movable(&self) -> impl Iterator<Item = ReservationId> {
        self.stays.iter().filter(|stay| may_move(stay)).map(|stay| stay.id)
    }

    pub fn room_type(&self, id: &RoomTypeId) -> Result<&RoomType, Refusal> {
        self.types.iter().find(|room_type| room_type.room_type == *id).ok_or(Refusal::RoomTypeNotFound)
    }

    /// The type of a room in service.
    pub fn type_of(&self, room: &RoomId) -> Result<RoomTypeId, Refusal> {
        let in_service = self.rooms.get(room).filter(|(_, in_service)| *in_service);
        in_service.map(|(room_type, _)| room_type.clone()).ok_or(Refusal::RoomNotFound)
    }

    pub fn rooms_of(&self, room_type: &RoomTypeId) -> Vec<RoomId> {
        let mut rooms = Vec::new();
        for (room, (of, in_service)) in &self.rooms {
            if *in_service && of == room_type {
                rooms.push(room.clone());
            }
        }
        rooms
    }

    pub fn capacity(&self, room_type: &RoomTypeId) -> usize {
        let limit = self.room_type(room_type).unwrap().overbooking_limit;
        self.rooms_of(room_type).len() + limit as usize
    }

    /// Stays of the type that have the night and one of these statuses.
    pub fn stays_on(&self, room_type: &RoomTypeId, night: Date, held: bool) -> usize {
        let of = |stay: &&Reservation| {
            let of_type = place_on(stay, night).is_some_and(|(of, _)| of == *room_type);
            of_type && (stay.status == Status::Held) == held
        };
        self.stays.iter().filter(of).count()
    }

    pub fn closed_on(&self, room_type: &RoomTypeId, night: Date) -> usize {
        let is_closed = |room: &&RoomId| self.closed.contains_key(&((*room).clone(), night));
        self.rooms_of(room_type).iter().filter(is_closed).count()
    }

    /// Reservations of the block that have a room of its type on the night.
    pub fn picked_up(&self, block: &BlockId, night: Date) -> u32 {
        self.picked_up_of(block, &self.blocks[block].0.room_type, night)
    }

    pub fn picked_up_of(&self, block: &BlockId, room_type: &RoomTypeId, night: Date) -> u32 {
        let of = |stay: &&Reservation| {
            stay.block.as_ref() == Some(block)
                && place_on(stay, night).is_some_and(|(had, _)| had == *room_type)
        };
        self.stays.iter().filter(of).count() as u32
    }

    /// Rooms of the night that the block keeps still.
    pub fn left_of(&self, block: &BlockId, night: Date) -> u32 {
        let Some((kept, released)) = self.blocks.get(block) else { return 0 };
        let keeps = kept.status == BlockStatus::Definite && !released;
        if !keeps || night < kept.from || night >= kept.to {
            return 0;
        }
        kept.rooms.saturating_sub(self.picked_up(block, night))
    }

    pub fn blocked_on(&self, room_type: &RoomTypeId, night: Date) -> usize {
        let mut blocked = 0;
        for (id, (block, _)) in &self.blocks {
            if block.room_type == *room_type {
                blocked += self.left_of(id, night) as usize;
            }
        }
        blocked
    }

    /// What of the type's capacity is taken.
    pub fn taken(&self, room_type: &RoomTypeId, night: Date) -> usize {
        let stays = self.stays_on(room_type, night, true) + self.stays_on(room_type, night, false);
        stays + self.closed_on(room_type, night) + self.blocked_on(room_type, night)
    }

    /// What is left to sell of each type on each night.
    pub fn left_now(&self) -> BTreeMap<(RoomTypeId, Date), i64> {
        let mut left = BTreeMap::new();
        for RoomType { room_type, .. } in &self.types {
            for night in self.today().until(day(30)) {
                let available = self.capacity(room_type) as i64 - self.taken(room_type, night) as i64;
                left.insert((room_type.clone(), night), available);
            }
        }
        left
    }

    /// The nights of which nothing is left, where `kept` of what is taken is kept for who asks.
    pub fn full(&self, room_type: &RoomTypeId, from: Date, to: Date, kept: usize) -> Vec<Date> {
        let capacity = self.capacity(room_type) + kept;
        from.until(to).filter(|night| self.taken(room_type, *night) >= capacity).collect()
    }

    /// The nights from today on of which more is taken than `capacity`.
    pub fn over(&self, room_type: &RoomTypeId, capacity: usize) -> Vec<Date> {
        let nights = self.today().until(day(80));
        nights.filter(|night| self.taken(room_type, *night) > capacity).collect()
    }

    /// The nights on which somebody has the room, or it is out of order.
    pub fn room_taken(&self, room: &RoomId, from: Date, to: Date) -> Vec<Date> {
        let taken = |night: &Date| {
            self.closed.contains_key(&(room.clone(), *night))
                || self.stays.iter().any(|stay| has_room(stay, room, *night))
        };
        from.until(to).filter(taken).collect()
    }

    pub fn is_free(&self, room: &RoomId, from: Date, to: Date) -> bool {
        self.room_taken(room, from, to).is_empty()
    }

    /// Whether every room is taken on some night.
    pub fn has_no_room(&self, room_type: &RoomTypeId, from: Date, to: Date) -> bool {
        let rooms = self.rooms_of(room_type);
        from.until(to).any(|night| rooms.iter().all(|room| !self.is_free(room, night, night.plus(1))))
    }

    /// What can't move, by room of the type; and who may, with the nights that are not past.
    fn spans(&self, room_type: &RoomTypeId) -> (Vec<Vec<Nights>>, Vec<(RoomId, Nights)>) {
        let rooms = self.rooms_of(room_type);
        let mut fixed = vec![Vec::new(); rooms.len()];
        let mut movable = Vec::new();
        for (place, room) in rooms.iter().enumerate() {
            for night in self.today().until(day(80)) {
                if self.closed.contains_key(&(room.clone(), night)) {
                    fixed[place].push((count(night), count(night) + 1));
                }
            }
            for stay in &self.stays {
                let nights: Vec<Date> =
                    self.today().until(day(80)).filter(|night| has_room(stay, room, *night)).collect();
                let (Some(first), Some(last)) = (nights.first(), nights.last()) else { continue };
                let nights = (count(*first), count(*last) + 1);
                match may_move(stay) {
                    true => movable.push((room.clone(), nights)),
                    false => fixed[place].push(nights),
                }
            }
        }
        (fixed, movable)
    }

    /// Whether there is a plan in which a room of the type is free for the nights.
    pub fn fits_type(&self, room_type: &RoomTypeId, from: Date, to: Date) -> bool {
        let (fixed, movable) = self.spans(room_type);
        let mut stays: Vec<Nights> = movable.into_iter().map(|(_, nights)| nights).collect();
        stays.push((count(from), count(to)));
        fits(&fixed, &stays)
    }

    /// Whether there is a plan in which the room is free for the nights. Whoever is in the way on a night on which every
    /// room is taken has none then.
    fn fits_room(&self, room_type: &RoomTypeId, room: &RoomId, from: Date, to: Date) -> bool {
        let (mut fixed, movable) = self.spans(room_type);
        let place = self.rooms_of(room_type).iter().position(|other| other == room).unwrap();
        let asked = (count(from), count(to));
        let overlaps = |nights: &Nights| nights.0 < asked.1 && asked.0 < nights.1;
        if fixed[place].iter().any(overlaps) {
            return false;
        }
        let loses = |(of, nights): &(RoomId, Nights)| {
            let (first, after) = (day(nights.0.max(asked.0)), day(nights.1.min(asked.1)));
            of == room && overlaps(nights) && self.has_no_room(room_type, first, after)
        };
        let stays: Vec<Nights> =
            movable.iter().filter(|stay| !loses(stay)).map(|(_, nights)| *nights).collect();
        fixed[place].push(asked);
        fits(&fixed, &stays)
    }

    /// Whether the room can be had on the nights, by others moving away; else the nights to blame.
    pub fn clear(&self, room: &RoomId, from: Date, to: Date, kept: usize) -> Result<(), Vec<Date>> {
        let room_type = self.type_of(room).unwrap();
        let from = from.max(self.today());
        let taken = self.room_taken(room, from, to);
        let is_full = |night: &Date| !self.full(&room_type, *night, night.plus(1), kept).is_empty();
        let cant_move = |night: &Date| {
            self.closed.contains_key(&(room.clone(), *night))
                || self.stays.iter().any(|stay| has_room(stay, room, *night) && !may_move(stay))
        };
        let to_blame: Vec<Date> =
            taken.iter().copied().filter(|night| is_full(night) || cant_move(night)).collect();
        if !to_blame.is_empty() {
            return Err(to_blame);
        }
        if taken.is_empty() || self.fits_room(&room_type, room, from, to) { Ok(()) } else { Err(taken) }
    }

    /// Where a stay goes that fits by count.
    pub fn choose(&self, room_type: &RoomTypeId, from: Date, to: Date) -> Choice {
        if self.has_no_room(room_type, from, to) {
            return Choice::Overbooked;
        }
        if let Some(room) = self.rooms_of(room_type).into_iter().find(|room| self.is_free(room, from, to)) {
            return Choice::Room(room);
        }
        if self.fits_type(room_type, from, to) { Choice::Some } else { Choice::Fragmented }
    }

    /// How many have each night that is not past from a block, in rooms of its type.
    pub fn pick_ups(&self) -> BTreeMap<(BlockId, RoomTypeId, Date), u32> {
        let mut pick_ups = BTreeMap::new();
        for stay in &self.stays {
            let Some(block) = &stay.block else { continue };
            let room_type = &self.blocks[block].0.room_type;
            for night in stay.arrival.max(self.today()).until(stay.departure) {
                if place_on(stay, night).is_some_and(|(had, _)| had == *room_type) {
                    *pick_ups.entry((block.clone(), room_type.clone(), night)).or_default() += 1;
                }
            }
        }
        pick_ups
    }

    /// Of a block that keeps nothing now nobody more has a night than it has rooms, or than had it `before`.
    pub fn assert_picked_up_within(&self, before: &BTreeMap<(BlockId, RoomTypeId, Date), u32>) {
        for (of, count) in self.pick_ups() {
            let (block, released) = &self.blocks[&of.0];
            let keeps = block.status == BlockStatus::Definite && !released;
            let most = before.get(&of).copied().unwrap_or(0).max(block.rooms);
            assert!(keeps || count <= most, "{count} have the night {} of {block:?}", of.2);
        }
    }

    /// Nobody shares a room, who may move has one of the type, and who has none could have none.
    pub fn assert_plans_may_be(&self) {
        for stay in &self.stays {
            let nights: Vec<Date> = stay.arrival.until(stay.departure).filter(|n| has(stay, *n)).collect();
            for night in &nights {
                let Some(room) = stay.room.as_ref().filter(|room| has_room(stay, room, *night)) else {
                    continue;
                };
                let guests = self.stays.iter().filter(|other| has_room(other, room, *night)).count();
                assert_eq!(guests, 1, "night {night} of {stay:?}");
                if *night >= self.today() {
                    assert!(!self.closed.contains_key(&(room.clone(), *night)), "night {night} of {stay:?}");
                    assert_eq!(self.type_of(room), Ok(stay.room_type.clone()), "{stay:?}");
                }
            }
            let is_to_come = stay.status.is_live() && stay.arrival >= self.today();
            if is_to_come && stay.room.is_none() {
                // That a date goes by frees no room: who is late gets one at check-in.
                let free = |room: &RoomId| self.is_free(room, stay.arrival, stay.departure);
                assert_eq!(self.rooms_of(&stay.room_type).into_iter().find(free), None, "{stay:?}");
            }
        }
    }
}
