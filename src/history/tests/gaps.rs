//! What is fetched into a gap, where that grows, where commands changed nothing, and where the disk fails.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::path::Path;

use super::*;
use crate::replication::Witness;

pub(super) fn on_disk(dir: &Path) -> Arc<History> {
    History::open(Keeping::OnDisk(dir.to_owned()))
}

/// Another history of the same, up to `times` commands behind the house's own.
pub(super) fn peer_of(times: u32) -> Arc<History> {
    let peer = History::open(Keeping::InMemory);
    let mut same = Told::new();
    same.open(&peer);
    same.book(&peer, times);
    peer
}

pub(super) fn fill_some(history: &History, peer: &History, pieces: usize) {
    for _ in 0..pieces {
        let Some(gap) = history.gap() else { return };
        assert!(history.fill(&peer.piece(gap.filled_upto(), gap.upto.lsn).unwrap()).unwrap());
    }
}

fn all_of(history: &History, property: &PropertyId) -> Vec<Mark> {
    let (mut found, mut at) = (Vec::new(), Lsn(0));
    while at < history.known() {
        let run = history.after_of(at, property).unwrap();
        assert!(run.upto > at, "a read that gets nowhere at {at}");
        found.extend(run.commits.iter().map(|commit| mark_of(commit)));
        at = run.upto;
    }
    found
}

fn grand() -> PropertyId {
    PropertyId::new("grand").unwrap()
}

/// All that it tells is what led to these states, whichever way it is asked.
pub(super) fn tells_all(history: &History, told: &Told) {
    let whole = expected(told, Lsn(0));
    assert_eq!(all_after(history, Lsn(0)), (whole.clone(), None));
    assert_eq!(all_of(history, &grand()), whole);
    assert!(history.state_at(told.ledger.clone(), Lsn(20), &grand(), &Asker::patient()).is_ok());
}

#[test]
fn commands_that_changed_nothing_before_a_snapshot_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut told, peer) = (Told::new(), peer_of(3_000));
    let elsewhere = History::open(Keeping::InMemory);
    told.open(&elsewhere);
    told.book(&elsewhere, 3_000);
    let changed = told.ledger.event_chain();
    for _ in 0..3 {
        told.run(&elsewhere, &cancel(0));
        peer.applied(Mark::of(&told.states[told.states.len() - 2]), Mark::of(&told.ledger), Vec::new());
    }
    assert_eq!(told.ledger.event_chain(), changed, "they are refused");
    let history = on_disk(dir.path());
    history.restored(Mark::of(&told.ledger));
    fill_some(&history, &peer, usize::MAX);
    told.book(&history, 6_000);
    history.keep();
    tells_all(&history, &told);
    drop(history);
    let history = on_disk(dir.path());
    tells_all(&history, &told);
    assert!(!dir.path().with_extension("damaged").exists());
}

#[test]
fn commands_that_changed_nothing_behind_a_snapshot_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut told, peer) = (Told::new(), peer_of(3_000));
    let history = on_disk(dir.path());
    told.open(&history);
    told.book(&history, 1_000);
    history.keep();
    told.book(&History::open(Keeping::InMemory), 2_000);
    let base = Mark::of(&told.ledger);
    history.restored(base);
    for _ in 0..3 {
        told.run(&history, &cancel(0));
    }
    history.keep();
    history.keep();
    drop(history);
    let history = on_disk(dir.path());
    assert_eq!(history.tip(), Mark::of(&told.ledger));
    let run = history.after(base.lsn).map(|run| (run.commits.len(), run.upto));
    assert_eq!(run, Ok((0, told.ledger.lsn())));
    fill_some(&history, &peer, usize::MAX);
    tells_all(&history, &told);
}

#[test]
fn a_gap_that_grows_over_what_was_told_meanwhile_is_filled_whole() {
    for restarts in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut told, peer) = (Told::new(), peer_of(14_000));
        let mut history = on_disk(dir.path());
        told.open(&history);
        told.book(&history, 2_000);
        history.keep();
        for _ in 0..2 {
            // What this node never applies, and then what it does.
            told.book(&History::open(Keeping::InMemory), 3_000);
            history.restored(Mark::of(&told.ledger));
            fill_some(&history, &peer, 3);
            told.book(&history, 3_000);
            history.keep();
            fill_some(&history, &peer, 3);
            if restarts {
                // As a crash leaves it: what was noted last was flushed, or not.
                drop(history);
                history = on_disk(dir.path());
                assert!(history.gap().is_some_and(|gap| gap.upto.lsn < told.ledger.lsn()));
            }
        }
        fill_some(&history, &peer, usize::MAX);
        tells_all(&history, &told);
        history.keep();
        let (own, whole) = (history.extent().bytes, peer.extent().bytes.max(1));
        peer.keep();
        assert!(own < peer.extent().bytes * 3 / 2, "{own} bytes of {whole}");
        drop(history);
        tells_all(&on_disk(dir.path()), &told);
    }
}

