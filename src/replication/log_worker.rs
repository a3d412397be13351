//! The thread that owns the log on disk.
//!
//! [The files](super::log_files) block whoever writes or reads them, so the async runtime never touches them: operations come
//! over a bounded channel and are carried out in their order, votes and entries alike. Operations that wait together share
//! one flush. How far it is committed comes beside the channel, and is written with what is written next, see [`Unsaved`].
//! Nothing is reported as done before its flush has returned.
//!
//! A failed flush is final: after it nobody knows what the disk holds (Rebello et al., "Can Applications Recover from
//! fsync Failures?", 2020). It is reported to every waiter and to [`Fatal`], and the thread ends.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use openraft::storage::IOFlushed;
use prometheus::Histogram;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::log_busy::LogBusy;
use super::log_files::{FileLength, LogFiles};
use super::log_flushed::Flushed;
use super::log_record::{LogRecord, LoggedPayload, LoggedVote, Mark, entry_bytes};
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::planted::{Bug, planted};

/// Operations that may wait for the thread.
pub const QUEUE_OPERATIONS: usize = 1_024;
/// Operations that share one flush at most.
const FLUSH_OPERATIONS_MAX: usize = 256;

/// The first reason why this node's storage can't go on. Whoever watches it stops the node.
#[derive(Clone, Debug)]
pub struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Default for Fatal {
    fn default() -> Fatal {
        Fatal(Arc::new(watch::Sender::new(None)))
    }
}

impl Fatal {
    /// Keeps the first reason.
    pub fn report(&self, reason: impl ToString) {
        let reason = reason.to_string();
        let is_first = self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| reason.clone());
            is_first
        });
        if is_first {
            tracing::error!(%reason, "the storage has failed");
        }
    }

    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// The error that every operation after the first failure answers.
    pub fn error(&self) -> io::Error {
        let reason = self.0.borrow().clone();
        io::Error::other(reason.unwrap_or_else(|| "the log's thread has ended".into()))
    }
}

/// What the thread is asked to do.
pub enum Operation {
    Append {
        entries: Vec<(LogId, LoggedPayload)>,
        done: IOFlushed<TypeConfig>,
        bytes: OwnedSemaphorePermit,
    },
    SaveVote {
        vote: Vote,
        done: Done,
    },
    /// Writes what is [`Unsaved`].
    SaveCommitted,
    /// Removes the entries from this index on.
    Truncate {
        from: u64,
        done: Done,
    },
    /// Removes the entries up to this one.
    Purge {
        upto: LogId,
        done: Done,
    },
    /// Entries of `[from, to)`, at least one where there is one, and no more than fit in `bytes_max`.
    Read {
        from: u64,
        to: u64,
        bytes_max: usize,
        answer: oneshot::Sender<io::Result<Vec<Entry>>>,
    },
}

pub type Done = oneshot::Sender<io::Result<()>>;

/// How far the log is known to be committed, until that is written: with what is written next, or by itself where nothing
/// is. It is not flushed for its own sake: what is lost with the power, or the process, is committed again by the leader.
#[derive(Default)]
pub struct Unsaved(Mutex<UnsavedState>);

#[derive(Default)]
struct UnsavedState {
    committed: Option<LogId>,
    /// Somebody looks, soon, whether it has been written.
    is_looked_after: bool,
}

impl Unsaved {
    fn lock(&self) -> MutexGuard<'_, UnsavedState> {
        self.0.lock().expect("no panic while it is locked")
    }

    /// Whether the caller has to look after it: to see, soon, [whether it is there still](Unsaved::is_left).
    pub fn put(&self, committed: LogId) -> bool {
        let mut state = self.lock();
        state.committed = Some(committed);
        !std::mem::replace(&mut state.is_looked_after, true)
    }

    /// Whether it was not written with anything else. The caller looks after it no more.
    pub fn is_left(&self) -> bool {
        let mut state = self.lock();
        state.is_looked_after = false;
        state.committed.is_some()
    }

    /// Takes it where the log has come so far: its entries may still be on their way.
    fn take_upto(&self, last: Option<LogId>) -> Option<LogId> {
        self.lock().committed.take_if(|committed| Some(*committed) <= last)
    }
}

/// Who waits for a flush.
enum Waiter {
    Appended(IOFlushed<TypeConfig>),
    Done(Done),
}

impl Waiter {
    fn tell(self, result: io::Result<()>) {
        match self {
            Waiter::Appended(done) => done.io_completed(result),
            // A caller that went away has been told that its node stops.
            Waiter::Done(done) => drop(done.send(result)),
        }
    }
}

/// Who waits for a flush. That it is dropped before it has been completed is a failure, too.
pub struct Flush(Option<Waiting>);

struct Waiting {
    waiters: Vec<Waiter>,
    upto: Mark,
    flushed: Arc<Flushed>,
    fatal: Fatal,
    began: Instant,
    seconds: Histogram,
}

