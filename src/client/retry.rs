//! When a call is made again, and where: pure decisions, without I/O.
//!
//! A read, or a write with a key, is made again at another node after a failed connection, a lost answer, and the
//! refusals that say "not now". A write without a key is made again only when no connection was made, because anything
//! else may have carried it to a node. A node that failed in the middle of a write has perhaps done it.

use std::time::Duration;

use tokio::time::Instant;

use super::Patience;
use super::answer::{ClientError, Meta, Refused};
use super::attempt::{ANSWER_BYTES_MAX, Attempt, Reply};
use super::call::Call;

/// The wait before an endpoint is asked a second time; doubled with each further time.
const PAUSE_MIN: Duration = Duration::from_millis(25);
/// Elections take fractions of a second: waiting longer than this would sleep through the new leader's first words.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What an exchange means for its call.
#[derive(Debug)]
pub(super) enum Judgement {
    Answered(Reply),
    Refused(Box<Refused>),
    Malformed {
        endpoint: String,
        reason: String,
    },
    /// Another attempt would come to the same.
    Failed(ClientError),
    Again(Trouble),
}

/// Why an attempt has to be made again.
#[derive(Debug)]
pub(super) enum Trouble {
    NotSent(String),
    /// The request may have been taken.
    Lost(String),
    /// Nothing happened, says the node.
    NotNow(Box<Refused>, Option<Duration>),
}

pub(super) fn judge(call: &Call, attempt: Attempt) -> Judgement {
    let lost = |reason: String| {
        if call.may_repeat() {
            Judgement::Again(Trouble::Lost(reason))
        } else {
            Judgement::Failed(ClientError::OutcomeUnknown { key: None, reason })
        }
    };
    let reply = match attempt {
        Attempt::NotSent(reason) => return Judgement::Again(Trouble::NotSent(reason)),
        Attempt::Lost(reason) => return lost(reason),
        Attempt::TooLong(endpoint) => {
            return Judgement::Failed(
                call.unreadable(ClientError::TooLong { endpoint, max: ANSWER_BYTES_MAX }),
            );
        }
        Attempt::Replied(reply) => reply,
    };
    if (200..300).contains(&reply.meta.status) {
        return Judgement::Answered(reply);
    }
    let Some(problem) = reply.problem() else {
        let reason = reply.summary();
        let endpoint = reply.meta.endpoint;
        // Something between the client and the node spoke: it does not know what the node did.
        return if call.is_write() && reply.meta.status >= 500 {
            lost(format!("{endpoint} answered with {reason}"))
        } else {
            Judgement::Malformed { endpoint, reason }
        };
    };
    let code = problem.code.clone();
    let detail = problem.detail.clone();
    let retry_after = reply.retry_after;
    let refused = Box::new(Refused { problem, meta: reply.meta });
    match code.as_str() {
        "outcome_unknown" => lost(detail),
        // The node failed in the middle of it.
        "internal" if call.is_write() => lost(detail),
        // The status counts whole seconds, an election less: the pauses of `Course` bound the retries instead.
        "no_leader" | "not_ready" if call.may_repeat() => Judgement::Again(Trouble::NotNow(refused, None)),
        "overloaded" if call.may_repeat() => Judgement::Again(Trouble::NotNow(refused, retry_after)),
        _ => Judgement::Refused(refused),
    }
}

/// The endpoint that is asked next, and when.
#[derive(Debug, PartialEq)]
pub(super) struct Turn {
    pub endpoint: usize,
    pub at: Instant,
}

/// The course of one call over the endpoints.
#[derive(Debug)]
pub(super) struct Course {
    started: Instant,
    patience: Patience,
    /// Where the next turn is looked for first.
    cursor: usize,
    endpoints: Vec<Asked>,
    attempts: u32,
    /// What an earlier attempt left open; no later "nothing happened" closes it.
    unknown: Option<String>,
    last: Option<Trouble>,
    connected: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    not_before: Instant,
    times: u32,
    /// It answered as no client port does, and is not asked again.
    is_stranger: bool,
}

impl Course {
    pub fn new(endpoints: usize, start: usize, patience: Patience, now: Instant) -> Course {
        Course {
            started: now,
            patience,
            cursor: start,
            endpoints: vec![Asked { not_before: now, times: 0, is_stranger: false }; endpoints],
            attempts: 0,
            unknown: None,
            last: None,
            connected: false,
        }
    }

