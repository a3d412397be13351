//! openraft's log storage: entries, the vote and the last committed position.
//!
//! What was appended last is kept in memory, so that an append returns at once and its entries can be read at once, by
//! replication and by apply; older ones are read by the [thread](super::log_worker) that owns the files. The vote is
//! durable before it is answered, entries before their callback, and the order of both is kept. How far the log is committed is
//! written with what comes next.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use prometheus::{Histogram, HistogramOpts};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::sleep;

use super::disk::Disk;
use super::durable;
use super::identity::GO_ON_WITHOUT;
use super::log_busy::LogBusy;
use super::log_files::LogFiles;
use super::log_flushed;
use super::log_record::{LoggedPayload, entry_bytes};
use super::log_scan::{self, LogDamage};
use super::log_state::{LoggedState, last_behind};
use super::log_worker::{Fatal, LogWorker, Operation, QUEUE_OPERATIONS, Unsaved};
use super::types::{Entry, LogId, Membership, TypeConfig, Vote};

/// The newest entries, kept in memory.
const RECENT_BYTES: usize = 32 << 20;
const RECENT_ENTRIES: usize = 65_536;
/// Bytes of entries that wait for the thread.
const QUEUE_BYTES: usize = 64 << 20;
/// How soon what is committed is written where nothing else is. With what is written anyway it costs nothing; by itself it
/// wakes a thread, on each node and for each entry.
const SAVED_WITHIN: Duration = Duration::from_millis(100);
/// One answer to a reader that takes parts.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Damage(#[from] LogDamage),
    #[error("the log in {dir} can't be opened: {source}")]
    Open { dir: PathBuf, source: io::Error },
    #[error("the log in {dir} is gone, and this node's vote with it: put it back as it was. {GO_ON_WITHOUT}")]
    Lost { dir: PathBuf },
}

/// The log. Clones are further readers of the same one; openraft holds the only writer.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    view: Mutex<View>,
    operations: mpsc::Sender<Operation>,
    unsaved: Arc<Unsaved>,
    queue_bytes: Arc<Semaphore>,
    fatal: Fatal,
    membership: Option<Membership>,
    flush_seconds: Histogram,
    busy: LogBusy,
    appended: watch::Sender<Option<LogId>>,
}

/// The log as its callers see it: what was accepted, durable or not. The vote is shown only once it is durable.
#[derive(Default)]
struct View {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
    /// The newest entries, without a gap, up to `last`.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
}

impl View {
    fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.recent_bytes += entry_bytes(&entry);
        self.recent.push_back(entry);
        while self.recent_bytes > RECENT_BYTES || self.recent.len() > RECENT_ENTRIES {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(oldest) = self.recent.pop_front() {
            self.recent_bytes -= entry_bytes(&oldest);
        }
    }

    fn first_recent(&self) -> Option<u64> {
        self.recent.front().map(|entry| entry.log_id.index)
    }

    /// Entries of `[from, to)` where all of them are recent: at least one, and no more than fit in `bytes_max`.
    fn recent_range(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.first_recent().filter(|first| *first <= from)?;
        let mut bytes = 0;
        let range = self.recent.range((from - first).min(self.recent.len() as u64) as usize..);
        let fitting = range.take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry_bytes(entry);
            entry.log_id.index < to && (is_first || bytes <= bytes_max)
        });
        Some(fitting.cloned().collect())
    }

    /// Removes the entries from `from` on, of which `before` is the one that stays last.
    fn truncate(&mut self, from: u64, before: Option<LogId>) {
        while self.recent.back().is_some_and(|entry| entry.log_id.index >= from) {
            if let Some(newest) = self.recent.pop_back() {
                self.recent_bytes -= entry_bytes(&newest);
            }
        }
        self.last = before.max(self.purged);
    }

    fn purge(&mut self, upto: LogId) {
        while self.first_recent().is_some_and(|first| first <= upto.index) {
            self.pop_oldest();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = last_behind(self.last, upto);
    }
}

/// From 50 µs, on a fast disk, to 3 s and more, on one that fails.
fn flush_seconds() -> Histogram {
    let buckets = prometheus::exponential_buckets(0.000_05, 2.0, 17).expect("the buckets grow");
    let options =
        HistogramOpts::new("innkeeper_log_flush_seconds", "How long the log's flushes to disk took.");
    Histogram::with_opts(options.buckets(buckets)).expect("a sound name, and buckets in order")
}

