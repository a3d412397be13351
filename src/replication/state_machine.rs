//! The ledger behind openraft's state machine.
//!
//! An entry that can't be read here, or that was proposed on a state which this node never had, pauses the node: it goes
//! on to vote and to store, applies nothing more, says why, and takes a peer's newer snapshot. Its own snapshots and its
//! position stay before that entry, so a restart comes to it again. A state that the ledger calls impossible is fatal.
//!
//! openraft takes all that it handed over for applied, and hands nothing over twice. What a paused node was handed and did
//! not apply it reads from its own log once it can go on: behind a peer's snapshot, or where an operator's decision that
//! was made for its pause stands in the log.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::time::{Instant, sleep, timeout};

use super::batch::{BatchReply, Payload};
use super::check::{DecodedBatch, OwnChecks};
use super::decision::Decision;
use super::disk::{Disk, blocking, blocking_behind, let_go};
use super::log_store::{LogStore, READ_BYTES_MAX};
use super::log_worker::Fatal;
use super::snapshot::{SnapshotError, SnapshotFile, SnapshotMeta, SnapshotStore};
use super::state::{Decided, Pause, Position, State, Taken};
use super::types::{Entry, LogId, RaftSnapshotMeta, StoredMembership, TypeConfig};
use super::witness::Witness;
use crate::ledger::{Applied, Due, Ledger, Mark};
use crate::planted::{Bug, planted};

/// How long a snapshot waits for the history up to it.
const KEPT_WITHIN: Duration = Duration::from_secs(10);
/// How long a node whose first snapshot could not be written waits before it tries again.
const WRITTEN_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Parts of what is due and fails that the log names.
const NAMED_MAX: usize = 5;

type RaftSnapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// Whether what a batch's proposer recorded of its state is compared with this node's.
#[derive(Clone, Copy)]
enum Recorded {
    Compared,
    /// An operator has decided that it counts no more.
    PassedOver,
}

/// Applies the log. openraft owns the only one; everybody else reads its [`State`].
pub struct StateMachine {
    state: Arc<State>,
    own_checks: OwnChecks,
    /// Not beyond the entry that paused this node.
    applied: Option<LogId>,
    /// What openraft takes for applied: beyond `applied` while this node is paused.
    handed_over: Option<LogId>,
    log: LogStore,
    membership: StoredMembership,
    /// What is due and fails, as the log says.
    failing: Vec<Due>,
    disk: Arc<dyn Disk>,
    witness: Arc<dyn Witness>,
    fatal: Fatal,
}

/// Says once what is due and can't be done, and once that all of it can.
fn say_what_fails(said: &mut Vec<Due>, failing: &[Due]) {
    if said == failing {
        return;
    }
    *said = failing.to_vec();
    let parts = failing.len();
    if parts == 0 {
        tracing::info!("nothing that is due fails any more");
        return;
    }
    let named: Vec<String> = failing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let named = named.join(", ");
    tracing::error!(parts, %named, "what is due fails, because of a defect, and is tried again with each command; the rest goes on");
}

impl StateMachine {
    /// Begins at the state that `meta` and `ledger` describe, or empty.
    pub fn new(
        start: Option<(SnapshotMeta, Ledger)>,
        log: LogStore,
        snapshots: Arc<SnapshotStore>,
        disk: Arc<dyn Disk>,
        witness: Arc<dyn Witness>,
        fatal: Fatal,
    ) -> StateMachine {
        let (meta, ledger) = match start {
            Some((meta, ledger)) => (Some(meta), ledger),
            None => (None, Ledger::new()),
        };
        let applied = meta.as_ref().and_then(|meta| meta.last_log_id);
        StateMachine {
            own_checks: OwnChecks::new(&ledger),
            state: Arc::new(State::new(ledger, applied, snapshots)),
            applied,
            handed_over: applied,
            log,
            membership: meta.map(|meta| meta.membership).unwrap_or_default(),
            failing: Vec::new(),
            disk,
            witness,
            fatal,
        }
    }

    pub fn state(&self) -> Arc<State> {
        self.state.clone()
    }

    pub fn snapshots(&self) -> Arc<SnapshotStore> {
        self.state.snapshots().clone()
    }

    fn is_paused(&self) -> bool {
        self.state.pause().is_some()
    }

