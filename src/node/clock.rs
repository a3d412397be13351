//! Time: the machine's clocks behind a seam, and the clock that stamps the log.
//!
//! The ledger reads no clock: time comes with the command. The leader's log clock starts from the last stamp and the
//! median of the members' wall clocks, advances by the monotonic clock, and is slewed towards the median, so that one
//! member's wrong wall clock moves nothing. Where the median stays far ahead of it, as when machines stood still and their
//! clocks were set since, it goes there at once; it never goes back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::ledger::Timestamp;
use crate::replication::NodeId;

/// The clocks of a machine. Production reads the system's; a simulation passes its own.
pub trait Clock: Send + Sync + 'static {
    /// Time since 1970 by the wall clock. May jump, in either direction.
    fn since_epoch(&self) -> Duration;
    /// The same in whole milliseconds, in which instants are told.
    fn wall(&self) -> Timestamp {
        Timestamp(self.since_epoch().as_millis() as u64).min(Timestamp::MAX)
    }
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock that never goes back. On Linux the one that also counts for how long the machine was suspended: a hold does
/// not last longer because of that. Elsewhere the one that there is.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// The machine's own clocks.
pub struct SystemClock;

impl Clock for SystemClock {
    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        // No machine has run since before it was started.
        Duration::try_from(clock_gettime(MONOTONIC)).unwrap_or_default()
    }
}

/// What was seen of a member's clock longer ago says nothing of it now.
pub const SIGHTING_AGE_MAX: Duration = Duration::from_secs(10);
/// Clocks that differ by less are taken for equal: whole milliseconds of both are compared, and a message has its way.
const NOTICED_MS: u64 = 2;
/// For so long the greatest of what was seen counts though all that comes is less, and twice as long where that began just
/// before; then the greatest of that, should the clock have been set back. Messages are late by it however long nothing came:
/// what comes first may have lain for as long.
const GREATEST_KEPT: Duration = Duration::from_secs(2);

/// What the other members' messages show: that they are there, and how far their wall clocks are from this node's.
#[derive(Default)]
pub struct Sightings {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    by_member: BTreeMap<NodeId, Sighting>,
    /// The log's last stamp, and how far it was ahead of this node's monotonic clock when it was first seen here.
    stamp: Option<(Timestamp, i64)>,
}

#[derive(Clone, Copy)]
struct Sighting {
    /// Milliseconds by which the member's wall clock is ahead of this node's monotonic clock: that one never jumps, as
    /// this node's wall clock may.
    ahead_ms: i64,
    /// The greatest of what has come since all of it is less, and since when that is, by this node's monotonic clock.
    less: Option<(i64, Duration)>,
    /// When `ahead_ms` was last seen, by the same clock.
    measured_at: Duration,
    /// When the member was last heard from, by the same clock.
    at: Duration,
}

impl Sighting {
    /// As the median has it: what was measured longer ago than anything that comes says less of the clock than that.
    fn ahead_ms(&self, now: Duration) -> i64 {
        let is_old = now.saturating_sub(self.measured_at) > GREATEST_KEPT;
        self.less.filter(|_| is_old).map_or(self.ahead_ms, |(greatest, _)| greatest)
    }
}

/// Whatever a message says: no clock is past the last timestamp.
fn ahead_ms(wall: Timestamp, monotonic: Duration) -> i64 {
    wall.min(Timestamp::MAX).0 as i64 - monotonic.as_millis() as i64
}

impl Sightings {
    /// A member's wall clock as a message carried it. A message that was under way for long makes the member's clock look
    /// late, and none makes it look early: so the greatest that was seen lately counts.
    ///
    /// Gives when the message was sent, by this node's monotonic clock, as if the quickest took no time: it may have lain in
    /// this machine, or been sent again and again, while this node stood still or could not be reached.
    pub fn saw(&self, member: NodeId, theirs: Timestamp, clock: &dyn Clock) -> Duration {
        let now = clock.monotonic();
        let ahead_ms = ahead_ms(theirs, now);
        let mut all = self.seen();
        let kept = all.by_member.entry(member).or_insert(Sighting {
            ahead_ms,
            less: None,
            measured_at: now,
            at: now,
        });
        kept.at = now;
        let late_ms = kept.ahead_ms.saturating_sub(ahead_ms).max(0) as u64;
        if late_ms == 0 {
            (kept.ahead_ms, kept.less, kept.measured_at) = (ahead_ms, None, now);
        } else {
            let (greatest, since) =
                kept.less.map_or((ahead_ms, now), |(less, since)| (less.max(ahead_ms), since));
            kept.less = Some((greatest, since));
            if now.saturating_sub(since) > GREATEST_KEPT {
                (kept.ahead_ms, kept.less, kept.measured_at) = (greatest, None, now);
            }
        }
        now.saturating_sub(Duration::from_millis(late_ms))
    }

