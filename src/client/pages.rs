//! Lists that are longer than a page, from their first page to their last. Each page is a read of its own: what is written
//! meanwhile may be among them or not.

use super::{Client, ClientError, ListQuery};
use crate::ledger::PropertyId;
use crate::wire;

/// As many as the contract lists at once.
const PAGE: u32 = 1_000;

impl Client {
    /// Hands over every reservation of the property that `query` asks for, by id, a page at a time.
    pub async fn every_reservation(
        &self,
        property: &PropertyId,
        query: ListQuery,
        mut page: impl AsyncFnMut(Vec<wire::Reservation>) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut query = ListQuery { limit: Some(PAGE), ..query };
        loop {
            let answer = self.reservations(property, &query).await?.value;
            page(answer.reservations).await?;
            query.cursor = answer.next_cursor;
            if query.cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Hands over every entry of the property's waitlist, by id, a page at a time.
    pub async fn every_waitlist_entry(
        &self,
        property: &PropertyId,
        mut page: impl FnMut(Vec<wire::WaitlistEntry>),
    ) -> Result<(), ClientError> {
        let mut cursor: Option<String> = None;
        loop {
            let answer = self.waitlist(property, Some(PAGE), cursor.as_deref()).await?.value;
            page(answer.waitlist);
            cursor = answer.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
