//! Looking ahead: what the next commands will look for is touched for all of them before the first is applied.
//!
//! Among many reservations hardly anything that a command reads is in the processor's caches, and each read waits for the
//! one before it. Those of different commands wait for nothing of one another: made together, their waits overlap. So each
//! loop here follows one pointer for every command, and is short enough that a processor has several turns of it under way.
//! Nothing is changed or decided. It reads commands that nobody has judged, outside of the guard around each, so it must
//! not panic on any: it looks up what may not be there, and counts with dates only.

use std::hint::black_box;

use super::book::{Book, RoomBook};
use super::command::{Command, Reserve, Submission, Wanted};
use super::date::Date;
use super::id::ReservationId;
use super::state::Ledger;
use super::store::{Shared, Slot};

/// Commands that are looked at together: what they touch stays well below a processor's second cache.
pub const COMMANDS: usize = 64;

impl Ledger {
    pub(super) fn look_ahead(&self, submissions: &[Submission]) {
        for key in submissions.iter().filter_map(|submission| submission.key.as_ref()) {
            black_box(self.keys.touch(&key.digest));
        }
        self.touch_rooms(submissions);
        self.touch_reservations(submissions);
    }

    /// Rooms that are asked for by name, their types, and their nights.
    fn touch_rooms(&self, submissions: &[Submission]) {
        let found = submissions.iter().filter_map(|submission| self.find_room(&submission.command));
        let found: Vec<(&Book, Slot, &Reserve)> = found.collect();
        let rooms = found.iter().map(|(book, slot, _)| book.shared_room_at(*slot));
        let rooms: Vec<&Shared<RoomBook>> = rooms.collect();
        for room in &rooms {
            // Who writes to it looks whether others have it.
            black_box(Shared::count(room));
            black_box((room.is_in_service(), room.calendar.stays().len(), room.out_of_order.len()));
        }
        for room in &rooms {
            black_box(room.record.room.room_type.as_words());
        }
        for (room, (book, slot, asked)) in rooms.iter().zip(&found) {
            let Reserve { arrival, departure, .. } = *asked;
            black_box(room.calendar.is_free(*arrival, *departure));
            book.touch_nights(room, *slot, *arrival, *departure);
        }
        for (book, _, asked) in &found {
            black_box(book.expected.touch(&(asked.arrival, asked.id)));
        }
    }

    fn find_room<'a>(&'a self, command: &'a Command) -> Option<(&'a Book, Slot, &'a Reserve)> {
        let Command::Reserve(asked) = command else { return None };
        let Wanted::Room(room) = &asked.wanted else { return None };
        let book = self.book(&asked.property).ok()?;
        Some((book, book.slot_of(room)?, asked))
    }

    /// Reservations that are changed.
    fn touch_reservations(&self, submissions: &[Submission]) {
        let changed = submissions.iter().filter_map(|submission| changed(&submission.command));
        let slots: Vec<Slot> = changed.filter_map(|id| self.reservations_by_id.get(&id).copied()).collect();
        let packed: Vec<&[u8]> = slots.iter().map(|slot| self.packed_at(*slot).as_bytes()).collect();
        for bytes in packed {
            black_box((bytes.first(), bytes.last()));
        }
    }
}

impl Book {
    fn touch_nights(&self, room: &RoomBook, slot: Slot, from: Date, to: Date) {
        let (Ok(room_type), Some(place)) =
            (self.room_type(&room.record.room.room_type), self.places.get(slot as usize))
        else {
            return;
        };
        if room.is_in_service() {
            black_box(room_type.taken.touch(*place as usize, from, to));
        }
    }
}

fn changed(command: &Command) -> Option<ReservationId> {
    match command {
        Command::Confirm(it)
        | Command::Cancel(it)
        | Command::CheckIn(it)
        | Command::CheckOut(it)
        | Command::NoShow(it) => Some(it.reservation),
        Command::Amend(it) => Some(it.reservation),
        Command::Assign(it) => Some(it.reservation),
        _ => None,
    }
}
