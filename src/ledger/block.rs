//! Blocks (allotments): rooms of a type that are kept for a group or a partner until they are picked up or released.
//!
//! A definite block takes, on each of its nights, what of its rooms is not picked up: [`BlockBook::left`]. Pick-ups are
//! reservations that name the block, on nights that they have in its type: a night that one of them gives back returns to the
//! block, and so does one that is upgraded to another type and counts there. What the block and its pick-ups have of its
//! type together is thus always the same, so that nobody can be sold what comes back to it. From the release date on nothing
//! is left of it. Releasing many blocks is split like a night audit: what one command has left is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::book::{Book, TypeBook};
use super::command::PutBlock;
use super::date::Date;
use super::id::{BlockId, IdempotencyKey, PropertyId, RoomTypeId};
use super::idempotency::created_under;
use super::outcome::{BlockShown, Outcome, Refusal};
use super::property::{Block, BlockStatus};
use super::record::{BlockRecord, Record};
use super::state::Ledger;
use super::stay;
use super::txn::{Halt, Txn};
use crate::planted::{Bug, planted};

/// Nights of the longest block: ten years.
pub const NIGHTS_MAX: i32 = 3_660;
/// Nights of all blocks of a property, which one list shows.
const NIGHTS_OF_ALL_MAX: u64 = 1_000_000;

/// A block and what is picked up. Restoring may come to its pick-ups first: then there is no record yet.
#[derive(Clone, Debug, Default)]
pub struct BlockBook {
    pub record: Option<BlockRecord>,
    /// Reservations that name it, by the type that they have on a night; no night has none, and no type.
    pub named_by: BTreeMap<RoomTypeId, BTreeMap<Date, u32>>,
}

impl BlockRecord {
    /// Whether it takes rooms.
    pub fn is_active(&self) -> bool {
        self.block.status == BlockStatus::Definite && !self.released
    }

    /// When it has to be released; `None` where it need not be.
    pub fn release(&self) -> Option<Date> {
        self.block.release_date.filter(|_| self.is_active())
    }
}

impl BlockBook {
    /// Whether it keeps, or kept, rooms of the type.
    pub fn is_of(&self, room_type: &RoomTypeId) -> bool {
        self.record.as_ref().is_some_and(|record| record.block.room_type == *room_type)
    }

    /// What is picked up of it as of rooms of the type, by night.
    pub fn picked_up_of(&self, room_type: &RoomTypeId) -> &BTreeMap<Date, u32> {
        static NONE: BTreeMap<Date, u32> = BTreeMap::new();
        self.named_by.get(room_type).unwrap_or(&NONE)
    }

    /// What is picked up, by night.
    pub fn picked_up(&self) -> Option<&BTreeMap<Date, u32>> {
        self.named_by.get(&self.record.as_ref()?.block.room_type)
    }

    pub fn picked_up_on(&self, night: Date) -> u32 {
        self.picked_up().and_then(|nights| nights.get(&night)).copied().unwrap_or(0)
    }

    /// The type whose rooms it takes now, and its nights.
    pub fn takes(&self) -> Option<&Block> {
        self.record.as_ref().filter(|record| record.is_active()).map(|record| &*record.block)
    }

    /// Whether the night is one of its dates, whatever it keeps now.
    pub fn covers(&self, night: Date) -> bool {
        self.record.as_ref().is_none_or(|record| (record.block.from..record.block.to).contains(&night))
    }

    /// Whether all its rooms are picked up on the night, whatever it keeps now, for who wants one of the type. Another type is
    /// an upgrade, of which it has none.
    pub fn is_picked_up(&self, room_type: &RoomTypeId, night: Date) -> bool {
        let own = self.record.as_ref().filter(|record| record.block.room_type == *room_type);
        own.is_some_and(|record| self.picked_up_on(night) >= record.block.rooms)
    }

    /// What it takes of its type on a night.
    pub fn left(&self, night: Date) -> u32 {
        let of_night = self.takes().filter(|block| (block.from..block.to).contains(&night));
        of_night.map_or(0, |block| block.rooms.saturating_sub(self.picked_up_on(night)))
    }

