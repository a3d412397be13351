//! Thousands of random commands against a naive model: plain lists, looked through day by day for everything.
//!
//! The model predicts each answer in full, and the whole state behind it. One thing it leaves to the ledger: which of
//! several rooms a stay by type is planned for. It looks whether the choice may be and takes it over; whether there is a
//! choice at all it finds out itself, by trying all plans.

mod bookings;
mod compare;
mod desk;
mod guests;
mod inventory;
mod space;
mod step;
mod waitlist;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::support::*;
use crate::ledger::*;
use step::{Step, step};

/// Log time for which an outcome that created nothing is kept under its key.
const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// What an idempotency key was used for.
#[derive(Clone)]
struct Used {
    /// The request, without the ids that the node makes.
    asked: String,
    outcome: Outcome,
    /// When it is forgotten; never, where something was created.
    until: Option<u64>,
    /// The room that was created.
    room: Option<RoomId>,
}

#[derive(Clone)]
struct Model {
    property: Property,
    types: Vec<RoomType>,
    /// The type of each room, and whether the room is in service.
    rooms: BTreeMap<RoomId, (RoomTypeId, bool)>,
    rates: BTreeMap<(RateTarget, Date), Prices>,
    rules: BTreeMap<(RoomTypeId, Date), Rules>,
    closed: BTreeMap<(RoomId, Date), Box<str>>,
    /// With whether they were released.
    blocks: BTreeMap<BlockId, (Block, bool)>,
    /// As they were made; those of one booking in their order.
    stays: Vec<Reservation>,
    /// As they came.
    waitlist: Vec<WaitlistEntry>,
    keys: BTreeMap<u8, Used>,
    now: u64,
    lsn: Lsn,
    /// Stays whose room the command that runs may plan anew.
    open: BTreeSet<ReservationId>,
    /// What was left to sell when the last command had ended.
    left: BTreeMap<(RoomTypeId, Date), i64>,
}

/// What the ledger says to a command, for what the model leaves to it.
struct Seen<'a> {
    /// Before the command, once what was due has happened.
    before: &'a House,
    outcome: &'a Outcome,
    after: &'a House,
}

impl Seen<'_> {
    /// The reservation as the answer shows it.
    fn shown(&self, id: ReservationId) -> Option<&Reservation> {
        match self.outcome {
            Outcome::Reserved(shown) | Outcome::Changed(shown) => {
                Some(&**shown).filter(|shown| shown.id == id)
            }
            Outcome::Booked(booking) | Outcome::BookingChanged(booking) => {
                booking.reservations.iter().find(|shown| shown.id == id).map(Arc::as_ref)
            }
            _ => None,
        }
    }

    fn room(&self, id: ReservationId) -> Option<RoomId> {
        self.shown(id)?.room.clone()
    }

    /// What the house would be if only this much had been asked for.
    fn if_asked(&self, command: impl Into<Command>) -> House {
        let mut house = copy(self.before);
        house.run(command);
        house
    }
}

fn copy(house: &House) -> House {
    House { ledger: house.ledger.clone(), now: house.now, commits: Vec::new() }
}

/// The house once what is due has happened: what the next command finds.
fn ended(house: &House) -> House {
    let mut ended = copy(house);
    ended.run(Command::EndDue(EndDue {}));
    ended
}

