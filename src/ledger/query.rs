//! What may be asked about one property and its reservations.
//!
//! Queries change nothing, and the work of each is bounded.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::book::{Book, RoomBook, TypeBook};
use super::command::{Prices, RateTarget, Rules};
use super::date::Date;
use super::id::{BookingId, Currency, PropertyId, ReservationId, RoomId, RoomTypeId};
use super::outcome::{Booking, FreeRoom, NightAvailability, RatesSet, Refusal};
use super::plan::Clearing;
use super::property::{Property, Room, RoomType};
use super::rate::{Quote, RateTable};
use super::record::{OutOfOrderRecord, ReservationRecord, RestrictionRecord};
use super::reservation::{Price, Reservation, Status};
use super::restriction::{self, Asked};
use super::segments::Segment;
use super::state::Ledger;
use super::stay;

/// Nights of the longest range of `availability`: the horizon and a year behind it.
pub const AVAILABILITY_NIGHTS_MAX: i32 = stay::HORIZON_DAYS + stay::NIGHTS_MAX;

/// Nights of the longest range whose rates, restrictions or times out of order are listed: a century. They come by ranges,
/// so that an answer is as long as they are many.
pub const LISTED_NIGHTS_MAX: i32 = 36_525;

/// Reservations that one page looks at, at most; a page may hold fewer than its limit, and say where to go on.
const LOOKED_AT_MAX: usize = 5_000;
/// Nights of room types that availability tells of at once, at most: those of some hundreds of types on all its nights.
pub const TYPE_NIGHTS_MAX: usize = 1_000_000;
/// Steps of a search for one room that cost as much as to look at a room of a house full of pinned stays.
const STEPS_A_LOOK: usize = 40;

/// Which reservations of a property are listed; every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReservationFilter {
    pub guest: Option<Box<str>>,
    pub status: Option<Status>,
    pub external_ref: Option<Box<str>>,
    /// Arrival on this date or later.
    pub arrival_from: Option<Date>,
    /// Arrival before this date.
    pub arrival_to: Option<Date>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub reservations: Vec<Arc<Reservation>>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<ReservationId>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FreeRoomsQuery {
    pub property: PropertyId,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// The property's when absent.
    pub currency: Option<Currency>,
    /// The edge's verdict: no currency was asked for, or ISO 4217 lists it.
    pub currency_known: bool,
    pub room: Option<RoomId>,
    pub room_type: Option<RoomTypeId>,
    /// Rooms listed, at most.
    pub limit: usize,
}

/// What one room can't be sold for.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomOccupation {
    /// By arrival.
    pub stays: Vec<Arc<Reservation>>,
    /// By first night.
    pub closures: Vec<Arc<OutOfOrderRecord>>,
}

impl Ledger {
    /// The properties with all that is theirs, apart from the state, which may go on changing: for queries that take longer
    /// than it may stand still. Nothing is found here by the id of a reservation or a booking, nothing can be applied to it, and
    /// it has no hash. Costs a count for each branch of the reservations and of the properties, some dozens a million.
    pub fn properties_apart(&self) -> Ledger {
        Ledger {
            lsn: self.lsn,
            stamp: self.stamp,
            books: self.books.clone(),
            locations: self.locations.clone(),
            reservations: self.reservations.clone(),
            // Who reads a reservation sees what is due as done.
            failing: self.failing.clone(),
            ..Ledger::new()
        }
    }

    pub fn properties_len(&self) -> usize {
        self.books.len()
    }

    /// Rooms of a property, those that were retired too; 0 where there is no such property.
    pub fn rooms_len(&self, property: &PropertyId) -> usize {
        self.book(property).map_or(0, |book| book.rooms_by_id.len())
    }

    pub fn property(&self, id: &PropertyId) -> Option<&Property> {
        self.book(id).ok().map(|book| &*book.record.property)
    }

    /// By id.
    pub fn properties(&self) -> impl Iterator<Item = &Property> {
        self.books.iter().map(|(_, book)| &*book.record.property)
    }

    /// By id.
    pub fn room_types(&self, property: &PropertyId) -> Result<Vec<&RoomType>, Refusal> {
        let types = self.book(property)?.room_types.values();
        Ok(types.map(|room_type| &*room_type.record.room_type).collect())
    }

