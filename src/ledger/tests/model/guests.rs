//! What becomes of a reservation.

use super::space::Choice;
use super::*;

impl Model {
    /// The reservation, if the caller saw this revision of it.
    pub fn find(&self, id: ReservationId, if_match: Option<u64>) -> Result<Reservation, Refusal> {
        let stay = self.stays.iter().find(|stay| stay.id == id).ok_or(Refusal::ReservationNotFound)?;
        match if_match.filter(|seen| *seen != stay.revision) {
            Some(_) => Err(Refusal::VersionMismatch { revision: stay.revision }),
            None => Ok(stay.clone()),
        }
    }

    /// A change that the guest sees.
    pub fn change(&mut self, id: ReservationId, alter: impl FnOnce(&mut Reservation)) -> Arc<Reservation> {
        let (lsn, now) = (self.lsn, Timestamp(self.now));
        let stay = self.stays.iter_mut().find(|stay| stay.id == id).unwrap();
        alter(stay);
        (stay.revision, stay.lsn, stay.updated_at) = (stay.revision + 1, lsn, now);
        Arc::new(stay.clone())
    }

    pub fn confirm(&mut self, command: &Change) -> Result<Arc<Reservation>, Refusal> {
        match self.find(command.reservation, command.if_match)?.status {
            Status::Held => {}
            Status::Expired => return Err(Refusal::HoldExpired),
            state => return Err(Refusal::InvalidState { state }),
        }
        Ok(self.change(command.reservation, |stay| {
            (stay.status, stay.hold_expires_at) = (Status::Confirmed, None);
        }))
    }

    pub fn cancel(&mut self, command: &Change) -> Result<Arc<Reservation>, Refusal> {
        match self.find(command.reservation, command.if_match)?.status {
            Status::Held | Status::Confirmed => {}
            state => return Err(Refusal::InvalidState { state }),
        }
        Ok(self.change(command.reservation, |stay| {
            (stay.status, stay.hold_expires_at, stay.slept) = (Status::Canceled, None, None);
        }))
    }

    pub fn change_booking(
        &mut self,
        command: &BookingChange,
        to: Status,
        seen: &Seen<'_>,
    ) -> Result<Outcome, Refusal> {
        let is_member = |stay: &&Reservation| stay.booking_id == command.booking;
        let members: Vec<ReservationId> = self.stays.iter().filter(is_member).map(|stay| stay.id).collect();
        if members.is_empty() {
            return Err(Refusal::BookingNotFound);
        }
        let (mut reservations, mut refused) = (Vec::new(), Vec::new());
        for (index, id) in (0..).zip(&members) {
            if self.find(*id, None)?.status == to {
                continue;
            }
            let change = Change { reservation: *id, if_match: None };
            let changed = match to {
                Status::Confirmed => self.confirm(&change),
                _ => self.cancel(&change),
            };
            refused.extend(changed.err().map(|refusal| (index, refusal)));
        }
        let told = refused.into_iter().min_by_key(|(index, refusal)| (refusal.place(), *index));
        if let Some((index, refusal)) = told {
            return Err(Refusal::Member { index, refusal: Box::new(refusal) });
        }
        for id in members {
            let mut stay = self.find(id, None)?;
            // Where others gave up a room on the way, it may have been planned for this one.
            if let Some(shown) = seen.shown(id).filter(|_| to == Status::Canceled && self.open.contains(&id))
            {
                (stay.room, stay.room_from) = (shown.room.clone(), shown.room_from);
            }
            reservations.push(Arc::new(stay));
        }
        Ok(Outcome::BookingChanged(Booking { id: command.booking, reservations }))
    }

    pub fn check_in(&mut self, command: &Change, seen: &Seen<'_>) -> Result<Outcome, Refusal> {
        let stay = self.find(command.reservation, command.if_match)?;
        let today = self.today();
        if stay.status != Status::Confirmed || today < stay.arrival || stay.departure <= today {
            return Err(Refusal::InvalidState { state: stay.status });
        }
        // By nights the room is free that somebody should have left, but he is there.
        let is_empty = |room: &RoomId| self.is_free(room, today, stay.departure) && !self.overstays(room);
        let empty = self.rooms_of(&stay.room_type).into_iter().find(is_empty);
        let is_occupied = stay.room.as_ref().is_none_or(|room| self.overstays(room));
        let room = match (&stay.room, empty) {
            (_, Some(room)) if is_occupied && !stay.room_pinned => Some(room),
            (Some(_), _) => None,
            (None, _) => match self.choose(&stay.room_type, today, stay.departure) {
                Choice::Room(room) => Some(room),
                Choice::Some => seen.room(stay.id),
                Choice::Overbooked | Choice::Fragmented => {
                    let none = |night: &Date| self.has_no_room(&stay.room_type, *night, night.plus(1));
                    let mut nights: Vec<Date> = today.until(stay.departure).filter(none).collect();
                    if nights.is_empty() {
                        nights = today.until(stay.departure).collect();
                    }
                    return Err(Refusal::RoomUnavailable { nights });
                }
            },
        };
        Ok(Outcome::Changed(self.change(stay.id, |stay| {
            stay.status = Status::InHouse;
            if room.is_some() {
                (stay.room, stay.room_from) = (room, (stay.arrival < today).then_some(today));
            }
        })))
    }

    pub fn check_out(&mut self, command: &Change) -> Result<Outcome, Refusal> {
        let stay = self.find(command.reservation, command.if_match)?;
        if stay.status != Status::InHouse {
            return Err(Refusal::InvalidState { state: stay.status });
        }
        let today = self.today();
        Ok(Outcome::Changed(self.change(stay.id, |stay| {
            (stay.status, stay.departure) = (Status::CheckedOut, stay.departure.min(today));
        })))
    }

    pub fn no_show(&mut self, command: &Change) -> Result<Outcome, Refusal> {
        let stay = self.find(command.reservation, command.if_match)?;
        if stay.status != Status::Confirmed || stay.arrival > self.today() {
            return Err(Refusal::InvalidState { state: stay.status });
        }
        Ok(Outcome::Changed(self.mark_no_show(stay.id)))
    }

    fn mark_no_show(&mut self, id: ReservationId) -> Arc<Reservation> {
        let today = self.today();
        self.change(id, |stay| {
            (stay.status, stay.released_from) = (Status::NoShow, Some(stay.departure.min(today)));
        })
    }

    pub fn night_audit(&mut self, command: &NightAudit) -> Result<Outcome, Refusal> {
        let Property { business_date_mode: mode, business_date, .. } = self.property;
        if mode == BusinessDateMode::Clock || command.business_date < business_date {
            return Err(Refusal::AuditNotAllowed { mode, business_date });
        }
        if command.business_date > business_date {
            self.property.business_date = command.business_date;
            for stay in self.stays.clone() {
                if stay.status == Status::Confirmed && stay.arrival < command.business_date {
                    self.mark_no_show(stay.id);
                }
            }
            self.release_blocks();
        }
        Ok(Outcome::Property { created: false, property: Arc::new(self.property.clone()) })
    }

    pub fn roll(&mut self, date: Date) -> Result<Outcome, Refusal> {
        let clock = self.property.business_date_mode == BusinessDateMode::Clock;
        if clock && date > self.property.business_date {
            self.property.business_date = date;
            self.release_blocks();
        }
        Ok(Outcome::Done)
    }

    fn release_blocks(&mut self) {
        let today = self.today();
        for (block, released) in self.blocks.values_mut() {
            let is_over = block.release_date.is_some_and(|date| date <= today);
            *released |= block.status == BlockStatus::Definite && is_over;
        }
    }
}
