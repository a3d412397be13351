//! A naive house: a list of stays, looked through from end to end, against which the answers are judged.
//!
//! The log time of a command is known at the LSNs where a node or an answer showed it, and lies between two of those
//! elsewhere. A hold whose end falls in between may have ended or not: both are accepted.

use std::collections::BTreeMap;

use innkeeper::ledger::{Date, Lsn, Status, Timestamp};
use innkeeper::wire::{Instant, Reservation};
use uuid::Uuid;

use crate::clients::TYPE_ROOMS;
use crate::history::{Call, History, Reply, Wanted};

/// An instant of the contract, in milliseconds.
pub fn millis(instant: &Instant) -> u64 {
    let instant: jiff::Timestamp = instant.parse().expect("an instant of the contract");
    instant.as_millisecond() as u64
}

struct Stay {
    room: Option<String>,
    room_type: String,
    arrival: Date,
    departure: Date,
    status: Status,
    hold_end: u64,
}

/// What is known of a hold, or of any stay, at some log time.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    Live,
    Over,
    Either,
}

pub struct House {
    stays: BTreeMap<Uuid, Stay>,
    stamps: BTreeMap<Lsn, Timestamp>,
}

type Judged = Result<(), String>;

impl House {
    pub fn new(history: &History, mut stamps: BTreeMap<Lsn, Timestamp>) -> House {
        for (_, answered) in history.answered() {
            if let Reply::Reservation(it) = &answered.reply {
                stamps.insert(it.lsn, Timestamp(millis(&it.updated_at)));
            }
        }
        House { stays: BTreeMap::new(), stamps }
    }

    /// The earliest and the latest log time that the command at `lsn` can have.
    fn time(&self, lsn: Lsn) -> (u64, u64) {
        let before = self.stamps.range(..=lsn).next_back().map_or(0, |(_, stamp)| stamp.0);
        let after = self.stamps.range(lsn..).next().map_or(u64::MAX, |(_, stamp)| stamp.0);
        (before, after)
    }

    fn life(&self, stay: &Stay, lsn: Lsn) -> Life {
        match stay.status {
            Status::Held => {
                let (earliest, latest) = self.time(lsn);
                if stay.hold_end <= earliest {
                    Life::Over
                } else if stay.hold_end > latest {
                    Life::Live
                } else {
                    Life::Either
                }
            }
            status if status.is_live() => Life::Live,
            _ => Life::Over,
        }
    }

    /// Judges the answer to a call that took its place at `lsn`, and carries it out.
    pub fn answer(&mut self, lsn: Lsn, call: &Call, reply: &Reply, number: usize) -> Judged {
        match (call, reply) {
            (Call::Reserve { wanted, arrival, departure, .. }, Reply::Reservation(it)) => {
                let is_own = it.external_ref.as_deref() == Some(&format!("op-{number}"));
                if !is_own || (it.arrival, it.departure) != (*arrival, *departure) {
                    return Err(format!("the answer is another's: {it:?}"));
                }
                self.check_fits(lsn, wanted, *arrival, *departure)?;
                self.put(it);
                Ok(())
            }
            (Call::Reserve { wanted, arrival, departure, .. }, Reply::Refused(problem)) => {
                let is_fragmented = problem.facts.contains_key("fragmented");
                match (wanted, problem.code.as_str()) {
                    (Wanted::Room(_), "room_unavailable") => {}
                    // Whether a room could have been found is for the ledger's own tests.
                    (Wanted::Type(_), "no_availability") if is_fragmented => return Ok(()),
                    (Wanted::Type(_), "no_availability") => {}
                    (_, code) => return Err(format!("refused with {code}")),
                }
                match self.certainly_fits(lsn, wanted, *arrival, *departure) {
                    true => Err("refused, and there is space".into()),
                    false => Ok(()),
                }
            }
            (Call::Confirm(id) | Call::Cancel(id), Reply::Reservation(it)) => {
                let confirms = matches!(call, Call::Confirm(_));
                let before = self.stays.get(id).ok_or("there is no such reservation")?;
                let life = self.life(before, lsn);
                let allowed = life != Life::Over && (before.status == Status::Held || !confirms);
                let becomes = if confirms { Status::Confirmed } else { Status::Canceled };
                if !allowed || it.status != becomes {
                    return Err(format!("it was {:?}, and the answer is {:?}", before.status, it.status));
                }
                self.put(it);
                Ok(())
            }
            (Call::Confirm(id) | Call::Cancel(id), Reply::Refused(problem)) => {
                let known = self.stays.get(id).map(|stay| (stay.status, self.life(stay, lsn)));
                let confirms = matches!(call, Call::Confirm(_));
                let justified = match (problem.code.as_str(), known) {
                    ("reservation_not_found", known) => known.is_none(),
                    ("hold_expired", Some((Status::Held, life))) => confirms && life != Life::Live,
                    ("invalid_state", Some((Status::Held, life))) => !confirms && life != Life::Live,
                    ("invalid_state", Some((Status::Confirmed, _))) => confirms,
                    ("invalid_state", Some((status, _))) => !status.is_live(),
                    _ => false,
                };
                if justified {
                    Ok(())
                } else {
                    Err(format!("refused with {} where it is {:?}", problem.code, known.map(|it| it.0)))
                }
            }
            (Call::Show(id), Reply::Reservation(it)) => {
                let stay = self.stays.get(id).ok_or("there is no such reservation")?;
                self.check_shown(lsn, stay, it)
            }
            (Call::Show(id), Reply::Refused(problem)) => {
                let known = self.stays.contains_key(id) || problem.code != "reservation_not_found";
                if known { Err(format!("refused with {}", problem.code)) } else { Ok(()) }
            }
            (Call::List { .. }, Reply::Reservations(all)) => self.shows(lsn, all),
            (_, Reply::Refused(problem)) => Err(format!("refused with {}", problem.code)),
            _ => Err("the answer is of another kind".into()),
        }
    }

