//! What of the records the cluster holds already, whoever brought it.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use uuid::Uuid;

use super::read::Item;
use super::write::AT_ONCE;
use crate::cli::exchange::Record;
use crate::client::{Client, ClientError};
use crate::ledger::{BlockId, BookingId, PropertyId, WaitlistId};

pub(super) fn block_of(record: &Record) -> Option<(PropertyId, BlockId)> {
    match record {
        Record::Block(block) => Some((block.property.clone(), block.block.clone())),
        _ => None,
    }
}

/// The places in the files of those bookings and entries that were made in this cluster: were an export that comes home
/// taken over, all of it would be there twice.
pub(super) async fn made_here(client: &Client, items: &[Item]) -> Result<BTreeSet<String>, ClientError> {
    let named = items.iter().filter(|item| id_of(&item.record).is_some());
    let mut places = stream::iter(named)
        .map(async |item| Ok(is_made_here(client, &item.record).await?.then(|| item.place.clone())))
        .buffer_unordered(AT_ONCE);
    let mut made_here = BTreeSet::new();
    while let Some(place) = places.try_next().await? {
        made_here.extend(place);
    }
    Ok(made_here)
}

/// What a booking, or an entry of a waitlist, is called, where that may be an id of this cluster.
fn id_of(record: &Record) -> Option<Uuid> {
    match record {
        Record::Booking(it) => it.booking.parse().ok(),
        Record::WaitlistEntry(it) => it.entry.parse().ok(),
        _ => None,
    }
}

/// In its own property: a copy under another name is something else.
async fn is_made_here(client: &Client, record: &Record) -> Result<bool, ClientError> {
    let Some(id) = id_of(record) else { return Ok(false) };
    match record {
        Record::Booking(it) => {
            let found = or_none(client.booking(BookingId(id)).await)?;
            Ok(found.is_some_and(|found| {
                found.value.reservations.iter().any(|stay| stay.property == it.property)
            }))
        }
        Record::WaitlistEntry(it) => {
            Ok(or_none(client.waitlist_entry(&it.property, WaitlistId(id)).await)?.is_some())
        }
        _ => Ok(false),
    }
}

/// The blocks of these records' properties.
pub(super) async fn blocks_there(
    client: &Client,
    items: &[&Item],
) -> Result<BTreeSet<(PropertyId, BlockId)>, ClientError> {
    let named = items.iter().filter_map(|item| block_of(&item.record));
    let properties: BTreeSet<PropertyId> = named.map(|(property, _)| property).collect();
    let mut there = BTreeSet::new();
    for property in properties {
        let found = or_none(client.blocks(&property).await.map(|found| found.value.blocks))?;
        there.extend(found.unwrap_or_default().into_iter().map(|block| (property.clone(), block.block)));
    }
    Ok(there)
}

/// What is not there yet holds nothing; whoever writes something of it is told any other reason, and where in
/// the file that is.
fn or_none<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::Refused(refused)) if refused.is_final() => Ok(None),
        Err(error) => Err(error),
    }
}