    /// Takes an entry that follows the last one; a paused node leaves it in the log, but for a decision.
    async fn take(&mut self, entry: Entry) -> io::Result<BatchReply> {
        let id = entry.log_id;
        let decision = match &entry.payload {
            EntryPayload::Normal(payload) => {
                self.state.take_bytes(payload.0.len());
                Decision::of(payload)
            }
            _ => None,
        };
        match (decision, self.state.pause()) {
            (Some(Ok(decision)), Some(pause)) if decision.is_for(&pause) => self.follow(id, decision).await,
            (Some(_), Some(_)) => {
                tracing::warn!(index = id.index, "a decision in the log was not made for this node's pause");
                Ok(BatchReply::Paused)
            }
            (None, Some(_)) => Ok(BatchReply::Paused),
            (Some(Err(error)), None) => {
                self.pause(id, false, &error);
                Ok(BatchReply::Paused)
            }
            (Some(Ok(decision)), None) => {
                // What was decided must be this node's own past, too.
                if let Err(difference) = self.own_checks.compare(decision.check) {
                    self.pause(id, true, &difference);
                    return Ok(BatchReply::Paused);
                }
                self.passed(id);
                Ok(BatchReply::NoBatch)
            }
            (None, None) => self.apply_entry(entry, Recorded::Compared).await,
        }
    }

    /// Goes on as `decision`, at `id`, says: applies what lies between as this build does.
    async fn follow(&mut self, id: LogId, decision: Decision) -> io::Result<BatchReply> {
        let Decision { index, check } = decision;
        tracing::warn!(
            index, lsn = check.lsn.0, state_hash = %check.state_hash, decided_at = id.index,
            "by an operator's decision this node goes on from where it paused with what it makes of the log itself"
        );
        self.state.set_pause(None);
        let mut next = index;
        while next < id.index {
            for entry in self.read_log(next, id.index).await? {
                next = entry.log_id.index + 1;
                let reply = self.apply_entry(entry, Recorded::PassedOver).await?;
                if reply == BatchReply::Paused {
                    return Ok(reply);
                }
            }
        }
        self.passed(id);
        let lsn = self.state.position().lsn;
        self.state.set_decided(Decided { at: id.index, decision, lsn });
        Ok(BatchReply::NoBatch)
    }

