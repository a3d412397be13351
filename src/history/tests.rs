//! The past as it is told, kept, lost and found again.

mod bounds;
mod gaps;
mod given_up;
mod suspended;
mod too_large;

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::aside::{bytes_in, set_aside};
use super::chunk::{Chunk, StoredChunk, StoredCommit};
use super::*;
use crate::ledger::{
    Assign, Command, EndDue, IdempotencyKey, Ledger, PropertyId, Record, RecordKey, ReservationId, RoomId,
    SetAside, Settled, Status, Submission, Timestamp,
};
use crate::replication::tests::support::{cancel, committed, house, reserve};
use crate::replication::{Kind, Witness, decode};

/// A ledger that tells a history of all that it does.
pub(super) struct Told {
    pub(super) ledger: Ledger,
    /// After each command, the first being empty.
    states: Vec<Ledger>,
    next: u32,
}

impl Told {
    pub(super) fn new() -> Told {
        Told { ledger: Ledger::new(), states: vec![Ledger::new()], next: 0 }
    }

    fn run(&mut self, history: &History, submission: &Submission) {
        let before = Mark::of(&self.ledger);
        let (_, commit) =
            self.ledger.apply_recorded(Timestamp(1_000 + self.ledger.lsn().0), submission).unwrap();
        history.applied(before, Mark::of(&self.ledger), commit.into_iter().collect());
        self.states.push(self.ledger.clone());
    }

    pub(super) fn open(&mut self, history: &History) {
        for submission in house(10) {
            self.run(history, &submission);
        }
    }

    /// Changes the name of a property in which nothing else happens.
    fn rename_quiet(&mut self, history: &History, name: &str) {
        let mut submission = house(0).swap_remove(0);
        let Command::PutProperty(put) = &mut submission.command else { panic!("not a property") };
        (put.property, put.name) = (quiet(), name.into());
        self.run(history, &submission);
    }

    /// Books and cancels, now and then for nothing. Nothing stays booked: there is always room for what comes next.
    pub(super) fn book(&mut self, history: &History, times: u32) {
        for n in self.next..self.next + times {
            let submission = match n {
                n if n % 2 == 1 => cancel(u128::from(n) - 1),
                n if n % 7 == 6 => cancel(0),
                n => reserve(n.into(), n % 10 + 1, n / 10 % 29 + 1),
            };
            self.run(history, &submission);
        }
        self.next += times;
    }
}

pub(super) fn quiet() -> PropertyId {
    PropertyId::new("quiet").unwrap()
}

/// All commits after `from` that are told, each by its mark; the error that ended them, where one did.
pub(super) fn all_after(history: &History, from: Lsn) -> (Vec<Mark>, Option<NotTold>) {
    let (mut told, mut at) = (Vec::new(), from);
    loop {
        match history.after(at) {
            Ok(run) if run.commits.is_empty() && run.upto >= history.known() => return (told, None),
            Ok(run) => {
                assert!(run.upto > at, "a read that gets nowhere at {at}");
                told.extend(run.commits.iter().map(|commit| mark_of(commit)));
                at = run.upto;
            }
            Err(error) => return (told, Some(error)),
        }
    }
}

/// What was told to `history`, by the states that it came from.
pub(super) fn expected(told: &Told, from: Lsn) -> Vec<Mark> {
    let pairs = told.states.windows(2).filter(|pair| pair[0].event_chain() != pair[1].event_chain());
    pairs.map(|pair| Mark::of(&pair[1])).filter(|mark| mark.lsn > from).collect()
}

