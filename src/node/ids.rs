//! Identifiers that a node makes for what its clients create.

use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::clock::Clock;

/// Makes UUIDv7s from the wall clock and a generator that is passed in: seeded by the system in production, by the
/// simulation's seed in a simulation.
pub struct IdSource {
    clock: Arc<dyn Clock>,
    random: Mutex<StdRng>,
}

impl IdSource {
    pub fn new(clock: Arc<dyn Clock>, random: StdRng) -> IdSource {
        IdSource { clock, random: Mutex::new(random) }
    }

    /// Seeded by the operating system.
    pub fn from_system(clock: Arc<dyn Clock>) -> IdSource {
        IdSource::new(clock, StdRng::from_rng(&mut rand::rng()))
    }

    /// RFC 9562, section 5.7: 48 bits of milliseconds, then 74 random bits.
    pub fn next(&self) -> Uuid {
        let mut random = [0; 10];
        self.random.lock().expect("no panic while the generator is locked").fill_bytes(&mut random);
        uuid::Builder::from_unix_timestamp_millis(self.clock.wall().0, &random).into_uuid()
    }
}
