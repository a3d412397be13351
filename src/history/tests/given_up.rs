//! A hole that nobody can fill: what stands before it is set aside before any of it goes, whatever comes in between.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::gaps::{fill_some, on_disk, peer_of, tells_all};
use super::suspended::InPlace;
use super::*;
use crate::history::sled_store::let_go_of;
use crate::planted::fill_disk;

const BEFORE: u32 = 6_000;
const LACKING: u32 = 3_000;
const BEHIND: u32 = 6_000;

/// What a history with a hole was told.
struct Holed {
    told: Told,
    /// The last command before the hole, and the last one in it.
    kept: Lsn,
    base: Mark,
}

fn with_a_hole(folder: &Path) -> (Holed, Arc<History>) {
    let (mut told, history) = (Told::new(), on_disk(folder));
    told.open(&history);
    told.book(&history, BEFORE);
    history.keep();
    let kept = told.ledger.lsn();
    told.book(&History::open(Keeping::InMemory), LACKING);
    let base = Mark::of(&told.ledger);
    history.restored(base);
    told.book(&history, BEHIND);
    history.keep();
    (Holed { told, kept, base }, history)
}

impl Holed {
    fn before(&self) -> Vec<Mark> {
        expected(&self.told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= self.kept).collect()
    }

    fn tells_all_but_the_hole(&self, history: &History) {
        assert_eq!(all_after(history, Lsn(0)), (self.before(), Some(NotTold::Missing)));
        assert_eq!(history.after(Lsn(self.base.lsn.0 - 1)).unwrap_err(), NotTold::Missing);
        self.tells_what_is_behind(history);
    }

    fn tells_the_rest_alone(&self, history: &History) {
        let gone = NotTold::Gone { first: self.base.lsn.next() };
        assert_eq!(history.after(Lsn(0)).unwrap_err(), gone);
        assert_eq!(history.after(Lsn(self.base.lsn.0 - 1)).unwrap_err(), gone);
        self.tells_what_is_behind(history);
    }

    fn tells_what_is_behind(&self, history: &History) {
        assert_eq!(all_after(history, self.base.lsn), (expected(&self.told, self.base.lsn), None));
    }

    /// What was set aside is a history of its own, with all that was before the hole; and nobody has it open.
    fn was_set_aside(&self, folder: &Path) {
        let aside = on_disk(&place(folder, 1));
        assert_eq!(all_after(&aside, Lsn(0)), (self.before(), None));
        assert_eq!(aside.gap(), None);
        assert!(!place(folder, 2).exists() && !begun(folder).exists());
    }
}

fn give_up(history: &History) {
    history.give_up(history.gap().expect("what nobody has"), None);
}

fn place(folder: &Path, n: u32) -> PathBuf {
    folder.with_extension(format!("set-aside-{n}"))
}

fn begun(folder: &Path) -> PathBuf {
    folder.with_extension("set-aside-begun")
}

/// Writes, and tries again at once what has failed, until the hole is no more.
fn write_until_it_is_gone(history: &History) {
    let until = Instant::now() + Duration::from_secs(60);
    while history.gap().is_some() {
        assert!(Instant::now() < until, "it is not set aside");
        history.set_aside_again();
        history.keep();
    }
}

#[test]
fn it_is_set_aside_piece_by_piece_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (mut holed, history) = with_a_hole(&folder);
    give_up(&history);
    holed.tells_all_but_the_hole(&history);
    history.keep();
    assert!(begun(&folder).exists() && !place(&folder, 1).exists(), "it is under way");
    // What comes meanwhile is kept too, and that it is given up is said again and again.
    holed.told.book(&history, 600);
    give_up(&history);
    history.keep();
    assert_eq!((history.extent().unkept, history.gap().is_some()), (0, true));
    holed.tells_all_but_the_hole(&history);
    write_until_it_is_gone(&history);
    holed.tells_the_rest_alone(&history);
    (0..50).for_each(|_| history.keep());
    let first = history.lock().store.next(Lsn(0)).unwrap().unwrap();
    assert!(Chunk::decode(&first).unwrap().after.lsn.0 > 1_000, "it is removed here");
    holed.tells_the_rest_alone(&history);
    holed.was_set_aside(&folder);
    drop(history);
    let history = on_disk(&folder);
    assert_eq!(history.gap(), None);
    holed.tells_the_rest_alone(&history);
}

#[test]
fn what_can_t_be_set_aside_stays_until_it_can() {
    for is_full in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("history");
        let (holed, history) = with_a_hole(&folder);
        if is_full {
            // There is room for a part of it.
            fill_disk(Some(100_000));
        } else {
            std::fs::write(begun(&folder), "in the way").unwrap();
        }
        give_up(&history);
        for _ in 0..3 {
            (0..20).for_each(|_| history.keep());
            assert!(history.waits_to_set_aside() && !history.is_suspended());
            assert!(!place(&folder, 1).exists() && !begun(&folder).is_dir());
            holed.tells_all_but_the_hole(&history);
            history.set_aside_again();
        }
        history.keep();
        if is_full {
            fill_disk(None);
        } else {
            std::fs::remove_file(begun(&folder)).unwrap();
        }
        // Who says again that it is given up does not hurry it.
        give_up(&history);
        history.keep();
        assert!(history.waits_to_set_aside());
        write_until_it_is_gone(&history);
        holed.tells_the_rest_alone(&history);
        holed.was_set_aside(&folder);
    }
}