#[test]
fn what_was_told_is_told_again_from_memory_and_from_disk_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping::OnDisk(dir.path().join("history"));
    let mut told = Told::new();
    let mut history = History::open(keeping.clone());
    told.open(&history);
    for _ in 0..4 {
        told.book(&history, 2_000);
        for from in [Lsn(0), Lsn(7), Lsn(told.ledger.lsn().0 - 3)] {
            assert_eq!(all_after(&history, from), (expected(&told, from), None));
        }
        history.keep();
        assert_eq!(all_after(&history, Lsn(0)), (expected(&told, Lsn(0)), None));
        drop(history);
        history = History::open(keeping.clone());
        assert_eq!(history.tip(), Mark::of(&told.ledger));
        assert_eq!(all_after(&history, Lsn(0)), (expected(&told, Lsn(0)), None));
    }
    assert_eq!(history.after(told.ledger.lsn().next()).unwrap_err(), NotTold::InFuture);
}

#[test]
fn every_state_is_gone_back_to() {
    let history = History::open(Keeping::InMemory);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 7_000);
    history.keep();
    let day = |day: u32| format!("2027-03-{day:02}").parse().unwrap();
    let property = PropertyId::new("grand").unwrap();
    for lsn in [0, 1, 5, 400, 3_000, 6_999, told.ledger.lsn().0] {
        let past = history.state_at(told.ledger.clone(), Lsn(lsn), &property, &Asker::patient()).unwrap();
        let then = &told.states[lsn as usize];
        let nights = |ledger: &Ledger| ledger.availability(&property, day(1), day(30));
        assert_eq!(nights(&past), nights(then), "at {lsn}");
    }
    let next = told.ledger.lsn().next();
    let future = history.state_at(told.ledger.clone(), next, &property, &Asker::patient());
    assert_eq!(future.unwrap_err(), NotTold::InFuture);
}

#[test]
fn the_versions_of_a_reservation_lead_from_one_to_the_other() {
    let history = History::open(Keeping::InMemory);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 2_000);
    history.keep();
    let mut seen = 0;
    for record in told.ledger.records() {
        let RecordKey::Reservation(id) = record.key() else { continue };
        let newest = &told.ledger.reservation_record(id).unwrap();
        let versions = history.versions(newest, &Asker::patient()).unwrap();
        let revisions: Vec<u64> =
            versions.iter().map(|version| version.record().unwrap().reservation.revision).collect();
        assert_eq!(revisions, (1..=newest.reservation.revision).collect::<Vec<_>>());
        for lsn in
            [newest.created_lsn.0 - 1, newest.created_lsn.0, newest.changed_lsn().0, told.ledger.lsn().0]
        {
            let found = history.version_at(newest, Lsn(lsn), &Asker::patient()).unwrap();
            let then = told.states[lsn as usize].reservation(id).ok();
            assert_eq!(found.map(|record| record.reservation), then, "{id} at {lsn}");
        }
        seen += versions.len();
    }
    assert!(seen > 100, "only {seen} versions");
}

#[test]
fn what_lies_between_is_missing_and_never_skipped() {
    let history = History::open(Keeping::InMemory);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 300);
    history.keep();
    let end = told.ledger.lsn();
    // Commands that this node never applies: it is given the state after them.
    told.book(&History::open(Keeping::InMemory), 300);
    history.restored(Mark::of(&told.ledger));
    let base = told.ledger.lsn();
    told.book(&history, 300);
    for _ in 0..2 {
        let (first, error) = all_after(&history, Lsn(0));
        assert_eq!(error, Some(NotTold::Missing));
        let kept: Vec<Mark> = expected(&told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= end).collect();
        assert_eq!(first, kept);
        assert_eq!(all_after(&history, base), (expected(&told, base), None));
        let property = crate::ledger::PropertyId::new("grand").unwrap();
        let before = history.state_at(told.ledger.clone(), Lsn(base.0 - 1), &property, &Asker::patient());
        assert_eq!(before.unwrap_err(), NotTold::Missing);
        assert!(history.state_at(told.ledger.clone(), base, &property, &Asker::patient()).is_ok());
        history.keep();
    }
}