    /// `None` when patience ends before anyone may be asked again, or none is left to ask.
    pub fn next(&mut self, now: Instant) -> Option<Turn> {
        let count = self.endpoints.len();
        let order = (0..count).map(|step| (self.cursor + step) % count);
        let endpoint = order
            .filter(|index| !self.endpoints[*index].is_stranger)
            .min_by_key(|index| self.endpoints[*index].not_before.max(now))?;
        let at = self.endpoints[endpoint].not_before.max(now);
        let Patience { attempt, total, unreachable, .. } = self.patience;
        let end = match self.connected {
            _ if self.attempts == 0 => total,
            // An answer that can't be waited for to its end would hide what was answered before.
            true => total.saturating_sub(attempt),
            false => unreachable,
        };
        if at >= self.started + end {
            return None;
        }
        self.cursor = (endpoint + 1) % count;
        self.attempts += 1;
        Some(Turn { endpoint, at })
    }

    pub fn deadline_of_attempt(&self, now: Instant) -> Duration {
        self.patience.attempt.min((self.started + self.patience.total).saturating_duration_since(now))
    }

    /// Tells the last answer of those before it.
    pub fn tell(&self, meta: &mut Meta) {
        meta.attempts = self.attempts;
        meta.was_left_open = self.unknown.is_some();
    }

    /// Asks this endpoint no more. False where none is left: then its answer is the call's.
    pub fn set_aside(&mut self, endpoint: usize) -> bool {
        self.endpoints[endpoint].is_stranger = true;
        self.endpoints.iter().any(|asked| !asked.is_stranger)
    }

    pub fn record(&mut self, endpoint: usize, trouble: Trouble, now: Instant) {
        let asked = &mut self.endpoints[endpoint];
        let pause = PAUSE_MIN.saturating_mul(1 << asked.times.min(5)).min(PAUSE_MAX);
        let wait = match &trouble {
            Trouble::NotNow(_, Some(retry_after)) => pause.max(*retry_after),
            _ => pause,
        };
        asked.times += 1;
        asked.not_before = now + wait;
        match &trouble {
            Trouble::NotSent(_) => {}
            Trouble::Lost(reason) => {
                self.connected = true;
                self.unknown = Some(reason.clone());
            }
            Trouble::NotNow(..) => self.connected = true,
        }
        self.last = Some(trouble);
    }

    /// What the call comes to when the last one that was left to ask is no node.
    pub fn nobody_left(self, call: &Call, endpoint: String, reason: String) -> ClientError {
        self.left_open(call).unwrap_or(ClientError::Malformed { endpoint, reason })
    }

    /// What an earlier attempt of a write left open.
    fn left_open(&self, call: &Call) -> Option<ClientError> {
        let reason = self.unknown.clone().filter(|_| call.is_write())?;
        Some(ClientError::OutcomeUnknown { key: call.key_text(), reason })
    }

    /// What the call comes to when patience has ended.
    pub fn give_up(self, call: &Call) -> ClientError {
        if let Some(unknown) = self.left_open(call) {
            return unknown;
        }
        match self.last {
            Some(Trouble::NotNow(mut refused, _)) => {
                refused.meta.attempts = self.attempts;
                ClientError::Refused(refused)
            }
            Some(Trouble::NotSent(reason) | Trouble::Lost(reason)) => ClientError::Unreachable { reason },
            None => ClientError::Unreachable { reason: "the deadline left no time to ask".to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_whose_answer_can_not_be_waited_for() {
        let now = Instant::now();
        let patience = Patience::default();
        let last_start = now + patience.total - patience.attempt;
        let asked_until = |lost: Trouble, at: Instant| {
            let mut course = Course::new(1, 0, patience, now);
            course.next(now).unwrap();
            course.record(0, lost, at);
            course.next(at)
        };
        let lost = || Trouble::Lost("no answer".to_owned());
        let turn = asked_until(lost(), last_start - PAUSE_MAX).unwrap();
        assert_eq!((turn.endpoint, turn.at), (0, last_start - PAUSE_MAX + PAUSE_MIN));
        assert_eq!(asked_until(lost(), last_start), None);
        // One that was never reached may be soon, and is not waited for that long.
        let closed = || Trouble::NotSent("refused".to_owned());
        assert!(asked_until(closed(), now + patience.unreachable - PAUSE_MAX).is_some());
        assert_eq!(asked_until(closed(), now + patience.unreachable), None);
    }
}
