//! Search over properties by location.

use std::ops::Bound;
use std::sync::Arc;

use super::book::{Book, fold_case};
use super::date::Date;
use super::id::{Currency, PropertyId};
use super::outcome::{FreeRoom, Refusal};
use super::property::Property;
use super::query::Offers;
use super::rate::Quote;
use super::state::Ledger;
use super::stay;

/// Rooms listed of one property, at most.
pub const ROOMS_MAX: usize = 100;

/// Properties and rooms that one page looks at, at most; a page may hold fewer than its limit, and say where to go on.
const PROPERTIES_LOOKED_AT_MAX: usize = 1_000;
const ROOMS_LOOKED_AT_MAX: usize = 50_000;
/// Nights of rooms that a page lists with their prices, at most, but for those of its last property.
const NIGHTS_LISTED_MAX: usize = 50_000;

#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    /// Compared without regard to case; every property when absent.
    pub location: Option<Box<str>>,
    pub arrival: Date,
    pub departure: Date,
    pub occupancy: u32,
    /// Each property's own when absent.
    pub currency: Option<Currency>,
    /// The edge's verdict: no currency was asked for, or ISO 4217 lists it.
    pub currency_known: bool,
    /// Properties of a page, at most.
    pub limit: usize,
    pub after: Option<PropertyId>,
}

/// A property with rooms that are free for the stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub property: Arc<Property>,
    /// The first [`ROOMS_MAX`] by id; at least one.
    pub rooms: Vec<FreeRoom>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FoundPage {
    pub properties: Vec<Found>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<PropertyId>,
}

impl Ledger {
    /// The properties at a location that have a room for the stay, by id.
    pub fn search(&self, query: &SearchQuery) -> Result<FoundPage, Refusal> {
        let page = self.search_within(query, usize::MAX)?;
        Ok(page.expect("as many may be looked at as there are"))
    }

    /// The same; `None` where more than `looks_max` properties and rooms would have to be looked at for it.
    pub fn search_within(&self, query: &SearchQuery, looks_max: usize) -> Result<Option<FoundPage>, Refusal> {
        stay::length(query.arrival, query.departure)?;
        if query.occupancy == 0 {
            return Err(Refusal::OccupancyInvalid { max_occupancy: u32::MAX });
        }
        if !query.currency_known {
            return Err(Refusal::InvalidCurrency);
        }
        Ok(match &query.location {
            Some(location) => {
                let location = fold_case(location);
                let start = match &query.after {
                    Some(after) => Bound::Excluded((Arc::clone(&location), after.clone())),
                    None => Bound::Included((Arc::clone(&location), PropertyId::least())),
                };
                let there = self.locations.from(start.as_ref()).map(|(key, ())| key);
                let there = there.take_while(|(its, _)| *its == location);
                page(query, there.filter_map(|(_, property)| self.book(property).ok()), looks_max)
            }
            None => {
                let start = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                page(query, self.books.from(start).map(|(_, book)| &**book), looks_max)
            }
        })
    }
}

fn page<'a>(
    query: &SearchQuery,
    books: impl Iterator<Item = &'a Book>,
    looks_max: usize,
) -> Option<FoundPage> {
    let mut page = FoundPage { properties: Vec::new(), next: None };
    let (mut properties, mut rooms, mut nights) = (0, 0, 0);
    let mut last = None;
    for book in books {
        let spent = properties >= PROPERTIES_LOOKED_AT_MAX
            || rooms >= ROOMS_LOOKED_AT_MAX
            || nights >= NIGHTS_LISTED_MAX;
        if page.properties.len() >= query.limit.max(1) || spent {
            page.next = last;
            break;
        }
        let looks_left = looks_max.checked_sub(properties + rooms).filter(|left| *left > 0)?;
        last = Some(book.record.property.property.clone());
        properties += 1;
        let found = free(query, book, &mut rooms, looks_left)?;
        if !found.is_empty() {
            nights += found.len() * query.arrival.nights_to(query.departure) as usize;
            page.properties.push(Found { property: Arc::clone(&book.record.property), rooms: found });
        }
    }
    Some(page)
}

/// `None` where more than `looks_max` rooms would have to be looked at.
fn free(query: &SearchQuery, book: &Book, looked_at: &mut usize, looks_max: usize) -> Option<Vec<FreeRoom>> {
    let SearchQuery { arrival, departure, occupancy, .. } = *query;
    if stay::within_horizon(departure, book.business_date()).is_err() {
        return Some(Vec::new());
    }
    let currency = query.currency.unwrap_or(book.record.property.currency);
    let mut offers = Offers::new(book, Quote { arrival, departure, occupancy, currency });
    let found = offers.list(book.rooms_in_service(), ROOMS_MAX, looks_max);
    *looked_at += offers.looked_at;
    found
}