    /// By id.
    pub fn rooms(&self, property: &PropertyId) -> Result<Vec<&Room>, Refusal> {
        let book = self.book(property)?;
        Ok(book.rooms_in_service().map(|room| &*room.record.room).collect())
    }

    /// The prices that are set on the nights of `[from, to)`: those of types by id and date, then those of rooms.
    pub fn rates(&self, property: &PropertyId, from: Date, to: Date) -> Result<Vec<RatesSet>, Refusal> {
        let book = self.book(property)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        let mut found = Vec::new();
        for (id, room_type) in &book.room_types {
            clip(&room_type.rates, &RateTarget::RoomType(id.clone()), from, to, &mut found);
        }
        for (id, slot) in book.rooms_by_id.iter() {
            clip(&book.room_at(*slot).rates, &RateTarget::Room(id.clone()), from, to, &mut found);
        }
        Ok(found)
    }

    /// When rooms are out of order on the nights of `[from, to)`, by room and date.
    pub fn out_of_order(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<Vec<OutOfOrderRecord>, Refusal> {
        let book = self.book(property)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        let clipped = |closure: &Arc<OutOfOrderRecord>| {
            let (from, to) = (closure.from.max(from), closure.to.min(to));
            OutOfOrderRecord { from, to, ..OutOfOrderRecord::clone(closure) }
        };
        let rooms = book.rooms_by_id.iter().map(|(_, slot)| book.room_at(*slot));
        Ok(rooms.flat_map(|room| room.closures(from, to).iter().map(clipped)).collect())
    }

    /// The rules that are set on the dates of `[from, to)`, by room type and date.
    pub fn restrictions(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<Vec<RestrictionRecord>, Refusal> {
        let book = self.book(property)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        let mut found = Vec::new();
        for (id, room_type) in &book.room_types {
            let clipped = |segment: &Segment<Rules>| {
                let (from, to) = (segment.from.max(from), segment.to.min(to));
                RestrictionRecord::new(property, id, Segment { from, to, ..segment.clone() })
            };
            found.extend(room_type.rules.overlapping(from, to).iter().map(clipped));
        }
        Ok(found)
    }

    pub fn reservation(&self, id: ReservationId) -> Result<Arc<Reservation>, Refusal> {
        Ok(self.seen(self.find(id)?.reservation))
    }

    /// A reservation with what is kept of it for the ledger itself.
    pub fn reservation_record(&self, id: ReservationId) -> Result<ReservationRecord, Refusal> {
        self.find(id)
    }

    /// The reservations that were made together, in their order; one that was made by itself is a booking too.
    pub fn booking(&self, id: BookingId) -> Result<Booking, Refusal> {
        let reservations: Vec<_> = self.members(id).map(|record| self.seen(record.reservation)).collect();
        if reservations.is_empty() { Err(Refusal::BookingNotFound) } else { Ok(Booking { id, reservations }) }
    }

    /// By id, those after `after`.
    pub fn reservations(
        &self,
        property: &PropertyId,
        filter: &ReservationFilter,
        after: Option<ReservationId>,
        limit: usize,
    ) -> Result<Page, Refusal> {
        let page = self.reservations_within(property, filter, after, limit, usize::MAX)?;
        Ok(page.expect("as many may be looked at as there are"))
    }

    /// The same; `None` where more than `looks_max` reservations would have to be looked at for it.
    pub fn reservations_within(
        &self,
        property: &PropertyId,
        filter: &ReservationFilter,
        after: Option<ReservationId>,
        limit: usize,
        looks_max: usize,
    ) -> Result<Option<Page>, Refusal> {
        let book = self.book(property)?;
        let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page { reservations: Vec::new(), next: None };
        let mut last = None;
        for (looked_at, (id, slot)) in book.reservations.from(start).enumerate() {
            if page.reservations.len() >= limit.max(1) || looked_at >= LOOKED_AT_MAX {
                page.next = last;
                break;
            }
            if looked_at >= looks_max {
                return Ok(None);
            }
            last = Some(*id);
            let reservation = self.seen(self.at(*slot).reservation);
            if filter.matches(&reservation) {
                page.reservations.push(reservation);
            }
        }
        Ok(Some(page))
    }

    /// Exactly the rooms that a reservation by name would get, with its price, by id. Dates before the business date
    /// may be asked for.
    pub fn free_rooms(&self, query: &FreeRoomsQuery) -> Result<Vec<FreeRoom>, Refusal> {
        let rooms = self.free_rooms_within(query, usize::MAX)?;
        Ok(rooms.expect("as many may be looked at as there are"))
    }

    /// The same; `None` where more than `looks_max` rooms would have to be looked at for it. Whether it is refused is found out
    /// before the first.
    pub fn free_rooms_within(
        &self,
        query: &FreeRoomsQuery,
        looks_max: usize,
    ) -> Result<Option<Vec<FreeRoom>>, Refusal> {
        let FreeRoomsQuery { arrival, departure, occupancy, .. } = *query;
        let book = self.book(&query.property)?;
        let room = query.room.as_ref().map(|room| book.room(room)).transpose()?;
        let room_type = query.room_type.as_ref().map(|id| book.room_type(id)).transpose()?;
        stay::length(arrival, departure)?;
        stay::within_horizon(departure, book.business_date())?;
        occupancy_fits(book, room, room_type, occupancy)?;
        if !query.currency_known {
            return Err(Refusal::InvalidCurrency);
        }
        let currency = query.currency.unwrap_or(book.record.property.currency);
        let mut offers = Offers::new(book, Quote { arrival, departure, occupancy, currency });
        let of_type = |room: &RoomBook| {
            query.room_type.as_ref().is_none_or(|room_type| room.record.room.room_type == *room_type)
        };
        let limit = query.limit;
        Ok(match (room, room_type) {
            (Some(room), _) => {
                offers.list(std::iter::once(room).filter(|room| of_type(room)), limit, looks_max)
            }
            (None, Some(room_type)) => offers.list(book.rooms_of(room_type), limit, looks_max),
            (None, None) => offers.list(book.rooms_in_service(), limit, looks_max),
        })
    }

    /// What takes the room on the business date or later. Bounded by the nights of the horizon.
    pub fn room_occupation(&self, property: &PropertyId, room: &RoomId) -> Result<RoomOccupation, Refusal> {
        let book = self.book(property)?;
        let room = book.room(room)?;
        let today = book.business_date();
        let stays = room.calendar.stays().iter().filter(|stay| stay.departure > today);
        let seen = stays.map(|stay| self.seen(self.at(stay.reservation).reservation));
        Ok(RoomOccupation {
            stays: seen.filter(|stay| stay.status.is_live()).collect(),
            closures: room.closures(today, Date::MAX).to_vec(),
        })
    }

    /// How many [`availability`](Ledger::availability) tells of; none of a property that is not there.
    pub fn type_nights(&self, property: &PropertyId, from: Date, to: Date) -> usize {
        let nights = from.nights_to(to).max(0) as usize;
        self.book(property).map_or(0, |book| nights * book.room_types.len())
    }

    /// Every night of `[from, to)` of every room type: of up to [`TYPE_NIGHTS_MAX`] together.
    pub fn availability(
        &self,
        property: &PropertyId,
        from: Date,
        to: Date,
    ) -> Result<BTreeMap<RoomTypeId, Vec<NightAvailability>>, Refusal> {
        let book = self.book(property)?;
        if from >= to {
            return Err(Refusal::InvalidStay);
        }
        if from.nights_to(to) > AVAILABILITY_NIGHTS_MAX
            || self.type_nights(property, from, to) > TYPE_NIGHTS_MAX
        {
            return Err(Refusal::StayTooLong);
        }
        let nights = |room_type: &TypeBook| from.until(to).map(|date| night(room_type, date)).collect();
        let types = book.room_types.iter();
        Ok(types.map(|(id, room_type)| (id.clone(), nights(room_type))).collect())
    }
}

impl ReservationFilter {
    fn matches(&self, reservation: &Reservation) -> bool {
        let ReservationFilter { guest, status, external_ref, arrival_from, arrival_to } = self;
        guest.as_ref().is_none_or(|guest| reservation.guest == *guest)
            && status.is_none_or(|status| reservation.status == status)
            && external_ref.as_ref().is_none_or(|own| reservation.external_ref.as_ref() == Some(own))
            && arrival_from.is_none_or(|from| from <= reservation.arrival)
            && arrival_to.is_none_or(|to| reservation.arrival < to)
    }
}

fn clip(table: &RateTable, target: &RateTarget, from: Date, to: Date, found: &mut Vec<RatesSet>) {
    found.extend(table.overlapping(from, to).iter().map(|segment| RatesSet {
        target: target.clone(),
        from: segment.from.max(from),
        to: segment.to.min(to),
        prices: Prices::clone(&segment.value),
    }));
}

fn night(room_type: &TypeBook, date: Date) -> NightAvailability {
    let count = room_type.nights.get(date);
    NightAvailability {
        date,
        rooms: room_type.rooms.len() as u32,
        out_of_order: count.out_of_order,
        held: count.held,
        sold: count.sold,
        blocked: count.blocked,
        available: room_type.capacity() as i64 - count.taken() as i64,
    }
}

/// The occupancy fits what was named; or some type, where nothing was.
fn occupancy_fits(
    book: &Book,
    room: Option<&RoomBook>,
    room_type: Option<&TypeBook>,
    occupancy: u32,
) -> Result<(), Refusal> {
    if let Some(room) = room {
        stay::occupancy(occupancy, book.room_type(&room.record.room.room_type)?)?;
    }
    if let Some(room_type) = room_type {
        stay::occupancy(occupancy, room_type)?;
    }
    if occupancy == 0 {
        let types = book.room_types.values();
        let largest = types.map(|room_type| room_type.record.room_type.max_occupancy).max();
        return Err(Refusal::OccupancyInvalid { max_occupancy: largest.unwrap_or(0) });
    }
    Ok(())
}

/// What a stay costs in the rooms of one property; what concerns a whole type is found out once.
pub(super) struct Offers<'a> {
    book: &'a Book,
    quote: Quote,
    by_type: BTreeMap<&'a RoomTypeId, Option<TypeOffer<'a>>>,
    /// Rooms that were looked at. One that was searched for counts for many.
    pub looked_at: usize,
}

struct TypeOffer<'a> {
    clearing: Clearing<'a>,
    /// `None` where some night has no price of the type; a room may have its own.
    price: Option<Price>,
}

