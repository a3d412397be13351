//! The clocks of one simulated machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use innkeeper::node::clock::Clock;
use tokio::time::Instant;

/// The true time at which every simulation begins: 2027-01-15T08:00:00Z, in milliseconds.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// How wrong a machine's wall clock is. It outlives the machine's processes.
#[derive(Clone, Default)]
pub struct WallOffset(Arc<AtomicI64>);

impl WallOffset {
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A process's view of its machine's clocks; made, and read, inside the process's runtime.
pub struct SimulatedClock {
    started: Instant,
    started_ms: u64,
    offset: WallOffset,
}

impl SimulatedClock {
    /// `now_ms` is the true time since the simulation began.
    pub fn new(now_ms: u64, offset: WallOffset) -> SimulatedClock {
        SimulatedClock { started: Instant::now(), started_ms: now_ms, offset }
    }
}

impl Clock for SimulatedClock {
    fn since_epoch(&self) -> Duration {
        let started_ms = (EPOCH_MS + self.started_ms).saturating_add_signed(self.offset.get());
        Duration::from_millis(started_ms) + self.started.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
