//! Making and changing reservations.

use super::space::{Choice, has_room};
use super::*;

pub fn no_availability(nights: Vec<Date>) -> Result<(), Refusal> {
    if nights.is_empty() { Ok(()) } else { Err(Refusal::NoAvailability { nights, fragmented: false }) }
}

const FRAGMENTED: Refusal = Refusal::NoAvailability { nights: Vec::new(), fragmented: true };

/// What a stay shall be.
struct Target {
    arrival: Date,
    departure: Date,
    room_type: RoomTypeId,
    pinned: Option<RoomId>,
}

impl Model {
    pub fn judge_dates(&self, arrival: Date, departure: Date) -> Result<(), Refusal> {
        judge_length(arrival, departure)?;
        self.judge_past(arrival)?;
        self.judge_horizon(departure)
    }

    fn judge_past(&self, arrival: Date) -> Result<(), Refusal> {
        let business_date = self.today();
        if arrival < business_date { Err(Refusal::ArrivalInPast { business_date }) } else { Ok(()) }
    }

    pub fn judge_horizon(&self, departure: Date) -> Result<(), Refusal> {
        let latest_departure = self.today().plus(1_100);
        if departure > latest_departure { Err(Refusal::BeyondHorizon { latest_departure }) } else { Ok(()) }
    }

    pub fn judge_occupancy(&self, room_type: &RoomType, occupancy: u32) -> Result<(), Refusal> {
        let max_occupancy = room_type.max_occupancy;
        let fits = occupancy >= 1 && occupancy <= max_occupancy;
        if fits { Ok(()) } else { Err(Refusal::OccupancyInvalid { max_occupancy }) }
    }

    pub fn judge_currency(&self, currency: Option<Currency>, known: bool) -> Result<Currency, Refusal> {
        if known { Ok(currency.unwrap_or(self.property.currency)) } else { Err(Refusal::InvalidCurrency) }
    }

    /// The price of each night, where it is not `kept`.
    pub fn price(
        &self,
        room_type: &RoomTypeId,
        room: Option<&RoomId>,
        (arrival, departure): (Date, Date),
        occupancy: u32,
        currency: Currency,
        kept: impl Fn(Date) -> Option<i64>,
    ) -> Result<Price, Refusal> {
        let of = |target: RateTarget, night: Date| {
            self.rates.get(&(target, night))?.get(&currency)?.get(&occupancy).copied()
        };
        let (mut amounts, mut nights) = (Vec::new(), Vec::new());
        for night in arrival.until(departure) {
            let own = room.and_then(|room| of(RateTarget::Room(room.clone()), night));
            let amount = own.or_else(|| of(RateTarget::RoomType(room_type.clone()), night));
            match kept(night).or(amount) {
                Some(amount) => amounts.push(amount),
                None => nights.push(night),
            }
        }
        if !nights.is_empty() {
            return Err(Refusal::NotPriced { nights });
        }
        Ok(Price { currency, from: arrival, amounts: amounts.into() })
    }

    /// The first rule that forbids the stay; what it `was` before is not judged again.
    fn judge_rules(
        &self,
        room_type: &RoomTypeId,
        (arrival, departure): (Date, Date),
        was: Option<(Date, Date)>,
    ) -> Result<(), Refusal> {
        let today = self.today();
        let on = |date: Date| self.rules.get(&(room_type.clone(), date)).cloned().unwrap_or_default();
        let refused = |rule, date| Err(Refusal::Restricted { rule, date });
        for night in arrival.until(departure) {
            let is_old = was.is_some_and(|(from, to)| from <= night && night < to);
            if night >= today && !is_old && on(night).closed {
                return refused(Rule::Closed, night);
            }
        }
        let arrives = arrival >= today && was.map(|was| was.0) != Some(arrival);
        let departs = was.map(|was| was.1) != Some(departure);
        let lasts = was != Some((arrival, departure));
        let rules = on(arrival);
        if arrives && rules.closed_to_arrival {
            return refused(Rule::ClosedToArrival, arrival);
        }
        if departs && on(departure).closed_to_departure {
            return refused(Rule::ClosedToDeparture, departure);
        }
        let nights = arrival.nights_to(departure) as u32;
        if lasts && rules.min_stay.is_some_and(|least| nights < least) {
            return refused(Rule::MinStay, arrival);
        }
        if lasts && rules.max_stay.is_some_and(|most| nights > most) {
            return refused(Rule::MaxStay, arrival);
        }
        let ahead = today.nights_to(arrival);
        if arrives && rules.min_advance_days.is_some_and(|least| ahead < least as i32) {
            return refused(Rule::MinAdvanceDays, arrival);
        }
        if arrives && rules.max_advance_days.is_some_and(|most| ahead > most as i32) {
            return refused(Rule::MaxAdvanceDays, arrival);
        }
        Ok(())
    }

