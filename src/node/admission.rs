//! How many commands may wait on a node: no more than it is likely to answer soon.
//!
//! A bound by count alone is too tight for a fast cluster, or holds on a slow one what will be answered too late. So a node's
//! own clients may have as many waiting as it applies in [`QUEUE_WAIT`] (Little's law), within a least and a greatest count.
//! Its pace is measured while every batch that is filled leaves some over, and kept for the next crowd. What other nodes
//! forward is bounded there, and has places of its own here: a whole batch would never find room between single commands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::config::Limits;
use crate::replication::NotApplied;

/// How long a command may have to wait for its turn: well below the time that a request may take, since a follower's command
/// waits once more with the leader's own.
const QUEUE_WAIT: Duration = Duration::from_secs(1);
/// How long the pace is measured, at least, before it counts.
const WINDOW: Duration = Duration::from_millis(500);

/// The places of a node's queue.
pub struct Admission {
    bytes: Arc<Semaphore>,
    forwarded: Arc<Semaphore>,
    limits: Limits,
    /// Places of this node's own clients' commands that wait or are under way.
    own: AtomicUsize,
    /// As many of them as may.
    own_max: AtomicUsize,
    /// Only while some are left over.
    window: Mutex<Option<Window>>,
}

/// How many commands of own clients were applied since it began.
struct Window {
    began: Instant,
    applied: usize,
}

impl Window {
    /// How many would be applied in [`QUEUE_WAIT`].
    fn pace(&self, now: Instant) -> usize {
        let took = now.saturating_duration_since(self.began).max(Duration::from_millis(1));
        (self.applied as f64 * QUEUE_WAIT.as_secs_f64() / took.as_secs_f64()) as usize
    }
}

/// Where commands come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Own,
    /// Another node; never forwarded again.
    Forwarded,
}

/// The places that commands hold until they are answered. Those of a batch that becomes several entries are as many as its
/// largest has commands, for as long as the batch takes.
pub struct Places {
    admission: Arc<Admission>,
    /// None of them where the commands were forwarded.
    own: usize,
    _bytes: OwnedSemaphorePermit,
    _forwarded: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// So many of the commands were applied: that is what the pace is made of.
    pub fn applied(&self, commands: usize) {
        if self.own > 0 {
            self.admission.applied(commands, Instant::now());
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.admission.own.fetch_sub(self.own, Ordering::Relaxed);
    }
}

impl Admission {
    pub fn new(limits: &Limits) -> Admission {
        Admission {
            bytes: Arc::new(Semaphore::new(limits.queued_bytes_max)),
            forwarded: Arc::new(Semaphore::new(limits.queued_commands_max)),
            limits: limits.clone(),
            own: AtomicUsize::new(0),
            own_max: AtomicUsize::new(limits.queued_commands_max),
            window: Mutex::new(None),
        }
    }

    /// Places for commands of so many bytes; refused with [`NotApplied::Overloaded`] where there are not as many.
    pub fn admit(
        self: &Arc<Self>,
        commands: usize,
        bytes: usize,
        origin: Origin,
    ) -> Result<Places, NotApplied> {
        let places = |of: &Arc<Semaphore>, count: usize| {
            of.clone().try_acquire_many_owned(count as u32).map_err(|_| NotApplied::Overloaded)
        };
        let bytes = places(&self.bytes, bytes)?;
        let (own, forwarded) = match origin {
            Origin::Own => (commands, None),
            Origin::Forwarded => (0, Some(places(&self.forwarded, commands)?)),
        };
        let before = self.own.fetch_add(own, Ordering::Relaxed);
        let places = Places { admission: self.clone(), own, _bytes: bytes, _forwarded: forwarded };
        if own > 0 && before + own > self.own_max_for(commands) {
            return Err(NotApplied::Overloaded);
        }
        Ok(places)
    }

    /// Whether so many commands of an own client would be admitted now.
    pub fn has_room(&self, commands: usize) -> bool {
        self.own.load(Ordering::Relaxed) + commands <= self.own_max_for(commands)
    }

    /// As many places as may be taken once these commands have theirs. What comes as a batch leaves a quarter to single
    /// commands: a long one keeps its places from its first entry to its last, whether they are needed or not.
    fn own_max_for(&self, commands: usize) -> usize {
        let own_max = self.own_max.load(Ordering::Relaxed);
        if commands > 1 { own_max - own_max / 4 } else { own_max }
    }

    /// Places of commands that wait or are under way, and of their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let taken = |max: usize, places: &Semaphore| max - places.available_permits();
        let Limits { queued_commands_max, queued_bytes_max, .. } = self.limits;
        let own = self.own.load(Ordering::Relaxed);
        (own + taken(queued_commands_max, &self.forwarded), taken(queued_bytes_max, &self.bytes))
    }