impl Model {
    /// The answer to the command, which is carried out where it is not refused.
    fn run(&mut self, command: &Command, seen: &Seen<'_>) -> Outcome {
        let before = self.clone();
        match self.execute(command, seen) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                *self = before;
                Outcome::Refused(refusal)
            }
        }
    }

    fn execute(&mut self, command: &Command, seen: &Seen<'_>) -> Result<Outcome, Refusal> {
        match command {
            Command::PutProperty(command) => self.put_property(command),
            Command::PutRoomType(command) => self.put_room_type(command),
            Command::PutRoom(command) => self.put_room(command),
            Command::RetireRoom(command) => self.retire_room(command),
            Command::PutRates(command) => self.put_rates(command),
            Command::PutRestrictions(command) => self.put_restrictions(command),
            Command::PutOutOfOrder(command) => self.put_out_of_order(command),
            Command::EndOutOfOrder(command) => self.end_out_of_order(command),
            Command::PutBlock(command) => self.put_block(command),
            Command::Reserve(command) => {
                let made = self.reserve(command, seen.room(command.id))?;
                Ok(Outcome::Reserved(made))
            }
            Command::BookGroup(command) => self.book_group(command, seen),
            Command::ImportBooking(command) => self.import(command, seen),
            Command::Amend(command) => self.amend(command, seen),
            Command::Assign(command) => self.assign(command),
            Command::Confirm(command) => self.confirm(command).map(Outcome::Changed),
            Command::Cancel(command) => self.cancel(command).map(Outcome::Changed),
            Command::CheckIn(command) => self.check_in(command, seen),
            Command::CheckOut(command) => self.check_out(command),
            Command::NoShow(command) => self.no_show(command),
            Command::ConfirmBooking(command) => self.change_booking(command, Status::Confirmed, seen),
            Command::CancelBooking(command) => self.change_booking(command, Status::Canceled, seen),
            Command::NightAudit(command) => self.night_audit(command),
            Command::RollBusinessDate(command) => self.roll(command.date),
            Command::JoinWaitlist(command) => self.join(command, seen),
            Command::LeaveWaitlist(command) => self.leave(command),
            // Nothing is ever set aside here, and where the history begins is nothing that a desk sees.
            Command::Retry(_) | Command::Discard(_) => Err(Refusal::NotSetAside),
            Command::EndDue(_) | Command::ForgetHistory(_) => Ok(Outcome::Done),
        }
    }

    /// What is due at the instant of the next command; `house` is what came of it.
    fn end_due(&mut self, house: &House) {
        self.lsn = self.lsn.next();
        self.open = self.movable().collect();
        let mut due: Vec<(Timestamp, ReservationId)> = Vec::new();
        for stay in &self.stays {
            due.extend(stay.hold_expires_at.filter(|end| end.0 <= self.now).map(|end| (end, stay.id)));
        }
        due.sort_unstable();
        for (_, id) in due {
            self.change(id, |stay| {
                (stay.status, stay.hold_expires_at, stay.slept) = (Status::Expired, None, None);
            });
        }
        self.settle(house);
    }

    /// What follows from a command, once it is carried out: `house` is what came of it.
    fn settle(&mut self, house: &House) {
        self.take_over_rooms(house);
        self.go_through_waitlist(house);
        self.take_over_rooms(house);
        self.assert_plans_may_be();
        self.open = self.movable().collect();
        self.left = self.left_now();
    }

    fn take_over_rooms(&mut self, house: &House) {
        for stay in &mut self.stays {
            if self.open.contains(&stay.id) && !stay.room_pinned && stay.status != Status::InHouse {
                let shown = house.ledger.reservation(stay.id).unwrap();
                (stay.room, stay.room_from) = (shown.room.clone(), shown.room_from);
            }
        }
    }

    /// The outcome with its stays as they are once all that follows from the command has happened.
    fn as_left(&self, outcome: Outcome) -> Outcome {
        let now = |stay: Arc<Reservation>| Arc::new(self.find(stay.id, None).unwrap());
        let all = |booking: Booking| Booking {
            reservations: booking.reservations.into_iter().map(now).collect(),
            ..booking
        };
        match outcome {
            Outcome::Reserved(stay) => Outcome::Reserved(now(stay)),
            Outcome::Changed(stay) => Outcome::Changed(now(stay)),
            Outcome::Booked(booking) => Outcome::Booked(all(booking)),
            Outcome::BookingChanged(booking) => Outcome::BookingChanged(all(booking)),
            other => other,
        }
    }

    /// The outcome that is stored under a key; or none.
    fn stored(&self, key: Option<u8>, asked: &str) -> Option<Outcome> {
        let used = self.keys.get(&key?)?;
        if used.until.is_some_and(|until| until <= self.now) {
            return None;
        }
        match used.asked == asked {
            true => Some(used.outcome.clone()),
            false => Some(Outcome::Refused(Refusal::IdempotencyKeyReused)),
        }
    }

    fn store(&mut self, key: Option<u8>, asked: String, outcome: &Outcome) {
        let created = match outcome {
            Outcome::Reserved(_) | Outcome::Booked(_) | Outcome::Waitlisted(_) => true,
            Outcome::Property { created, .. }
            | Outcome::RoomType { created, .. }
            | Outcome::Room { created, .. }
            | Outcome::Block(BlockShown { created, .. }) => *created,
            _ => false,
        };
        let room = match outcome {
            Outcome::Room { created: true, room } => Some(room.room.clone()),
            _ => None,
        };
        let forgotten = Some(self.now + KEPT_MS);
        // A room of that name that was retired is no more what its key made.
        for used in self.keys.values_mut().filter(|used| room.is_some() && used.room == room) {
            (used.until, used.room) = (forgotten, None);
        }
        let Some(key) = key else { return };
        let until = if created { None } else { forgotten };
        self.keys.insert(key, Used { asked, outcome: outcome.clone(), until, room });
    }
}