    /// Whether the night is none of the block's dates.
    pub fn is_outside(&self, id: &BlockId, night: Date) -> bool {
        let (block, _) = &self.blocks[id];
        night < block.from || block.to <= night
    }

    /// Whether others have all rooms of the block, be it that it keeps none now; it has only those of its type.
    pub fn is_picked_up(&self, id: &BlockId, room_type: &RoomTypeId, night: Date) -> bool {
        let (block, _) = &self.blocks[id];
        block.room_type == *room_type && self.picked_up(id, night) >= block.rooms
    }

    /// Takes the nights from a block.
    fn judge_block(&self, id: &BlockId, room_type: &RoomTypeId, from: Date, to: Date) -> Result<(), Refusal> {
        let (block, _) = &self.blocks[id];
        let has_none = |night: &Date| block.room_type != *room_type || self.left_of(id, *night) == 0;
        no_availability(from.until(to).filter(has_none).collect())
    }

    /// The type, the room if it is named, and the price, unless something stands against the stay whatever is sold.
    pub fn judge_reserve(&self, command: &Reserve) -> Result<(RoomTypeId, Option<RoomId>, Price), Refusal> {
        let Reserve { arrival, departure, occupancy, .. } = *command;
        let stay = (arrival, departure);
        let (room, room_type) = match &command.wanted {
            Wanted::Room(room) => (Some(room.clone()), self.type_of(room)?),
            Wanted::RoomType(room_type) => (None, self.room_type(room_type)?.room_type.clone()),
        };
        if let Some(block) = &command.block {
            let state = self.blocks.get(block).ok_or(Refusal::BlockNotFound)?.0.status;
            if state != BlockStatus::Definite {
                return Err(Refusal::BlockNotDefinite { state });
            }
        }
        self.judge_dates(arrival, departure)?;
        self.judge_occupancy(self.room_type(&room_type)?, occupancy)?;
        if command.hold_seconds.is_some_and(|seconds| seconds == 0 || seconds > 86_400) {
            return Err(Refusal::HoldTtlInvalid);
        }
        let currency = self.judge_currency(command.currency, command.currency_known)?;
        let price = self.price(&room_type, room.as_ref(), stay, occupancy, currency, |_| None)?;
        if command.expected_total.is_some_and(|expected| expected < 0) {
            return Err(Refusal::InvalidAmount);
        }
        self.judge_rules(&room_type, stay, None)?;
        Ok((room_type, room, price))
    }

