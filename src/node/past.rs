//! The past: what this node knows of it, and when it may be asked.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout_at;

use super::{Consistency, Node, NotRead};
use crate::history::{History, NotTold};
use crate::ledger::{Ledger, Lsn, PropertyId, Refusal, Reservation, ReservationId};
use crate::replication::{Mark, blocking};

/// Why a question about the past was not answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotInPast {
    #[error(transparent)]
    NotTold(#[from] NotTold),
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// What was asked for is not there, or was not yet.
    #[error("what was asked for is not there")]
    Refused(Refusal),
}

impl From<Refusal> for NotInPast {
    fn from(refusal: Refusal) -> NotInPast {
        NotInPast::Refused(refusal)
    }
}

impl Node {
    /// Up to which command this node knows what was changed.
    pub fn known(&self) -> Lsn {
        self.history.known()
    }

    /// Changes when this node knows more.
    pub fn tips(&self) -> watch::Receiver<Mark> {
        self.history.tips()
    }

    /// True once streams and long polls should end, because the node stops.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Ends streams and long polls.
    pub fn close_streams(&self) {
        self.closing.send_replace(true);
    }

    /// A place for one stream of events; `None` where as many are open as may be.
    pub fn place_for_stream(&self) -> Option<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().ok()
    }

    /// Asks the history, which may have to be read from the disk.
    pub async fn ask_history<T: Send + 'static>(
        &self,
        question: impl FnOnce(&History) -> Result<T, NotTold> + Send + 'static,
    ) -> Result<T, NotTold> {
        let history = self.history.clone();
        let answered = blocking(&*self.disk, move || question(&history)).await;
        answered.unwrap_or_else(|error| {
            tracing::error!(%error, "the history could not be asked");
            Err(NotTold::Missing)
        })
    }

    /// Returns once this node knows of command `lsn`. Where it does not, the leader tells whether there is one.
    pub async fn reach(&self, lsn: Lsn) -> Result<(), NotTold> {
        if self.known() >= lsn {
            return Ok(());
        }
        let newest = self.ready_to_read(Consistency::Linearizable, None, self.deadline()).await;
        match newest {
            _ if self.known() >= lsn => Ok(()),
            Ok(()) => Err(NotTold::InFuture),
            // There may be one, on the other side of whatever keeps this node from its leader.
            Err(_) => Err(NotTold::Missing),
        }
    }

    /// A property as command `lsn` left it.
    pub async fn property_at(&self, property: &PropertyId, lsn: Lsn) -> Result<Ledger, NotInPast> {
        self.reach(lsn).await?;
        let _place = self.place_in_past().await?;
        let (ledger, property) = (self.with_ledger(Ledger::clone), property.clone());
        Ok(self.ask_history(move |history| history.state_at(ledger, lsn, Some(&property))).await?)
    }

    /// Reservations as command `lsn` left them, those that were there.
    pub async fn reservations_at(
        &self,
        ids: Vec<ReservationId>,
        lsn: Lsn,
    ) -> Result<Vec<Arc<Reservation>>, NotInPast> {
        self.reach(lsn).await?;
        let _place = self.place_in_past().await?;
        let records = self.with_ledger(|ledger| {
            ids.into_iter().map(|id| ledger.reservation_record(id)).collect::<Result<Vec<_>, _>>()
        })?;
        let found = self.ask_history(move |history| {
            let versions = records.iter().map(|record| history.version_at(record, lsn));
            versions.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        });
        Ok(found.await?.into_iter().map(|record| record.reservation).collect())
    }

    /// Going back takes a thread and memory, so only a few do at once.
    async fn place_in_past(&self) -> Result<OwnedSemaphorePermit, NotRead> {
        let place = timeout_at(self.deadline(), self.in_past.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(NotRead::Overloaded)
    }
}
