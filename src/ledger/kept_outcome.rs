//! A stored outcome as the state holds it, for a day and up to ten millions of them: the reservations that it shows are
//! packed, which takes a third of what they take apart. Snapshots hold it as the record that it is.

use std::sync::Arc;

use super::id::{BookingId, Lsn, Timestamp};
use super::outcome::{Booking, Outcome};
use super::packed::{pack_all, unpack_all};
use super::record::OutcomeRecord;

#[derive(Clone, Debug)]
pub struct KeptOutcome {
    pub at: Timestamp,
    digest: u128,
    pub request_digest: u128,
    shown: Shown,
}

#[derive(Clone, Debug)]
enum Shown {
    Changed(Box<[u8]>),
    BookingChanged(BookingId, Box<[u8]>),
    Other(Box<Outcome>),
}

impl KeptOutcome {
    pub fn new(record: &OutcomeRecord) -> KeptOutcome {
        let OutcomeRecord { lsn: _, at, digest, request_digest, outcome } = record;
        let shown = match outcome {
            Outcome::Changed(reservation) => Shown::Changed(pack_all(std::slice::from_ref(reservation))),
            Outcome::BookingChanged(Booking { id, reservations }) => {
                Shown::BookingChanged(*id, pack_all(reservations))
            }
            other => Shown::Other(Box::new(other.clone())),
        };
        KeptOutcome { at: *at, digest: *digest, request_digest: *request_digest, shown }
    }

    pub fn outcome(&self) -> Outcome {
        match &self.shown {
            Shown::Changed(packed) => Outcome::Changed(unpack_all(packed).pop().expect("one was packed")),
            Shown::BookingChanged(id, packed) => {
                Outcome::BookingChanged(Booking { id: *id, reservations: unpack_all(packed) })
            }
            Shown::Other(outcome) => Outcome::clone(outcome),
        }
    }

    /// The record of the outcome that is kept at `lsn`.
    pub fn record(&self, lsn: Lsn) -> Arc<OutcomeRecord> {
        let KeptOutcome { at, digest, request_digest, shown: _ } = *self;
        Arc::new(OutcomeRecord { lsn, at, digest, request_digest, outcome: self.outcome() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::outcome::Refusal;
    use crate::ledger::tests::support::{House, booking, by_room, by_type, change, group, key};
    use crate::ledger::{BookingChange, Command};

    #[test]
    fn what_is_kept_is_what_was_stored() {
        let mut house = House::new();
        house.run(group(&[by_type(1, "double", 10, 13), by_room(2, "103", 10, 12)]));
        let confirm = Command::ConfirmBooking(BookingChange { booking: booking(1) });
        let commands = [(1, confirm), (2, Command::Cancel(change(1))), (3, Command::Confirm(change(1)))];
        let mut outcomes = vec![Outcome::Removed, Outcome::Refused(Refusal::HoldExpired)];
        for (n, command) in commands {
            let applied = house.run_keyed(key(n, 7), command.clone());
            let again = house.restored().run_keyed(key(n, 7), command);
            assert_eq!((again.replayed, &again.outcome), (true, &applied.outcome));
            outcomes.push(applied.outcome);
        }
        assert_eq!(house.restored().ledger.state_hash(), house.ledger.state_hash());
        assert!(matches!(&outcomes[2], Outcome::BookingChanged(it) if it.reservations.len() == 2));
        assert!(matches!((&outcomes[3], &outcomes[4]), (Outcome::Changed(_), Outcome::Refused(_))));
        for outcome in outcomes {
            let (at, digest, request_digest) = (Timestamp(7), 8, 9);
            let record = OutcomeRecord { lsn: Lsn(5), at, digest, request_digest, outcome };
            assert_eq!(*KeptOutcome::new(&record).record(Lsn(5)), record);
        }
    }
}