    /// Whether a list of the whole house is what this one holds.
    pub fn shows(&self, lsn: Lsn, all: &[Reservation]) -> Judged {
        if all.len() != self.stays.len() {
            let shown: Vec<Uuid> = all.iter().map(|it| it.id.0).collect();
            let missing = self.stays.keys().find(|id| !shown.contains(id));
            let extra = shown.iter().find(|id| !self.stays.contains_key(id));
            return Err(format!(
                "{} reservations are shown of {}: missing {missing:?}, not known {extra:?}",
                all.len(),
                self.stays.len()
            ));
        }
        for it in all {
            let stay = self.stays.get(&it.id.0).ok_or_else(|| format!("{} is not known", it.id))?;
            self.check_shown(lsn, stay, it)?;
        }
        Ok(())
    }

    fn check_shown(&self, lsn: Lsn, stay: &Stay, it: &Reservation) -> Judged {
        let agrees = match (stay.status, it.status) {
            (Status::Held, Status::Held) => self.life(stay, lsn) != Life::Over,
            (Status::Held, Status::Expired) => self.life(stay, lsn) != Life::Live,
            (known, shown) => known == shown,
        };
        if agrees {
            Ok(())
        } else {
            Err(format!("{} is shown {:?} and is {:?}", it.id, it.status, stay.status))
        }
    }

    fn put(&mut self, it: &Reservation) {
        let stay = Stay {
            room: it.room.as_ref().map(|room| room.as_str().to_owned()),
            room_type: it.room_type.as_str().to_owned(),
            arrival: it.arrival,
            departure: it.departure,
            status: it.status,
            hold_end: it.hold_expires_at.as_ref().map_or(0, millis),
        };
        self.stays.insert(it.id.0, stay);
    }

    /// Stays that stand against the wanted one on this night, those that certainly do and those that may.
    fn against(&self, lsn: Lsn, wanted: &Wanted, night: Date) -> (usize, usize) {
        let (mut certain, mut possible) = (0, 0);
        for stay in self.stays.values().filter(|stay| stay.arrival <= night && night < stay.departure) {
            let stands_against = match wanted {
                Wanted::Room(room) => stay.room.as_deref() == Some(*room),
                Wanted::Type(room_type) => stay.room_type == *room_type,
            };
            match self.life(stay, lsn) {
                _ if !stands_against => {}
                Life::Live => certain += 1,
                Life::Either => possible += 1,
                Life::Over => {}
            }
        }
        (certain, certain + possible)
    }

    fn space(wanted: &Wanted) -> usize {
        match wanted {
            Wanted::Room(_) => 1,
            Wanted::Type(_) => TYPE_ROOMS.len(),
        }
    }

    fn check_fits(&self, lsn: Lsn, wanted: &Wanted, arrival: Date, departure: Date) -> Judged {
        let full = arrival
            .until(departure)
            .find(|night| self.against(lsn, wanted, *night).0 >= House::space(wanted));
        match full {
            None => Ok(()),
            Some(night) => Err(format!("it was sold, and {night} was full")),
        }
    }

    fn certainly_fits(&self, lsn: Lsn, wanted: &Wanted, arrival: Date, departure: Date) -> bool {
        arrival.until(departure).all(|night| self.against(lsn, wanted, night).1 < House::space(wanted))
    }
}
