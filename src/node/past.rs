//! The past: what this node knows of it, and when it may be asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Consistency, Limits, Node, NotRead};
use crate::history::{Asker, History, NotTold, Run, Version};
use crate::ledger::{
    Command, Ledger, Lsn, Mark, PropertyId, Refusal, Reservation, ReservationId, ReservationRecord,
    Submission,
};
use crate::replication::blocking;

/// How often it is looked at whether something is to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Permits of those who ask for events, for the past and for long lists.
pub struct Permits {
    /// One permit a stream of events.
    pub streams: Arc<Semaphore>,
    /// One permit a piece of a stream that is made.
    pub pieces: Arc<Semaphore>,
    /// One permit a page of events that is read.
    pub pages: Arc<Semaphore>,
    /// One permit a request that waits for events.
    pub polls: Arc<Semaphore>,
    /// One permit a question about the past.
    pub walks: Arc<Semaphore>,
    /// One permit a long list that is made.
    pub lists: Arc<Semaphore>,
}

impl Permits {
    pub fn new(limits: &Limits) -> Permits {
        let places = |max| Arc::new(Semaphore::new(max));
        Permits {
            streams: places(limits.streams_max),
            pieces: places(limits.stream_pieces_max),
            pages: places(limits.event_pages_max),
            polls: places(limits.long_polls_max),
            walks: places(limits.past_reads_max),
            lists: places(limits.long_lists_max),
        }
    }
}

/// Stops the node should its history not be kept any more, `keeping` being who keeps it.
pub async fn keep(node: Weak<Node>, keeping: JoinHandle<std::io::Result<()>>) {
    let kept = keeping.await;
    // It ends by itself where the node does.
    if !matches!(kept, Ok(Ok(())))
        && let Some(node) = node.upgrade()
    {
        node.stop_because(why_ended(kept));
    }
}

/// What is said where the history is not kept any more.
pub(super) fn why_ended(kept: Result<std::io::Result<()>, JoinError>) -> String {
    match kept.map_err(std::io::Error::other).flatten() {
        Ok(()) => "the history is not kept any more".to_owned(),
        Err(error) => format!("the history can't be kept: {error}"),
    }
}

/// Has the history forgotten that is older or longer than it may be, by an entry of the log, where this node is to. Runs until the
/// node is gone.
pub async fn forget(node: Weak<Node>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let retention = node.config.limits.history;
        if retention.keeps_all() || !node.is_to_forget().await {
            continue;
        }
        // Only a leader has a log clock.
        let now = if node.leads() { node.log_time() } else { node.position().stamp };
        let history = node.history.clone();
        let outdated = blocking(&*node.disk, move || history.outdated(retention, now)).await;
        match outdated.map_err(|error| error.to_string()).and_then(|it| it.map_err(|error| error.to_string()))
        {
            Ok(None) => {}
            Ok(Some(upto)) => {
                tracing::info!(upto = upto.lsn.0, "the history up to here is forgotten");
                let submission = Submission { key: None, command: Command::ForgetHistory(upto) };
                if let Err(error) = node.submit(&submission).await {
                    tracing::debug!(%error, "nothing was forgotten; it will be tried again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what of the history is to be forgotten could not be found out")
            }
        }
    }
}

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
    /// The walk back to it was given up.
    #[error("going back so far took this node too long")]
    TooLong,
}

impl From<Refusal> for NotInPast {
    fn from(refusal: Refusal) -> NotInPast {
        NotInPast::Refused(refusal)
    }
}