    /// Makes a reservation. Where several rooms may be planned for it, it gets the one that was `seen`.
    pub fn reserve(&mut self, command: &Reserve, seen: Option<RoomId>) -> Result<Arc<Reservation>, Refusal> {
        let Reserve { arrival, departure, occupancy, .. } = *command;
        let (room_type, room, price) = self.judge_reserve(command)?;
        let total: i64 = price.amounts.iter().sum();
        if let Some(room) = &room {
            let kept = usize::from(command.block.is_some());
            self.clear(room, arrival, departure, kept)
                .map_err(|nights| Refusal::RoomUnavailable { nights })?;
        }
        match &command.block {
            Some(block) => self.judge_block(block, &room_type, arrival, departure)?,
            None => no_availability(self.full(&room_type, arrival, departure, 0))?,
        }
        let planned = match &room {
            Some(room) => Some(room.clone()),
            None => match self.choose(&room_type, arrival, departure) {
                Choice::Room(room) => Some(room),
                Choice::Some => seen,
                Choice::Overbooked => None,
                Choice::Fragmented => return Err(FRAGMENTED),
            },
        };
        if command.expected_total.is_some_and(|expected| expected != total) {
            return Err(Refusal::PriceChanged { total });
        }
        let end = command.hold_seconds.map(|seconds| Timestamp(self.now + seconds * 1_000));
        Ok(self.push(Reservation {
            id: command.id,
            booking_id: command.booking_id,
            property: command.property.clone(),
            room_type,
            room: planned,
            room_pinned: room.is_some(),
            guest: command.guest.clone(),
            arrival,
            departure,
            occupancy,
            status: if end.is_some() { Status::Held } else { Status::Confirmed },
            hold_expires_at: end,
            price,
            block: command.block.clone(),
            external_ref: command.external_ref.clone(),
            room_from: None,
            released_from: None,
            slept: None,
            revision: 1,
            lsn: self.lsn,
            created_at: Timestamp(self.now),
            updated_at: Timestamp(self.now),
        }))
    }

    pub fn push(&mut self, stay: Reservation) -> Arc<Reservation> {
        if space::may_move(&stay) {
            self.open.insert(stay.id);
        }
        self.stays.push(stay.clone());
        Arc::new(stay)
    }

    pub fn amend(&mut self, command: &Amend, seen: &Seen<'_>) -> Result<Outcome, Refusal> {
        self.find(command.reservation, None)?;
        let named = match &command.room {
            Some(RoomChange::Pin(room)) => Some((room.clone(), self.type_of(room)?)),
            _ => None,
        };
        if let Some(room_type) = &command.room_type {
            self.room_type(room_type)?;
        }
        let old = self.find(command.reservation, command.if_match)?;
        let was_pinned = old.room.clone().filter(|_| old.room_pinned);
        // A room that it keeps may be of another type by now. Who is in it had it as what it was.
        let keeps = was_pinned.clone().filter(|_| command.room.is_none());
        let in_house = old.status == Status::InHouse;
        let anew = keeps.as_ref().filter(|_| !in_house).and_then(|room| self.type_of(room).ok());
        let of_kept = anew.unwrap_or(old.room_type.clone());
        let of_named = named.as_ref().map(|(_, room_type)| room_type.clone());
        let room_type = of_named.or(command.room_type.clone()).unwrap_or(of_kept.clone());
        let pinned = match named {
            Some((room, _)) => Some(room),
            None => keeps.filter(|_| room_type == of_kept),
        };
        let arrival = command.arrival.unwrap_or(old.arrival);
        let departure = command.departure.unwrap_or(old.departure);
        let occupancy = command.occupancy.unwrap_or(old.occupancy);
        let state = old.status;
        let moves = arrival != old.arrival || room_type != old.room_type || pinned != was_pinned;
        if !state.is_live() {
            return Err(Refusal::InvalidState { state });
        }
        let keeps_room = match &command.room {
            None => true,
            Some(RoomChange::Unpin) => was_pinned.is_none(),
            Some(RoomChange::Pin(room)) => {
                was_pinned.as_ref() == Some(room) && self.type_of(room).as_ref() == Ok(&old.room_type)
            }
        };
        let keeps_type = command.room_type.as_ref().is_none_or(|room_type| *room_type == old.room_type);
        let keeps_dates = arrival == old.arrival && departure == old.departure;
        if keeps_room && keeps_type && keeps_dates && occupancy == old.occupancy {
            return Ok(Outcome::Changed(Arc::new(old)));
        }
        if state == Status::InHouse && moves {
            return Err(Refusal::InvalidState { state });
        }
        // What is kept may be in service no longer, but by who is in it.
        if let Some(room) = pinned.as_ref().filter(|_| !in_house) {
            self.type_of(room)?;
        }
        let today = self.today();
        judge_length(arrival, departure)?;
        if arrival != old.arrival {
            self.judge_past(arrival)?;
        }
        if departure != old.departure {
            if departure < today {
                return Err(Refusal::InvalidStay);
            }
            self.judge_horizon(departure)?;
        }
        let reprices = room_type != old.room_type || occupancy != old.occupancy;
        if reprices {
            self.judge_occupancy(self.room_type(&room_type)?, occupancy)?;
        }
        let kept = |night: Date| {
            let paid = old.price.nights().find(|(priced, _)| *priced == night).map(|(_, amount)| amount);
            let had = (old.arrival..old.departure).contains(&night);
            paid.filter(|_| had && (!reprices || night < today))
        };
        let stay = (arrival, departure);
        let price = self.price(&room_type, pinned.as_ref(), stay, occupancy, old.price.currency, kept)?;
        let was = (room_type == old.room_type).then_some((old.arrival, old.departure));
        self.judge_rules(&room_type, stay, was)?;
        let target = Target { arrival, departure, room_type, pinned };
        self.place(old, target, occupancy, price, seen.room(command.reservation))
    }