#[test]
fn what_is_missing_is_taken_from_a_peer_that_has_the_same_past_and_no_other() {
    let (history, peer) = (History::open(Keeping::InMemory), History::open(Keeping::InMemory));
    let mut told = Told::new();
    told.open(&peer);
    told.book(&peer, 6_000);
    history.restored(Mark::of(&told.ledger));
    told.book(&peer, 10);
    let stranger = History::open(Keeping::InMemory);
    let mut other = Told::new();
    other.next = 1;
    other.open(&stranger);
    other.book(&stranger, 7_000);

    let fill_from = |peer: &History| {
        let mut pieces = 0;
        while let Some(gap) = history.gap() {
            assert_eq!(history.after(Lsn(0)).unwrap_err(), NotTold::Missing, "told before it was checked");
            let frame = peer.piece(gap.filled_upto(), gap.upto.lsn).unwrap();
            match history.fill(&frame) {
                Ok(true) => pieces += 1,
                Ok(false) | Err(_) => break,
            }
        }
        pieces
    };
    assert!(fill_from(&stranger) > 1);
    let gap = history.gap().expect("what comes after does not follow");
    assert_eq!((gap.filled_upto(), gap.upto), (Mark::default(), history.tip()));
    // A piece that is changed on its way.
    let mut frame = peer.piece(gap.after, gap.upto.lsn).unwrap();
    let middle = frame.len() / 2;
    frame[middle] ^= 1;
    assert!(history.fill(&frame).is_err());
    assert!(fill_from(&peer) > 1);
    assert_eq!(history.gap(), None);
    let whole: Vec<Mark> =
        expected(&told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= history.tip().lsn).collect();
    assert_eq!(all_after(&history, Lsn(0)), (whole, None));
}

#[test]
fn what_nobody_has_is_given_up_as_far_as_a_peer_has_the_rest() {
    let (history, peer) = (History::open(Keeping::InMemory), History::open(Keeping::InMemory));
    let mut told = Told::new();
    told.open(&History::open(Keeping::InMemory));
    let begins = Mark::of(&told.ledger);
    peer.restored(begins);
    peer.give_up(peer.gap().expect("all that there was"), None);
    assert_eq!((peer.gap(), peer.lacks(Lsn(0)), peer.lacks(begins.lsn)), (None, Some(begins), None));
    told.book(&peer, 6_000);
    history.restored(Mark::of(&told.ledger));
    let gap = history.gap().expect("all that there was");
    let first = begins.lsn.next();
    assert_eq!(peer.piece(gap.filled_upto(), gap.upto.lsn).unwrap_err(), NotTold::Gone { first });
    history.give_up(gap, peer.lacks(gap.filled_upto().lsn));
    while let Some(gap) = history.gap() {
        assert!(history.fill(&peer.piece(gap.filled_upto(), gap.upto.lsn).unwrap()).unwrap());
    }
    assert_eq!(history.after(Lsn(0)).unwrap_err(), NotTold::Gone { first });
    assert_eq!(all_after(&history, begins.lsn), (expected(&told, begins.lsn), None));
}

#[test]
fn a_state_that_replays_what_is_known_tells_nothing_twice() {
    let history = History::open(Keeping::InMemory);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 500);
    let mut again = Told::new();
    again.open(&history);
    again.book(&history, 600);
    assert_eq!(all_after(&history, Lsn(0)), (expected(&again, Lsn(0)), None));
}

#[test]
fn the_past_of_another_state_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping::OnDisk(dir.path().join("history"));
    let history = History::open(keeping);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 300);
    history.keep();
    let mut other = Told::new();
    other.next = 1;
    let elsewhere = History::open(Keeping::InMemory);
    other.open(&elsewhere);
    other.book(&elsewhere, 310);
    let base = Mark::of(&other.ledger);
    other.book(&history, 50);
    assert_eq!(history.gap_of_divergence().map(|gap| gap.upto), Some(base));
    assert_eq!(all_after(&history, Lsn(0)).1, Some(NotTold::Missing));
    assert_eq!(all_after(&history, base.lsn), (expected(&other, base.lsn), None));
    history.keep();
    assert_eq!(all_after(&history, base.lsn), (expected(&other, base.lsn), None));
    assert!(dir.path().join("history.damaged").exists());
}