#[test]
fn a_restart_in_the_middle_of_it_comes_to_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (holed, history) = with_a_hole(&folder);
    give_up(&history);
    (0..2).for_each(|_| history.keep());
    assert!(begun(&folder).exists(), "it is under way");
    drop(history);
    let history = on_disk(&folder);
    assert!(!begun(&folder).exists());
    holed.tells_all_but_the_hole(&history);
    give_up(&history);
    write_until_it_is_gone(&history);
    holed.tells_the_rest_alone(&history);
    holed.was_set_aside(&folder);
}

/// As where the power went after a copy had its place, and before the history's own note.
#[test]
fn what_was_set_aside_before_a_crash_is_not_copied_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (holed, history) = with_a_hole(&folder);
    drop(history);
    let_go_of(&folder).unwrap();
    // What the disk holds before it is set aside, and afterwards again.
    let before = dir.path().join("before");
    std::fs::create_dir(&before).unwrap();
    for file in std::fs::read_dir(&folder).unwrap().flatten().filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), before.join(file.file_name())).unwrap();
    }
    let history = on_disk(&folder);
    give_up(&history);
    write_until_it_is_gone(&history);
    drop(history);
    for takes_all_places in [false, true] {
        if takes_all_places {
            (2..=4).for_each(|n| std::fs::create_dir(place(&folder, n)).unwrap());
        }
        let_go_of(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        for file in std::fs::read_dir(&before).unwrap().flatten() {
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        let history = on_disk(&folder);
        holed.tells_all_but_the_hole(&history);
        give_up(&history);
        write_until_it_is_gone(&history);
        holed.tells_the_rest_alone(&history);
        assert!(!begun(&folder).exists() && place(&folder, 2).exists() == takes_all_places);
        drop(history);
    }
    (2..=4).for_each(|n| std::fs::remove_dir(place(&folder, n)).unwrap());
    holed.was_set_aside(&folder);
}

/// A copy of less than what is to be set aside is none of it.
#[test]
fn what_was_set_aside_of_another_hole_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (mut holed, history) = with_a_hole(&folder);
    give_up(&history);
    write_until_it_is_gone(&history);
    holed.told.book(&History::open(Keeping::InMemory), LACKING);
    let (first, upto) = (holed.base, Mark::of(&holed.told.ledger));
    history.restored(upto);
    history.keep();
    give_up(&history);
    write_until_it_is_gone(&history);
    assert_eq!(history.after(Lsn(0)).unwrap_err(), NotTold::Gone { first: upto.lsn.next() });
    let aside = on_disk(&place(&folder, 2));
    assert_eq!(aside.after(Lsn(0)).unwrap_err(), NotTold::Gone { first: first.lsn.next() });
    assert_eq!(all_after(&aside, first.lsn).1, None);
    assert!(!place(&folder, 3).exists());
}

#[test]
fn what_has_no_place_any_more_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (holed, history) = with_a_hole(&folder);
    (1..=4).for_each(|n| std::fs::create_dir(place(&folder, n)).unwrap());
    give_up(&history);
    (0..50).for_each(|_| history.keep());
    holed.tells_the_rest_alone(&history);
    assert!((1..=4).all(|n| std::fs::read_dir(place(&folder, n)).unwrap().next().is_none()));
    assert!(!begun(&folder).exists());
}

#[test]
fn a_peer_that_has_it_after_all_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (holed, history) = with_a_hole(&folder);
    give_up(&history);
    history.keep();
    assert!(begun(&folder).exists(), "it is under way");
    fill_some(&history, &peer_of(BEFORE + LACKING + BEHIND), usize::MAX);
    (0..50).for_each(|_| history.keep());
    tells_all(&history, &holed.told);
    assert!(!begun(&folder).exists() && !place(&folder, 1).exists());
}

#[test]
fn what_is_forgotten_meanwhile_is_in_it_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (holed, history) = with_a_hole(&folder);
    give_up(&history);
    history.keep();
    let mark = Mark::of(&holed.told.states[4_000]);
    history.forget(mark);
    assert_eq!(history.after(Lsn(0)).unwrap_err(), NotTold::Gone { first: mark.lsn.next() });
    write_until_it_is_gone(&history);
    holed.tells_the_rest_alone(&history);
    holed.was_set_aside(&folder);
}

#[tokio::test(start_paused = true)]
async fn who_writes_sets_it_aside_and_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (holed, history) = with_a_hole(&folder);
    let writing = tokio::spawn(run(Arc::downgrade(&history), Arc::new(InPlace)));
    std::fs::write(begun(&folder), "in the way").unwrap();
    give_up(&history);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(history.waits_to_set_aside());
    holed.tells_all_but_the_hole(&history);
    std::fs::remove_file(begun(&folder)).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    holed.tells_the_rest_alone(&history);
    holed.was_set_aside(&folder);
    drop(history);
    writing.await.unwrap().unwrap();
}
