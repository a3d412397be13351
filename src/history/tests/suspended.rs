//! A history whose disk took nothing for a while: what it tells meanwhile, and how it goes on.

use std::io::{Error, ErrorKind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::gaps::{fill_some, on_disk, peer_of, tells_all};
use super::*;
use crate::replication::{Disk, LogWorker, Work};

/// The disk refuses something, whatever it is.
fn fail(history: &History) {
    let generation = history.lock().generation;
    history.fail(generation, &Error::from(ErrorKind::StorageFull).into());
    assert!(history.is_suspended());
}

#[test]
fn what_was_told_while_the_disk_took_nothing_is_kept_once_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::new();
    let history = on_disk(dir.path());
    told.open(&history);
    told.book(&history, 6_000);
    history.keep();
    for _ in 0..2 {
        fail(&history);
        let end = told.ledger.lsn();
        for _ in 0..2 {
            told.book(&history, 300);
            history.keep();
            assert_eq!(all_after(&history, end), (expected(&told, end), None), "who follows is told");
            assert_eq!(history.after(Lsn(0)).unwrap_err(), NotTold::Missing);
            assert_eq!(history.gap(), None, "its disk has it");
            let retention = Retention { age_ms: Some(1), bytes: None };
            assert_eq!(history.outdated(retention, told.ledger.stamp()).unwrap(), None);
        }
        assert!(history.resume());
        tells_all(&history, &told);
        let extent = history.extent();
        assert!(!extent.is_missing && !extent.is_suspended && extent.unkept > 0, "{extent:?}");
        history.keep();
        assert_eq!((history.extent().unkept, *history.kept.borrow()), (0, told.ledger.lsn()));
    }
    drop(history);
    tells_all(&on_disk(dir.path()), &told);
    assert!(!dir.path().with_extension("damaged").exists());
}

#[test]
fn what_had_no_room_in_memory_is_missing_and_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (mut told, peer) = (Told::new(), peer_of(14_000));
    let history = on_disk(dir.path());
    told.open(&history);
    told.book(&history, 6_000);
    history.keep();
    let kept = told.ledger.lsn();
    fail(&history);
    told.book(&history, 8_000);
    assert!(history.resume());
    let gap = history.gap().expect("more was told than has room");
    assert!(gap.after.lsn <= kept && kept < gap.upto.lsn && gap.upto.lsn < told.ledger.lsn(), "{gap:?}");
    let before: Vec<Mark> = expected(&told, Lsn(0)).into_iter().filter(|mark| mark.lsn <= kept).collect();
    assert_eq!(all_after(&history, Lsn(0)), (before, Some(NotTold::Missing)));
    assert_eq!(all_after(&history, gap.upto.lsn), (expected(&told, gap.upto.lsn), None));
    history.keep();
    fill_some(&history, &peer, usize::MAX);
    tells_all(&history, &told);
    history.keep();
    drop(history);
    tells_all(&on_disk(dir.path()), &told);
}

#[test]
fn a_snapshot_that_came_while_nothing_was_kept_leaves_a_gap() {
    let (mut told, peer) = (Told::new(), peer_of(3_000));
    let history = History::open(Keeping::InMemory);
    told.open(&history);
    told.book(&history, 1_000);
    history.keep();
    fail(&history);
    told.book(&History::open(Keeping::InMemory), 1_000);
    let base = Mark::of(&told.ledger);
    history.restored(base);
    told.book(&history, 1_000);
    assert!(history.resume());
    assert_eq!(history.gap().map(|gap| gap.upto), Some(base));
    assert_eq!(all_after(&history, base.lsn), (expected(&told, base.lsn), None));
    fill_some(&history, &peer, usize::MAX);
    history.keep();
    tells_all(&history, &told);
}

#[test]
fn another_past_that_was_told_while_nothing_was_kept_is_the_one_that_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let (mut told, history) = (Told::new(), on_disk(&folder));
    told.open(&history);
    told.book(&history, 300);
    history.keep();
    fail(&history);
    let mut other = Told::new();
    other.next = 1;
    let elsewhere = History::open(Keeping::InMemory);
    other.open(&elsewhere);
    other.book(&elsewhere, 310);
    let base = Mark::of(&other.ledger);
    other.book(&history, 50);
    assert!(history.resume());
    history.keep();
    assert!(folder.with_extension("damaged").exists());
    assert_eq!(all_after(&history, Lsn(0)), (vec![], Some(NotTold::Missing)));
    assert_eq!(all_after(&history, base.lsn), (expected(&other, base.lsn), None));
}

