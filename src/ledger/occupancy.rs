//! What a reservation takes when it is put, and gives back when it is changed or removed: nights of types and of
//! rooms, and its place in every index.

use std::collections::BTreeMap;

use super::book::Book;
use super::calendar::{NightCount, RoomCalendar, RoomStay};
use super::check;
use super::date::Date;
use super::id::{PropertyId, ReservationId, RoomId, RoomTypeId};
use super::packed::Packed;
use super::record::ReservationRecord;
use super::reservation::{Reservation, Status};
use super::state::Ledger;
use super::store::Slot;

impl Ledger {
    /// Puts a reservation, which is also given packed, and gives the one that it replaces. What it takes of rooms goes to
    /// `gathered`, where that is given.
    pub(super) fn set_reservation(
        &mut self,
        record: &ReservationRecord,
        packed: Packed,
        gathered: Option<&mut RoomStays>,
    ) -> Option<ReservationRecord> {
        let reservation = &*record.reservation;
        let id = reservation.id;
        let (slot, old) = match self.reservations_by_id.get(&id) {
            Some(slot) => {
                let slot = *slot;
                let old = self.reservations.replace(slot, packed).unpack();
                self.release(&old, slot);
                (slot, Some(old))
            }
            None => {
                let slot = self.reservations.insert(packed);
                self.reservations_by_id.insert(id, slot);
                self.bookings.insert((reservation.booking_id, record.index()), slot);
                (slot, None)
            }
        };
        let book = self.checked_book_mut(&reservation.property);
        if old.is_none() {
            book.reservations.insert(id, slot);
        }
        book.occupy(record, slot);
        match gathered {
            None => room_stays(reservation, slot).for_each(|(room, stay)| book.move_in(room, stay)),
            Some(gathered) => gathered.add(book, record, slot),
        }
        if let Some(end) = reservation.hold_expires_at {
            self.due.insert((end, id), ());
        }
        old
    }

    pub(super) fn unset_reservation(&mut self, id: ReservationId) -> Option<ReservationRecord> {
        let slot = self.reservations_by_id.remove(&id)?;
        let record = self.reservations.remove(slot).unpack();
        self.bookings.remove(&(record.reservation.booking_id, record.index()));
        self.release(&record, slot);
        self.checked_book_mut(&record.reservation.property).reservations.remove(&id);
        Some(record)
    }

    /// Gives all rooms to who was gathered for them. An error where a room can't be had by all of its stays.
    pub(super) fn move_in(&mut self, gathered: RoomStays) -> Result<(), NotFree> {
        for (property, mut stays) in gathered.0 {
            stays.sort_unstable_by_key(|(room, stay)| (*room, stay.arrival));
            let book = self.checked_book_mut(&property);
            for of_room in stays.chunk_by(|(one, _), (other, _)| one == other) {
                let room = of_room[0].0;
                let calendar = RoomCalendar::of(of_room.iter().map(|(_, stay)| *stay));
                let calendar = calendar.filter(|calendar| book.may_have(room, calendar));
                let Some(calendar) = calendar else {
                    let room = book.room_at(room).record.room.room.clone();
                    return Err(NotFree { property, room });
                };
                book.move_all_in(room, calendar);
            }
        }
        Ok(())
    }

    /// Gives back what the reservation took of its property, and its place among what is due.
    fn release(&mut self, record: &ReservationRecord, slot: Slot) {
        let reservation = &*record.reservation;
        self.checked_book_mut(&reservation.property).release(record, slot);
        if let Some(end) = reservation.hold_expires_at {
            self.due.remove(&(end, reservation.id));
        }
    }
}

/// What reservations take of rooms, gathered to be put into the calendars room by room: one by one, each would be looked
/// for where nothing near was touched before.
#[derive(Default)]
pub struct RoomStays(BTreeMap<PropertyId, Vec<(Slot, RoomStay)>>);

/// A room that was sold twice, or to a stay that can't have it.
#[derive(Debug)]
pub struct NotFree {
    pub property: PropertyId,
    pub room: RoomId,
}