#[test]
fn a_damaged_store_is_set_aside_and_never_believed() {
    for flip_at in [0.02, 0.2, 0.5, 0.8] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("history");
        let mut told = Told::new();
        {
            let history = History::open(Keeping::OnDisk(folder.clone()));
            told.open(&history);
            told.book(&history, 6_000);
            history.keep();
        }
        let file = folder.join("db");
        let mut bytes = std::fs::read(&file).unwrap();
        let at = (bytes.len() as f64 * flip_at) as usize;
        for byte in &mut bytes[at..at + 64] {
            *byte ^= 0x55;
        }
        std::fs::write(&file, bytes).unwrap();

        let history = History::open(Keeping::OnDisk(folder.clone()));
        // The newest state is known from the snapshot and the log.
        history.restored(Mark::of(&told.ledger));
        let (first, error) = all_after(&history, Lsn(0));
        let whole = expected(&told, Lsn(0));
        assert_eq!(first[..], whole[..first.len()], "what is told is true");
        assert!(first.len() == whole.len() || error == Some(NotTold::Missing), "{flip_at}: {error:?}");
        let end = told.ledger.lsn();
        told.book(&history, 30);
        assert_eq!(all_after(&history, end), (expected(&told, end), None));
    }
}

#[test]
fn a_store_that_fails_again_and_again_does_not_push_out_what_the_first_held() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let aside = folder.with_extension("damaged");
    for (bytes, left) in [(100, 100), (100_000, 100_000), (10, 100_000), (10, 100_000), (100_001, 100_001)] {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("db"), vec![0; bytes]).unwrap();
        set_aside(&folder).unwrap();
        assert_eq!((bytes_in(&aside).unwrap(), folder.exists()), (left, false));
    }
}

/// What a power cut leaves may lack its beginning, and only the note would say so.
#[test]
fn chunks_without_a_note_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history");
    let (mut told, history) = (Told::new(), History::open(Keeping::OnDisk(path.clone())));
    told.open(&history);
    history.keep();
    drop(history);
    // sled's own threads hold on to its lock for a moment.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let store = loop {
        match sled::open(&path) {
            Ok(store) => break store,
            Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
        }
    };
    store.remove(b"note").unwrap().expect("the note, which is written with the first chunk");
    store.flush().unwrap();
    drop(store);
    let history = History::open(Keeping::OnDisk(path.clone()));
    assert_eq!(history.known(), Lsn(0));
    assert!(path.with_extension("damaged").exists());
}

#[test]
fn what_has_no_store_yet_is_kept_from_the_first_command_on() {
    let history: Arc<History> = History::open(Keeping::InMemory);
    assert_eq!(history.after(Lsn(0)).map(|run| run.upto), Ok(Lsn(0)));
    assert_eq!(history.after(Lsn(1)).unwrap_err(), NotTold::InFuture);
}

#[test]
fn what_is_told_of_a_quiet_property_is_found_among_all_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping::OnDisk(dir.path().join("history"));
    let mut history = History::open(keeping.clone());
    let mut told = Told::new();
    told.open(&history);
    let mut renamed = Vec::new();
    for name in ["a", "b", "c"] {
        told.book(&history, 4_000);
        history.keep();
        told.rename_quiet(&history, name);
        renamed.push(Mark::of(&told.ledger));
    }
    told.book(&history, 5_000);
    for _ in 0..2 {
        let (mut found, mut at, mut steps) = (Vec::new(), Lsn(0), 0);
        while at < history.known() {
            let run = history.after_of(at, &quiet()).unwrap();
            assert!(run.upto > at, "a read that gets nowhere at {at}");
            found.extend(run.commits.iter().map(|commit| mark_of(commit)));
            (at, steps) = (run.upto, steps + 1);
        }
        assert_eq!(found, renamed);
        assert!(steps <= 6, "it went through {steps} pieces");
        for (n, mark) in renamed.iter().enumerate() {
            let past = history
                .state_at(told.ledger.clone(), Lsn(mark.lsn.0 - 1), &quiet(), &Asker::patient())
                .unwrap();
            let name = past.property(&quiet()).map(|property| property.name.to_string());
            assert_eq!(name.as_deref(), [None, Some("a"), Some("b")][n]);
        }
        history.keep();
        drop(history);
        history = History::open(keeping.clone());
    }
}