/// Doubles r0, r1 and r2 and a suite r3, with prices for all that is asked for.
fn start(business_date: FirstBusinessDate) -> (House, Model) {
    let mut house = House::empty();
    let Outcome::Property { property, .. } = house.run(put_property(business_date)) else { unreachable!() };
    let mut model = Model {
        property: (*property).clone(),
        types: Vec::new(),
        rooms: BTreeMap::new(),
        rates: BTreeMap::new(),
        rules: BTreeMap::new(),
        closed: BTreeMap::new(),
        blocks: BTreeMap::new(),
        stays: Vec::new(),
        waitlist: Vec::new(),
        keys: BTreeMap::new(),
        now: house.now.0,
        lsn: house.ledger.lsn(),
        open: BTreeSet::new(),
        left: BTreeMap::new(),
    };
    let mut commands: Vec<Command> = Vec::new();
    for room_type in ["double", "suite"] {
        let target = RateTarget::RoomType(kind(room_type));
        let rows = prices(&[("EUR", 1, 70), ("EUR", 2, 100), ("USD", 2, 110)]);
        commands.push(put_room_type(room_type, 0).into());
        commands.push(put_rates(target, day(-10), day(60), rows).into());
    }
    for (room, room_type) in [("r0", "double"), ("r1", "double"), ("r2", "double"), ("r3", "suite")] {
        commands.push(put_room(room, room_type).into());
    }
    for command in commands {
        run(&mut house, &mut model, None, &command, &command);
    }
    (house, model)
}

/// Runs one command on both, compares the outcomes, and answers what was submitted and what came of it. `asked` is the
/// command without the ids that the node makes.
fn run(
    house: &mut House,
    model: &mut Model,
    key: Option<u8>,
    command: &Command,
    asked: &Command,
) -> (Submission, Applied) {
    house.now = Timestamp(model.now);
    let picked_up = model.pick_ups();
    let before = ended(house);
    model.end_due(&before);
    let asked = format!("{asked:?}");
    let request = asked.bytes().fold(7u128, |sum, byte| sum.wrapping_mul(1_000_003) ^ u128::from(byte));
    let submission =
        Submission { key: key.map(|n| super::support::key(n.into(), request)), command: command.clone() };
    let applied = house.submit(&submission);
    let stored = model.stored(key, &asked);
    let made = stored.is_none().then(|| {
        let seen = Seen { before: &before, outcome: &applied.outcome, after: house };
        model.run(command, &seen)
    });
    model.settle(house);
    let (expected, replayed) = match (stored, made) {
        (Some(refused @ Outcome::Refused(Refusal::IdempotencyKeyReused)), _) => (refused, false),
        (Some(stored), _) => (stored, true),
        (None, made) => {
            let outcome = model.as_left(made.expect("it was run"));
            model.store(key, asked, &outcome);
            (outcome, false)
        }
    };
    assert_eq!((&applied.outcome, applied.replayed), (&expected, replayed), "{command:?}");
    model.assert_picked_up_within(&picked_up);
    (submission, applied)
}

/// Runs the same on the twin that was never restored. Its state is the same, and lies otherwise in memory: nothing that
/// comes of a command may depend on that.
fn run_on_twin(twin: &mut House, house: &House, submission: &Submission, applied: &Applied) {
    twin.now = house.now;
    assert_eq!(twin.submit(submission), *applied, "{submission:?}");
    assert_eq!(twin.ledger.state_hash(), house.ledger.state_hash(), "{submission:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_ledger_does_what_the_model_does(
        by_hand in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        let date = if by_hand { FirstBusinessDate::Manual } else { FirstBusinessDate::Clock };
        let (mut house, mut model) = start(date(day(0)));
        let mut twin: Option<House> = None;
        for (n, step) in (1..).zip(&steps) {
            match step {
                Step::Wait { seconds } => model.now += seconds * 1_000,
                Step::Restore => {
                    let restored = house.restored();
                    let own = std::mem::replace(&mut house, restored);
                    twin = twin.or(Some(own));
                }
                Step::Ask { key, ask } => {
                    let (command, asked) = (model.command(ask, n), model.command(ask, 0));
                    let (submission, applied) = run(&mut house, &mut model, *key, &command, &asked);
                    if let Some(twin) = &mut twin {
                        run_on_twin(twin, &house, &submission, &applied);
                    }
                    model.same_nights(&house);
                }
            }
            if n % 8 == 0 {
                house.ledger.audit().unwrap();
            }
        }
        model.same(&house);
        house.ledger.audit().unwrap();
        let restored = house.restored();
        prop_assert_eq!(restored.ledger.state_hash(), house.ledger.state_hash());
        model.same(&restored);
        restored.ledger.audit().unwrap();
    }
}