#[test]
fn a_gap_is_noted_before_anything_is_put_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut told, peer) = (Told::new(), peer_of(6_000));
    let history = on_disk(dir.path());
    told.open(&history);
    told.book(&history, 500);
    history.keep();
    let after = Mark::of(&told.ledger);
    told.book(&History::open(Keeping::InMemory), 5_500);
    history.restored(Mark::of(&told.ledger));
    fill_some(&history, &peer, 1);
    drop(history);
    let history = on_disk(dir.path());
    let gap = history.gap().expect("what was being fetched");
    assert_eq!((gap.filled_upto(), gap.upto), (after, Mark::of(&told.ledger)));
    fill_some(&history, &peer, usize::MAX);
    tells_all(&history, &told);
}

#[test]
fn an_entry_of_the_index_whose_chunk_was_never_written_leads_past_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::new();
    let history = on_disk(dir.path());
    told.open(&history);
    told.book(&history, 3_000);
    told.rename_quiet(&history, "a");
    told.book(&history, 3_000);
    history.keep();
    drop(history);
    let store = SledStore::open(dir.path()).unwrap();
    for lsn in [7, 700, 1_111, 4_321] {
        store.index(Lsn(lsn), &BTreeSet::from([quiet(), grand()])).unwrap();
    }
    drop(store);
    let history = on_disk(dir.path());
    let whole = expected(&told, Lsn(0));
    assert_eq!(all_of(&history, &quiet()).len(), 1);
    assert_eq!(all_of(&history, &grand()).len() + 1, whole.len());
    // From within the chunk that tells of what the entry was to tell of.
    let run = history.after_of(Lsn(4_330), &grand()).unwrap();
    assert_eq!(
        run.commits.first().map(|commit| mark_of(commit)),
        whole.iter().find(|it| it.lsn.0 > 4_330).copied()
    );
    for property in [quiet(), grand()] {
        let past = history.state_at(told.ledger.clone(), Lsn(20), &property, &Asker::patient()).unwrap();
        let day = |day: u32| format!("2027-03-{day:02}").parse().unwrap();
        let nights = |ledger: &Ledger| ledger.availability(&property, day(1), day(30));
        assert_eq!(nights(&past), nights(&told.states[20]));
    }
    assert_eq!(all_after(&history, Lsn(0)), (whole, None), "nothing is set aside");
}

#[test]
fn what_the_disk_refuses_is_left_alone_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut told, peer) = (Told::new(), peer_of(9_000));
    let history = on_disk(dir.path());
    told.open(&history);
    told.book(&history, 6_000);
    history.keep();
    let generation = history.lock().generation;
    history.fail(generation, &Error::from(ErrorKind::StorageFull).into());
    assert_eq!(history.after(Lsn(0)).unwrap_err(), NotTold::Missing);
    assert_eq!((history.gap(), history.lacks(Lsn(0))), (None, None), "its disk has it");
    told.book(&history, 3_000);
    history.keep();
    let (tip, unkept) = (history.tip(), history.backlog.borrow().unkept);
    assert_eq!((tip, unkept), (Mark::of(&told.ledger), 0), "nothing waits for it");
    assert_eq!(*history.kept.borrow(), tip.lsn);
    assert_eq!(history.after(tip.lsn).map(|run| run.upto), Ok(tip.lsn));
    // The failed store keeps its lock in this process; another one starts from what is on the disk.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    assert!(!dir.path().with_extension("damaged").exists());
    let again = on_disk(copy.path());
    assert!(again.known().0 >= 6_000, "{}", again.known());
    again.restored(tip);
    fill_some(&again, &peer, usize::MAX);
    tells_all(&again, &told);
}

#[test]
fn what_the_system_refuses_is_told_from_damage() {
    let of_disk = [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
    for kind in of_disk {
        assert!(matches!(HistoryError::from(Error::from(kind)), HistoryError::Disk(_)), "{kind}");
    }
    for number in [5, 24] {
        let own = Error::from_raw_os_error(number);
        // As sled hands it on.
        let copied = sled::Error::Io(Error::from_raw_os_error(number)).clone();
        for error in [HistoryError::from(own), HistoryError::from(copied)] {
            assert!(matches!(error, HistoryError::Disk(_)), "{number}: {error:?}");
        }
    }
    for kind in [ErrorKind::UnexpectedEof, ErrorKind::InvalidData, ErrorKind::NotFound] {
        assert!(matches!(HistoryError::from(Error::from(kind)), HistoryError::Store(_)), "{kind}");
    }
}
