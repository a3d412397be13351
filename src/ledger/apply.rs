//! Applying one command: the order of its steps, and the guard around them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::command::{Command, SetAside, Submission};
use super::event::{self, Commit, EventChain, Mark, RecordChange, Settled};
use super::id::{IdempotencyKey, Lsn, Timestamp};
use super::outcome::{Applied, Outcome, Refusal};
use super::quarantine::{Failure, QUARANTINED_MAX, Quarantined};
use super::record::{Record, RecordKey};
use super::state::Ledger;
use super::txn::{Halt, Txn};
use super::{
    amend, block, due, group, idempotency, import, in_house, inventory, look_ahead, night_audit,
    out_of_order, quarantine, rate, reserve, restriction, status, waitlist,
};
use crate::planted::{Bug, planted};

/// The state can no longer be trusted: a change itself failed, or could not be undone. The node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("applying command {lsn} left the ledger in an impossible state; restart from the last snapshot")]
pub struct Broken {
    pub lsn: Lsn,
}

/// A command's outcome inside the guard.
struct Answer {
    replayed: bool,
    outcome: Outcome,
}

impl Ledger {
    /// Applies a command at a log time in milliseconds. Whatever the command holds, it takes one LSN and has an outcome:
    /// what fails is rolled back whole and set aside. After an error the ledger must not be used.
    pub fn apply(&mut self, at: Timestamp, submission: &Submission) -> Result<Applied, Broken> {
        self.apply_recorded(at, submission).map(|(applied, _)| applied)
    }

    /// Like [`apply`](Ledger::apply), and gives what the command changed, where it changed anything.
    pub fn apply_recorded(
        &mut self,
        at: Timestamp,
        submission: &Submission,
    ) -> Result<(Applied, Option<Commit>), Broken> {
        self.apply_guarded(at, submission, |txn| run(txn, submission))
    }

    /// Applies commands that travelled together, one after the other, and gives what each answered and what they changed.
    pub fn apply_all(
        &mut self,
        at: Timestamp,
        submissions: &[Submission],
    ) -> Result<(Vec<Applied>, Vec<Commit>), Broken> {
        let mut applied = Vec::with_capacity(submissions.len());
        let mut commits = Vec::with_capacity(submissions.len());
        for submissions in submissions.chunks(look_ahead::COMMANDS) {
            self.look_ahead(submissions);
            for submission in submissions {
                let (answer, commit) = self.apply_recorded(at, submission)?;
                applied.push(answer);
                commits.extend(commit);
            }
        }
        Ok((applied, commits))
    }

