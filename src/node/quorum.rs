//! How long ago a majority last answered this leader, by a clock that also counts while the machine is suspended. openraft
//! notes the instants by one that does not: those at which what was answered had been sent.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use openraft::{Instant as _, TokioInstant};

use super::Node;

/// What the one clock gains on the other between two looks by being read a little later, and not by a suspension.
const NOTICED: Duration = Duration::from_millis(1);
/// Suspensions that are told apart: the last ones.
const APART_MAX: usize = 8;

#[derive(Default)]
pub struct QuorumLooks(Mutex<Looks>);

#[derive(Default)]
struct Looks {
    /// How far the clock that counts all was ahead of the other at the last look, at most. None before the first.
    ahead: Option<Duration>,
    /// What it had gained on it by a look, and when that was.
    gained: Vec<(TokioInstant, Duration)>,
}

impl Looks {
    /// What it has gained since the last look.
    fn gained_by(&self, ahead: Duration) -> Duration {
        self.ahead.map_or(Duration::ZERO, |before| ahead.saturating_sub(before))
    }
}

impl QuorumLooks {
    /// `ahead` was read before `now`: a suspension between the two is found at the next look.
    fn look(&self, ahead: Duration, now: TokioInstant) {
        let mut looks = self.lock();
        let gained = looks.gained_by(ahead);
        looks.ahead = looks.ahead.max(Some(ahead));
        if gained < NOTICED {
            return;
        }
        if looks.gained.len() == APART_MAX {
            // Counted for what was sent between the two as well.
            let (_, first) = looks.gained.remove(0);
            looks.gained[0].1 += first;
        }
        looks.gained.push((now, gained));
    }

    /// How long ago `acked` was. Too long for what was sent between the end of a suspension and the first look after it.
    fn since(&self, acked: TokioInstant, ahead: Duration) -> Duration {
        let looks = self.lock();
        let gained = looks.gained.iter().filter(|(at, _)| *at > acked).map(|(_, gained)| *gained);
        let suspended = gained.sum::<Duration>() + looks.gained_by(ahead);
        acked.elapsed() + suspended
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.0.lock().expect("no panic while the looks are locked")
    }
}

impl Node {
    /// Looks whether the machine was suspended. The watchdog does it again and again.
    pub(super) fn look_for_suspension(&self) {
        let ahead = self.ahead();
        self.quorum_looks.look(ahead, TokioInstant::now());
    }

    /// How long ago a majority answered this leader at `acked`.
    pub(super) fn since_quorum(&self, acked: TokioInstant) -> Duration {
        self.quorum_looks.since(acked, self.ahead())
    }

    fn ahead(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3_600);
    const DAYS: Duration = Duration::from_secs(1_000_000);

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_machine_was_suspended_counts() {
        let looks = QuorumLooks::default();
        let advance = tokio::time::advance;
        let now = TokioInstant::now;
        looks.look(DAYS, now());
        advance(50 * MS).await;
        let first = now();
        assert_eq!(looks.since(first, DAYS), Duration::ZERO);
        looks.look(DAYS, now());
        advance(20 * MS).await;
        assert_eq!(looks.since(first, DAYS), 20 * MS);

        // What is answered after a suspension may have been sent before it.
        let second = now();
        advance(10 * MS).await;
        let woken = DAYS + HOUR;
        assert_eq!(looks.since(first, woken), HOUR + 30 * MS);
        assert_eq!(looks.since(second, woken), HOUR + 10 * MS);
        for _ in 0..3 {
            looks.look(woken, now());
            assert_eq!(looks.since(second, woken), HOUR + 10 * MS, "a look makes it no younger");
        }

        advance(5 * MS).await;
        let third = now();
        assert_eq!(looks.since(third, woken), Duration::ZERO, "what was sent after the first look");
        assert_eq!(looks.since(second, woken + HOUR), 2 * HOUR + 15 * MS, "one suspension after the other");
        looks.look(woken, now());
        advance(5 * MS).await;
        assert_eq!(looks.since(third, woken), 5 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn many_suspensions_without_an_answer_count_all() {
        let looks = QuorumLooks::default();
        looks.look(DAYS, TokioInstant::now());
        tokio::time::advance(MS).await;
        let acked = TokioInstant::now();
        for hours in 1..=20 {
            tokio::time::advance(MS).await;
            looks.look(DAYS + hours * HOUR, TokioInstant::now());
            assert_eq!(looks.since(acked, DAYS + hours * HOUR), hours * (HOUR + MS));
        }
        assert_eq!(looks.lock().gained.len(), APART_MAX);
    }
}