#[test]
fn a_store_that_fails_is_replaced_by_who_writes_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(Keeping::OnDisk(dir.path().join("history")));
    let peer = History::open(Keeping::InMemory);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 6_000);
    history.keep();
    let mut same = Told::new();
    same.open(&peer);
    same.book(&peer, 6_100);
    let generation = history.lock().generation;
    history.fail(generation, &HistoryError::Damaged("nothing, on purpose"));
    assert!(!dir.path().join("history.damaged").exists(), "no disk is touched by who finds the failure");
    // What is fetched now has no place yet.
    let gap = history.gap().expect("all but what is recent");
    assert_eq!(history.gap_of_divergence(), None, "a peer may have it");
    let piece = peer.piece(gap.after, gap.upto.lsn).unwrap();
    assert!(!history.fill(&piece).unwrap());
    let end = told.ledger.lsn();
    told.book(&history, 100);
    assert_eq!(all_after(&history, end), (expected(&told, end), None));
    history.keep();
    assert!(dir.path().join("history.damaged").exists());
    while let Some(gap) = history.gap() {
        assert!(history.fill(&peer.piece(gap.filled_upto(), gap.upto.lsn).unwrap()).unwrap());
    }
    assert_eq!(all_after(&history, Lsn(0)), (expected(&told, Lsn(0)), None));
}

/// The first position at which what is kept is not what led to these states.
fn first_wrong(dir: &Path, told: &Told) -> Option<Lsn> {
    let mut kept = Kept::open(dir).unwrap().expect("a history");
    let wrong = told.states.iter().find_map(|state| kept.compare(Mark::of(state)).err());
    assert!(wrong.is_some() || kept.compared > 3_000, "only {} were compared", kept.compared);
    wrong.map(|wrong| wrong.lsn)
}

#[test]
fn what_is_kept_and_was_not_so_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let mut told = Told::new();
    {
        let history = History::open(Keeping::OnDisk(folder.clone()));
        told.open(&history);
        told.book(&history, 4_000);
        history.keep();
    }
    assert_eq!(first_wrong(&folder, &told), None);
    assert!(Kept::open(&dir.path().join("none")).unwrap().is_none());
    // A past of its own, sound in itself.
    let mut other = Told::new();
    other.next = 1;
    let elsewhere = History::open(Keeping::InMemory);
    other.open(&elsewhere);
    other.book(&elsewhere, 4_000);
    assert_eq!(first_wrong(&folder, &other), Some(Lsn(house(10).len() as u64 + 1)));

    let frame = |store: &SledStore, lsn| store.at_or_before(Lsn(lsn)).unwrap().unwrap();
    let store = SledStore::open(&folder).unwrap();
    let whole = frame(&store, 2_000);
    let mut chunk: StoredChunk = decode(Kind::History, &whole).unwrap();
    let after = chunk.after.lsn;
    // One event that was changed afterwards, in a frame that is sound.
    chunk.commits[7].chain.0 ^= 1;
    let flipped = chunk.commits[7].lsn;
    store.put(after, &chunk.encode().unwrap(), &Default::default()).unwrap();
    drop(store);
    assert_eq!(first_wrong(&folder, &told), Some(flipped));
    // One that is not there, and then a whole chunk.
    let store = SledStore::open(&folder).unwrap();
    let mut chunk: StoredChunk = decode(Kind::History, &whole).unwrap();
    chunk.commits.remove(7);
    let next = chunk.commits[7].lsn;
    store.put(after, &chunk.encode().unwrap(), &Default::default()).unwrap();
    drop(store);
    assert_eq!(first_wrong(&folder, &told), Some(next));
    let store = SledStore::open(&folder).unwrap();
    assert!(store.remove_some(after, after.next()).unwrap() > 0);
    drop(store);
    assert_eq!(first_wrong(&folder, &told), Some(expected(&told, after)[0].lsn));
}