impl RoomStays {
    fn add(&mut self, book: &Book, record: &ReservationRecord, slot: Slot) {
        let reservation = &*record.reservation;
        let stays = match self.0.get_mut(&reservation.property) {
            Some(stays) => stays,
            None => self.0.entry(reservation.property.clone()).or_default(),
        };
        stays.extend(room_stays(reservation, slot).map(|(room, stay)| (book.known_slot(room), stay)));
    }
}

impl Book {
    /// Whether the room, which has no stay yet, may have all of these.
    fn may_have(&self, room: Slot, calendar: &RoomCalendar) -> bool {
        let mut stays = calendar.stays().iter();
        stays.all(|stay| {
            check::room_is_free(self, self.room_at(room), None, (stay.arrival, stay.departure)).is_ok()
        })
    }

    /// Takes all but the rooms.
    fn occupy(&mut self, record: &ReservationRecord, slot: Slot) {
        let reservation = &*record.reservation;
        if reservation.waits_for_room() {
            let roomless = &mut self.room_type_mut(&reservation.room_type).roomless;
            roomless.insert((reservation.arrival, record.created_lsn, reservation.id), slot);
        }
        for (room_type, (from, to)) in nights_by_type(reservation) {
            self.room_type_mut(room_type).nights.change(from, to, |count| {
                *counted(reservation, count) += 1;
                count.roomless += u32::from(reservation.room.is_none());
            });
            if let Some(block) = &reservation.block {
                self.pick_up(block, room_type, from, to);
            }
        }
        if self.expects(reservation) {
            self.expected.insert((reservation.arrival, reservation.id), slot);
        }
        if let Some(room) = occupied(reservation) {
            self.in_house.insert((room.clone(), reservation.id), slot);
        }
    }

    /// Gives back what [`occupy`](Book::occupy) took, and the rooms.
    fn release(&mut self, record: &ReservationRecord, slot: Slot) {
        let reservation = &*record.reservation;
        if reservation.waits_for_room() {
            let roomless = &mut self.room_type_mut(&reservation.room_type).roomless;
            roomless.remove(&(reservation.arrival, record.created_lsn, reservation.id));
        }
        for (room_type, (from, to)) in nights_by_type(reservation) {
            self.room_type_mut(room_type).nights.change(from, to, |count| {
                let count_of = counted(reservation, count);
                *count_of = count_of.checked_sub(1).expect("a stay is counted on each of its nights");
                count.roomless -= u32::from(reservation.room.is_none());
            });
            if let Some(block) = &reservation.block {
                self.give_back(block, room_type, from, to);
            }
        }
        for (room, stay) in room_stays(reservation, slot) {
            self.room_mut(room).calendar.remove(stay);
            self.retake(room, stay.arrival, stay.departure);
        }
        if self.expects(reservation) {
            self.expected.remove(&(reservation.arrival, reservation.id));
        }
        if let Some(room) = occupied(reservation) {
            self.in_house.remove(&(room.clone(), reservation.id));
        }
    }
}

/// What of a night's count the reservation is part of.
fn counted<'c>(reservation: &Reservation, count: &'c mut NightCount) -> &'c mut u32 {
    match reservation.status {
        Status::Held => &mut count.held,
        _ => &mut count.sold,
    }
}

/// The room in which its guest is.
fn occupied(reservation: &Reservation) -> Option<&RoomId> {
    reservation.room.as_ref().filter(|_| reservation.status == Status::InHouse)
}

/// What the reservation takes of types.
fn nights_by_type(reservation: &Reservation) -> impl Iterator<Item = (&RoomTypeId, (Date, Date))> {
    let slept = reservation.slept().iter().map(|slept| (&slept.room_type, (slept.from, slept.to)));
    slept.chain(reservation.nights().map(|nights| (&reservation.room_type, nights)))
}

/// What the reservation takes of rooms.
fn room_stays(reservation: &Reservation, slot: Slot) -> impl Iterator<Item = (&RoomId, RoomStay)> {
    let slept = reservation.slept().iter().map(|slept| (slept.room.as_ref(), (slept.from, slept.to)));
    let now = reservation.room_nights().map(|nights| (reservation.room.as_ref(), nights));
    slept.chain(now).filter_map(move |(room, (arrival, departure))| {
        let fixed = !reservation.is_movable();
        Some((room?, RoomStay { arrival, departure, reservation: slot, fixed }))
    })
}