    fn nights(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.block.nights())
    }

    /// What is picked up, as a record of it says.
    fn picked_up_now(&self) -> Option<Arc<BTreeMap<Date, u32>>> {
        self.picked_up().map(|nights| Arc::new(nights.clone()))
    }

    fn shown(&self, created: bool) -> Option<BlockShown> {
        let BlockRecord { block, released, .. } = self.record.as_ref()?;
        let picked_up = block.from.until(block.to).map(|night| self.picked_up_on(night)).collect();
        Some(BlockShown { created, block: Arc::clone(block), picked_up, released: *released })
    }
}

/// A block as it was made, when nothing was picked up.
pub fn as_created(block: Arc<Block>, released: bool) -> BlockShown {
    let nights = block.from.nights_to(block.to).max(0) as usize;
    BlockShown { created: true, block, picked_up: vec![0; nights], released }
}

/// A block as the change that left `after` found or left it: no such change picks up or gives back, and it changes the type only
/// where nobody has a room of the old one.
pub fn as_changed(it: &BlockRecord, after: &BlockRecord) -> BlockShown {
    let block = Arc::clone(&it.block);
    let picked_up = after.picked_up.as_ref().filter(|_| block.room_type == after.block.room_type);
    let picked_up_on = |night| picked_up.and_then(|nights| nights.get(&night).copied());
    let picked_up = block.from.until(block.to).map(|night| picked_up_on(night).unwrap_or(0)).collect();
    BlockShown { created: false, block, picked_up, released: it.released }
}

pub fn put(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &PutBlock) -> Result<Outcome, Halt> {
    let PutBlock { property, block, room_type, from, to, rooms, status, release_date } = command;
    let block = Arc::new(Block {
        property: property.clone(),
        block: block.clone(),
        room_type: room_type.clone(),
        from: *from,
        to: *to,
        rooms: *rooms,
        status: *status,
        release_date: *release_date,
    });
    let book = txn.book(property)?;
    let old = book.blocks.get(&block.block);
    let released = *status == BlockStatus::Definite && is_over(&block, book.business_date());
    judge(book, old.map(Arc::as_ref), &block, released)?;
    let old = old.and_then(|old| old.record.clone());
    let created = old.is_none();
    let picked_up = txn.book(property)?.blocks.get(&block.block).and_then(|old| old.named_by.get(room_type));
    let picked_up = picked_up.map(|nights| Arc::new(nights.clone()));
    let (key, made_released) = match old {
        Some(old) => (old.key.map(|key| key.keeping(&old.block)), old.made_released),
        // Nobody else is answered with it as it was made.
        None => (created_under(key), released && key.is_some()),
    };
    let id = block.block.clone();
    txn.put(Record::Block(BlockRecord { block, key, released, picked_up, made_released }))?;
    let shown = txn.book(property)?.blocks.get(&id).and_then(|block| block.shown(created));
    Ok(Outcome::Block(shown.ok_or(Refusal::BlockNotFound)?))
}

fn is_over(block: &Block, today: Date) -> bool {
    block.release_date.is_some_and(|release| release <= today)
}