    pub fn assign(&mut self, command: &Assign) -> Result<Outcome, Refusal> {
        self.find(command.reservation, None)?;
        let room_type = self.type_of(&command.room)?;
        let old = self.find(command.reservation, command.if_match)?;
        if !old.status.is_live() {
            return Err(Refusal::InvalidState { state: old.status });
        }
        let moves = old.room.as_ref() != Some(&command.room);
        if old.status == Status::InHouse && moves && old.departure <= self.today() {
            return Err(Refusal::InvalidState { state: old.status });
        }
        if old.room_pinned && old.room.as_ref() == Some(&command.room) && old.room_type == room_type {
            return Ok(Outcome::Changed(Arc::new(old)));
        }
        if room_type != old.room_type {
            self.judge_occupancy(self.room_type(&room_type)?, old.occupancy)?;
        }
        let (arrival, departure, price) = (old.arrival, old.departure, old.price.clone());
        let target = Target { arrival, departure, room_type, pinned: Some(command.room.clone()) };
        let occupancy = old.occupancy;
        self.place(old, target, occupancy, price, None)
    }

    /// Puts a stay that is changed, its old nights out of the way.
    fn place(
        &mut self,
        old: Reservation,
        target: Target,
        occupancy: u32,
        price: Price,
        seen: Option<RoomId>,
    ) -> Result<Outcome, Refusal> {
        let mut others = self.clone();
        others.stays.retain(|stay| stay.id != old.id);
        let (room, room_from) = others.find_place(&old, &target, seen)?;
        let Target { arrival, departure, room_type, pinned } = target;
        let moves = old.room_type != room_type || (old.status == Status::InHouse && old.room != room);
        let slept = match moves {
            _ if arrival != old.arrival => None,
            true => self.slept(&old),
            false => old.slept.clone(),
        };
        // Who waits may be given its room in the same breath, once it is unpinned.
        self.open.insert(old.id);
        Ok(Outcome::Changed(self.change(old.id, |stay| {
            (stay.arrival, stay.departure, stay.occupancy) = (arrival, departure, occupancy);
            (stay.room_type, stay.room_pinned, stay.price) = (room_type, pinned.is_some(), price);
            (stay.room, stay.room_from, stay.slept) = (room, room_from, slept);
        })))
    }

    /// Night by night where a guest in house was, up to the business date; of who is late, of which type his nights were.
    fn slept(&self, old: &Reservation) -> Option<Box<[Stretch]>> {
        let mut slept: Vec<Stretch> = Vec::new();
        for night in old.arrival.until(old.departure.min(self.today())) {
            let (room_type, room) = space::place_on(old, night).unwrap();
            let room = room.filter(|_| old.status == Status::InHouse);
            match slept.last_mut() {
                Some(last) if (&last.room_type, &last.room) == (&room_type, &room) => {
                    last.to = night.plus(1);
                }
                _ => slept.push(Stretch { room_type, room, from: night, to: night.plus(1) }),
            }
        }
        (!slept.is_empty()).then_some(slept.into())
    }

    /// Whether a stay has the room on some night.
    fn was_had(&self, room: &RoomId, from: Date, to: Date) -> bool {
        from.until(to).any(|night| self.stays.iter().any(|stay| has_room(stay, room, night)))
    }