    /// When the member was last heard from, by this node's monotonic clock.
    pub fn last(&self, member: NodeId) -> Option<Duration> {
        self.seen().by_member.get(&member).map(|sighting| sighting.at)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic while the sightings are locked")
    }

    /// How far the median of the members' wall clocks is ahead of this node's, which counts too, in milliseconds. Members
    /// that were not heard from lately don't count.
    ///
    /// Of an even number, the one nearer to the log's time: a node with a wrong clock that was just started and has heard
    /// one other member would else believe its own, and a log clock that has jumped ahead never comes back. The log's time
    /// is `stamp`, its last, and what has passed since that was seen here: after a quiet time, a clock that is late by as
    /// much as it has been quiet would else be the nearer one.
    pub fn median_offset_ms(&self, clock: &dyn Clock, stamp: Timestamp) -> i64 {
        let now = clock.monotonic();
        let own = ahead_ms(clock.wall(), now);
        let mut seen = self.seen();
        let logged = match seen.stamp {
            Some((known, logged)) if stamp <= known => logged,
            _ => ahead_ms(stamp, now),
        };
        seen.stamp = seen.stamp.max(Some((stamp, logged)));
        let members = seen.by_member.values();
        let recent = members.filter(|sighting| now.saturating_sub(sighting.at) <= SIGHTING_AGE_MAX);
        let mut offsets: Vec<i64> = recent.map(|sighting| sighting.ahead_ms(now) - own).chain([0]).collect();
        offsets.sort_unstable();
        let (below, above) = (offsets[(offsets.len() - 1) / 2], offsets[offsets.len() / 2]);
        let stamped = logged - own;
        let median = if stamped.abs_diff(below) <= stamped.abs_diff(above) { below } else { above };
        if median.unsigned_abs() < NOTICED_MS { 0 } else { median }
    }
}

/// The median of the members' wall clocks, as one of them sees it.
#[derive(Clone, Copy)]
pub struct Median {
    /// Since 1970.
    pub wall: Duration,
    /// Whether a majority was heard from lately. Where it was not, the node's own clock may be all that it is made of.
    pub is_of_majority: bool,
}

/// Stamps the batches that this node proposes as leader.
#[derive(Default)]
pub struct LogClock {
    last: Mutex<Option<Reading>>,
}

#[derive(Clone, Copy)]
struct Reading {
    term: u64,
    monotonic: Duration,
    /// Since 1970, and not in whole milliseconds: what many readings a second lost of them would make the clock late.
    at: Duration,
    /// Since when the median of a majority has been further ahead than [`BEHIND_MAX`], by the monotonic clock.
    behind_since: Option<Duration>,
}

/// The greatest share of elapsed time by which the log clock is moved towards the members' median: one part in ten.
const SLEW: u32 = 10;

/// A log clock that is behind the median by no more comes up with it within two minutes.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// One that is further behind for so long goes to the median at once: until then clocks that were set wrong by mistake may be
/// set right, and no member counts any more that was last heard from before. Only a majority's median moves it so: a leader
/// that hears nobody would believe its own clock, and never come back once that was wrong.
const BEHIND_FOR: Duration = Duration::from_secs(30);