impl Flush {
    /// The flush has returned.
    pub fn complete(mut self, result: io::Result<()>) {
        self.finish(result);
    }

    fn finish(&mut self, result: io::Result<()>) {
        let Some(waiting) = self.0.take() else { return };
        let result = if planted(Bug::FailedFlushIgnored) { Ok(()) } else { result };
        match result {
            Ok(()) => {
                waiting.seconds.observe(waiting.began.elapsed().as_secs_f64());
                waiting.flushed.advance(waiting.upto);
                waiting.waiters.into_iter().for_each(|waiter| waiter.tell(Ok(())));
                waiting.flushed.note();
            }
            Err(error) => {
                waiting.fatal.report(format!(
                    "the log could not be flushed: {error}; make room on its disk or mend it, then start the node \
                     again: it writes again what was not flushed, and what it lacks the others have"
                ));
                waiting.waiters.into_iter().for_each(|waiter| waiter.tell(Err(waiting.fatal.error())));
            }
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.finish(Err(io::Error::other("it was given up")));
    }
}

/// What a [step](LogWorker::step) has written.
pub enum Written {
    Unflushed,
    Flushed(Flush),
}

/// What the operations of a group need.
enum Need {
    Nothing,
    Write,
    Flush(Flush),
}

/// The log and what its thread knows of it.
pub struct LogWorker {
    log: LogFiles,
    operations: mpsc::Receiver<Operation>,
    /// Set once the last flush is over and the files are closed.
    closed: watch::Sender<bool>,
    /// How much of the log is known to be durable.
    flushed: Arc<Flushed>,
    waiters: Vec<Waiter>,
    unsaved: Arc<Unsaved>,
    fatal: Fatal,
    /// How long flushes took.
    flush_seconds: Histogram,
    busy: LogBusy,
}

impl LogWorker {
    /// All that the log in `dir` holds is durable.
    pub fn new(
        dir: &Path,
        log: LogFiles,
        operations: mpsc::Receiver<Operation>,
        unsaved: Arc<Unsaved>,
        fatal: Fatal,
        flush_seconds: Histogram,
    ) -> (LogWorker, watch::Receiver<bool>) {
        let (closed, is_closed) = watch::channel(false);
        let flushed = Arc::new(Flushed::begin(dir, log.end()));
        let waiters = Vec::new();
        let busy = LogBusy::default();
        let worker =
            LogWorker { log, operations, closed, flushed, waiters, unsaved, fatal, flush_seconds, busy };
        (worker, is_closed)
    }

    /// For who watches the log's thread.
    pub fn busy(&self) -> LogBusy {
        self.busy.clone()
    }

    /// Serves until the last sender is gone or something fails. Blocks: the log's own thread.
    pub fn run(mut self) {
        let _panic_is_fatal = PanicIsFatal(self.fatal.clone());
        while let Some(first) = self.operations.blocking_recv() {
            self.busy.begin();
            // What comes while it is flushed waits together and shares the next flush.
            let served = self.serve_group(first).and_then(|need| match need {
                Need::Nothing => Ok(()),
                Need::Write => self.log.write(),
                Need::Flush(flush) => {
                    self.flush(flush)?.complete(Ok(()));
                    self.log.remove_purged(self.flushed.mark())
                }
            });
            self.busy.end();
            if let Err(error) = served {
                self.fail(error);
                break;
            }
        }
        self.close();
    }

    /// The next group, written in place when this returns, and flushed where one waits for that; who waits is the caller's to
    /// tell. `None` once the last sender is gone or something has failed: then comes [`LogWorker::close`]. For who has no
    /// thread to give.
    pub async fn step(&mut self) -> Option<Written> {
        loop {
            // Before the next is taken: where this fails, it is left for `close` to refuse.
            if let Err(error) = self.log.remove_purged(self.flushed.mark()) {
                self.fail(error);
                return None;
            }
            let first = self.operations.recv().await?;
            let served = self.serve_group(first).and_then(|need| match need {
                Need::Nothing => Ok(None),
                Need::Write => self.log.write().map(|()| Some(Written::Unflushed)),
                Need::Flush(flush) => self.flush(flush).map(|flush| Some(Written::Flushed(flush))),
            });
            match served {
                Ok(Some(written)) => return Some(written),
                Ok(None) => {}
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            }
        }
    }

