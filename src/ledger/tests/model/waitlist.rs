//! Who waits, and what they are offered.

use uuid::Uuid;

use super::*;

const OFFERED_SECONDS: u64 = 60 * 60;

impl Model {
    pub fn join(&mut self, command: &JoinWaitlist, seen: &Seen<'_>) -> Result<Outcome, Refusal> {
        let JoinWaitlist { arrival, departure, occupancy, .. } = *command;
        let room_type = self.room_type(&command.room_type)?.clone();
        self.judge_dates(arrival, departure)?;
        self.judge_occupancy(&room_type, occupancy)?;
        let currency = self.judge_currency(command.currency, command.currency_known)?;
        self.price(&room_type.room_type, None, (arrival, departure), occupancy, currency, |_| None)?;
        let mut entry = WaitlistEntry {
            id: command.id,
            property: command.property.clone(),
            guest: command.guest.clone(),
            room_type: command.room_type.clone(),
            arrival,
            departure,
            occupancy,
            currency,
            status: WaitlistStatus::Waiting,
            reservation: None,
            created_at: Timestamp(self.now),
            updated_at: Timestamp(self.now),
        };
        if self.offer(&mut entry, seen.after, true) {
            entry.status = WaitlistStatus::Offered;
        }
        self.waitlist.push(entry.clone());
        Ok(Outcome::Waitlisted(Arc::new(entry)))
    }

    /// Makes a hold for the entry if it fits. Its ids and its room are the ledger's. One that fits where nothing was
    /// freed may be offered or not: with what was sold meanwhile it may have become one that is overbooked.
    fn offer(&mut self, entry: &mut WaitlistEntry, house: &House, freed: bool) -> bool {
        let shown = house.ledger.waitlist_entry(&self.property.property, entry.id);
        let id = shown.ok().and_then(|shown| shown.reservation);
        let made = id.map(|id| house.ledger.reservation(id).unwrap());
        let nil = Uuid::nil();
        let command = Reserve {
            id: made.as_ref().map_or(ReservationId(nil), |made| made.id),
            booking_id: made.as_ref().map_or(BookingId(nil), |made| made.booking_id),
            guest: entry.guest.clone(),
            arrival: entry.arrival,
            departure: entry.departure,
            occupancy: entry.occupancy,
            currency: Some(entry.currency),
            hold_seconds: Some(OFFERED_SECONDS),
            ..reserve(0, Wanted::RoomType(entry.room_type.clone()), 0, 1)
        };
        let mut with = self.clone();
        if let Err(refusal) = with.reserve(&command, made.as_ref().and_then(|made| made.room.clone())) {
            assert!(made.is_none(), "the ledger offers what is refused with {refusal:?}: {entry:?}");
            return false;
        }
        if made.is_none() {
            assert!(!freed, "it fits, and the ledger does not offer it: {entry:?}");
            return false;
        }
        *self = with;
        entry.reservation = id;
        true
    }

    pub fn leave(&mut self, command: &LeaveWaitlist) -> Result<Outcome, Refusal> {
        let now = Timestamp(self.now);
        let entry = self.waitlist.iter_mut().find(|entry| entry.id == command.id);
        let entry = entry.ok_or(Refusal::WaitlistEntryNotFound)?;
        match entry.status {
            WaitlistStatus::Waiting => {
                (entry.status, entry.updated_at) = (WaitlistStatus::Withdrawn, now);
            }
            WaitlistStatus::Offered => {
                let reservation = entry.reservation.unwrap();
                let is_new = |stay: &Reservation| (stay.id, stay.lsn) == (reservation, self.lsn);
                match self.stays.iter().position(is_new) {
                    // It was offered just before, because it was due: nobody knows.
                    Some(made) => {
                        (entry.status, entry.reservation) = (WaitlistStatus::Withdrawn, None);
                        entry.updated_at = now;
                        self.stays.remove(made);
                    }
                    None => drop(self.cancel(&Change { reservation, if_match: None })?),
                }
            }
            WaitlistStatus::Withdrawn => {}
            state => return Err(Refusal::NotWaiting { state }),
        }
        Ok(Outcome::Removed)
    }

    /// Entries follow their holds; those that wait are offered a hold where they fit, the first that came first.
    pub fn go_through_waitlist(&mut self, house: &House) {
        let now = Timestamp(self.now);
        for n in 0..self.waitlist.len() {
            let mut entry = self.waitlist[n].clone();
            if entry.status != WaitlistStatus::Offered {
                continue;
            }
            let hold = self.find(entry.reservation.unwrap(), None).unwrap();
            entry.status = match hold.status {
                Status::Held => continue,
                Status::Expired => WaitlistStatus::Lapsed,
                Status::Canceled => WaitlistStatus::Withdrawn,
                _ => WaitlistStatus::Booked,
            };
            entry.updated_at = now;
            self.waitlist[n] = entry;
        }
        let left = self.left_now();
        for n in 0..self.waitlist.len() {
            let mut entry = self.waitlist[n].clone();
            if entry.status != WaitlistStatus::Waiting {
                continue;
            }
            let more = |night: Date| {
                let of = (entry.room_type.clone(), night);
                left.get(&of) > self.left.get(&of)
            };
            let freed = entry.arrival.until(entry.departure).any(more);
            if entry.arrival < self.today() {
                entry.status = WaitlistStatus::Lapsed;
            } else if self.offer(&mut entry, house, freed) {
                entry.status = WaitlistStatus::Offered;
            } else {
                continue;
            }
            entry.updated_at = now;
            self.waitlist[n] = entry;
        }
    }
}