impl Reading {
    /// The reading behind this one, and how far the clock jumped to come to the median, if it did.
    fn next(self, median: Median, monotonic: Duration) -> (Reading, Option<Duration>) {
        // Who read the clocks earlier may come later.
        let elapsed = monotonic.saturating_sub(self.monotonic);
        let (steady, slew) = (self.at + elapsed, elapsed / SLEW);
        let monotonic = self.monotonic + elapsed;
        let is_behind = median.is_of_majority && median.wall > steady + BEHIND_MAX;
        let behind_since = is_behind.then(|| self.behind_since.unwrap_or(monotonic));
        if behind_since.is_some_and(|since| monotonic - since >= BEHIND_FOR) {
            let reading = Reading { monotonic, at: median.wall, behind_since: None, ..self };
            return (reading, Some(median.wall - steady));
        }
        let at = median.wall.clamp(steady - slew, steady + slew);
        (Reading { monotonic, at, behind_since, ..self }, None)
    }
}

impl LogClock {
    /// The log's time now. `term` is the one this node leads in: a new one starts afresh from `median`, and never before
    /// `last_stamp`, the newest stamp that was applied here.
    pub fn now(&self, term: u64, last_stamp: Timestamp, median: Median, monotonic: Duration) -> Timestamp {
        let mut last = self.last.lock().expect("no panic while the log clock is locked");
        let (reading, jumped) = match *last {
            Some(reading) if reading.term == term => reading.next(median, monotonic),
            _ => (Reading { term, monotonic, at: median.wall, behind_since: None }, None),
        };
        let whole = |stamp: Timestamp| Duration::from_millis(stamp.0);
        let at = reading.at.max(whole(last_stamp)).min(whole(Timestamp::MAX));
        *last = Some(Reading { at, ..reading });
        drop(last);
        if let Some(jumped) = jumped {
            let behind_s = jumped.as_secs();
            tracing::warn!(
                behind_s,
                "the log's clock was behind the members' clocks, and goes to their median"
            );
        }
        Timestamp(at.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn of_majority(wall: Duration) -> Median {
        Median { wall, is_of_majority: true }
    }

    #[test]
    fn the_log_clock_never_goes_back_and_follows_the_monotonic_clock() {
        let clock = LogClock::default();
        let start = clock.now(1, Timestamp(5_000), of_majority(4_000 * MS), Duration::ZERO);
        assert_eq!(start, Timestamp(5_000), "never before the last stamp");
        // The wall clock jumps a day ahead: one part in ten of the elapsed time is all that it moves.
        assert_eq!(clock.now(1, start, of_majority(86_400_000 * MS), 100 * MS), Timestamp(5_110));
        // It jumps back to the year 1970: the clock goes on, a little slower.
        assert_eq!(clock.now(1, start, of_majority(Duration::ZERO), 200 * MS), Timestamp(5_200));
        // A new term starts from the median, held at the last stamp.
        assert_eq!(clock.now(2, Timestamp(5_150), of_majority(9_000 * MS), 201 * MS), Timestamp(9_000));
    }

    #[test]
    fn a_log_clock_that_stays_far_behind_goes_to_the_median_and_never_back() {
        let s = Duration::from_secs;
        let clock = LogClock::default();
        // The median and the monotonic clock, in seconds, and what the log clock says.
        for (median, monotonic, at_ms) in [
            (1_000, 0, 1_000_000),
            // An hour ahead, for less than half a minute.
            (4_601, 1, 1_001_100),
            (4_630, 30, 1_033_000),
            (1_031, 31, 1_033_900),
            // Ahead again, and long enough.
            (4_632, 32, 1_035_000),
            (4_661, 61, 1_066_900),
            (4_662, 62, 4_662_000),
            // An hour back.
            (1_063, 63, 4_662_900),
            (1_100, 100, 4_696_200),
            (1_500, 500, 5_056_200),
        ] {
            let at = clock.now(1, Timestamp(0), of_majority(s(median)), s(monotonic));
            assert_eq!(at, Timestamp(at_ms), "{median} s at {monotonic} s");
        }
    }

    #[test]
    fn a_log_clock_that_is_a_little_behind_is_slewed_however_long_that_takes() {
        let clock = LogClock::default();
        let at = |ahead: u64, second: u64| {
            let median = of_majority(Duration::from_secs(second + ahead));
            clock.now(1, Timestamp(0), median, Duration::from_secs(second))
        };
        assert_eq!(at(0, 0), Timestamp(0));
        for second in 1..=99 {
            assert_eq!(at(10, second), Timestamp(second * 1_100), "at {second} s");
        }
        assert_eq!(at(10, 100), Timestamp(110_000));
        assert_eq!(at(10, 110), Timestamp(120_000));
    }

    /// Its own clock is wrong by an hour from the first second on. The others are heard from in some seconds only.
    #[test]
    fn a_leader_that_hears_nobody_does_not_go_to_its_own_clock() {
        let clock = LogClock::default();
        let at = |ahead: u64, is_of_majority: bool, second: u64| {
            let median = Median { wall: Duration::from_secs(second + ahead), is_of_majority };
            clock.now(1, Timestamp(0), median, Duration::from_secs(second))
        };
        assert_eq!(at(0, true, 0), Timestamp(0));
        for second in 1..300_u64 {
            let stamp = at(3_600, second.is_multiple_of(20), second);
            assert_eq!(stamp, Timestamp(second * 1_100), "at {second} s");
        }
        // They are back, and say the same: half a minute without a break counts from here.
        for second in 300..330 {
            assert_eq!(at(3_600, true, second), Timestamp(second * 1_100), "at {second} s");
        }
        assert_eq!(at(3_600, true, 330), Timestamp(3_930_000));
    }

    #[test]
    fn a_new_term_does_not_go_on_with_how_long_the_clock_was_behind() {
        let s = Duration::from_secs;
        let clock = LogClock::default();
        clock.now(1, Timestamp(0), of_majority(s(0)), s(0));
        clock.now(1, Timestamp(0), of_majority(s(100)), s(1));
        assert_eq!(clock.now(2, Timestamp(0), of_majority(s(20)), s(20)), Timestamp(20_000));
        assert_eq!(clock.now(2, Timestamp(0), of_majority(s(100)), s(31)), Timestamp(32_100));
    }

    #[test]
    fn the_systems_clocks_go_on() {
        // What was suspended counts, so that it is never behind the clock for which it does not.
        let without = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap();
        let first = SystemClock.monotonic();
        assert!(without <= first && first <= SystemClock.monotonic());
        assert!(SystemClock.wall() > Timestamp(1_700_000_000_000));
    }

    #[test]
    fn who_read_the_clocks_earlier_and_comes_later_neither_sets_it_back_nor_ahead() {
        let clock = LogClock::default();
        let at = |ms: u32| clock.now(1, Timestamp(0), of_majority(ms * MS), ms * MS);
        assert_eq!([at(100), at(200), at(150), at(201)], [100, 200, 200, 201].map(Timestamp));
    }

    #[test]
    fn many_readings_a_second_lose_no_time() {
        // The two clocks' milliseconds begin at different moments, and readings come oftener than those.
        for apart in [Duration::ZERO, Duration::from_micros(900)] {
            let clock = LogClock::default();
            let mut stamp = clock.now(1, Timestamp(0), of_majority(apart), Duration::ZERO);
            for reading in 1..=10_000_u32 {
                let monotonic = reading * Duration::from_micros(190);
                let wall = monotonic + apart;
                stamp = clock.now(1, stamp, of_majority(wall), monotonic);
                assert_eq!(stamp, Timestamp(wall.as_millis() as u64));
            }
        }
    }

    /// The wall clock, and the monotonic one.
    struct Fixed(Timestamp, Duration);

    impl Clock for Fixed {
        fn since_epoch(&self) -> Duration {
            Duration::from_millis(self.0.0)
        }

        fn monotonic(&self) -> Duration {
            self.1
        }
    }

    #[test]
    fn one_wrong_clock_of_three_moves_nothing() {
        let ours = Fixed(Timestamp(10), MS);
        let sightings = Sightings::default();
        let median = |stamp: u64| sightings.median_offset_ms(&ours, Timestamp(stamp));
        assert_eq!(median(0), 0);
        assert_eq!(sightings.last(2), None);
        sightings.saw(2, Timestamp(1_000_000), &ours);
        assert_eq!(median(5), 0, "of two, the one that is nearer to the log");
        assert_eq!(median(999_000), 999_990, "which may be the other's");
        sightings.saw(3, Timestamp(11), &ours);
        assert_eq!(median(999_000), 0, "what whole milliseconds may make of clocks that are equal");
        sightings.saw(3, Timestamp(15), &ours);
        assert_eq!(median(999_000), 5);
        sightings.saw(3, Timestamp(9), &ours);
        assert_eq!(median(0), 5, "a message that was under way for long");
        assert_eq!(sightings.last(2), Some(MS));
        let later = Fixed(Timestamp(20_000), MS + SIGHTING_AGE_MAX + MS);
        assert_eq!(sightings.median_offset_ms(&later, Timestamp(0)), 0, "what was seen long ago");
    }

    #[test]
    fn a_message_that_has_lain_somewhere_is_as_old_as_it_is() {
        let sightings = Sightings::default();
        // When it was sent by the member's clock and seen by this node's, and for how long it was under way.
        for (sent, seen, late) in [
            (100_000, 1_000, 0),
            (100_100, 1_101, 1),
            (100_200, 1_200, 0),
            // This node stands still for a minute; three have lain there since.
            (100_300, 61_000, 59_700),
            (100_400, 61_000, 59_600),
            (100_900, 61_001, 59_101),
            (160_010, 61_010, 0),
            // The member's clock is set back by half a second.
            (159_600, 61_100, 500),
            (161_600, 63_100, 500),
            (161_700, 63_201, 501),
            // What it was behind by at least, all that time, is what counts then.
            (161_800, 63_301, 1),
        ] {
            let ours = Fixed(Timestamp(0), seen * MS);
            let sent_at = sightings.saw(2, Timestamp(sent), &ours);
            assert_eq!(sent_at, (seen - late) * MS, "sent at {sent} ms");
        }
    }

    #[test]
    fn after_a_quiet_time_the_clock_that_went_on_with_the_log_is_believed_of_two() {
        const HOUR: u64 = 3_600_000;
        // How far this node's clock and the other's are from the log's time when its last stamp is seen, in hours; and the
        // one that is right.
        for (own, other, right) in [(9, 10, 1), (10, 9, 0), (10, 11, 0), (11, 10, -1)] {
            let sightings = Sightings::default();
            for quiet in [0, HOUR / 2, HOUR, 5 * HOUR] {
                let ours = Fixed(Timestamp(own * HOUR + quiet), Duration::from_millis(quiet));
                sightings.saw(2, Timestamp(other * HOUR + quiet), &ours);
                let median = sightings.median_offset_ms(&ours, Timestamp(10 * HOUR));
                assert_eq!(median, right * HOUR as i64, "{own} and {other} after {quiet} ms");
            }
        }
    }

    #[test]
    fn whatever_a_message_says_of_a_clock_can_be_reckoned_with() {
        for (ours, theirs) in
            [(0, 1 << 63), (0, (1 << 63) + 1), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)]
        {
            let ours = Fixed(Timestamp(ours), MS);
            let sightings = Sightings::default();
            sightings.saw(2, Timestamp(theirs), &ours);
            for stamp in [0, 1 << 63, u64::MAX] {
                let off = sightings.median_offset_ms(&ours, Timestamp(stamp));
                assert!(off.unsigned_abs() <= Timestamp::MAX.0);
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_is_seen_at_once_where_it_is_and_soon_elsewhere() {
        let sightings = Sightings::default();
        for (ms, others) in [(0, 1_000), (1_000, 2_000)] {
            let ours = Fixed(Timestamp(1_000 + ms), Duration::from_millis(ms));
            sightings.saw(2, Timestamp(others), &ours);
            sightings.saw(3, Timestamp(others), &ours);
        }
        // This node's own clock is an hour ahead from now on.
        let ours = Fixed(Timestamp(3_602_100), Duration::from_millis(1_100));
        assert_eq!(sightings.median_offset_ms(&ours, Timestamp(2_000)), -3_600_000);
        // The others were an hour ahead, and are set right.
        let sightings = Sightings::default();
        let right = |ms: u64| Fixed(Timestamp(1_000 + ms), Duration::from_millis(ms));
        for member in [2, 3] {
            sightings.saw(member, Timestamp(3_601_000), &right(0));
            for ms in [900, 2_000, 3_000] {
                sightings.saw(member, Timestamp(1_000 + ms), &right(ms));
            }
        }
        assert_eq!(sightings.median_offset_ms(&right(3_000), Timestamp(0)), 0);
    }
}