    fn apply_guarded(
        &mut self,
        at: Timestamp,
        submission: &Submission,
        work: impl FnOnce(&mut Txn<'_>) -> Result<Answer, Failure>,
    ) -> Result<(Applied, Option<Commit>), Broken> {
        self.lsn = self.lsn.next();
        self.stamp = self.stamp.max(at.min(Timestamp::MAX));
        let lsn = self.lsn;
        let mut txn = Txn::new(self);
        let start = txn.savepoint();
        let answer = catch_unwind(AssertUnwindSafe(|| work(&mut txn))).unwrap_or(Err(Failure::Panic));
        if txn.is_broken() {
            return Err(Broken { lsn });
        }
        let code = match answer {
            Ok(Answer { replayed, outcome }) => {
                let is_refused = matches!(outcome, Outcome::Refused(_));
                let journal = txn.into_journal();
                let events = self.commit(submission, journal);
                if planted(Bug::RefusedTakesNoLsn) && is_refused {
                    self.lsn = Lsn(lsn.0 - 1);
                }
                return Ok((Applied { lsn, replayed, outcome }, events));
            }
            Err(code) => code,
        };
        let set_aside = catch_unwind(AssertUnwindSafe(|| {
            txn.roll_back(start);
            set_aside(&mut txn, code, submission)
        }));
        match set_aside {
            Ok(Ok(at)) => {
                let journal = txn.into_journal();
                let applied = Applied { lsn, replayed: false, outcome: Outcome::Quarantined { lsn: at } };
                Ok((applied, self.commit(submission, journal)))
            }
            Ok(Err(_)) | Err(_) => Err(Broken { lsn }),
        }
    }

    /// Takes what a command changed into the chain of events.
    fn commit(&mut self, submission: &Submission, mut changes: Vec<RecordChange>) -> Option<Commit> {
        if let Command::ForgetHistory(mark) = &submission.command {
            self.forget_history(*mark);
        }
        event::coalesce(&mut changes);
        if changes.is_empty() {
            return None;
        }
        let mut commit = Commit {
            lsn: self.lsn,
            at: self.stamp,
            own: matches!(
                submission.command,
                Command::RollBusinessDate(_) | Command::EndDue(_) | Command::ForgetHistory(_)
            ),
            key: submission.key.as_ref().map(|key| Arc::clone(&key.text)),
            assigned: assigns(&submission.command, &changes),
            settled: match submission.command {
                Command::Retry(_) => Some(Settled::Retried),
                Command::Discard(_) => Some(Settled::Discarded),
                _ => None,
            },
            changes,
            chain: EventChain::default(),
        };
        commit.chain = self.event_chain.after(&commit);
        self.event_chain = commit.chain;
        Some(commit)
    }

    /// Moves to where the history begins, forward only, and never to what is not there yet.
    fn forget_history(&mut self, mark: Mark) {
        let first = self.history_from.map_or(Lsn(0), |first| first.lsn);
        if first < mark.lsn && mark.lsn < self.lsn {
            self.history_from = Some(mark);
        }
    }

    /// The commands that were set aside, the oldest first.
    pub fn quarantined(&self) -> impl Iterator<Item = &Arc<Quarantined>> {
        self.quarantined.iter().map(|(_, record)| record)
    }
}

/// Whether the command assigns a room, be it as one that was set aside and is tried again.
fn assigns(command: &Command, changes: &[RecordChange]) -> bool {
    let was_set_aside = |change: &RecordChange| match &change.before {
        Some(Record::Quarantined(record)) => matches!(record.submission.command, Command::Assign(_)),
        _ => false,
    };
    match command {
        Command::Retry(_) => changes.iter().any(was_set_aside),
        command => matches!(command, Command::Assign(_)),
    }
}

fn run(txn: &mut Txn<'_>, submission: &Submission) -> Result<Answer, Failure> {
    let ran = run_steps(txn, submission);
    ran.map_err(|halt| match halt {
        Halt::Failed(code) => code,
        // Commands answer with their refusals; no other step refuses.
        Halt::Refused(_) => Failure::Invariant,
    })
}

fn run_steps(txn: &mut Txn<'_>, submission: &Submission) -> Result<Answer, Halt> {
    let Submission { key, command } = submission;
    let key = key.as_ref();
    txn.end_due(due::end)?;
    idempotency::drop_outdated(txn)?;
    let stored = key.map(|key| idempotency::stored(txn, key)).transpose()?.flatten();
    if let Some(outcome) = stored {
        let replayed = !matches!(outcome, Outcome::Refused(Refusal::IdempotencyKeyReused));
        return Ok(Answer { replayed, outcome });
    }
    let outcome = match command {
        Command::Retry(SetAside { lsn }) => retry(txn, *lsn)?,
        command => execute(txn, key, command)?,
    };
    if let Some(key) = key {
        idempotency::store(txn, key, &outcome)?;
    }
    Ok(Answer { replayed: false, outcome })
}

/// Runs the command; a refusal leaves nothing of it behind.
fn execute(txn: &mut Txn<'_>, key: Option<&IdempotencyKey>, command: &Command) -> Result<Outcome, Halt> {
    let before = txn.savepoint();
    let outcome = match command {
        Command::PutBlock(command) => block::put(txn, key, command),
        Command::JoinWaitlist(command) => waitlist::join(txn, key, command),
        Command::LeaveWaitlist(command) => waitlist::leave(txn, command),
        Command::RetireRoom(command) => inventory::retire_room(txn, command),
        Command::PutProperty(command) => inventory::put_property(txn, key, command),
        Command::PutRoomType(command) => inventory::put_room_type(txn, key, command),
        Command::PutRoom(command) => inventory::put_room(txn, key, command),
        Command::PutRates(command) => rate::put_rates(txn, command),
        Command::PutRestrictions(command) => restriction::put(txn, command),
        Command::Reserve(command) => reserve::reserve(txn, key, command),
        Command::Confirm(command) => status::confirm(txn, command),
        Command::Cancel(command) => status::cancel(txn, command),
        Command::CheckIn(command) => in_house::check_in(txn, command),
        Command::CheckOut(command) => in_house::check_out(txn, command),
        Command::NoShow(command) => in_house::no_show(txn, command),
        Command::NightAudit(command) => night_audit::run(txn, command),
        Command::Amend(command) => amend::amend(txn, command),
        Command::Assign(command) => amend::assign(txn, command),
        Command::BookGroup(command) => group::book(txn, key, command),
        Command::ImportBooking(command) => import::import(txn, key, command),
        Command::ConfirmBooking(command) => group::confirm(txn, command),
        Command::CancelBooking(command) => group::cancel(txn, command),
        Command::PutOutOfOrder(command) => out_of_order::put(txn, command),
        Command::EndOutOfOrder(command) => out_of_order::end(txn, command),
        Command::RollBusinessDate(command) => inventory::roll_business_date(txn, command),
        Command::EndDue(_) => Ok(Outcome::Done),
        // It is in no record: `commit` does it, once nothing can fail any more.
        Command::ForgetHistory(_) => Ok(Outcome::Done),
        Command::Discard(command) => quarantine::discard(txn, command.lsn),
        // What fails when it is tried again stays what it was: a retry is not set aside in its place.
        Command::Retry(_) => Err(Failure::Invariant.into()),
    };
    match outcome {
        Err(Halt::Refused(refusal)) => {
            if !planted(Bug::RefusalNotRolledBack) {
                txn.roll_back(before);
            }
            Ok(Outcome::Refused(refusal))
        }
        Err(failed) => Err(failed),
        Ok(outcome) => {
            waitlist::follow(txn, before)?;
            // Where there is one change, it is what the outcome shows.
            let changed = txn.changes_since(before).len();
            if changed > 1 { as_left(txn, outcome) } else { Ok(outcome) }
        }
    }
}

/// The outcome with its reservations as they stand now: what came behind their own change may have planned other rooms
/// for them.
fn as_left(ledger: &Ledger, outcome: Outcome) -> Result<Outcome, Halt> {
    Ok(match outcome {
        Outcome::Reserved(it) => Outcome::Reserved(ledger.find(it.id)?.reservation),
        Outcome::Changed(it) => Outcome::Changed(ledger.find(it.id)?.reservation),
        Outcome::Booked(it) => Outcome::Booked(group::shown(ledger, it.id)),
        Outcome::BookingChanged(it) => Outcome::BookingChanged(group::shown(ledger, it.id)),
        other => other,
    })
}

/// Applies a command that was set aside as if it came now, under the key that came with it, and answers as it does.
fn retry(txn: &mut Txn<'_>, lsn: Lsn) -> Result<Outcome, Halt> {
    let Some(set_aside) = txn.quarantined.get(&lsn).map(Arc::clone) else {
        return Ok(Outcome::Refused(Refusal::NotSetAside));
    };
    let Submission { key, command } = &set_aside.submission;
    txn.remove(&RecordKey::Quarantined(lsn))?;
    let failed = key.as_ref().map(|key| idempotency::take_quarantined(txn, key, lsn)).transpose()?.flatten();
    let stored = key.as_ref().map(|key| idempotency::stored(txn, key)).transpose()?.flatten();
    if let Some(outcome) = stored {
        // It was sent again meanwhile, and done.
        return Ok(outcome);
    }
    let outcome = execute(txn, key.as_ref(), command)?;
    if let Some(failed) = failed {
        idempotency::store_in_place_of(txn, &failed, &outcome)?;
    }
    idempotency::make_way(txn, lsn)?;
    Ok(outcome)
}

/// Keeps the failed command for an operator, and its outcome under its key. A key that answers for something else
/// keeps doing so. A retry that failed leaves the command where it was. Gives the position of what is kept.
fn set_aside(txn: &mut Txn<'_>, code: Failure, submission: &Submission) -> Result<Lsn, Halt> {
    let retried = match submission.command {
        Command::Retry(SetAside { lsn }) => Some(lsn).filter(|lsn| txn.quarantined.contains(lsn)),
        _ => None,
    };
    let lsn = retried.unwrap_or(txn.lsn());
    if retried.is_none() {
        keep(txn, code, submission)?;
    }
    if let Some(key) = &submission.key {
        idempotency::drop_outdated(txn)?;
        if idempotency::stored(txn, key)?.is_none() {
            idempotency::store(txn, key, &Outcome::Quarantined { lsn })?;
        }
    }
    Ok(lsn)
}

fn keep(txn: &mut Txn<'_>, code: Failure, submission: &Submission) -> Result<(), Halt> {
    let lsn = txn.lsn();
    txn.put(Record::Quarantined(Arc::new(Quarantined { lsn, code, submission: submission.clone() })))?;
    if txn.quarantined.len() > QUARANTINED_MAX {
        let oldest = txn.quarantined.first().map(|(lsn, _)| *lsn);
        if let Some(oldest) = oldest {
            txn.remove(&RecordKey::Quarantined(oldest))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::command::EndDue;
    use crate::ledger::tests::support::*;
    use crate::ledger::{Record, Status};

    fn failing(
        house: &mut House,
        submission: &Submission,
        work: impl FnOnce(&mut Txn<'_>) -> Result<Answer, Failure>,
    ) -> Applied {
        house.ledger.apply_guarded(house.now, submission, work).unwrap().0
    }

    /// What `work` does and then fails to finish.
    fn half_done(txn: &mut Txn<'_>) {
        let mut record = txn.find(id(1)).unwrap().clone();
        let changed = Arc::make_mut(&mut record.reservation);
        changed.status = Status::Canceled;
        changed.revision = 77;
        txn.put(Record::Reservation(record)).unwrap();
        let room = crate::ledger::Room { property: hotel(), room: room("999"), room_type: kind("double") };
        txn.put(Record::Room(crate::ledger::RoomRecord { room: Arc::new(room), key: None, retired: None }))
            .unwrap();
        let rate = txn.records().find(|record| matches!(record, Record::Rate(_))).unwrap();
        txn.remove(&rate.key()).unwrap();
    }

    #[test]
    fn what_fails_half_way_leaves_only_its_quarantine() {
        type Work = fn(&mut Txn<'_>) -> Result<Answer, Failure>;
        let cases: [(Work, Failure); 3] = [
            (
                |txn| {
                    half_done(txn);
                    panic!("on purpose, after three changes")
                },
                Failure::Panic,
            ),
            (
                |txn| {
                    half_done(txn);
                    Err(Failure::Invariant)
                },
                Failure::Invariant,
            ),
            (
                |txn| {
                    half_done(txn);
                    // The room is taken by reservation 2.
                    let mut record = txn.find(id(2)).unwrap().clone();
                    Arc::make_mut(&mut record.reservation).id = id(3);
                    txn.put(Record::Reservation(record))?;
                    Ok(Answer { replayed: false, outcome: Outcome::Done })
                },
                Failure::Invariant,
            ),
        ];
        for (work, code) in cases {
            let mut house = House::new();
            house.reserved(by_room(1, "101", 10, 13));
            house.reserved(by_room(2, "102", 10, 13));
            let before: Vec<Record> = house.ledger.records().collect();
            let submission = Submission { key: Some(key(9, 9)), command: Command::EndDue(EndDue {}) };
            let applied = failing(&mut house, &submission, work);

            let lsn = applied.lsn;
            assert_eq!(applied, Applied { lsn, replayed: false, outcome: Outcome::Quarantined { lsn } });
            let after: Vec<Record> = house.ledger.records().collect();
            assert_eq!(after[..before.len() - 2], before[..before.len() - 2]);
            let set_aside: Vec<_> = house.ledger.quarantined().cloned().collect();
            assert_eq!(set_aside, [Arc::new(Quarantined { lsn, code, submission: submission.clone() })]);
            house.ledger.audit().unwrap();

            let retried = house.submit(&submission);
            assert_eq!((retried.replayed, retried.outcome), (true, Outcome::Quarantined { lsn }));
            assert!(matches!(house.run(Command::Cancel(change(1))), Outcome::Changed(_)));
        }
    }

    #[test]
    fn a_failure_and_a_success_that_wrote_the_same_records_hash_alike() {
        let mut house = House::new();
        house.reserved(by_room(1, "101", 10, 13));
        let submission = Submission { key: None, command: Command::EndDue(EndDue {}) };
        failing(&mut house, &submission, |txn| {
            half_done(txn);
            panic!("on purpose")
        });
        let lsn = house.ledger.lsn();
        let mut txn = Txn::new(&mut house.ledger);
        txn.remove(&RecordKey::Quarantined(lsn)).unwrap();
        let mut untouched = House::new();
        untouched.reserved(by_room(1, "101", 10, 13));
        untouched.run(Command::EndDue(EndDue {}));
        // What was told stays told.
        assert_ne!(house.ledger.event_chain, untouched.ledger.event_chain);
        house.ledger.event_chain = untouched.ledger.event_chain;
        assert_eq!(house.ledger.state_hash(), untouched.ledger.state_hash());
    }

    #[test]
    fn a_key_that_answers_for_something_is_not_given_to_a_failure() {
        let mut house = House::new();
        house.run_keyed(key(5, 1), by_room(1, "101", 10, 13));
        let submission = Submission { key: Some(key(5, 1)), command: Command::EndDue(EndDue {}) };
        failing(&mut house, &submission, |_| Err(Failure::Invariant));
        house.ledger.audit().unwrap();
        let retried = house.submit(&submission);
        assert!(retried.replayed && matches!(retried.outcome, Outcome::Reserved(_)));
    }

    #[test]
    fn a_change_that_breaks_in_the_middle_stops_the_node() {
        let mut house = House::new();
        let submission = Submission { key: None, command: Command::EndDue(EndDue {}) };
        let lsn = house.ledger.lsn().next();
        let broken = house.ledger.apply_guarded(house.now, &submission, |txn| {
            txn.break_in_the_middle();
            Ok(Answer { replayed: false, outcome: Outcome::Done })
        });
        assert_eq!(broken, Err(Broken { lsn }));
    }

    #[test]
    fn only_the_newest_failures_are_kept() {
        let mut house = House::new();
        let submission = Submission { key: None, command: Command::EndDue(EndDue {}) };
        for _ in 0..QUARANTINED_MAX + 5 {
            failing(&mut house, &submission, |_| Err(Failure::Invariant));
        }
        let last = house.ledger.lsn();
        let kept: Vec<Lsn> = house.ledger.quarantined().map(|set_aside| set_aside.lsn).collect();
        assert_eq!((kept.len(), kept.last()), (QUARANTINED_MAX, Some(&last)));
        assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
    }

    fn deal(house: &mut House, command: Command) -> (Outcome, Vec<&'static str>) {
        let outcome = house.run(command);
        let told = house.commits.last().filter(|commit| commit.lsn == house.ledger.lsn());
        house.ledger.audit().unwrap();
        assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
        (
            outcome,
            told.map(|told| told.events().map(|(_, name, _)| name.as_str()).collect()).unwrap_or_default(),
        )
    }

    #[test]
    fn what_was_set_aside_is_done_once_when_it_is_tried_again() {
        for (hours, keeps_key) in [(0, true), (23, true), (25, true)] {
            let mut house = House::new();
            let first = Submission { key: Some(key(9, 9)), command: by_room(1, "101", 10, 13).into() };
            let change = Submission { key: Some(key(8, 8)), command: Command::Cancel(change(2)) };
            house.reserved(by_room(2, "102", 10, 13));
            let lsns: Vec<Lsn> = [&first, &change]
                .map(|submission| failing(&mut house, submission, |_| Err(Failure::Invariant)).lsn)
                .into();
            house.later(hours * 60 * 60 * 1_000);
            let retry = |lsn| Command::Retry(SetAside { lsn });
            let (outcome, told) = deal(&mut house, retry(lsns[0]));
            assert!(matches!(outcome, Outcome::Reserved(_)), "{outcome:?}");
            assert_eq!(told, ["command.retried", "reservation.confirmed"]);
            let (outcome, told) = deal(&mut house, retry(lsns[1]));
            assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
            assert_eq!(told, ["command.retried", "reservation.canceled"]);
            assert_eq!(house.ledger.quarantined().count(), 0);
            for lsn in [lsns[0], lsns[1], Lsn(1), Lsn(u64::MAX)] {
                let refused = (Outcome::Refused(Refusal::NotSetAside), vec![]);
                assert_eq!(deal(&mut house, retry(lsn)), refused);
                assert_eq!(deal(&mut house, Command::Discard(SetAside { lsn })), refused);
            }
            // Their clients learn of it under their keys.
            let again = house.submit(&first);
            assert!(again.replayed == keeps_key && matches!(again.outcome, Outcome::Reserved(_)));
            let again = house.submit(&change);
            // A change is kept for as long as it would have been.
            assert_eq!(again.replayed, hours < 24, "{again:?}");
        }
    }

    #[test]
    fn what_fails_again_stays_where_it_is_until_it_is_discarded() {
        let mut house = House::new();
        house.reserved(by_room(1, "101", 10, 13));
        let Outcome::Quarantined { lsn } = house.run(by_room(1, "102", 10, 13)) else { panic!() };
        let before: Vec<_> = house.ledger.quarantined().cloned().collect();
        for _ in 0..3 {
            assert_eq!(
                deal(&mut house, Command::Retry(SetAside { lsn })),
                (Outcome::Quarantined { lsn }, vec![])
            );
            assert_eq!(house.ledger.quarantined().cloned().collect::<Vec<_>>(), before);
        }
        let discard = Command::Discard(SetAside { lsn });
        assert_eq!(deal(&mut house, discard), (Outcome::Removed, vec!["command.discarded"]));
        assert_eq!(house.ledger.quarantined().count(), 0);
    }

    #[test]
    fn what_is_refused_when_it_is_tried_again_is_dealt_with() {
        let mut house = House::new();
        let late = Submission { key: Some(key(9, 9)), command: by_room(1, "101", 10, 13).into() };
        let lsn = failing(&mut house, &late, |_| Err(Failure::Panic)).lsn;
        house.reserved(by_room(2, "101", 10, 13));
        let (outcome, told) = deal(&mut house, Command::Retry(SetAside { lsn }));
        assert!(matches!(outcome, Outcome::Refused(Refusal::RoomUnavailable { .. })), "{outcome:?}");
        assert_eq!(told, ["command.retried"]);
        let again = house.submit(&late);
        assert_eq!((again.replayed, again.outcome), (true, outcome));
    }

    #[test]
    fn a_room_that_a_retry_makes_anew_leaves_each_key_its_answer() {
        for sent_under in [None, Some(key(2, 2))] {
            let mut house = House::new();
            let first = Submission { key: Some(key(1, 1)), command: put_room("105", "double").into() };
            let made = house.submit(&first).outcome;
            house.run(retire_room("105"));
            let anew = Submission { key: sent_under, command: put_room("105", "suite").into() };
            let lsn = failing(&mut house, &anew, |_| Err(Failure::Invariant)).lsn;
            let retry = Submission { key: Some(key(3, 3)), command: Command::Retry(SetAside { lsn }) };
            let outcome = house.submit(&retry).outcome;
            assert!(matches!(outcome, Outcome::Room { created: true, .. }), "{outcome:?}");
            house.ledger.audit().unwrap();
            let mut house = house.restored();
            let mut sent = vec![(&first, &made), (&retry, &outcome)];
            sent.extend(anew.key.as_ref().map(|_| (&anew, &outcome)));
            for (sent, answer) in sent {
                let again = house.submit(sent);
                assert_eq!((&again.outcome, again.replayed), (answer, true), "{sent:?}");
            }
        }
    }

    #[test]
    fn what_a_retry_stores_beside_its_own_outcome_keeps_no_older_one() {
        let mut house = House::new();
        house.run_keyed(key(1, 1), put_room("105", "double"));
        house.run(retire_room("105"));
        let anew = Submission { key: None, command: put_room("105", "suite").into() };
        let lsn = failing(&mut house, &anew, |_| Err(Failure::Invariant)).lsn;
        house.run_keyed(key(2, 2), Command::EndDue(EndDue {}));
        house.run(Command::EndDue(EndDue {}));
        house.later(60 * 60 * 1_000);
        house.run_keyed(key(3, 3), Command::Retry(SetAside { lsn }));
        assert_eq!(house.ledger.header().records.outcomes, 3);
        house.later(23 * 60 * 60 * 1_000);
        house.run(Command::EndDue(EndDue {}));
        assert_eq!(house.ledger.header().records.outcomes, 2, "the one that is a day old has gone");
        house.ledger.audit().unwrap();
    }

    #[test]
    fn what_was_sent_again_and_done_is_not_done_twice() {
        let mut house = House::new();
        let sent = Submission { key: Some(key(9, 9)), command: by_room(1, "101", 10, 13).into() };
        let lsn = failing(&mut house, &sent, |_| Err(Failure::Panic)).lsn;
        // Its key is forgotten, and the client comes again.
        house.later(25 * 60 * 60 * 1_000);
        let Outcome::Reserved(done) = house.submit(&sent).outcome else { panic!() };
        let (outcome, told) = deal(&mut house, Command::Retry(SetAside { lsn }));
        assert_eq!((outcome, told), (Outcome::Reserved(done), vec!["command.retried"]));
    }

    #[test]
    fn an_id_that_is_taken_is_set_aside() {
        let mut house = House::new();
        house.reserved(by_room(1, "101", 10, 13));
        let outcome = house.run(by_room(1, "102", 10, 13));
        assert!(matches!(outcome, Outcome::Quarantined { .. }));
        assert_eq!(house.ledger.quarantined().next().unwrap().code, Failure::IdTaken);
        // A refusal comes first: the caller learns what the contract promises.
        let refusal = house.refused(by_room(1, "101", 10, 13));
        assert!(matches!(refusal, Refusal::RoomUnavailable { .. }));
    }
}