    /// Applies an entry that follows the last one. A decision in it changes nothing here.
    async fn apply_entry(&mut self, entry: Entry, recorded: Recorded) -> io::Result<BatchReply> {
        let id = entry.log_id;
        match entry.payload {
            EntryPayload::Normal(payload) if matches!(Decision::of(&payload), Some(Ok(_))) => self.passed(id),
            EntryPayload::Normal(payload) => {
                self.witness.has_room().await;
                let applied =
                    self.guarded(Some(id), |machine| machine.apply_batch(id, &payload, recorded))??;
                return Ok(applied.map_or(BatchReply::Paused, BatchReply::Applied));
            }
            EntryPayload::Blank => self.passed(id),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(id), membership);
                self.passed(id);
            }
        }
        Ok(BatchReply::NoBatch)
    }

    /// Applies a batch at `id`, whole or not at all. `None`: this node is paused now.
    fn apply_batch(
        &mut self,
        id: LogId,
        payload: &Payload,
        recorded: Recorded,
    ) -> io::Result<Option<Vec<Applied>>> {
        let batch = match DecodedBatch::decode(payload) {
            Ok(batch) => batch,
            Err(error) => {
                self.pause(id, false, &error);
                return Ok(None);
            }
        };
        if let Recorded::Compared = recorded
            && let Err(difference) = self.own_checks.compare(batch.check)
        {
            self.pause(id, true, &difference);
            return Ok(None);
        }
        let (own_checks, failing, witness) = (&mut self.own_checks, &mut self.failing, &*self.witness);
        let cost = self.state.apply_cost();
        let applied = self.state.change(|ledger| {
            // Not what it had to wait for readers.
            let began = Instant::now();
            let applied = batch.apply(ledger, witness);
            cost.add(batch.submissions.len(), began.elapsed());
            own_checks.remember(ledger);
            say_what_fails(failing, ledger.failing_due());
            applied.map(|outcomes| (outcomes, Position::new(Some(id), ledger)))
        });
        let (outcomes, position) = applied.map_err(|broken| {
            self.fatal.report(format!("applying entry {} led to an impossible state: {broken}", id.index));
            self.fatal.error()
        })?;
        self.moved_to(position);
        Ok(Some(outcomes))
    }

    /// A panic beside the ledger's own guard would end the task that applies, and nothing else. It is said, and stops the
    /// node.
    fn guarded<T>(&mut self, id: Option<LogId>, work: impl FnOnce(&mut StateMachine) -> T) -> io::Result<T> {
        catch_unwind(AssertUnwindSafe(|| work(self))).map_err(|_| {
            let index = id.map_or(0, |id| id.index);
            self.fatal.report(format!("the code that applies entry {index} of the log panicked"));
            self.fatal.error()
        })
    }

    fn moved_to(&mut self, position: Position) {
        self.applied = position.log_id;
        self.state.moved_to(position);
    }

    /// An entry at `id` that leaves the ledger as it is.
    fn passed(&mut self, id: LogId) {
        self.moved_to(Position { log_id: Some(id), ..self.state.position() });
    }

    fn pause(&self, id: LogId, is_readable: bool, reason: &dyn std::error::Error) {
        let (index, check) = (id.index, self.state.check());
        let lsn = check.lsn;
        let reason =
            format!("the entry of the log at index {index}, after LSN {lsn}, was not applied: {reason}");
        tracing::error!(%reason, "this node has paused applying");
        self.state.set_pause(Some(Pause { index, check, is_readable, reason }));
    }

    /// Puts the state of a snapshot that is one of this node's own in the place of its state, and goes on from there.
    fn replace(&mut self, meta: SnapshotMeta, ledger: Ledger) -> io::Result<()> {
        self.own_checks = OwnChecks::new(&ledger);
        self.membership = meta.membership;
        let position = Position::new(meta.last_log_id, &ledger);
        let (mark, forgotten) = (Mark::of(&ledger), ledger.history_from());
        // A difference came from something that this node had applied otherwise, and told.
        let differed = self.state.pause().is_some_and(|pause| pause.is_readable);
        self.guarded(position.log_id, |machine| {
            if differed {
                machine.witness.diverged(mark);
            } else {
                machine.witness.restored(mark);
            }
            if let Some(forgotten) = forgotten {
                machine.witness.forget(forgotten);
            }
        })?;
        if !planted(Bug::InstalledHalf) {
            // Millions of records take their time to drop; neither readers nor other tasks wait for that.
            let replaced = self.state.change(|own| std::mem::replace(own, ledger));
            let_go(&*self.disk, replaced);
        }
        self.moved_to(position);
        self.state.cover_bytes(self.state.taken_bytes());
        if self.is_paused() {
            tracing::info!(lsn = position.lsn.0, "a peer's snapshot has ended the pause");
            self.state.set_pause(None);
        }
        Ok(())
    }

    /// Ends a pause with a peer's snapshot, which holds `ledger`: makes it one of this node's own, and applies from the
    /// log what it was handed over behind it. False where the snapshot does not help: it must lie past the entry that
    /// paused this node, and not past what openraft takes for applied.
    pub async fn take_over(&mut self, snapshot: SnapshotFile, ledger: Ledger) -> io::Result<bool> {
        let meta = snapshot.meta().clone();
        if !self.is_helped_by(&meta).await? {
            // Millions of records and a large file take their time to drop, and apply waits for this.
            let_go(&*self.disk, (snapshot, ledger));
            return Ok(false);
        }
        let snapshots = self.state.snapshots().clone();
        blocking(&*self.disk, move || snapshots.adopt(&snapshot)).await??;
        self.replace(meta, ledger)?;
        self.catch_up().await?;
        Ok(true)
    }

    async fn is_helped_by(&self, meta: &SnapshotMeta) -> io::Result<bool> {
        let Some(pause) = self.state.pause() else { return Ok(false) };
        let helps = meta.index() >= Some(pause.index) && meta.last_log_id <= self.handed_over;
        let Some(at) = meta.last_log_id.filter(|_| helps) else { return Ok(false) };
        // Another log's snapshot would be a peer's mistake: it must not become this node's.
        let own = self.log.read(at.index, at.index + 1, READ_BYTES_MAX).await?;
        Ok(own.first().map(|entry| entry.log_id) == Some(at))
    }

    /// Takes from the log what was handed over and not applied.
    async fn catch_up(&mut self) -> io::Result<()> {
        let after = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        let (mut next, end) = (after(self.applied), after(self.handed_over));
        while next < end {
            for entry in self.read_log(next, end).await? {
                next = entry.log_id.index + 1;
                self.take(entry).await?;
            }
        }
        Ok(())
    }

    /// Some entries of `[from, to)`, which is not empty. To go on without them would be to skip them, so that stops the node.
    async fn read_log(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        match self.log.read(from, to, READ_BYTES_MAX).await {
            Ok(entries) if entries.first().is_some_and(|entry| entry.log_id.index == from) => Ok(entries),
            read => {
                let reason = read.err().map_or_else(|| "it is missing".to_owned(), |error| error.to_string());
                self.fatal.report(format!("entry {from} of the log, which is to be applied: {reason}"));
                Err(self.fatal.error())
            }
        }
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, membership: self.membership.clone() }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.handed_over = Some(entry.log_id);
            let reply = self.take(entry).await?;
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let paused = self.is_paused();
        if paused && !force {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            state: self.state.clone(),
            meta: self.meta(),
            view: Some(self.state.with_ledger(Ledger::clone)),
            bytes: self.state.taken_bytes(),
            disk: self.disk.clone(),
            witness: self.witness.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &RaftSnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let snapshots = self.state.snapshots().clone();
        if *snapshot.meta() != SnapshotMeta::from(meta) {
            let reason =
                format!("the snapshot {} is not the one that was announced", snapshot.path().display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let ledger = blocking(&*self.disk, move || {
            let ledger = snapshot.load()?;
            snapshots.adopt(&snapshot)?;
            Ok::<_, SnapshotError>(ledger)
        })
        .await??;
        self.handed_over = meta.last_log_id;
        self.replace(meta.into(), ledger)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        Ok(self.state.snapshots().newest().map(raft_snapshot))
    }
}

/// A view of the state, to be written while apply goes on.
pub struct SnapshotBuilder {
    state: Arc<State>,
    meta: SnapshotMeta,
    /// Until it is written.
    view: Option<Ledger>,
    /// Of the log, up to here, since the start.
    bytes: u64,
    disk: Arc<dyn Disk>,
    witness: Arc<dyn Witness>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    /// To openraft a failed snapshot is the end of the node, though the log is whole without it. So the last one stays the
    /// newest, which changes nothing; and a node that has none goes on trying.
    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let snapshot = loop {
            match (self.write().await, self.state.snapshots().newest()) {
                (Ok(written), _) => break raft_snapshot(written),
                (Err(error), Some(newest)) => {
                    tracing::error!(%error, "a snapshot could not be written; the last one stays the newest");
                    break raft_snapshot(newest);
                }
                (Err(error), None) => {
                    tracing::error!(%error, "the first snapshot could not be written, and will be tried again");
                    sleep(WRITTEN_AGAIN_AFTER).await;
                }
            }
        };
        // What apply has replaced meanwhile is this view's alone, and takes its time to drop.
        let view = self.view.take();
        let_go(&*self.disk, view);
        Ok(snapshot)
    }
}