    /// Flushes for who waits, and is told only of a failure.
    fn flush(&mut self, flush: Flush) -> io::Result<Flush> {
        match self.log.flush() {
            Ok(()) => Ok(flush),
            Err(error) => {
                flush.complete(Err(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
        }
    }

    /// Of the records in each file: behind them may lie zeros.
    pub fn lengths(&self) -> BTreeMap<PathBuf, FileLength> {
        self.log.lengths().map(|(path, length)| (path.to_owned(), length)).collect()
    }

    fn fail(&self, error: io::Error) {
        self.fatal.report(format!("the log could not be written: {error}"));
    }

    /// Refuses what still waits and closes the files.
    pub fn close(mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.tell(Err(self.fatal.error()));
        }
        self.operations.close();
        while let Ok(operation) = self.operations.try_recv() {
            refuse(operation, &self.fatal);
        }
        let has_failed = self.fatal.watch().borrow().is_some();
        if has_failed {
            // Nobody knows what the disk holds: the next start looks.
            drop(self.log);
        } else if let Err(error) = self.save_committed().and_then(|_| self.log.close()) {
            self.fatal.report(format!("the log could not be closed: {error}"));
        }
        self.closed.send_replace(true);
    }

    /// Carries out what waits together, and says what it needs.
    fn serve_group(&mut self, first: Operation) -> io::Result<Need> {
        let mut is_pending = self.serve(first)?;
        for _ in 1..FLUSH_OPERATIONS_MAX {
            let Ok(operation) = self.operations.try_recv() else { break };
            is_pending |= self.serve(operation)?;
        }
        if is_pending {
            self.save_committed()?;
        }
        Ok(match (self.waiters.is_empty(), is_pending) {
            (true, false) => Need::Nothing,
            (true, true) => Need::Write,
            (false, _) => Need::Flush(Flush(Some(Waiting {
                waiters: std::mem::take(&mut self.waiters),
                upto: self.log.end(),
                flushed: self.flushed.clone(),
                fatal: self.fatal.clone(),
                began: Instant::now(),
                seconds: self.flush_seconds.clone(),
            }))),
        })
    }

    /// Carries out one operation. Returns whether something was written.
    fn serve(&mut self, operation: Operation) -> io::Result<bool> {
        match operation {
            Operation::Append { entries, done, bytes } => {
                // Told of a failure too, should one of the entries not be taken.
                if planted(Bug::AcknowledgedBeforeFlush) {
                    done.io_completed(Ok(()));
                } else {
                    self.waiters.push(Waiter::Appended(done));
                }
                let mark = self.flushed.mark();
                for (id, payload) in entries {
                    self.log.push(&LogRecord::Append(id, payload.marked(mark)))?;
                }
                drop(bytes);
                Ok(true)
            }
            Operation::SaveVote { vote, done } => {
                if planted(Bug::VoteNotFlushed) {
                    drop(done.send(Ok(())));
                } else {
                    self.waiters.push(Waiter::Done(done));
                }
                let mark = self.flushed.mark();
                self.log.push(&LogRecord::SaveVote(LoggedVote { vote, mark }))?;
                Ok(true)
            }
            Operation::SaveCommitted => self.save_committed(),
            Operation::Truncate { done, .. } if planted(Bug::TruncationForgotten) => {
                drop(done.send(Ok(())));
                Ok(false)
            }
            Operation::Truncate { from, done } => {
                self.waiters.push(Waiter::Done(done));
                self.save_committed()?;
                self.may_truncate(from)?;
                self.log.truncate(from)?;
                Ok(true)
            }
            Operation::Purge { upto, done } => {
                self.waiters.push(Waiter::Done(done));
                self.log.purge(upto)?;
                Ok(true)
            }
            Operation::Read { from, to, bytes_max, answer } => {
                // A reader that went away needs no answer.
                drop(answer.send(self.read(from, to, bytes_max)));
                Ok(false)
            }
        }
    }

    /// A leader without what was committed here was elected by nodes of which one has lost what it had promised.
    fn may_truncate(&self, from: u64) -> io::Result<()> {
        match self.log.state().committed {
            Some(committed) if committed.index >= from => Err(io::Error::other(format!(
                "the leader lacks entry {from}, which was committed: another node has lost its data, or was started with an \
                 older copy of it. Keep this data directory: it holds what was acknowledged, and the leader's does not"
            ))),
            _ => Ok(()),
        }
    }

    /// Writes how far the log is committed, where that is news. A step back would be of no use.
    fn save_committed(&mut self) -> io::Result<bool> {
        let state = self.log.state();
        let Some(committed) = self.unsaved.take_upto(state.last) else { return Ok(false) };
        if Some(committed) <= state.committed {
            return Ok(false);
        }
        self.log.push(&LogRecord::Commit(committed))?;
        Ok(true)
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for logged in self.log.read(from, to) {
            let (id, payload) = logged?;
            let entry = payload.into_entry(id)?;
            bytes += entry_bytes(&entry);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct PanicIsFatal(Fatal);

impl Drop for PanicIsFatal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.report("the thread that owns the log has panicked");
        }
    }
}

/// Answers an operation that came too late.
fn refuse(operation: Operation, fatal: &Fatal) {
    match operation {
        Operation::Append { done, .. } => done.io_completed(Err(fatal.error())),
        Operation::SaveVote { done, .. }
        | Operation::Truncate { done, .. }
        | Operation::Purge { done, .. } => {
            drop(done.send(Err(fatal.error())));
        }
        Operation::SaveCommitted => {}
        Operation::Read { answer, .. } => drop(answer.send(Err(fatal.error()))),
    }
}