/// A chunk with everything that one keeps: records that are new, that change and that go, a key, a room that a person
/// chose, a hold that ended by itself, a command that was set aside and an operator's decision about it.
fn a_chunk() -> StoredChunk {
    let mut submissions = house(3);
    let mut booked = reserve(1, 1, 3);
    booked.key = Some(IdempotencyKey { text: "their-7".into(), digest: 7, request_digest: 11 });
    let mut held = reserve(2, 1, 5);
    let mut rates = submissions[2].clone();
    let (Command::Reserve(hold), Command::PutRates(cleared)) = (&mut held.command, &mut rates.command) else {
        panic!("a reservation and rates")
    };
    hold.hold_seconds = Some(60);
    cleared.prices.clear();
    let room = RoomId::new("2").unwrap();
    let assign = Assign { reservation: ReservationId(Uuid::from_u128(1)), if_match: None, room };
    // Its id is taken: it is set aside.
    let taken = reserve(1, 3, 7);
    let lsn = Lsn(submissions.len() as u64 + 4);
    submissions.extend([booked, command(Command::Assign(assign)), held, taken]);
    submissions.extend([Command::Discard(SetAside { lsn }), Command::EndDue(EndDue {})].map(command));
    submissions.extend([rates, cancel(1)]);

    let mut ledger = Ledger::new();
    let after = Mark::of(&ledger);
    let mut commits = Vec::new();
    for submission in &submissions {
        // The hold ends just when the command comes that ends what is due.
        let at = Timestamp(1_800_000_000_000 + ledger.lsn().0 * 20_000);
        let (_, commit) = ledger.apply_recorded(at, submission).unwrap();
        commits.push(StoredCommit::new(&commit.expect("each changes something")).unwrap());
    }
    StoredChunk { after, commits }
}

fn command(command: Command) -> Submission {
    Submission { key: None, command }
}

#[test]
fn a_chunk_is_read_and_written_as_it_was_by_earlier_releases() {
    let frame = a_chunk().encode().unwrap();
    // The first was written before reservations were packed.
    let [named, packed] = ["history-chunk.v1", "history-chunk-packed.v1"].map(|name| committed(name, &frame));
    assert!(frame == packed, "chunks are no longer written as they were");
    holds_a_chunk(&named);
    holds_a_chunk(&packed);
}

fn holds_a_chunk(golden: &[u8]) {
    // Decoding follows the chain of events from commit to commit: what each one means is in it.
    let read = Chunk::decode(golden).unwrap();
    assert_eq!(read.after, a_chunk().after);
    assert_eq!(Some(read.last()), a_chunk().last());
    let has = |what: &dyn Fn(&Commit) -> bool| read.commits.iter().filter(|commit| what(commit)).count();
    assert_eq!(has(&|commit| commit.own), 1);
    assert_eq!(has(&|commit| commit.key.as_deref() == Some("their-7")), 1);
    assert_eq!(has(&|commit| commit.assigned), 1);
    assert_eq!(has(&|commit| commit.settled == Some(Settled::Discarded)), 1);
    assert_eq!(has(&|commit| commit.changes.iter().any(|change| change.due)), 1);
    assert_eq!(has(&|commit| commit.changes.iter().any(|change| change.after.is_none())), 2);
    let changes = read.commits.iter().flat_map(|commit| &commit.changes);
    let of_stays: Vec<(bool, Status)> = changes
        .filter_map(|change| match &change.after {
            Some(Record::Reservation(after)) => Some((change.before.is_some(), after.reservation.status)),
            _ => None,
        })
        .collect();
    let (new, changed) = (false, true);
    assert_eq!(
        of_stays,
        [
            (new, Status::Confirmed),
            (changed, Status::Confirmed),
            (new, Status::Held),
            (changed, Status::Expired),
            (changed, Status::Canceled)
        ]
    );
}
