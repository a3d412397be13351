//! What commands cost to apply, of late: whoever fills the next entry of the log bounds by it how long readers of the
//! state, and the tasks that wait for them, are held up by that entry.

use std::sync::Mutex;
use std::time::Duration;

/// What is forgotten of the past with each entry.
const FORGOTTEN: f64 = 1.0 / 8.0;

/// As many commands an entry counts for, at least: how long a few took says more of who else had the processor.
const COUNTED_LEAST: usize = 16;

/// The mean of the latest entries, which count the less the longer ago they were.
#[derive(Debug, Default)]
pub struct ApplyCost(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    seconds: f64,
    commands: f64,
}

impl ApplyCost {
    /// An entry of so many commands was applied.
    pub fn add(&self, commands: usize, took: Duration) {
        let mut sums = self.0.lock().expect("no panic while the sums are locked");
        sums.seconds += took.as_secs_f64() - FORGOTTEN * sums.seconds;
        sums.commands += commands.max(COUNTED_LEAST) as f64 - FORGOTTEN * sums.commands;
    }

    /// How many commands would be applied within the time; `usize::MAX` where they take none that could be measured.
    pub fn commands_in(&self, time: Duration) -> usize {
        let sums = self.0.lock().expect("no panic while the sums are locked");
        // Nothing over nothing is no number; what is too large for a whole one becomes the greatest.
        let commands = time.as_secs_f64() * sums.commands / sums.seconds;
        if commands.is_nan() { usize::MAX } else { commands as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn dear_commands_are_learned_of_and_forgotten() {
        let cost = ApplyCost::default();
        assert_eq!(cost.commands_in(TENTH), usize::MAX);
        cost.add(1_000, Duration::ZERO);
        assert_eq!(cost.commands_in(TENTH), usize::MAX);
        cost.add(1_000, Duration::from_secs(5));
        assert!((30..50).contains(&cost.commands_in(TENTH)), "{cost:?}");
        for _ in 0..100 {
            cost.add(50, Duration::from_millis(1));
        }
        assert!((4_000..=5_000).contains(&cost.commands_in(TENTH)), "{cost:?}");
    }

    /// A thread may not get the processor for a while.
    #[test]
    fn one_late_entry_says_little() {
        for (commands, left) in [(50, 2_000), (1, 500)] {
            let cost = ApplyCost::default();
            for _ in 0..100 {
                cost.add(commands, Duration::from_micros(20 * commands as u64));
            }
            cost.add(commands, Duration::from_millis(10));
            assert!(cost.commands_in(TENTH) > left, "{cost:?}");
        }
    }
}
