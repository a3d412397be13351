//! Commands that changed more than is kept of one: the history goes on behind them.

use super::gaps::{fill_some, on_disk};
use super::*;
use crate::history::chunk::COMMIT_BYTES_MAX;

/// Changes more than is kept of one command.
fn change_too_much(told: &mut Told, history: &History, letter: &str) -> Mark {
    told.rename_quiet(history, &letter.repeat(COMMIT_BYTES_MAX + 1));
    Mark::of(&told.ledger)
}

/// It tells what led up to the command `before` and what came behind `behind`, and nothing in between.
fn tells_all_but(history: &History, told: &Told, before: Lsn, behind: Mark) {
    let first = expected(told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= before).collect();
    assert_eq!(all_after(history, Lsn(0)), (first, Some(NotTold::Missing)));
    assert_eq!(history.after(Lsn(behind.lsn.0 - 1)).unwrap_err(), NotTold::Missing);
    assert_eq!(all_after(history, behind.lsn), (expected(told, behind.lsn), None));
}

#[test]
fn what_one_command_changed_too_much_is_missing_and_the_rest_is_kept() {
    // Whether what comes before was written already, or is written with it.
    for was_kept in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("history");
        let (mut told, history) = (Told::new(), on_disk(&folder));
        told.open(&history);
        told.book(&history, 300);
        let before = told.ledger.lsn();
        if was_kept {
            history.keep();
        }
        // The second one changes what the first one left.
        change_too_much(&mut told, &history, "x");
        let large = change_too_much(&mut told, &history, "y");
        told.book(&history, 300);
        history.keep();
        assert!(!history.is_suspended());
        assert_eq!((history.extent().unkept, *history.kept.borrow()), (0, told.ledger.lsn()));
        assert!(history.lock().recent.iter().all(|commit| commit.lsn > large.lsn), "it left the memory");
        tells_all_but(&history, &told, before, large);
        drop(history);
        let history = on_disk(&folder);
        assert_eq!(history.tip(), Mark::of(&told.ledger));
        tells_all_but(&history, &told, before, large);
        told.book(&history, 300);
        history.keep();
        tells_all_but(&history, &told, before, large);
        assert!(!folder.with_extension("damaged").exists());
    }
}

#[test]
fn what_no_node_keeps_is_given_up_with_all_that_came_before_and_that_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (mut told, history, peer) = (Told::new(), on_disk(&folder), History::open(Keeping::InMemory));
    for known in [&*history, &*peer] {
        told = Told::new();
        told.open(known);
        told.book(known, 300);
        change_too_much(&mut told, known, "x");
        told.book(known, 300);
        known.keep();
    }
    let gap = history.gap().expect("what was too much");
    let begins = peer.lacks(gap.filled_upto().lsn);
    assert_eq!(begins, Some(gap.upto), "the peer begins behind it too");
    history.give_up(gap, begins);
    // A copy takes a few turns.
    (0..50).for_each(|_| history.keep());
    let gone = NotTold::Gone { first: gap.upto.lsn.next() };
    assert_eq!(history.after(Lsn(0)).unwrap_err(), gone);
    assert_eq!(all_after(&history, gap.upto.lsn), (expected(&told, gap.upto.lsn), None));
    let aside = on_disk(&folder.with_extension("set-aside-1"));
    let before = expected(&told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= gap.after.lsn).collect();
    assert_eq!(all_after(&aside, Lsn(0)), (before, None));
}

#[test]
fn a_hole_that_is_being_filled_grows_up_to_it() {
    let (mut told, peer) = (Told::new(), History::open(Keeping::InMemory));
    told.open(&peer);
    told.book(&peer, 3_000);
    let history = History::open(Keeping::InMemory);
    history.restored(Mark::of(&told.ledger));
    fill_some(&history, &peer, 1);
    let mut large = Mark::default();
    let between = told.ledger.lsn();
    // Both are told the same from here.
    for known in [&*history, &*peer] {
        let mut same = Told { ledger: told.ledger.clone(), states: told.states.clone(), next: told.next };
        same.book(known, 300);
        large = change_too_much(&mut same, known, "x");
        same.book(known, 300);
        known.keep();
        if std::ptr::eq(known, &*peer) {
            told = same;
        }
    }
    let gap = history.gap().expect("all of it");
    assert_eq!((gap.after, gap.upto), (Mark::default(), large));
    let had = peer.gap().expect("what was too much").after;
    assert!(had.lsn > between);
    while history.gap().is_some_and(|gap| gap.filled_upto() != had) {
        fill_some(&history, &peer, 1);
    }
    assert_eq!(peer.piece(had, large.lsn).unwrap_err(), NotTold::Missing);
    history.give_up(history.gap().expect("what nobody has"), peer.lacks(had.lsn));
    assert_eq!(history.gap(), None);
    assert_eq!(all_after(&history, large.lsn), (expected(&told, large.lsn), None));
}

/// What is counted of a command is no less than what a chunk takes for it: else one that is kept might not fit.
#[test]
fn a_command_takes_no_more_bytes_than_are_counted() {
    let chunk = a_chunk();
    for commit in &chunk.commits {
        let alone = StoredChunk { after: chunk.after, commits: vec![commit.clone()] };
        let (taken, counted) = (alone.encode().unwrap().len(), commit.bytes());
        // What is around the changes, once a command.
        assert!(taken <= counted + 512, "{taken} bytes for {counted}");
    }
    let most = Kind::History.body_bytes_max() - COMMIT_BYTES_MAX;
    assert!(most > 1 << 20, "what stands before it in a chunk, and what is around that, has no room");
}
