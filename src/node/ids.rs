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
    made: Mutex<Made>,
}

struct Made {
    random: StdRng,
    /// The last one's number.
    last: Option<u128>,
}

/// The bits of a UUIDv7 behind its milliseconds.
const BEHIND_TIME: u32 = 80;
/// The first of the last 62 random bits. It is clear in the first id of a millisecond, so that none counts on into the
/// variant before them (RFC 9562, section 6.2: a guard against rollover).
const GUARD: u128 = 1 << 61;
/// A clock that was read so much before the last one's time counts as that time.
const BACK_MAX_MS: u128 = 1_000;

impl IdSource {
    pub fn new(clock: Arc<dyn Clock>, random: StdRng) -> IdSource {
        IdSource { clock, made: Mutex::new(Made { random, last: None }) }
    }

    /// Seeded by the operating system.
    pub fn from_system(clock: Arc<dyn Clock>) -> IdSource {
        IdSource::new(clock, StdRng::from_rng(&mut rand::rng()))
    }

    /// RFC 9562, section 5.7: 48 bits of milliseconds, then random ones. Within a millisecond each is greater than the one
    /// before, by a random number (section 6.2, method 2): what one node makes is in order by its ids, but for a wall clock
    /// that goes back by a second.
    pub fn next(&self) -> Uuid {
        let now = self.clock.wall().0;
        let mut random = [0; 10];
        let mut made = self.made.lock().expect("no panic while the generator is locked");
        made.random.fill_bytes(&mut random);
        let fresh = uuid::Builder::from_unix_timestamp_millis(now, &random).into_uuid();
        let fresh = fresh.as_u128() & !GUARD;
        let [step @ .., _, _, _, _, _, _] = random;
        let behind_ms = |last: u128| (last >> BEHIND_TIME).checked_sub(fresh >> BEHIND_TIME);
        let id = match made.last {
            Some(last) if behind_ms(last).is_some_and(|ms| ms < BACK_MAX_MS) => {
                last + 1 + u128::from(u32::from_be_bytes(step))
            }
            _ => fresh,
        };
        made.last = Some(id);
        Uuid::from_u128(id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    struct Wall(AtomicU64);

    impl Clock for Wall {
        fn since_epoch(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            self.since_epoch()
        }
    }

    #[test]
    fn ids_of_one_node_are_in_the_order_in_which_they_were_made() {
        const MADE: usize = 5_000;
        let wall = Arc::new(Wall(AtomicU64::new(1_798_761_600_000)));
        let ids = IdSource::new(wall.clone(), StdRng::seed_from_u64(7));
        let mut last = Uuid::nil();
        for ms in 1_798_761_600_000..1_798_761_600_010 {
            wall.0.store(ms, Ordering::Relaxed);
            for _ in 0..MADE {
                let id = ids.next();
                assert!(id > last, "{id} after {last}");
                assert_eq!((id.as_u128() >> BEHIND_TIME) as u64, ms);
                assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
                last = id;
            }
        }
        // A clock that is corrected, and one that is set back.
        wall.0.store(1_798_761_599_100, Ordering::Relaxed);
        let id = ids.next();
        assert!(id > last, "{id} after {last}");
        wall.0.store(1_798_761_599_000, Ordering::Relaxed);
        assert!(ids.next() < last);
    }
}