/// What stands against a block, in the contract's order.
fn judge(book: &Book, old: Option<&BlockBook>, block: &Block, released: bool) -> Result<(), Refusal> {
    let room_type = book.room_type(&block.room_type)?;
    let Block { from, to, rooms, .. } = *block;
    let today = book.business_date();
    if from >= to {
        return Err(Refusal::InvalidStay);
    }
    stay::within_horizon(to, today)?;
    if from.nights_to(to) > NIGHTS_MAX {
        return Err(Refusal::StayTooLong);
    }
    let before = old.map_or(0, BlockBook::nights);
    if block.nights() > before && book.block_nights - before + block.nights() > NIGHTS_OF_ALL_MAX {
        return Err(Refusal::TooManyRanges);
    }
    let none = BTreeMap::new();
    let picked_up = old.map_or(&none, |old| old.picked_up_of(&block.room_type));
    let covers = |night: &Date, count: u32| (from..to).contains(night) && count <= rooms;
    let short = picked_up.range(today..).filter(|(night, count)| !covers(night, **count));
    let mut nights: Vec<Date> = short.map(|(night, _)| *night).collect();
    // Be it canceled or released meanwhile: who picked up has a room of the type that it was of.
    let of_old_type =
        old.filter(|old| old.record.as_ref().is_some_and(|old| old.block.room_type != block.room_type));
    if let Some(of_old_type) = of_old_type.and_then(BlockBook::picked_up) {
        nights.extend(of_old_type.range(today..).map(|(night, _)| *night));
        nights.sort_unstable();
        nights.dedup();
    }
    if !nights.is_empty() {
        return Err(Refusal::CapacityBelowSold { nights });
    }
    if block.status != BlockStatus::Definite || released {
        return Ok(());
    }
    let capacity = room_type.capacity();
    let own = |night: Date| match old {
        Some(old) if old.takes().is_some_and(|taken| taken.room_type == block.room_type) => old.left(night),
        _ => 0,
    };
    let is_short = |night: &Date| {
        let left = rooms.saturating_sub(picked_up.get(night).copied().unwrap_or(0));
        let others = room_type.nights.get(*night).taken().saturating_sub(u64::from(own(*night)));
        left > 0 && others + u64::from(left) > capacity
    };
    let nights: Vec<Date> = from.max(today).until(to).filter(is_short).collect();
    if nights.is_empty() { Ok(()) } else { Err(Refusal::NoAvailability { nights, fragmented: false }) }
}

/// A block that a stay is to be taken from, once it may be.
pub fn find<'a>(book: &'a Book, block: Option<&BlockId>) -> Result<Option<&'a BlockBook>, Refusal> {
    let Some(block) = block else { return Ok(None) };
    let block = book.blocks.get(block).ok_or(Refusal::BlockNotFound)?;
    let state = block.record.as_ref().ok_or(Refusal::BlockNotFound)?.block.status;
    if state == BlockStatus::Definite { Ok(Some(block)) } else { Err(Refusal::BlockNotDefinite { state }) }
}

/// The nights of `[from, to)` of which nothing is left in the block.
pub fn not_left(block: &BlockBook, from: Date, to: Date) -> Vec<Date> {
    from.until(to).filter(|night| block.left(*night) == 0).collect()
}

/// The nights of `[from, to)` that a further stay of the type would have beyond what the block had, whatever it keeps now.
pub fn beyond(block: &BlockBook, room_type: &RoomTypeId, from: Date, to: Date) -> Vec<Date> {
    let is_beyond = |night: &Date| !block.covers(*night) || block.is_picked_up(room_type, *night);
    from.until(to).filter(is_beyond).collect()
}

/// Rooms of the type that the block keeps for a stay of its own, a night: on an upgrade to another type it has none.
pub fn kept_of(block: Option<&BlockBook>, room_type: &RoomTypeId) -> u64 {
    u64::from(block.and_then(BlockBook::takes).is_some_and(|block| block.room_type == *room_type))
}

/// The nights of `[from, to)` that a new stay of the type can't have from the block.
pub fn not_had(block: &BlockBook, room_type: &RoomTypeId, from: Date, to: Date) -> Vec<Date> {
    let is_of_type = block.takes().is_some_and(|block| block.room_type == *room_type);
    if is_of_type { not_left(block, from, to) } else { from.until(to).collect() }
}

/// Releases at most `left` blocks of the property whose date has come, and gives how many may still be.
pub fn release(txn: &mut Txn<'_>, property: &PropertyId, left: usize) -> Result<usize, Halt> {
    let book = txn.book(property)?;
    let today = book.business_date();
    let due = book.releases.iter().take_while(|((date, _), ())| *date <= today).take(left);
    let due: Vec<BlockId> = due.map(|((_, block), ())| block.clone()).collect();
    let left = left - due.len();
    for id in due {
        let block = txn.book(property)?.blocks.get(&id).ok_or(Refusal::BlockNotFound)?;
        let (record, picked_up) = (block.record.clone(), block.picked_up_now());
        let record = record.ok_or(Refusal::BlockNotFound)?;
        let unlucky = planted(Bug::DuePanics) && record.block.rooms == 2;
        assert!(!unlucky, "what is due for two is broken, on purpose");
        txn.put(Record::Block(BlockRecord { released: true, picked_up, ..record }))?;
    }
    Ok(left)
}