impl Node {
    /// The leader has it forgotten what is too old, or too much. One whose own history is not kept can't tell: the others do.
    pub(super) async fn is_to_forget(&self) -> bool {
        if self.leads() {
            return true;
        }
        let Some((leader, member)) = self.leader().and_then(|id| Some((id, self.member(id)?))) else {
            return false;
        };
        self.status_of(leader, &member).await.is_ok_and(|status| status.history_suspended)
    }

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
        self.permits.streams.clone().try_acquire_owned().ok()
    }

    /// A turn to make one piece of a stream of events, in the order in which they were asked for; `None` where none comes within
    /// `wait`.
    pub async fn turn_for_piece(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        timeout(wait, self.permits.pieces.clone().acquire_owned()).await.ok()?.ok()
    }

    /// A place for one page of events while it is read; `None` where none comes free within `wait`.
    pub async fn place_for_page(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        timeout(wait, self.permits.pages.clone().acquire_owned()).await.ok()?.ok()
    }

    /// A place for one request that waits for events; `None` where as many wait as may.
    pub fn place_for_poll(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.polls.clone().try_acquire_owned().ok()
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

    /// What is told of a property after `position`, where that stands in memory.
    pub fn recent_of(&self, position: Lsn, property: &PropertyId) -> Option<Result<Run, NotTold>> {
        self.history.recent_of(position, property)
    }

    /// Returns once this node knows of command `lsn`. Where it does not, the leader tells whether there is one.
    pub async fn reach(&self, lsn: Lsn, deadline: Instant) -> Result<(), NotTold> {
        if self.known() >= lsn {
            return Ok(());
        }
        let newest = self.ready_to_read(Consistency::Linearizable, None, deadline).await;
        match newest {
            _ if self.known() >= lsn => Ok(()),
            Ok(()) => Err(NotTold::InFuture),
            // There may be one, on the other side of whatever keeps this node from its leader.
            Err(_) => Err(NotTold::Missing),
        }
    }

    /// Returns once this node's state has come to command `lsn`: after a start its history may be ahead of that.
    pub async fn reach_applied(&self, lsn: Lsn, deadline: Instant) -> Result<(), NotInPast> {
        self.reach(lsn, deadline).await?;
        let applied = Consistency::Local { max_staleness: None };
        Ok(self.ready_to_read(applied, Some(lsn), deadline).await?)
    }

    /// Asks a property's state as command `lsn` left it, on the thread that went back to it: the question may take long, and
    /// so may giving back what that state has to itself.
    pub async fn ask_property_at<T: Send + 'static>(
        &self,
        property: &PropertyId,
        lsn: Lsn,
        deadline: Instant,
        question: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> Result<T, NotInPast> {
        self.reach_applied(lsn, deadline).await?;
        let place = self.place_in_past(deadline).await?;
        let (ledger, property) = (self.with_ledger(Ledger::clone), property.clone());
        let asked = self.go_back(place, move |history, asker| {
            let past = history.state_at(ledger, lsn, &property, asker)?;
            Ok(question(&past))
        });
        asked.await
    }

    /// Reservations as command `lsn` left them, those that were there.
    pub async fn reservations_at(
        &self,
        ids: Vec<ReservationId>,
        lsn: Lsn,
        deadline: Instant,
    ) -> Result<Vec<Arc<Reservation>>, NotInPast> {
        self.reach_applied(lsn, deadline).await?;
        let place = self.place_in_past(deadline).await?;
        let records = self.with_ledger(|ledger| {
            ids.into_iter().map(|id| ledger.reservation_record(id)).collect::<Result<Vec<_>, _>>()
        })?;
        let found = self.go_back(place, move |history, asker| {
            let versions = records.iter().map(|record| history.version_at(record, lsn, asker));
            versions.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        });
        Ok(found.await?.into_iter().map(|record| record.reservation).collect())
    }

    /// Every version of a reservation that is kept, oldest first.
    pub async fn versions(
        &self,
        newest: ReservationRecord,
        deadline: Instant,
    ) -> Result<Vec<Version>, NotInPast> {
        let place = self.place_in_past(deadline).await?;
        self.go_back(place, move |history, asker| history.versions(&newest, asker)).await
    }

    /// Goes back in the history, for as long as this future is waited for, and no longer than a walk may take.
    async fn go_back<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        walk: impl FnOnce(&History, &Asker) -> Result<T, NotTold> + Send + 'static,
    ) -> Result<T, NotInPast> {
        let (asker, _waiting) = Asker::new();
        let walked = self.ask_history(move |history| {
            // It is taken until the walk has ended, whoever waits.
            let _place = place;
            walk(history, &asker)
        });
        let walked = timeout(self.config.timings.past_walk, walked).await;
        Ok(walked.map_err(|_| NotInPast::TooLong)??)
    }

    /// Going back takes a thread and memory, so only a few do at once.
    async fn place_in_past(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, NotRead> {
        let place = timeout_at(deadline, self.permits.walks.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(NotRead::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Timings;
    use crate::node::tests::start_with;

    #[tokio::test]
    async fn a_walk_that_takes_too_long_is_given_up_and_its_place_comes_free() {
        let dir = tempfile::tempdir().unwrap();
        let timings = Timings { past_walk: Duration::from_millis(50), ..Timings::default() };
        let node = start_with(&dir, &[(1, "127.0.0.1:2")], timings).await.unwrap();
        for _ in 0..=node.config.limits.past_reads_max {
            let place = node.place_in_past(node.deadline()).await.unwrap();
            let walked = node.go_back(place, |_: &History, asker: &Asker| {
                while asker.still_waits().is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            });
            assert_eq!(walked.await, Err(NotInPast::TooLong));
        }
        let all = node.permits.walks.acquire_many(node.config.limits.past_reads_max as u32);
        assert!(timeout(Duration::from_secs(5), all).await.is_ok(), "a walk goes on that nobody waits for");
        node.shut_down().await;
    }
}