impl<'a> Offers<'a> {
    pub fn new(book: &'a Book, quote: Quote) -> Offers<'a> {
        Offers { book, quote, by_type: BTreeMap::new(), looked_at: 0 }
    }

    /// The first `limit` of them that can be had; `None` where more than `looks_max` would have to be looked at for that, of
    /// which the last may have been searched for.
    pub fn list(
        &mut self,
        rooms: impl Iterator<Item = &'a RoomBook>,
        limit: usize,
        looks_max: usize,
    ) -> Option<Vec<FreeRoom>> {
        let mut found = Vec::new();
        for room in rooms {
            if found.len() >= limit {
                break;
            }
            if self.looked_at >= looks_max {
                return None;
            }
            found.extend(self.offer(room));
        }
        Some(found)
    }

    fn offer(&mut self, room: &'a RoomBook) -> Option<FreeRoom> {
        let Quote { arrival, departure, occupancy, .. } = self.quote;
        let Room { room: id, room_type: type_id, .. } = &*room.record.room;
        self.looked_at += 1;
        let offer = self.by_type.entry(type_id).or_insert_with(|| {
            let room_type = self.book.room_type(type_id).ok()?;
            let asked = Asked { today: self.book.business_date(), arrival, departure, was: None };
            let sells = stay::occupancy(occupancy, room_type).is_ok()
                && restriction::judge(room_type, asked).is_ok()
                && room_type.full(arrival, departure).is_empty();
            let clearing = Clearing::new(self.book, room_type, arrival, departure);
            sells.then(|| TypeOffer { clearing, price: self.quote.price(room_type, None).ok() })
        });
        let TypeOffer { clearing, price } = offer.as_mut()?;
        // Nights that are gone can't be cleared.
        let today = self.book.business_date();
        if arrival < today && !room.is_free(arrival, today.min(departure)) {
            return None;
        }
        let steps = clearing.steps();
        let is_freed = clearing.frees(room);
        self.looked_at += (clearing.steps() - steps) / STEPS_A_LOOK;
        if !is_freed {
            return None;
        }
        let price = if room.rates.all().is_empty() {
            price.clone()
        } else {
            self.quote.price(self.book.room_type(type_id).ok()?, Some(room)).ok()
        };
        Some(FreeRoom { room: id.clone(), room_type: type_id.clone(), price: price? })
    }
}