impl SnapshotBuilder {
    async fn write(&self) -> io::Result<SnapshotFile> {
        let snapshots = self.state.snapshots();
        let Some(ledger) = self.view.clone() else {
            return Err(io::Error::other("a view of the state is written once"));
        };
        let (writer, meta) = (snapshots.clone(), self.meta.clone());
        // A start from this snapshot no longer tells what went before it. Whoever can't keep it must not stop snapshots:
        // it then says what it lacks.
        let lsn = ledger.lsn();
        if timeout(KEPT_WITHIN, self.witness.has_kept(lsn)).await.is_err() {
            tracing::warn!(lsn = lsn.0, "a snapshot is taken before the history up to it is kept");
        }
        let began = Instant::now();
        let written = blocking_behind(&*self.disk, move || writer.write(meta, &ledger)).await;
        let written = written.and_then(|written| Ok(written?));
        let (ended, took) = (Instant::now(), began.elapsed());
        self.state.has_tried_to_take(written.is_ok().then_some(Taken { ended, took }));
        let written = written?;
        self.state.cover_bytes(self.bytes);
        let (index, bytes) = (written.meta().index(), written.len());
        tracing::info!(index, lsn = lsn.0, bytes, ?took, "a snapshot was taken");
        Ok(written)
    }
}

fn raft_snapshot(file: SnapshotFile) -> RaftSnapshot {
    RaftSnapshot { meta: file.meta().into(), snapshot: file }
}
