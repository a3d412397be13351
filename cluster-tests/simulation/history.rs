//! What the clients asked and were told.

use std::collections::BTreeMap;

use innkeeper::ledger::{Date, Lsn};
use innkeeper::wire;
use uuid::Uuid;

/// What a client wants. Each reservation carries its operation's number as `external_ref`.
#[derive(Clone, Debug)]
pub enum Call {
    /// Without a key it is asked once: a client that gets no answer never learns what became of it, and nobody else
    /// touches what came of it.
    Reserve {
        wanted: Wanted,
        arrival: Date,
        departure: Date,
        hold_seconds: Option<u64>,
        keyed: bool,
    },
    Amend {
        id: Uuid,
        arrival: Date,
        departure: Date,
    },
    Confirm(Uuid),
    Cancel(Uuid),
    Show(Uuid),
    List {
        local: bool,
    },
}

#[derive(Clone, Debug)]
pub enum Wanted {
    Room(&'static str),
    Type(&'static str),
}

impl Call {
    /// Whether it can't be asked again.
    pub fn is_keyless(&self) -> bool {
        matches!(self, Call::Reserve { keyed: false, .. })
    }

    pub fn is_write(&self) -> bool {
        !matches!(self, Call::Show(_) | Call::List { .. })
    }
}

/// What is known of an operation's end.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answered(Answered),
    /// Refused before it was proposed: it never happens.
    NothingHappened,
    /// It may have happened, or may still.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Answered {
    pub lsn: Lsn,
    /// The answer repeats that of an earlier attempt.
    pub replayed: bool,
    pub reply: Reply,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Reservation(Box<wire::Reservation>),
    Reservations(Vec<wire::Reservation>),
    Refused(Box<wire::Problem>),
}

impl Answered {
    /// Where a write stands in the order of all commands; `None` for a repeated refusal, which does not tell.
    pub fn position(&self) -> Option<Lsn> {
        match &self.reply {
            Reply::Reservation(it) if self.replayed => Some(it.lsn),
            Reply::Refused(_) if self.replayed => None,
            _ => Some(self.lsn),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub number: usize,
    pub call: Call,
    /// Simulated milliseconds, of the first attempt and of the last answer.
    pub began_ms: u64,
    pub ended_ms: u64,
    pub outcome: Outcome,
}

#[derive(Default)]
pub struct History {
    pub operations: Vec<Operation>,
}

impl History {
    /// What was asked without a key and never answered has happened if its reservation is there, as it was made.
    pub fn settle(&mut self, last: &[wire::Reservation]) {
        let by_number: BTreeMap<&str, &wire::Reservation> =
            last.iter().filter_map(|it| Some((it.external_ref.as_deref()?, it))).collect();
        for operation in &mut self.operations {
            let found = by_number.get(&*format!("op-{}", operation.number));
            if let (true, Outcome::Unknown, Some(it)) =
                (operation.call.is_keyless(), &operation.outcome, found)
            {
                let reply = Reply::Reservation(Box::new((*it).clone()));
                operation.outcome = Outcome::Answered(Answered { lsn: it.lsn, replayed: false, reply });
                // It may have happened after its client had given up.
                operation.ended_ms = u64::MAX;
            }
        }
    }

    /// Answered operations with their answers.
    pub fn answered(&self) -> impl Iterator<Item = (&Operation, &Answered)> {
        self.operations.iter().filter_map(|operation| match &operation.outcome {
            Outcome::Answered(answered) => Some((operation, answered)),
            _ => None,
        })
    }
}
