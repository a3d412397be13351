//! Where a store goes that can't be used, and where that part of one goes which is told no more: into folders beside the
//! history's, for whoever wants to look.
//!
//! What stands before a hole that nobody can fill may be all that there is of it. It does not change any more: it is copied
//! into a store of its own, some of it at each turn of the one who writes, and the history lets go of it once the copy is
//! whole and durable. Until then the history has its hole, in its note too, and tells what it told before: whatever ends the
//! copy, it is begun anew. A copy says itself what it holds: where a crash came before the note says that the hole is gone, it
//! is found again, and no second one is made.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::chunk::Chunk;
use super::sled_store::{self, SledStore};
use super::store::{MemoryStore, Store};
use super::suspension::end;
use super::{Gap, History, HistoryError, Inner, Keeping, Mark, Note, SUSPENDED};
use crate::ledger::{Lsn, PropertyId};
use crate::planted::disk_takes;
use crate::replication::{codec, leave_room, sync_dir};

/// Folders for what was given up. Each may hold what no other node has: none of them is ever replaced. Where all are taken,
/// what is given up next is removed.
const PLACES: u32 = 4;
/// The ending of a folder with a copy that is not whole yet.
const BEGUN: &str = "set-aside-begun";
/// The file in the folder of a copy that says what it holds.
const HOLDS: &str = "holds";
/// Bytes of chunks that are copied and flushed at one turn, more or less: what is told meanwhile waits that long.
const COPIED_BYTES: usize = if cfg!(test) { 16 << 10 } else { 2 << 20 };

/// An empty store in place of one that can't be used, which is left beside it for whoever wants to look. `None` where there
/// can be none.
pub(super) fn set_aside_and_open(keeping: &Keeping) -> Option<Arc<dyn Store>> {
    let Keeping::OnDisk(dir) = keeping else { return Some(Arc::new(MemoryStore::default())) };
    // What can't be read where the disk is full may be sound, and nothing better could take its place.
    let opened = sled_store::has_room(dir)
        .and_then(|()| {
            set_aside(dir)
                .map_err(|error| HistoryError::Store(format!("its folder can't be set aside: {error}")))
        })
        .and_then(|()| SledStore::open(dir));
    match opened {
        Ok(store) => Some(Arc::new(store)),
        Err(error) => {
            tracing::error!(%error, "{SUSPENDED}");
            None
        }
    }
}

