//! What the simulation is worth: every bug that can be planted is found within a few seeds.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use innkeeper::planted::{Bug, plant};

use super::{number, panics, prepare, simulation};

/// Seeds within which a bug must be found: five times as many as the rarest needs on average, `unknown-denied`.
const SEEDS_MAX: u64 = 200;

/// The variable that names a bug.
const PLANTED: &str = "INNKEEPER_SIM_PLANTED";

fn asked_for() -> Option<Bug> {
    let name = std::env::var(PLANTED).ok()?;
    let bug = Bug::ALL.iter().find(|bug| bug.name() == name);
    Some(*bug.unwrap_or_else(|| panic!("{PLANTED} names no bug: {name}")))
}

/// Plants on this thread what the environment names.
pub fn plant_as_asked() {
    plant(asked_for());
}

fn seeds() -> Range<u64> {
    let first = number("INNKEEPER_SIM_FIRST").unwrap_or(1);
    first..first + number("INNKEEPER_SIM_COUNT").unwrap_or(SEEDS_MAX)
}

struct Found {
    seed: u64,
    words: String,
}

/// The first seed that finds the bug, and what it says.
fn search(bug: Bug) -> Option<Found> {
    let found = seeds().find_map(|seed| {
        plant(Some(bug));
        // A machine that can't even be taken down is a find too.
        let run = catch_unwind(AssertUnwindSafe(|| simulation::run(seed, false)));
        let words = match run {
            Ok(run) => run.violations.into_iter().next(),
            Err(_) => Some("the simulation itself has panicked".to_owned()),
        };
        words.map(|words| Found { seed, words })
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    prepare();
    // What all nodes get wrong alike is set aside alike, which is right: `poison.rs` is about that. And a history that is not
    // kept is planted to be measured: all nodes say that it is gone.
    let sought = |bug: &Bug| ![Bug::CancelPanics, Bug::DuePanics, Bug::HistoryNotKept].contains(bug);
    let all = || Bug::ALL.iter().copied().filter(sought).collect();
    let bugs: Vec<Bug> = asked_for().map_or_else(all, |bug| vec![bug]);
    let (next, missed, began) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                panics::keep_quiet();
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match search(*bug) {
                        Some(Found { seed, words }) => {
                            let words: String = words.chars().take(120).collect();
                            eprintln!("{:26} seed {seed:>3}: {words}", bug.name());
                        }
                        None => missed.lock().expect("no panic while it is locked").push(bug.name()),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no panic while it is locked");
    assert!(missed.is_empty(), "not found by the seeds {:?}: {missed:?}", seeds());
    eprintln!("{} planted bugs found in {:?}", bugs.len(), began.elapsed());
}
