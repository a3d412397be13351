//! Whole clusters in one thread, from one seed: real nodes from the HTTP handler to the log on disk, on a simulated
//! network, disk and clock, while machines crash, lose power, are parted and slowed down.
//!
//! `INNKEEPER_SIM_SEED=<seed>` replays one seed and prints what happens. `INNKEEPER_SIM_FIRST` and `INNKEEPER_SIM_COUNT`
//! choose which seeds are run. `INNKEEPER_SIM_PLANTED=<name>` plants a bug in the seed that is replayed.

mod builds;
mod clients;
mod clock;
mod disk;
mod faults;
mod feed;
mod history;
mod machine;
mod model;
mod network;
mod operator;
mod panics;
mod planted_bugs;
mod properties;
mod simulation;
mod trace;
mod verdict;

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use simulation::Run;

/// Seeds that CI runs, from 1.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text}")))
}

fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panics::count();
        if std::env::var_os("RUST_LOG").is_some() {
            tracing_subscriber::fmt()
                .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
                .without_time()
                .with_writer(std::io::stderr)
                .init();
        }
    });
}

/// Says what failed and how to see it again. Returns whether all was well.
fn report(seed: u64, run: &Run) -> bool {
    for violation in &run.violations {
        eprintln!("seed {seed} ({}): {violation}", run.kinds);
        eprintln!("replay: INNKEEPER_SIM_SEED={seed} cargo test --test simulation seeds -- --nocapture");
    }
    run.violations.is_empty()
}

#[test]
fn seeds() {
    prepare();
    if let Some(seed) = number("INNKEEPER_SIM_SEED") {
        planted_bugs::plant_as_asked();
        let run = simulation::run(seed, true);
        eprintln!("hash {:016x}, {} operations, {} answered", run.hash, run.operations, run.acknowledged);
        assert!(report(seed, &run), "seed {seed} fails");
        return;
    }
    let first = number("INNKEEPER_SIM_FIRST").unwrap_or(1);
    let next = AtomicU64::new(first);
    let end = first + number("INNKEEPER_SIM_COUNT").unwrap_or(SEEDS);
    let has_failed = AtomicBool::new(false);
    let (operations, acknowledged, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (begun, installed) = (AtomicU64::new(0), AtomicU64::new(0));
    let (simulated_ms, began) = (AtomicU64::new(0), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || has_failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let run = simulation::run(seed, false);
                    operations.fetch_add(run.operations as u64, Ordering::Relaxed);
                    acknowledged.fetch_add(run.acknowledged as u64, Ordering::Relaxed);
                    faults.fetch_add(run.faults as u64, Ordering::Relaxed);
                    simulated_ms.fetch_add(run.simulated_ms, Ordering::Relaxed);
                    begun.fetch_add(run.snapshots.0, Ordering::Relaxed);
                    installed.fetch_add(run.snapshots.1, Ordering::Relaxed);
                    if !report(seed, &run) {
                        has_failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!has_failed.into_inner(), "a seed fails");
    let (begun, installed) = (begun.into_inner(), installed.into_inner());
    eprintln!(
        "{} seeds: {} operations, {} answered, {} faults, {begun} snapshots sent, {} of them cut off, {} simulated \
         seconds in {:?}",
        end - first,
        operations.into_inner(),
        acknowledged.into_inner(),
        faults.into_inner(),
        begun - installed,
        simulated_ms.into_inner() / 1_000,
        began.elapsed()
    );
    // What these seeds are for must have come up in them.
    if end - first >= SEEDS {
        assert!(installed > 0 && begun > installed, "no snapshot was sent, or none was cut off");
    }
}

#[test]
fn one_seed_always_tells_the_same_story() {
    prepare();
    for seed in [11, 12, 13] {
        let (one, other) = (simulation::run(seed, false), simulation::run(seed, false));
        assert_eq!((one.events, one.hash), (other.events, other.hash), "seed {seed}");
        assert!(one.acknowledged > 0, "seed {seed} did nothing");
    }
}
