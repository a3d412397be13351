//! A naive house: the stays by room, type and night, against which the answers are judged one after the other.
//!
//! The log time of a command is known at the LSNs where a node or an answer showed it, and lies between two of those
//! elsewhere. A hold whose end falls in between may have ended or not: both are accepted.

use std::collections::{BTreeMap, BTreeSet};

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
    is_pinned: bool,
    room_type: String,
    arrival: Date,
    departure: Date,
    status: Status,
    hold_end: u64,
}

impl Stay {
    fn takes(&self, name: &str, night: Date) -> bool {
        let named = self.room.as_deref() == Some(name) || self.room_type == name;
        named && self.arrival <= night && night < self.departure
    }
}

/// What is known of a hold, or of any stay, at some log time.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    Live,
    Over,
    Either,
}

/// Nights of a room or of a type, wanted by a new stay or by one that changes.
struct Wish<'a> {
    name: &'a str,
    /// Stays that fit on one night.
    space: usize,
    arrival: Date,
    departure: Date,
    /// Who changes: it does not stand in its own way.
    own: Option<Uuid>,
}

impl<'a> Wish<'a> {
    fn of(wanted: &'a Wanted, arrival: Date, departure: Date) -> Wish<'a> {
        let (name, space) = match wanted {
            Wanted::Room(room) => (*room, 1),
            Wanted::Type(room_type) => (*room_type, TYPE_ROOMS.len()),
        };
        Wish { name, space, arrival, departure, own: None }
    }
}

pub struct House {
    stays: BTreeMap<Uuid, Stay>,
    /// By room or type, and by night, who takes it, or did before it changed.
    takers: BTreeMap<(String, Date), BTreeSet<Uuid>>,
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
        House { stays: BTreeMap::new(), takers: BTreeMap::new(), stamps }
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
            (Call::Reserve { wanted, arrival, departure, hold_seconds, .. }, Reply::Reservation(it)) => {
                check_made(it, number, (*arrival, *departure), *hold_seconds)?;
                self.check_fits(lsn, &Wish::of(wanted, *arrival, *departure))?;
                self.put(it);
                Ok(())
            }
            (Call::Reserve { wanted, arrival, departure, .. }, Reply::Refused(problem)) => {
                self.check_full(lsn, &Wish::of(wanted, *arrival, *departure), problem)
            }
            (Call::Amend { id, arrival, departure }, Reply::Reservation(it)) => {
                self.amended(lsn, *id, (*arrival, *departure), it)
            }
            (Call::Amend { id, arrival, departure }, Reply::Refused(problem)) => {
                self.not_amended(lsn, *id, (*arrival, *departure), problem)
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

    fn amended(
        &mut self,
        lsn: Lsn,
        id: Uuid,
        (arrival, departure): (Date, Date),
        it: &Reservation,
    ) -> Judged {
        let before = self.stays.get(&id).ok_or("there is no such reservation")?;
        if self.life(before, lsn) == Life::Over || it.status != before.status {
            return Err(format!("it was {:?}, and the answer is {:?}", before.status, it.status));
        }
        if (it.id.0, it.arrival, it.departure) != (id, arrival, departure) {
            return Err(format!("the answer is another's: {it:?}"));
        }
        let (name, space) = self.claim(id);
        self.check_fits(lsn, &Wish { name: &name, space, arrival, departure, own: Some(id) })?;
        self.put(it);
        Ok(())
    }

    fn not_amended(
        &mut self,
        lsn: Lsn,
        id: Uuid,
        (arrival, departure): (Date, Date),
        problem: &innkeeper::wire::Problem,
    ) -> Judged {
        let Some(stay) = self.stays.get(&id) else {
            let missing = problem.code == "reservation_not_found";
            return if missing { Ok(()) } else { Err(format!("refused with {}", problem.code)) };
        };
        if problem.code == "invalid_state" {
            let live = self.life(stay, lsn) == Life::Live;
            return if live { Err(format!("refused where it is {:?}", stay.status)) } else { Ok(()) };
        }
        let (name, space) = self.claim(id);
        self.check_full(lsn, &Wish { name: &name, space, arrival, departure, own: Some(id) }, problem)
    }

    /// What a stay takes: its room where that is pinned, else one of its type.
    fn claim(&self, id: Uuid) -> (String, usize) {
        let stay = &self.stays[&id];
        match &stay.room {
            Some(room) if stay.is_pinned => (room.clone(), 1),
            _ => (stay.room_type.clone(), TYPE_ROOMS.len()),
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
        if !agrees {
            return Err(format!("{} is shown {:?} and is {:?}", it.id, it.status, stay.status));
        }
        // The planned room of an unpinned stay may change unseen.
        let same_room = !stay.is_pinned || it.room.as_ref().map(|room| room.as_str()) == stay.room.as_deref();
        if !same_room || (it.arrival, it.departure) != (stay.arrival, stay.departure) {
            return Err(format!("{} is shown in another room or on other nights: {it:?}", it.id));
        }
        Ok(())
    }

    fn put(&mut self, it: &Reservation) {
        let stay = Stay {
            room: it.room.as_ref().map(|room| room.as_str().to_owned()),
            is_pinned: it.room_pinned,
            room_type: it.room_type.as_str().to_owned(),
            arrival: it.arrival,
            departure: it.departure,
            status: it.status,
            hold_end: it.hold_expires_at.as_ref().map_or(0, millis),
        };
        for night in it.arrival.until(it.departure).filter(|_| stay.status.is_live()) {
            for name in stay.room.iter().chain([&stay.room_type]) {
                self.takers.entry((name.clone(), night)).or_default().insert(it.id.0);
            }
        }
        self.stays.insert(it.id.0, stay);
    }

    /// Stays that stand against the wish on this night: those that certainly do, and with those that may.
    fn against(&mut self, lsn: Lsn, wish: &Wish<'_>, night: Date) -> (usize, usize) {
        let key = (wish.name.to_owned(), night);
        let Some(mut takers) = self.takers.remove(&key) else { return (0, 0) };
        let (mut certain, mut possible) = (0, 0);
        // Who has left, or whose hold has ended, never stands there again but by another change.
        takers.retain(|id| {
            let stay = &self.stays[id];
            let life = if stay.takes(wish.name, night) { self.life(stay, lsn) } else { Life::Over };
            match life {
                _ if wish.own == Some(*id) => {}
                Life::Live => certain += 1,
                Life::Either => possible += 1,
                Life::Over => {}
            }
            life != Life::Over
        });
        self.takers.insert(key, takers);
        (certain, certain + possible)
    }

    /// A stay that was sold had space.
    fn check_fits(&mut self, lsn: Lsn, wish: &Wish<'_>) -> Judged {
        let mut nights = wish.arrival.until(wish.departure);
        match nights.find(|night| self.against(lsn, wish, *night).0 >= wish.space) {
            None => Ok(()),
            Some(night) => Err(format!("it was sold, and {night} was full")),
        }
    }

    /// A stay that was refused had none.
    fn check_full(&mut self, lsn: Lsn, wish: &Wish<'_>, problem: &innkeeper::wire::Problem) -> Judged {
        let is_room = wish.space == 1;
        match problem.code.as_str() {
            "room_unavailable" if is_room => {}
            // Whether a room could have been found is for the ledger's own tests.
            "no_availability" if !is_room && problem.facts.contains_key("fragmented") => return Ok(()),
            "no_availability" if !is_room => {}
            code => return Err(format!("refused with {code}")),
        }
        let mut nights = wish.arrival.until(wish.departure);
        match nights.all(|night| self.against(lsn, wish, night).1 < wish.space) {
            true => Err("refused, and there is space".into()),
            false => Ok(()),
        }
    }
}

/// What a reservation is when it has just been made, however late the answer comes.
fn check_made(it: &Reservation, number: usize, asked: (Date, Date), hold_seconds: Option<u64>) -> Judged {
    let is_own = it.external_ref.as_deref() == Some(&format!("op-{number}"));
    if !is_own || (it.arrival, it.departure) != asked {
        return Err(format!("the answer is another's: {it:?}"));
    }
    let status = if hold_seconds.is_some() { Status::Held } else { Status::Confirmed };
    if (it.status, it.revision) != (status, 1) {
        return Err(format!("it was not made as {:?} in revision {}", it.status, it.revision));
    }
    let held_ms = it.hold_expires_at.as_ref().map(|end| millis(end) - millis(&it.created_at));
    if held_ms != hold_seconds.map(|seconds| seconds * 1_000) {
        return Err(format!("it is held for {held_ms:?} ms, where {hold_seconds:?} s were asked"));
    }
    Ok(())
}
