//! What is kept of the past, in memory and on the disk, has bounds.

use futures_util::FutureExt;
use tokio::time::Instant;

use super::*;
use crate::ledger::{BookGroup, BookingChange, BookingId, GroupStay, RoomTypeId, Wanted};

/// Rooms of the house, and reservations of each group.
const ROOMS: u32 = 100;

/// One booking that takes all rooms for a night, and another command that cancels it.
fn book_all_and_cancel(told: &mut Told, history: &History, n: u128) {
    let stay = |member: u32| GroupStay {
        id: ReservationId(Uuid::from_u128(n * 1_000 + u128::from(member))),
        wanted: Wanted::RoomType(RoomTypeId::new("double").unwrap()),
        arrival: "2027-03-03".parse().unwrap(),
        departure: "2027-03-04".parse().unwrap(),
        occupancy: 2,
        currency: None,
        currency_known: true,
        hold_seconds: None,
        expected_total: None,
        block: None,
        external_ref: None,
    };
    let (booking_id, property) = (BookingId(Uuid::from_u128(n)), PropertyId::new("grand").unwrap());
    let stays = (0..ROOMS).map(stay).collect();
    let book = Command::BookGroup(BookGroup { booking_id, property, guest: "g".into(), stays });
    let cancel = Command::CancelBooking(BookingChange { booking: booking_id });
    for command in [book, cancel] {
        told.run(history, &Submission { key: None, command });
    }
}

fn open_house(history: &History) -> Told {
    let mut told = Told::new();
    for submission in house(ROOMS) {
        told.run(history, &submission);
    }
    told
}

#[test]
fn large_commits_leave_the_memory_once_they_are_kept() {
    let history = History::open(Keeping::InMemory);
    let mut told = open_house(&history);
    let groups = 2 * RECENT_CHANGES as u128 / (2 * u128::from(ROOMS));
    (0..groups).for_each(|n| book_all_and_cancel(&mut told, &history, n));
    assert!(history.lock().backlog().changes > RECENT_CHANGES, "nothing is kept yet");
    history.keep();
    let backlog = history.lock().backlog();
    assert!(backlog.unkept == 0 && backlog.changes <= RECENT_CHANGES, "{backlog:?}");
    assert_eq!(all_after(&history, Lsn(0)), (expected(&told, Lsn(0)), None));
    let inner = history.lock();
    assert_eq!(inner.recent_changes, inner.recent.iter().map(|it| it.changes.len()).sum::<usize>());
}

/// Who was told the one event of a command was told all of it, and goes on behind it.
#[test]
fn what_is_forgotten_ends_with_a_command_of_one_event() {
    let history = History::open(Keeping::InMemory);
    let mut told = open_house(&history);
    for n in 0..40 {
        told.rename_quiet(&history, &n.to_string());
        book_all_and_cancel(&mut told, &history, 1_000 + n);
    }
    history.keep();
    let events = |lsn: Lsn| {
        let run = history.after(Lsn(lsn.0 - 1)).unwrap();
        run.commits.first().filter(|commit| commit.lsn == lsn).map_or(0, |commit| commit.events().count())
    };
    let all = || (1..=told.ledger.lsn().0).map(Lsn);
    let of_many = all().filter(|lsn| events(*lsn) > 1).collect::<Vec<_>>();
    assert_eq!(of_many.len(), 80);
    assert!(all().all(|lsn| history.had_more_than_one(lsn) == of_many.contains(&lsn)));
    let retention = Retention { age_ms: None, bytes: Some(history.extent().bytes / 2) };
    let mark = history.outdated(retention, told.ledger.stamp()).unwrap().expect("half of it is too much");
    assert_eq!(events(mark.lsn), 1);
    history.forget(mark);
    (0..50).for_each(|_| history.keep());
    assert_eq!(history.after(Lsn(mark.lsn.0 - 1)).unwrap_err(), NotTold::Gone { first: mark.lsn.next() });
    assert!(!history.had_more_than_one(mark.lsn));
}

