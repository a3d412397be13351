//! How much of a snapshot goes over a way at once, and how often what was lost there is tried again.

use std::time::Duration;

/// Of a snapshot that goes at once on the slowest way: in the three seconds that a piece has, some 5 kB a second.
const PIECE_BYTES_MIN: usize = 16 << 10;
/// A piece is followed by one twice as large where it took no more than this part of its time. One that took half of it would
/// be followed by one that comes too late.
const QUICK_PART: u32 = 4;
/// How often in a row a piece is lost before the transfer ends.
pub const LOST_MAX: u32 = 12;
/// The time from one try to the next, where the first was over before: it doubles with each.
const TRY_EVERY_MIN: Duration = Duration::from_millis(100);
const TRY_EVERY_MAX: Duration = Duration::from_secs(3);

/// How large the next piece is, at most.
pub struct Pace {
    bytes: usize,
    bytes_max: usize,
}

impl Pace {
    /// Begins with the largest pieces.
    pub fn new(bytes_max: usize) -> Pace {
        Pace { bytes: bytes_max, bytes_max }
    }

    /// Begins with the least, of which one is enough to know whether the other end answers at all.
    pub fn from_least(bytes_max: usize) -> Pace {
        Pace { bytes: PIECE_BYTES_MIN.min(bytes_max), bytes_max }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A piece came within its time, which is `wait`.
    pub fn was_taken(&mut self, took: Duration, wait: Duration) {
        if took <= wait / QUICK_PART {
            self.bytes = (2 * self.bytes).min(self.bytes_max);
        }
    }

    /// What did not arrive in its time may have been too much for the way.
    pub fn was_lost(&mut self) {
        self.bytes = (self.bytes / 2).max(PIECE_BYTES_MIN.min(self.bytes_max));
    }
}

/// How long after a piece was sent that was lost, which is so many in a row, it is tried again.
pub fn again_after(lost: u32) -> Duration {
    doubled(TRY_EVERY_MIN, lost, TRY_EVERY_MAX)
}

/// `least` the first time, then twice as much each time.
pub fn doubled(least: Duration, times: u32, most: Duration) -> Duration {
    least.saturating_mul(1 << times.saturating_sub(1).min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_shrink_to_their_least_and_grow_again_where_they_are_quick() {
        let wait = Duration::from_secs(3);
        let mut pace = Pace::new(1 << 20);
        for expected in [512, 256, 128, 64, 32, 16, 16] {
            pace.was_lost();
            assert_eq!(pace.bytes, expected << 10);
        }
        pace.was_taken(wait / 2, wait);
        assert_eq!(pace.bytes, PIECE_BYTES_MIN, "twice as much would come too late");
        assert_eq!(Pace::from_least(1 << 20).bytes, PIECE_BYTES_MIN);
        for expected in [32, 64, 128, 256, 512, 1024, 1024] {
            pace.was_taken(wait / QUICK_PART, wait);
            assert_eq!(pace.bytes, expected << 10);
        }
        // Where pieces are smaller than that in any case.
        let mut pace = Pace::new(1 << 10);
        pace.was_lost();
        assert_eq!((pace.bytes, Pace::from_least(1 << 10).bytes), (1 << 10, 1 << 10));
    }

    #[test]
    fn waits_double_up_to_their_most() {
        let waits: Vec<u64> = (1..8).map(|lost| again_after(lost).as_millis() as u64).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_000, 3_000]);
        assert_eq!(again_after(u32::MAX), TRY_EVERY_MAX);
    }
}