impl LogStore {
    /// Serves a log that [`open_files`] opened in `dir`. The receiver turns true when it is closed: everything flushed,
    /// no file open. Blocks.
    pub fn serve(
        dir: &Path,
        log: LogFiles,
        disk: &dyn Disk,
        fatal: Fatal,
    ) -> Result<(LogStore, watch::Receiver<bool>), LogError> {
        let open = |source| LogError::Open { dir: dir.to_owned(), source };
        let LoggedState { vote, last, committed, purged } = *log.state();
        let vote = vote.map(|logged| logged.vote);
        let view = View { vote, purged, last, committed, ..View::default() };
        let membership = log.last_membership().map_err(open)?;
        let (operations, receiver) = mpsc::channel(QUEUE_OPERATIONS);
        let flush_seconds = flush_seconds();
        let unsaved = Arc::new(Unsaved::default());
        let (worker, closed) =
            LogWorker::new(dir, log, receiver, unsaved.clone(), fatal.clone(), flush_seconds.clone());
        let busy = worker.busy();
        disk.run_log(worker).map_err(open)?;
        let queue_bytes = Arc::new(Semaphore::new(QUEUE_BYTES));
        let view = Mutex::new(view);
        let appended = watch::Sender::new(last);
        let shared = Shared {
            view,
            operations,
            unsaved,
            queue_bytes,
            fatal,
            membership,
            flush_seconds,
            busy,
            appended,
        };
        Ok((LogStore { shared: Arc::new(shared) }, closed))
    }

    /// The reason why the log can't go on, once there is one.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.shared.fatal.watch()
    }

    /// How long the log's flushes took, written data included.
    pub fn flush_seconds(&self) -> Histogram {
        self.shared.flush_seconds.clone()
    }

    /// How long the log's thread is at what it does.
    pub fn busy(&self) -> LogBusy {
        self.shared.busy.clone()
    }

    /// The last entry that was appended, durable or not.
    pub fn appended(&self) -> watch::Receiver<Option<LogId>> {
        self.shared.appended.subscribe()
    }

    /// The last membership that the log held when it was opened.
    pub fn membership(&self) -> Option<&Membership> {
        self.shared.membership.as_ref()
    }

    /// Not held across an await: the guard is not `Send`.
    fn view(&self) -> MutexGuard<'_, View> {
        self.shared.view.lock().expect("no panic while the view of the log is locked")
    }

    async fn enqueue(&self, operation: Operation) -> io::Result<()> {
        self.shared.operations.send(operation).await.map_err(|_| self.shared.fatal.error())
    }

    async fn carry_out(
        &self,
        operation: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Operation,
    ) -> io::Result<()> {
        let (done, is_done) = oneshot::channel();
        self.enqueue(operation(done)).await?;
        is_done.await.unwrap_or_else(|_| Err(self.shared.fatal.error()))
    }

    /// Entries of `[from, to)`: at least one where the log holds one, and no more than fit in `bytes_max`.
    pub async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(recent) = self.view().recent_range(from, to, bytes_max) {
            return Ok(recent);
        }
        let (answer, entries) = oneshot::channel();
        self.enqueue(Operation::Read { from, to, bytes_max, answer }).await?;
        entries.await.unwrap_or_else(|_| Err(self.shared.fatal.error()))
    }

    /// `[from, to)` of a range, cut to what the log may hold.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let view = self.view();
        let after = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        (from.max(after(view.purged)), to.min(after(view.last)))
    }
}

/// Opens or creates the files in `dir`, once [`log_scan`] found them sound. All that they then hold is durable.
///
/// `was_used`: something else on this disk tells that there was a log. One that is gone is then not made anew: the node
/// would vote again, and have forgotten what it promised.
pub fn open_files(dir: &Path, was_used: bool) -> Result<LogFiles, LogError> {
    let open = |source| LogError::Open { dir: dir.to_owned(), source };
    durable::create_dir(dir).map_err(open)?;
    let has_begun = has_begun(dir);
    log_scan::recover(dir, log_flushed::read(dir, has_begun).map_err(open)?)?;
    if (has_begun || was_used) && !log_scan::exists(dir).map_err(open)? {
        return Err(LogError::Lost { dir: dir.to_owned() });
    }
    let log = LogFiles::open(dir)?;
    if !has_begun {
        // The head of the first file was written and not flushed.
        log_scan::sync_files(dir).and_then(|()| durable::write(&begun(dir), b"")).map_err(open)?;
    }
    Ok(log)
}