#[test]
fn what_is_old_or_too_much_is_forgotten_up_to_a_mark_and_the_rest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping::OnDisk(dir.path().join("history"));
    let mut history = History::open(keeping.clone());
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 9_000);
    history.keep();
    let now = told.ledger.stamp();
    let outdated = |history: &History, retention| history.outdated(retention, now).unwrap();
    assert_eq!(outdated(&history, Retention::default()), None);
    let by_age = Retention { age_ms: Some(6_000), bytes: None };
    let old = outdated(&history, by_age).expect("a third of it is older");
    let at_mark = &told.states[old.lsn.0 as usize];
    assert!(Mark::of(at_mark) == old && at_mark.stamp().0 < now.0 - 6_000 && old.lsn.0 > 2_000, "{old:?}");
    let bytes = history.extent().bytes;
    let by_size = Retention { age_ms: None, bytes: Some(bytes / 2) };
    let much = outdated(&history, by_size).expect("there is twice as much");
    assert!(much.lsn > old.lsn && much.lsn.0 < 6_000, "{much:?}");

    for mark in [old, much, old] {
        history.forget(mark);
        let first = mark.lsn.max(Lsn(history.extent().first.0 - 1));
        let gone = NotTold::Gone { first: first.next() };
        assert_eq!(history.after(Lsn(0)).unwrap_err(), gone);
        assert_eq!(history.after_of(Lsn(0), &quiet()).unwrap_err(), gone);
        let before = history.state_at(told.ledger.clone(), Lsn(first.0 - 1), &quiet(), &Asker::patient());
        assert_eq!(before.unwrap_err(), gone);
        assert_eq!(all_after(&history, first), (expected(&told, first), None));
        (0..50).for_each(|_| history.keep());
        drop(history);
        history = History::open(keeping.clone());
        assert_eq!(all_after(&history, first), (expected(&told, first), None));
        assert_eq!(history.after(Lsn(0)).unwrap_err(), gone);
    }
    let left = history.extent().bytes;
    assert!(left <= bytes * 6 / 10, "{left} of {bytes} are left");

    // What is forgotten is not fetched from anybody.
    let other = History::open(Keeping::InMemory);
    other.restored(Mark::of(&told.ledger));
    other.forget(much);
    let gap = other.gap().expect("what is left to fetch");
    assert_eq!(gap.filled_upto(), much);
    while let Some(gap) = other.gap() {
        assert!(other.fill(&history.piece(gap.filled_upto(), gap.upto.lsn).unwrap()).unwrap());
    }
    assert_eq!(all_after(&other, much.lsn), (expected(&told, much.lsn), None));
    other.restored(Mark { lsn: told.ledger.lsn().next(), chain: Default::default() });
    other.forget(Mark { lsn: told.ledger.lsn().next(), chain: Default::default() });
    assert_eq!(other.gap(), None);
}

/// A removal that was under way when the node stopped goes on at the next start. Until then what it left is no fault.
#[test]
fn what_is_forgotten_and_not_removed_yet_is_not_held_against_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("history");
    let mut told = Told::new();
    let history = History::open(Keeping::OnDisk(folder.clone()));
    told.open(&history);
    told.book(&history, 9_000);
    history.keep();
    let forgotten = history.lock().store.next(Lsn(0)).unwrap().unwrap();
    let retention = Retention { age_ms: Some(6_000), bytes: None };
    let mark = history.outdated(retention, told.ledger.stamp()).unwrap().expect("a third of it is older");
    history.forget(mark);
    (0..50).for_each(|_| history.keep());
    drop(history);
    let store = SledStore::open(&folder).unwrap();
    let (first, chunk) = (store.next(Lsn(0)).unwrap().unwrap(), Chunk::decode(&forgotten).unwrap());
    assert!(first != forgotten && chunk.last().lsn < mark.lsn, "it was removed");
    store.put(chunk.after.lsn, &forgotten, &chunk.properties()).unwrap();
    drop(store);
    assert_eq!(first_wrong(&folder, &told), None);
}

/// What is old is looked at where something is to be forgotten, and perhaps never else.
#[test]
fn damage_in_what_is_to_be_forgotten_is_found_and_mended() {
    let history = History::open(Keeping::InMemory);
    let mut told = Told::new();
    told.open(&history);
    told.book(&history, 9_000);
    history.keep();
    history.lock().store.put(Lsn(0), b"something else", &Default::default()).unwrap();
    let retention = Retention { age_ms: Some(6_000), bytes: None };
    let outdated = || history.outdated(retention, told.ledger.stamp());
    assert!(outdated().is_err());
    assert_eq!(outdated().unwrap(), None, "nothing is there to be looked at");
    let gap = history.gap().expect("all but what stands in memory");
    assert!(gap.after == Mark::default() && gap.upto.lsn.0 > 3_000, "{gap:?}");
    // A peer has it, and what is fetched is forgotten only once it has met the rest.
    let peer = History::open(Keeping::InMemory);
    let mut same = Told::new();
    same.open(&peer);
    same.book(&peer, 9_000);
    history.keep();
    while let Some(gap) = history.gap() {
        assert_eq!(outdated().unwrap(), None, "at {}", gap.filled_upto().lsn);
        assert!(history.fill(&peer.piece(gap.filled_upto(), gap.upto.lsn).unwrap()).unwrap());
    }
    let mark = outdated().unwrap().expect("a third of it is older");
    assert!(mark.lsn.0 > 2_000, "{mark:?}");
    // What comes next lies right behind a chunk that is forgotten in part, or whole.
    history.forget(mark);
    history.keep();
    let store = history.lock().store.clone();
    let chunk = |frame: Result<Option<Vec<u8>>, _>| Chunk::decode(&frame.unwrap().unwrap()).unwrap();
    let last = chunk(store.at_or_before(Lsn(mark.lsn.0 - 1))).last();
    let behind = chunk(store.next(last.lsn)).after.lsn;
    store.put(behind, b"something else", &Default::default()).unwrap();
    assert!(outdated().is_err());
    assert!(history.gap().is_some_and(|gap| gap.after == mark), "it was found");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_any_more_does_not_stop_the_ledger() {
    let history = History::open(Keeping::InMemory);
    let mut told = open_house(&history);
    let mut n = 0;
    while history.has_room().now_or_never().is_some() {
        book_all_and_cancel(&mut told, &history, n);
        told.states.clear();
        n += 1;
    }
    // Nobody writes.
    let begun = Instant::now();
    history.has_room().await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert!(history.has_room().now_or_never().is_some());
    book_all_and_cancel(&mut told, &history, n);
    assert_eq!(history.tip(), Mark::of(&told.ledger));
    assert!(history.extent().is_missing && history.gap().is_none(), "it is left alone for now");
}