#[test]
fn what_can_t_be_opened_at_a_start_is_left_alone_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut told, history) = (Told::new(), on_disk(dir.path()));
    told.open(&history);
    told.book(&history, 3_000);
    history.keep();
    drop(history);
    // Somebody has it.
    let other = SledStore::open(dir.path()).unwrap();
    let history = on_disk(dir.path());
    assert!(history.is_suspended() && !dir.path().with_extension("damaged").exists());
    // As the log is replayed.
    let mut again = Told::new();
    again.open(&history);
    again.book(&history, 1_000);
    assert_eq!(all_after(&history, Lsn(0)), (expected(&again, Lsn(0)), None));
    drop(other);
    assert!(history.resume());
    assert_eq!(history.tip(), Mark::of(&told.ledger), "its end is known again");
    again.book(&history, 2_500);
    tells_all(&history, &again);
    history.keep();
    drop(history);
    tells_all(&on_disk(dir.path()), &again);
}

/// What the disk does not give any more, whoever asks for it, and what it gives though something else fails again and again.
#[test]
#[cfg(target_os = "linux")]
fn what_can_t_be_read_is_set_aside_after_some_tries_and_fetched() {
    const TRIES: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let damaged = folder.with_extension("damaged");
    let (mut told, peer) = (Told::new(), peer_of(6_000));
    let history = on_disk(&folder);
    told.open(&history);
    told.book(&history, 6_000);
    history.keep();
    for _ in 0..2 * TRIES {
        fail(&history);
        assert!(history.resume());
        tells_all(&history, &told);
        assert!(!damaged.exists());
    }
    // The system has nothing at the beginning of this, and says what it says of a sector that can't be read.
    let sector = folder.join("sector");
    std::os::unix::fs::symlink("/proc/self/mem", &sector).unwrap();
    assert_eq!(std::fs::read(&sector).unwrap_err().raw_os_error(), Some(5));
    for tried in 1..=TRIES {
        tells_all(&history, &told);
        assert!(!damaged.exists(), "after {} tries", tried - 1);
        fail(&history);
        assert!(history.resume());
    }
    assert!(damaged.join("db").exists() && !sector.exists());
    let gap = history.gap().expect("all that does not stand in memory");
    assert_eq!(all_after(&history, gap.upto.lsn), (expected(&told, gap.upto.lsn), None));
    history.keep();
    fill_some(&history, &peer, usize::MAX);
    tells_all(&history, &told);
    history.keep();
    drop(history);
    tells_all(&on_disk(&folder), &told);
}

/// Does all where it is asked to.
pub(super) struct InPlace;

impl Disk for InPlace {
    fn run_log(&self, _: LogWorker) -> std::io::Result<()> {
        panic!("there is no log")
    }

    fn run(&self, work: Work) {
        work();
    }

    fn run_behind(&self, work: Work) -> std::io::Result<()> {
        work();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn who_writes_tries_again_what_has_failed() {
    let (mut told, history) = (Told::new(), History::open(Keeping::InMemory));
    let writing = tokio::spawn(run(Arc::downgrade(&history), Arc::new(InPlace)));
    told.open(&history);
    told.book(&history, 600);
    sleep(Duration::from_secs(5)).await;
    fail(&history);
    told.book(&history, 600);
    assert!(history.is_suspended());
    sleep(Duration::from_secs(5)).await;
    assert!(!history.is_suspended(), "nobody tries it again");
    tells_all(&history, &told);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((history.extent().unkept, *history.kept.borrow()), (0, told.ledger.lsn()));
    drop(history);
    writing.await.unwrap().unwrap();
}

/// Does nothing while it hangs, and what it was asked to then afterwards.
#[derive(Default)]
struct Hanging {
    hangs: AtomicBool,
    asked: Mutex<Vec<Work>>,
}

impl Disk for Hanging {
    fn run_log(&self, _: LogWorker) -> std::io::Result<()> {
        panic!("there is no log")
    }

    fn run(&self, work: Work) {
        if self.hangs.load(Ordering::Relaxed) {
            self.asked.lock().unwrap().push(work);
        } else {
            work();
        }
    }

    fn run_behind(&self, work: Work) -> std::io::Result<()> {
        self.run(work);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_told_of_until_it_answers() {
    let (mut told, history) = (Told::new(), History::open(Keeping::InMemory));
    let disk = Arc::new(Hanging::default());
    let writing = tokio::spawn(run(Arc::downgrade(&history), disk.clone()));
    told.open(&history);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((history.extent().writing, history.extent().unkept), (Duration::ZERO, 0));
    disk.hangs.store(true, Ordering::Relaxed);
    told.book(&history, 600);
    sleep(Duration::from_secs(90)).await;
    let extent = history.extent();
    assert!(extent.writing > Duration::from_secs(80) && extent.unkept > 500, "{extent:?}");
    disk.hangs.store(false, Ordering::Relaxed);
    let asked = std::mem::take(&mut *disk.asked.lock().unwrap());
    assert_eq!(asked.len(), 1, "one piece of work at a time");
    asked.into_iter().for_each(|work| work());
    sleep(Duration::from_secs(5)).await;
    let extent = history.extent();
    assert_eq!((extent.writing, extent.unkept), (Duration::ZERO, 0));
    assert_eq!(*history.kept.borrow(), told.ledger.lsn());
    tells_all(&history, &told);
    drop(history);
    writing.await.unwrap().unwrap();
}