/// Lies beside the folder of a log that has once been opened, so that one that is gone is not taken for a new one.
fn begun(dir: &Path) -> PathBuf {
    dir.with_extension("begun")
}

fn has_begun(dir: &Path) -> bool {
    begun(dir).exists()
}

/// Whether the folder holds a log, or ever did.
pub fn exists(dir: &Path) -> io::Result<bool> {
    Ok(has_begun(dir) || log_scan::exists(dir)?)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (from, to) = self.bounds(&(start..end));
        let mut entries = self.read(from, to, READ_BYTES_MAX).await?;
        if entries.first().is_some_and(|first| first.log_id.index != start) {
            // Purged meanwhile: openraft would send what is left behind the entry before `start`, and nothing as a heartbeat.
            entries.clear();
        }
        Ok(entries)
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        let start = Pieces { store: self.clone(), next: from, to, piece: VecDeque::new() };
        Box::pin(stream::try_unfold(start, |mut pieces| async move {
            Ok(pieces.next().await?.map(|entry| (entry, pieces)))
        }))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.view().vote)
    }
}

/// Reads a range piece by piece, so that a long one is never in memory at once.
struct Pieces {
    store: LogStore,
    next: u64,
    to: u64,
    piece: VecDeque<Entry>,
}

impl Pieces {
    async fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.next >= self.to {
            return Ok(None);
        }
        if self.piece.is_empty() {
            self.piece = self.store.read(self.next, self.to, READ_BYTES_MAX).await?.into();
        }
        let Some(entry) = self.piece.pop_front().filter(|entry| entry.log_id.index == self.next) else {
            let reason = format!("entry {} was removed from the log while it was read", self.next);
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        };
        self.next += 1;
        Ok(Some(entry))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let view = self.view();
        Ok(LogState { last_purged_log_id: view.purged, last_log_id: view.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.carry_out(|done| Operation::SaveVote { vote, done }).await?;
        self.view().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        self.view().committed = Some(committed);
        if self.shared.unsaved.put(committed) {
            let shared = Arc::downgrade(&self.shared);
            tokio::spawn(async move {
                sleep(SAVED_WITHIN).await;
                if let Some(shared) = shared.upgrade().filter(|shared| shared.unsaved.is_left()) {
                    // An error where the log has failed, which says so itself.
                    drop(shared.operations.send(Operation::SaveCommitted).await);
                }
            });
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.view().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let last = entries.last().map(|entry| entry.log_id);
        let logged: Vec<_> = (entries.iter())
            .map(|entry| Ok((entry.log_id, LoggedPayload::new(&entry.payload)?)))
            .collect::<io::Result<_>>()?;
        let bytes = entries.iter().map(entry_bytes).sum::<usize>().min(QUEUE_BYTES) as u32;
        let bytes = (self.shared.queue_bytes.clone().acquire_many_owned(bytes).await)
            .expect("the semaphore is never closed");
        {
            let mut view = self.view();
            entries.into_iter().for_each(|entry| view.push(entry));
        }
        self.enqueue(Operation::Append { entries: logged, done: callback, bytes }).await?;
        if last.is_some() {
            self.shared.appended.send_replace(last);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        {
            let mut view = self.view();
            if view.last <= last.max(view.purged) {
                return Ok(());
            }
            let from = last.max(view.purged).map_or(0, |id| id.index + 1);
            view.truncate(from, last);
        }
        let from = self.view().last.map_or(0, |id| id.index + 1);
        self.carry_out(|done| Operation::Truncate { from, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.view().purge(upto);
        self.carry_out(|done| Operation::Purge { upto, done }).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::{blank, opaque};
    use super::*;

    #[test]
    fn only_the_newest_entries_stay_in_memory() {
        let mut view = View::default();
        (0..=RECENT_ENTRIES as u64).for_each(|index| view.push(blank(1, index)));
        assert_eq!((view.recent.len(), view.first_recent()), (RECENT_ENTRIES, Some(1)));
        let first = RECENT_ENTRIES as u64 + 1;
        (first..first + 40).for_each(|index| view.push(opaque(1, index, 1 << 20)));
        assert!(view.recent_bytes <= RECENT_BYTES, "{}", view.recent_bytes);
        assert_eq!(view.recent.back().map(|entry| entry.log_id), view.last);
        assert!(view.recent_range(0, 9, usize::MAX).is_none());
    }
}