    /// A batch has been filled; `left_over` where more waits than it could take.
    pub fn filled(&self, left_over: bool, now: Instant) {
        let mut window = self.window.lock().expect("no panic while the window is locked");
        if left_over {
            window.get_or_insert(Window { began: now, applied: 0 });
        } else if let Some(window) = window.take() {
            // What was learned stays: the next crowd comes at once. One that was worked off in less time than a window takes
            // says only that the node can do as much.
            self.allow(self.own_max.load(Ordering::Relaxed).max(window.pace(now)));
        }
    }

    fn applied(&self, commands: usize, now: Instant) {
        let mut window = self.window.lock().expect("no panic while the window is locked");
        let Some(open) = &mut *window else { return };
        open.applied += commands;
        if now.saturating_duration_since(open.began) >= WINDOW {
            self.allow(open.pace(now));
            *window = Some(Window { began: now, applied: 0 });
        }
    }

    /// As many as are under way at once may wait behind them at any pace, half as many of those that come in batches: an entry
    /// shall never wait for its commands.
    fn allow(&self, commands: usize) {
        let Limits { batches_in_flight_max, batch_commands_max, queued_commands_max, .. } = self.limits;
        let least = (2 * batches_in_flight_max * batch_commands_max).min(queued_commands_max);
        self.own_max.store(commands.clamp(least, queued_commands_max), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        let limits = Limits {
            queued_commands_max: 1_000,
            batch_commands_max: 10,
            batches_in_flight_max: 2,
            ..Limits::default()
        };
        Arc::new(Admission::new(&limits))
    }

    /// How many single commands are admitted at once.
    fn admitted(admission: &Arc<Admission>, origin: Origin) -> usize {
        let places = std::iter::from_fn(|| admission.admit(1, 1, origin).ok());
        places.collect::<Vec<_>>().len()
    }

    /// Answers commands at this pace while others are left over.
    fn answer_for_a_while(admission: &Admission, from: Instant, per_second: usize) -> Instant {
        for tenth in 0..=10 {
            let now = from + tenth * Duration::from_millis(100);
            admission.filled(true, now);
            admission.applied(per_second / 10, now);
        }
        from + Duration::from_secs(1)
    }

    #[test]
    fn as_many_may_wait_as_are_answered_in_the_time() {
        let admission = admission();
        assert_eq!(admitted(&admission, Origin::Own), 1_000, "nothing is known of the pace yet");
        let now = answer_for_a_while(&admission, Instant::now(), 200);
        let own = admitted(&admission, Origin::Own);
        assert!((200..=240).contains(&own), "{own}");
        assert_eq!(admitted(&admission, Origin::Forwarded), 1_000, "its sender has bounds of its own");
        let now = answer_for_a_while(&admission, now, 10);
        assert_eq!(admitted(&admission, Origin::Own), 40, "two batches under way, and two behind them");
        answer_for_a_while(&admission, now, 1_000_000);
        assert_eq!(admitted(&admission, Origin::Own), 1_000);
    }

    #[test]
    fn light_load_says_nothing_of_the_pace() {
        let admission = admission();
        let now = answer_for_a_while(&admission, Instant::now(), 100);
        let own = admitted(&admission, Origin::Own);
        for second in 0..10 {
            admission.filled(false, now + Duration::from_secs(second));
            admission.applied(1, now + Duration::from_secs(second));
        }
        assert_eq!(admitted(&admission, Origin::Own), own);
    }

    #[test]
    fn crowds_that_are_soon_worked_off_are_let_in() {
        let admission = admission();
        let now = answer_for_a_while(&admission, Instant::now(), 100);
        let own = admitted(&admission, Origin::Own);
        admission.filled(true, now);
        admission.applied(200, now + WINDOW / 2);
        admission.filled(false, now + WINDOW / 2);
        let more = admitted(&admission, Origin::Own);
        assert!(more > 2 * own, "{own}, then {more}");
    }

    #[test]
    fn batches_leave_places_to_single_commands() {
        let admission = admission();
        let batches: Vec<_> = std::iter::from_fn(|| admission.admit(10, 10, Origin::Own).ok()).collect();
        assert_eq!(batches.len(), 75);
        assert_eq!(admitted(&admission, Origin::Own), 250);
    }

    #[test]
    fn what_was_answered_makes_room() {
        let admission = admission();
        let places: Vec<_> = std::iter::from_fn(|| admission.admit(1, 1, Origin::Own).ok()).collect();
        assert!(!admission.has_room(1));
        assert_eq!(admission.waiting(), (1_000, 1_000));
        assert_eq!(admission.admit(1, 1, Origin::Own).err(), Some(NotApplied::Overloaded));
        assert_eq!(admitted(&admission, Origin::Forwarded), 1_000, "they have places of their own");
        drop(places);
        assert!(admission.has_room(750) && !admission.has_room(751));
        assert_eq!(admission.waiting(), (0, 0));
        // One that was refused has left nothing behind.
        assert!(admission.admit(751, 1, Origin::Own).is_err());
        assert!(admission.admit(1, usize::MAX >> 4, Origin::Own).is_err());
        assert_eq!((admission.waiting(), admitted(&admission, Origin::Own)), ((0, 0), 1_000));
    }
}