/// Releases at most `left` blocks of all properties.
pub fn go_on(txn: &mut Txn<'_>, mut left: usize) -> Result<(), Halt> {
    while left > 0 {
        let Some(property) = txn.releasing.first().map(|(property, ())| property.clone()) else { break };
        left = release(txn, &property, left)?;
    }
    Ok(())
}

impl Ledger {
    /// By id.
    pub fn blocks(&self, property: &PropertyId) -> Result<Vec<BlockShown>, Refusal> {
        let blocks = self.book(property)?.blocks.iter();
        Ok(blocks.filter_map(|(_, block)| block.shown(false)).collect())
    }
}

impl Book {
    /// Changes a block or its pick-ups on the nights `[from, to)`, and lets the counts of its type follow. A block of
    /// which nothing is known any more is forgotten.
    pub fn change_block(&mut self, id: &BlockId, from: Date, to: Date, change: impl FnOnce(&mut BlockBook)) {
        // Taken out rather than copied: its pick-ups are as many as it has nights.
        let mut kept = self.blocks.remove(id).unwrap_or_default();
        let block = Arc::make_mut(&mut kept);
        self.count_block(block, from, to, |blocked, left| *blocked -= left);
        self.block_nights -= block.nights();
        let before = block.record.as_ref().and_then(BlockRecord::release);
        change(block);
        self.block_nights += block.nights();
        let after = block.record.as_ref().and_then(BlockRecord::release);
        self.count_block(block, from, to, |blocked, left| *blocked += left);
        if before != after {
            before.map(|date| self.releases.remove(&(date, id.clone())));
            after.map(|date| self.releases.insert((date, id.clone()), ()));
        }
        if block.record.is_some() || !block.named_by.is_empty() {
            self.blocks.insert(id.clone(), kept);
        }
    }

    /// A reservation that names the block has the nights `[from, to)` in rooms of the type.
    pub fn pick_up(&mut self, block: &BlockId, room_type: &RoomTypeId, from: Date, to: Date) {
        self.change_block(block, from, to, |block| {
            let counts = block.named_by.entry(room_type.clone()).or_default();
            for night in from.until(to) {
                *counts.entry(night).or_default() += 1;
            }
        });
    }

    /// Undoes [`pick_up`](Book::pick_up).
    pub fn give_back(&mut self, block: &BlockId, room_type: &RoomTypeId, from: Date, to: Date) {
        self.change_block(block, from, to, |block| {
            let counts = block.named_by.get_mut(room_type).expect("a pick-up is counted for its type");
            for night in from.until(to) {
                let count = counts.get_mut(&night).expect("a pick-up is counted on each of its nights");
                *count -= 1;
                if *count == 0 {
                    counts.remove(&night);
                }
            }
            if counts.is_empty() {
                block.named_by.remove(room_type);
            }
        });
    }

    fn count_block(&mut self, block: &BlockBook, from: Date, to: Date, count: impl Fn(&mut u64, u64)) {
        let Some(takes) = block.takes() else { return };
        let room_type: &mut TypeBook = self.room_type_mut(&takes.room_type);
        for night in from.max(takes.from).until(to.min(takes.to)) {
            let left = u64::from(block.left(night));
            if left > 0 {
                room_type.nights.change(night, night.plus(1), |night| count(&mut night.blocked, left));
            }
        }
    }

    /// Whether some block has to be released.
    pub fn has_releases(&self) -> bool {
        self.releases.first().is_some_and(|((date, _), ())| *date <= self.business_date())
    }
}