    /// The room of the changed stay and its first night there, where the arrival is before it.
    fn find_place(
        &self,
        old: &Reservation,
        target: &Target,
        seen: Option<RoomId>,
    ) -> Result<(Option<RoomId>, Option<Date>), Refusal> {
        let Target { arrival, departure, room_type, .. } = target;
        let (arrival, departure, today) = (*arrival, *departure, self.today());
        let later = (arrival < today).then_some(today);
        let from = |room: &RoomId| {
            let stays_there = old.room.as_ref() == Some(room) && arrival == old.arrival;
            if stays_there { old.room_from } else { later }
        };
        let block = old.block.as_ref().filter(|block| {
            let (block, released) = &self.blocks[*block];
            block.status == BlockStatus::Definite && !released
        });
        let kept = usize::from(block.is_some_and(|block| self.blocks[block].0.room_type == *room_type));
        let has_space = || {
            let first = arrival.max(today);
            if let Some(block) = block.filter(|_| kept > 0) {
                let none_left = |night: &Date| self.left_of(block, *night) == 0;
                no_availability(first.until(departure).filter(none_left).collect())?;
            }
            let is_beyond = |night: &Date| {
                let is_new = *night < old.arrival || old.departure <= *night;
                let is_new_of_type = is_new || old.room_type != *room_type;
                let own = old.block.as_ref();
                own.is_some_and(|own| {
                    is_new && self.is_outside(own, *night)
                        || is_new_of_type && self.is_picked_up(own, room_type, *night)
                })
            };
            no_availability(first.until(departure).filter(is_beyond).collect())?;
            no_availability(self.full(room_type, arrival.max(today), departure, kept))
        };
        let in_house = old.room.as_ref().filter(|_| old.status == Status::InHouse);
        if let Some(room) = target.pinned.as_ref().or(in_house) {
            let unavailable = |nights| Refusal::RoomUnavailable { nights };
            let first = from(room).unwrap_or(arrival);
            let next = arrival.max(today);
            let adds_gone = arrival == old.arrival && departure > old.departure;
            let asked = if adds_gone { next.min(old.departure) } else { next };
            if asked >= departure && old.room.as_ref() == Some(room) {
                return Ok((Some(room.clone()), from(room)));
            }
            if asked < departure && self.type_of(room).as_ref() != Ok(room_type) {
                return Err(unavailable(asked.until(departure).collect()));
            }
            self.type_of(room)?;
            if self.was_had(room, first, departure.min(today)) {
                return Err(unavailable(self.room_taken(room, first, departure)));
            }
            self.clear(room, first, departure, kept).map_err(unavailable)?;
            has_space()?;
            return Ok((Some(room.clone()), from(room)));
        }
        if block.is_some() && kept == 0 && old.room_type != *room_type {
            no_availability(arrival.max(today).until(departure).collect())?;
        }
        has_space()?;
        if let Some(room) = old.room.as_ref().filter(|_| old.room_type == *room_type)
            && self.is_free(room, from(room).unwrap_or(arrival).max(today), departure)
            && !self.was_had(room, from(room).unwrap_or(arrival), departure.min(today))
            && self.type_of(room).as_ref() == Ok(room_type)
        {
            return Ok((Some(room.clone()), from(room)));
        }
        if arrival.max(today) >= departure {
            return Ok((None, None));
        }
        match self.choose(room_type, later.unwrap_or(arrival), departure) {
            Choice::Room(room) => Ok((Some(room), later)),
            Choice::Some => Ok((seen, later)),
            Choice::Overbooked => Ok((None, None)),
            // It was sold these nights, and waits for a room as before.
            Choice::Fragmented
                if old.room.is_none()
                    && old.room_type == *room_type
                    && old.arrival <= arrival
                    && departure <= old.departure =>
            {
                Ok((None, None))
            }
            Choice::Fragmented => Err(FRAGMENTED),
        }
    }
}

pub fn judge_length(arrival: Date, departure: Date) -> Result<(), Refusal> {
    if departure <= arrival {
        return Err(Refusal::InvalidStay);
    }
    if arrival.nights_to(departure) > 366 { Err(Refusal::StayTooLong) } else { Ok(()) }
}