/// Of this one and the one that was set aside before only the larger is left, or the newer: a store that fails again and
/// again, each time after a little, must not push out what the first held.
pub(super) fn set_aside(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let aside = dir.with_extension("damaged");
    if aside.exists() {
        if bytes_in(dir)? < bytes_in(&aside)? {
            return fs::remove_dir_all(dir);
        }
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(dir, &aside)?;
    tracing::warn!(
        folder = %aside.display(),
        "a history that can't be used was set aside in this folder, and what it told is fetched from a peer: once \
         innkeeper_history_missing is 0 here, remove it, unless the log says that nobody has some of the history"
    );
    Ok(())
}

/// Of the files in a folder.
pub(super) fn bytes_in(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// Removes what a stop left of a copy that was not whole. Blocks.
pub(super) fn clear(keeping: &Keeping) {
    let Keeping::OnDisk(dir) = keeping else { return };
    remove_begun(dir);
}

fn remove_begun(dir: &Path) {
    let begun = dir.with_extension(BEGUN);
    if let Err(error) = remove_folder(&begun) {
        tracing::warn!(%error, folder = %begun.display(), "a part of a copy of the history is left there");
    }
}

/// A hole that nobody can fill.
#[derive(Clone, Copy)]
pub(super) struct GivenUp {
    pub(super) gap: Gap,
    /// What is told begins behind this, once what stands before the hole is set aside.
    pub(super) first: Mark,
    /// That has failed, and is left for a while.
    waits: bool,
    /// That it has failed was said.
    is_said: bool,
}

impl GivenUp {
    pub(super) fn new(gap: Gap, first: Mark) -> GivenUp {
        GivenUp { gap, first, waits: false, is_said: false }
    }
}

/// What is under way of it.
#[derive(Default)]
pub(super) struct Aside {
    copying: Option<Copying>,
    /// A copy that failed lets go of its files.
    ending: Option<JoinHandle<()>>,
}

/// A copy, and how far it is.
struct Copying {
    store: SledStore,
    progress: Progress,
}

#[derive(Clone, Copy)]
struct Progress {
    /// What stands before this hole is copied, of the store of this generation.
    gap: Gap,
    generation: u64,
    /// The copy begins behind this.
    first: Mark,
    /// Everything up to here is in it.
    at: Mark,
    bytes: u64,
}

impl Progress {
    /// Where the copy ends: what was fetched into the gap before nobody had more is not lost either.
    fn upto(&self) -> Mark {
        self.gap.filled_upto()
    }
}

/// What a copy holds. Written once it is whole.
#[derive(Serialize, Deserialize)]
struct Holds {
    /// It begins behind this.
    first: Mark,
    /// Everything up to here is in it.
    upto: Mark,
}

impl History {
    /// Copies some of what stands before a hole that nobody can fill, and lets go of all that once the copy has its place. What
    /// hinders the copy destroys nothing: it is begun again later. Only the one who writes does it. An error where the history's
    /// own store fails. Blocks.
    pub(super) fn set_given_up_aside(&self, aside: &mut Aside) -> Result<(), HistoryError> {
        let Keeping::OnDisk(dir) = &self.keeping else { return Ok(()) };
        let (store, generation, first, given_up, bytes) = {
            let mut inner = self.lock();
            // Of one that grew, or was filled in part, it is not known that nobody has it.
            let gap = inner.gap.filter(|_| inner.has_store());
            inner.given_up = inner.given_up.filter(|given_up| Some(given_up.gap) == gap);
            let Inner { generation, first, given_up, bytes, .. } = *inner;
            (inner.store.clone(), generation, first, given_up, bytes)
        };
        let Some(given_up) = given_up.filter(|given_up| !given_up.waits) else {
            aside.abandon(dir);
            return Ok(());
        };
        let gap = given_up.gap;
        if !aside.is_of(gap, generation) {
            aside.abandon(dir);
        }
        let new = Progress { gap, generation, first, at: first, bytes: 0 };
        let progress = aside.copying.as_ref().map_or(new, |copying| copying.progress);
        if progress.first.chain == progress.upto().chain {
            // Meanwhile all that stood before it was to be forgotten.
            self.let_go_of_given_up(gap);
            return Ok(());
        }
        if !aside.is_copying()
            && let Some(place) = place_that_holds(dir, progress.first, progress.upto())
        {
            self.is_set_aside(given_up, &place);
            return Ok(());
        }
        let Some(place) = free_place(dir) else {
            aside.abandon(dir);
            self.remove_given_up(given_up);
            return Ok(());
        };
        let piece = read_some(&*store, progress.at, progress.upto()).inspect_err(|_| aside.abandon(dir))?;
        let is_whole = piece.last.chain == progress.upto().chain;
        let copied = aside.copy(dir, progress, piece, bytes);
        match copied.and_then(|()| if is_whole { aside.finish(dir, &place) } else { Ok(()) }) {
            Ok(()) if is_whole => self.is_set_aside(given_up, &place),
            Ok(()) => self.work.notify_one(),
            Err(error) => {
                aside.fail(dir);
                self.wait_to_set_aside(gap, &error);
            }
        }
        Ok(())
    }

    fn is_set_aside(&self, given_up: GivenUp, place: &Path) {
        tracing::error!(
            first = given_up.first.lsn.next().0, folder = %place.display(),
            "what this node had of the history before this command was set aside in this folder, and is told no more: keep a \
             copy if it is worth something to you, then remove it"
        );
        self.let_go_of_given_up(given_up.gap);
    }

    /// There is no place for a copy.
    fn remove_given_up(&self, given_up: GivenUp) {
        tracing::error!(
            first = given_up.first.lsn.next().0,
            "what this node has of the history before this command is removed: {PLACES} folders were set aside before, and \
             there is no place for a further one"
        );
        self.let_go_of_given_up(given_up.gap);
    }

    /// Begins behind the hole.
    fn let_go_of_given_up(&self, gap: Gap) {
        let mut inner = self.lock();
        if inner.gap == Some(gap)
            && let Some(given_up) = inner.given_up.take()
        {
            inner.forget(given_up.first);
        }
    }

    fn wait_to_set_aside(&self, gap: Gap, error: &HistoryError) {
        let mut inner = self.lock();
        let Some(given_up) = inner.given_up.as_mut().filter(|given_up| given_up.gap == gap) else { return };
        given_up.waits = true;
        let first = given_up.first.lsn.next().0;
        if std::mem::replace(&mut given_up.is_said, true) {
            tracing::debug!(%error, first, "what nobody else may have still can't be set aside");
        } else {
            tracing::error!(
                %error, first,
                "nobody has all of the history before this command, and what this node has of it can't be set aside: it stays \
                 where it is, and it is tried again by itself, at least once a minute. Make room, or mend the disk"
            );
        }
    }

    /// Whether something could not be set aside, and is to be tried again.
    pub(super) fn waits_to_set_aside(&self) -> bool {
        self.lock().given_up.is_some_and(|given_up| given_up.waits)
    }

    /// Has the next turn try it.
    pub(super) fn set_aside_again(&self) {
        if let Some(given_up) = &mut self.lock().given_up {
            given_up.waits = false;
        }
    }
}

impl Aside {
    /// Whether chunks of the history's store are being copied: none of them may go.
    pub(super) fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    fn is_of(&self, gap: Gap, generation: u64) -> bool {
        let progress = self.copying.as_ref().map(|copying| &copying.progress);
        progress.is_none_or(|progress| progress.gap == gap && progress.generation == generation)
    }

    /// Puts a piece behind what was copied, and makes that durable. A copy is not begun where the disk has no room for as many
    /// bytes as the whole history has: it would be written and removed again and again.
    fn copy(&mut self, dir: &Path, progress: Progress, piece: Piece, all: u64) -> Result<(), HistoryError> {
        let to_come = if self.copying.is_some() { 0 } else { all };
        leave_room(&File::open(parent_of(dir))?, to_come)?;
        let copying = match self.copying.take() {
            Some(copying) => copying,
            None => Copying { store: self.open(dir)?, progress },
        };
        let Copying { store, progress } = self.copying.insert(copying);
        for (after, frame, of) in piece.chunks {
            disk_takes(frame.len())?;
            store.put(after, &frame, &of)?;
            progress.bytes += frame.len() as u64;
        }
        progress.at = piece.last;
        let Progress { first, bytes, .. } = *progress;
        // Nobody opens the copy before it is whole, and then the note is true.
        let note = Note { tip: progress.upto(), first, gap: None, indexed: true, bytes };
        store.put_note(&codec::to_message_pack(&note)?)?;
        store.sync()
    }

    fn open(&self, dir: &Path) -> Result<SledStore, HistoryError> {
        if self.ending.as_ref().is_some_and(|ending| !ending.is_finished()) {
            // It may wait for ever for what it was writing: there is one such at most.
            return Err(HistoryError::Disk("a copy that failed before has not ended".to_owned()));
        }
        let begun = dir.with_extension(BEGUN);
        remove_folder(&begun)?;
        SledStore::open(&begun)
    }

    /// Gives a copy that is whole its place. Nothing of this process has it open then.
    fn finish(&mut self, dir: &Path, place: &Path) -> Result<(), HistoryError> {
        if let Some(Copying { store, progress }) = self.copying.take() {
            store.close()?;
            let holds = Holds { first: progress.first, upto: progress.upto() };
            fs::write(dir.with_extension(BEGUN).join(HOLDS), codec::to_message_pack(&holds)?)?;
        }
        put_in_place(dir, place)
    }

    /// Ends a copy of which nothing has failed.
    fn abandon(&mut self, dir: &Path) {
        let Some(copying) = self.copying.take() else { return };
        if let Err(error) = copying.store.close() {
            tracing::debug!(%error, "a part of a copy of the history did not end well");
        }
        remove_begun(dir);
    }

    /// Ends one that failed. Its room is free once it has let go of its files.
    fn fail(&mut self, dir: &Path) {
        if let Some(copying) = self.copying.take() {
            self.ending = end(Arc::new(copying.store));
        }
        remove_begun(dir);
    }
}

/// Gives a copy that is whole, and closed, its name.
fn put_in_place(dir: &Path, place: &Path) -> Result<(), HistoryError> {
    let begun = dir.with_extension(BEGUN);
    for entry in fs::read_dir(&begun)? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_dir(&begun)?;
    fs::rename(&begun, place)?;
    if let Err(error) = sync_dir(parent_of(dir)) {
        // The next try finds the place free: else it would take them all in the end.
        fs::rename(place, &begun)?;
        return Err(error.into());
    }
    Ok(())
}

/// Some chunks that follow from one another.
struct Piece {
    chunks: Vec<(Lsn, Vec<u8>, BTreeSet<PropertyId>)>,
    /// The last command that they tell of, as far as it is asked for.
    last: Mark,
}

/// The next chunks that tell of something behind `at` and up to `upto`.
fn read_some(store: &dyn Store, at: Mark, upto: Mark) -> Result<Piece, HistoryError> {
    let (mut piece, mut bytes) = (Piece { chunks: Vec::new(), last: at }, 0);
    let before = store.at_or_before(at.lsn)?.map(|frame| Chunk::decode(&frame)).transpose()?;
    let mut from = before.map_or(at.lsn, |chunk| chunk.after.lsn);
    while piece.last.chain != upto.chain && bytes < COPIED_BYTES {
        let frame = store.next(from)?.ok_or(HistoryError::Damaged("less than was kept"))?;
        let chunk = Chunk::decode(&frame)?;
        from = chunk.after.lsn.next();
        if chunk.last().lsn <= piece.last.lsn {
            continue;
        }
        // What is told may begin in the middle of the first.
        let follows = chunk.mark_at(piece.last.lsn).chain == piece.last.chain;
        if !follows || chunk.after.lsn >= upto.lsn {
            return Err(HistoryError::Damaged("less than was kept"));
        }
        piece.last = chunk.mark_at(upto.lsn);
        bytes += frame.len();
        piece.chunks.push((chunk.after.lsn, frame, chunk.properties()));
    }
    Ok(piece)
}

fn places(dir: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=PLACES).map(move |n| dir.with_extension(format!("set-aside-{n}")))
}

/// `None` where all are taken.
fn free_place(dir: &Path) -> Option<PathBuf> {
    places(dir).find(|place| !place.exists())
}

/// Where a copy was put that holds all behind `first` and up to `upto`. That it is of the same past, the second mark tells.
fn place_that_holds(dir: &Path, first: Mark, upto: Mark) -> Option<PathBuf> {
    places(dir).find(|place| {
        let noted = fs::read(place.join(HOLDS)).ok();
        let holds = noted.and_then(|noted| codec::from_message_pack::<Holds>(&noted).ok());
        holds.is_some_and(|holds| holds.upto == upto && holds.first.lsn <= first.lsn)
    })
}

fn remove_folder(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folder in which that of the history is.
pub(super) fn parent_of(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
