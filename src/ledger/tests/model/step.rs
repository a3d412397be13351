//! What is asked at random.

use proptest::option::{of, weighted};

use super::*;

#[derive(Clone, Debug)]
pub enum Step {
    Ask { key: Option<u8>, ask: Ask },
    Wait { seconds: u64 },
    Restore,
}

/// A command, before it is known which reservations there are.
#[derive(Clone, Debug)]
pub enum Ask {
    Reserve(Stay),
    Group(Vec<Stay>),
    Import(Vec<Imported>),
    Change {
        call: Call,
        stay: u8,
        stale: bool,
    },
    Booking {
        confirms: bool,
        stay: u8,
    },
    Amend {
        stay: u8,
        change: Dates,
        to: Option<Room>,
        kind: Option<u8>,
        occupancy: Option<u32>,
        stale: bool,
    },
    Assign {
        stay: u8,
        room: u8,
        stale: bool,
    },
    Property {
        usd: bool,
        known: bool,
    },
    Type {
        kind: u8,
        limit: u32,
        max_occupancy: u32,
    },
    Room {
        room: u8,
        kind: u8,
    },
    Retire {
        room: u8,
    },
    Rates {
        room: Option<u8>,
        kind: u8,
        from: i32,
        nights: i32,
        amounts: Vec<(bool, u32, i64)>,
        known: bool,
    },
    Rules {
        kind: u8,
        from: i32,
        nights: i32,
        rules: Rules,
    },
    Close {
        room: u8,
        from: i32,
        nights: i32,
        reason: u8,
    },
    Open {
        room: u8,
        from: i32,
        nights: i32,
    },
    Block {
        block: u8,
        kind: u8,
        from: i32,
        nights: i32,
        rooms: u32,
        status: BlockStatus,
        release: Option<i32>,
    },
    Join {
        kind: u8,
        arrival: i32,
        nights: i32,
        occupancy: u32,
        usd: Option<bool>,
    },
    Leave {
        entry: u8,
    },
    Today {
        to: i32,
    },
    Due,
}

#[derive(Clone, Debug)]
pub struct Stay {
    room: Option<u8>,
    kind: u8,
    arrival: i32,
    nights: i32,
    occupancy: u32,
    usd: Option<bool>,
    hold: Option<u64>,
    total: Option<i64>,
    block: Option<u8>,
}

#[derive(Clone, Debug)]
pub struct Imported {
    room: Option<u8>,
    pinned: bool,
    kind: u8,
    arrival: i32,
    nights: i32,
    status: Status,
    ends: i64,
    amount: i64,
    unpriced: bool,
    block: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
pub enum Call {
    Confirm,
    Cancel,
    CheckIn,
    CheckOut,
    NoShow,
}

/// To another arrival, another departure, or both.
#[derive(Clone, Copy, Debug)]
pub enum Dates {
    Same,
    Arrival(i32),
    Departure(i32),
    Both(i32, i32),
}

#[derive(Clone, Copy, Debug)]
pub enum Room {
    Pin(u8),
    Unpin,
}

/// The last night that is asked for, or so.
const NIGHTS: i32 = 12;

/// One in twenty-four.
fn rarely() -> impl Strategy<Value = bool> {
    (0..24u8).prop_map(|n| n == 0)
}

fn kind_of() -> impl Strategy<Value = u8> {
    prop_oneof![8 => 0..2u8, 1 => Just(2u8)]
}

fn room_of() -> impl Strategy<Value = u8> {
    prop_oneof![12 => 0..4u8, 1 => 4..6u8]
}

fn length() -> impl Strategy<Value = i32> {
    prop_oneof![24 => 1..5i32, 1 => -1..1i32, 1 => Just(370)]
}

fn occupancy() -> impl Strategy<Value = u32> {
    prop_oneof![12 => Just(2u32), 6 => Just(1u32), 1 => Just(0u32), 1 => Just(3u32)]
}

fn stay() -> impl Strategy<Value = Stay> {
    let wanted =
        (of(room_of()), kind_of(), prop_oneof![30 => -1..NIGHTS, 1 => Just(1_099)], length(), occupancy());
    let hold = weighted(0.4, prop_oneof![12 => 20..90u64, 1 => Just(0u64), 1 => Just(86_401u64)]);
    let total = weighted(0.1, prop_oneof![Just(200), Just(100), Just(-1), Just(140)]);
    let terms = (weighted(0.2, any::<bool>()), hold, total, weighted(0.2, 0..3u8));
    (wanted, terms).prop_map(|((room, kind, arrival, nights, occupancy), (usd, hold, total, block))| Stay {
        room,
        kind,
        arrival,
        nights,
        occupancy,
        usd,
        hold,
        total,
        block,
    })
}

fn imported() -> impl Strategy<Value = Imported> {
    let status = prop_oneof![
        4 => Just(Status::Confirmed),
        2 => Just(Status::Held),
        2 => Just(Status::InHouse),
        1 => Just(Status::CheckedOut),
        1 => Just(Status::NoShow),
        1 => Just(Status::Canceled),
        1 => Just(Status::Expired),
    ];
    let dates = (-4..NIGHTS, prop_oneof![12 => 1..5i32, 1 => Just(0)]);
    let room = (weighted(0.6, room_of()), any::<bool>(), kind_of());
    (room, dates, status, prop_oneof![9 => -10..100i64, 1 => Just(90_000i64)], any::<u8>()).prop_map(
        |((room, pinned, kind), (arrival, nights), status, ends, odd)| Imported {
            room,
            pinned,
            kind,
            arrival,
            nights,
            status,
            ends,
            amount: if odd == 0 { -1 } else { 90 },
            unpriced: odd == 1,
            block: (odd < 50).then_some(odd % 3),
        },
    )
}

fn dates() -> impl Strategy<Value = Dates> {
    prop_oneof![
        Just(Dates::Same),
        (-1..NIGHTS).prop_map(Dates::Arrival),
        (0..NIGHTS + 3).prop_map(Dates::Departure),
        (-1..NIGHTS, length()).prop_map(|(arrival, nights)| Dates::Both(arrival, nights)),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let days = || weighted(0.15, 1..4u32);
    let flags = (0..12u8).prop_map(|n| (n == 0, n == 1, n == 2));
    (flags, days(), days(), days(), weighted(0.15, 2..9u32)).prop_map(
        |((closed, closed_to_arrival, closed_to_departure), min_stay, max_stay, least, most)| Rules {
            closed,
            closed_to_arrival,
            closed_to_departure,
            min_stay,
            max_stay: max_stay.map(|max| max + 1),
            min_advance_days: least,
            max_advance_days: most,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => Just(Call::Confirm),
        4 => Just(Call::Cancel),
        4 => Just(Call::CheckIn),
        2 => Just(Call::CheckOut),
        1 => Just(Call::NoShow),
    ]
}

/// What guests ask for.
fn of_guests() -> BoxedStrategy<Ask> {
    let amend =
        (any::<u8>(), dates(), weighted(0.3, room()), weighted(0.2, kind_of()), weighted(0.2, occupancy()));
    let join = (kind_of(), -1..NIGHTS, length(), occupancy(), weighted(0.1, any::<bool>()));
    prop_oneof![
        12 => stay().prop_map(Ask::Reserve),
        3 => proptest::collection::vec(stay(), 1..4).prop_map(Ask::Group),
        2 => proptest::collection::vec(imported(), 1..3).prop_map(Ask::Import),
        13 => (call(), any::<u8>(), rarely()).prop_map(|(call, stay, stale)| Ask::Change { call, stay, stale }),
        2 => (any::<bool>(), any::<u8>()).prop_map(|(confirms, stay)| Ask::Booking { confirms, stay }),
        10 => (amend, rarely()).prop_map(|((stay, change, to, kind, occupancy), stale)| Ask::Amend {
            stay, change, to, kind, occupancy, stale,
        }),
        4 => (any::<u8>(), room_of(), rarely()).prop_map(|(stay, room, stale)| Ask::Assign { stay, room, stale }),
        5 => join.prop_map(|(kind, arrival, nights, occupancy, usd)| Ask::Join {
            kind, arrival, nights, occupancy, usd,
        }),
        2 => any::<u8>().prop_map(|entry| Ask::Leave { entry }),
    ]
    .boxed()
}

fn room() -> impl Strategy<Value = Room> {
    prop_oneof![2 => room_of().prop_map(Room::Pin), 1 => Just(Room::Unpin)]
}

/// What the house does.
fn of_house() -> BoxedStrategy<Ask> {
    let amount = (
        any::<bool>(),
        prop_oneof![20 => 1..3u32, 1 => Just(4u32)],
        prop_oneof![20 => 50..150i64, 1 => Just(-1)],
    );
    let amounts = proptest::collection::vec(amount, 0..4);
    let range = || (-2..NIGHTS, prop_oneof![20 => 1..6i32, 1 => Just(0)]);
    let status = prop_oneof![
        6 => Just(BlockStatus::Definite),
        1 => Just(BlockStatus::Tentative),
        1 => Just(BlockStatus::Canceled),
    ];
    let block = (
        0..3u8,
        prop_oneof![6 => Just(0u8), 1 => kind_of()],
        range(),
        0..3u32,
        status,
        weighted(0.4, 1..NIGHTS),
    );
    prop_oneof![
        2 => (rarely(), rarely()).prop_map(|(usd, unknown)| Ask::Property { usd, known: !unknown }),
        2 => (kind_of(), 0..3u32, prop_oneof![1 => Just(1u32), 12 => Just(2), 3 => Just(3), 1 => Just(0)])
            .prop_map(|(kind, limit, max_occupancy)| Ask::Type { kind, limit, max_occupancy }),
        3 => (room_of(), kind_of()).prop_map(|(room, kind)| Ask::Room { room, kind }),
        1 => room_of().prop_map(|room| Ask::Retire { room }),
        2 => (weighted(0.4, room_of()), kind_of(), range(), amounts, rarely())
            .prop_map(|(room, kind, (from, nights), amounts, unknown)| Ask::Rates {
                room, kind, from, nights, amounts, known: !unknown,
            }),
        2 => (kind_of(), range(), rules()).prop_map(|(kind, (from, nights), rules)| Ask::Rules {
            kind, from, nights, rules,
        }),
        4 => (room_of(), range(), 0..3u8).prop_map(|(room, (from, nights), reason)| Ask::Close {
            room, from, nights, reason,
        }),
        3 => (room_of(), range()).prop_map(|(room, (from, nights))| Ask::Open { room, from, nights }),
        5 => block.prop_map(|(block, kind, (from, nights), rooms, status, release)| Ask::Block {
            block, kind, from, nights, rooms, status, release,
        }),
        3 => (0..NIGHTS).prop_map(|to| Ask::Today { to }),
        1 => Just(Ask::Due),
    ]
    .boxed()
}

pub fn step() -> impl Strategy<Value = Step> {
    let key = || weighted(0.2, 0..40u8);
    prop_oneof![
        20 => (key(), of_guests()).prop_map(|(key, ask)| Step::Ask { key, ask }),
        8 => (key(), of_house()).prop_map(|(key, ask)| Step::Ask { key, ask }),
        2 => (1..90u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => prop_oneof![Just(3_599u64), Just(3_600), Just(86_399), Just(86_400)]
            .prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restore),
    ]
}

fn type_named(kind: u8) -> RoomTypeId {
    super::super::support::kind(["double", "suite", "attic"][usize::from(kind)])
}

fn room_named(room: u8) -> RoomId {
    RoomId::new(&format!("r{room}")).unwrap()
}

fn block_named(block: u8) -> BlockId {
    BlockId::new(&format!("b{block}")).unwrap()
}

fn currency(usd: bool) -> Currency {
    Currency::new(if usd { "USD" } else { "EUR" }).unwrap()
}

impl Stay {
    fn reserve(&self, id: u128) -> Reserve {
        let wanted = match self.room {
            Some(room) => Wanted::Room(room_named(room)),
            None => Wanted::RoomType(type_named(self.kind)),
        };
        Reserve {
            occupancy: self.occupancy,
            currency: self.usd.map(currency),
            // Where nothing else is odd, an unknown currency is.
            currency_known: self.usd.is_none() || self.nights != 2,
            hold_seconds: self.hold,
            expected_total: self.total,
            block: self.block.map(block_named),
            ..reserve(id, wanted, self.arrival, self.arrival + self.nights)
        }
    }
}

impl Imported {
    fn stay(&self, id: u128, now: u64) -> ImportedStay {
        let room_type = type_named(self.kind);
        let stay =
            super::super::support::imported(id, room_type.as_str(), self.arrival, self.arrival + self.nights);
        // Now and then for nights that it has no part in.
        let more = if self.amount % 3 == 0 && self.nights < 10 { 2 } else { 0 };
        let nights = if self.unpriced { 1 } else { self.nights.max(0) as usize + more };
        let held = self.status == Status::Held && self.ends != 0;
        ImportedStay {
            room: self.room.map(room_named),
            room_pinned: self.pinned,
            status: self.status,
            block: self.block.map(block_named),
            hold_expires_at: held.then(|| Timestamp(now.saturating_add_signed(self.ends * 1_000))),
            price: Price { amounts: vec![self.amount; nights].into(), ..stay.price.clone() },
            ..stay
        }
    }
}

impl Model {
    /// A reservation: every other time one that is live, where there are any.
    fn pick(&self, pick: u8) -> ReservationId {
        let live: Vec<ReservationId> =
            self.stays.iter().filter(|stay| stay.status.is_live()).map(|stay| stay.id).collect();
        let all: Vec<ReservationId> = self.stays.iter().map(|stay| stay.id).collect();
        let from = if pick.is_multiple_of(8) || live.is_empty() { &all } else { &live };
        from.get(usize::from(pick) % from.len().max(1)).copied().unwrap_or(id(424_242))
    }

    fn if_match(&self, id: ReservationId, stale: bool) -> Option<u64> {
        let revision = self.stays.iter().find(|stay| stay.id == id)?.revision;
        if stale { Some(revision + 1) } else { (revision % 3 == 0).then_some(revision) }
    }

    /// The command of the `n`th step; what it makes has ids that no other step's has, and that don't grow with time: a
    /// restored ledger then has its reservations in another order than the one that made them.
    pub fn command(&self, ask: &Ask, n: u128) -> Command {
        let id_of = |index: usize| n * 101 % 257 * 16 + index as u128;
        match ask {
            Ask::Reserve(stay) => stay.reserve(id_of(0)).into(),
            Ask::Group(stays) => {
                let stays = stays.iter().enumerate();
                group(&stays.map(|(index, stay)| stay.reserve(id_of(index))).collect::<Vec<_>>()).into()
            }
            Ask::Import(stays) => {
                let stays = stays.iter().enumerate();
                import(stays.map(|(index, stay)| stay.stay(id_of(index), self.now)).collect()).into()
            }
            Ask::Change { call, stay, stale } => {
                let reservation = self.pick(*stay);
                let change = Change { reservation, if_match: self.if_match(reservation, *stale) };
                match call {
                    Call::Confirm => Command::Confirm(change),
                    Call::Cancel => Command::Cancel(change),
                    Call::CheckIn => Command::CheckIn(change),
                    Call::CheckOut => Command::CheckOut(change),
                    Call::NoShow => Command::NoShow(change),
                }
            }
            Ask::Booking { confirms, stay } => {
                let reservation = self.pick(*stay);
                let booking = self.stays.iter().find(|stay| stay.id == reservation);
                let booking = booking.map_or(booking_of_nobody(), |stay| stay.booking_id);
                let change = BookingChange { booking };
                if *confirms { Command::ConfirmBooking(change) } else { Command::CancelBooking(change) }
            }
            Ask::Amend { stay, change, to, kind, occupancy, stale } => {
                let reservation = self.pick(*stay);
                let (arrival, departure) = match *change {
                    Dates::Same => (None, None),
                    Dates::Arrival(arrival) => (Some(day(arrival)), None),
                    Dates::Departure(departure) => (None, Some(day(departure))),
                    Dates::Both(arrival, nights) => (Some(day(arrival)), Some(day(arrival + nights))),
                };
                let room = to.map(|to| match to {
                    Room::Pin(room) => RoomChange::Pin(room_named(room)),
                    Room::Unpin => RoomChange::Unpin,
                });
                let (if_match, room_type) = (self.if_match(reservation, *stale), kind.map(type_named));
                let occupancy = *occupancy;
                Amend { reservation, if_match, arrival, departure, room_type, room, occupancy }.into()
            }
            Ask::Assign { stay, room, stale } => {
                let reservation = self.pick(*stay);
                let if_match = self.if_match(reservation, *stale);
                Command::Assign(Assign { reservation, if_match, room: room_named(*room) })
            }
            Ask::Join { kind, arrival, nights, occupancy, usd } => {
                let join = join_waitlist(id_of(0), type_named(*kind).as_str(), *arrival, arrival + nights);
                Command::JoinWaitlist(Box::new(JoinWaitlist {
                    occupancy: *occupancy,
                    currency: usd.map(currency),
                    currency_known: usd.is_none() || *nights != 2,
                    ..join
                }))
            }
            Ask::Leave { entry } => {
                let entry = self.waitlist.get(usize::from(*entry) % self.waitlist.len().max(1));
                let id = entry.map_or(waitlist_id(424_242), |entry| entry.id);
                Command::LeaveWaitlist(LeaveWaitlist { property: hotel(), id })
            }
            of_house => self.command_of_house(of_house),
        }
    }

    fn command_of_house(&self, ask: &Ask) -> Command {
        match ask {
            Ask::Property { usd, known } => {
                let command = put_property(FirstBusinessDate::Manual(day(5)));
                let currency = Some(currency(*usd));
                PutProperty { currency, currency_known: *known, time_zone_known: *known || *usd, ..command }
                    .into()
            }
            Ask::Type { kind, limit, max_occupancy } => {
                let command = put_room_type(type_named(*kind).as_str(), *limit);
                PutRoomType { max_occupancy: *max_occupancy, ..command }.into()
            }
            Ask::Room { room, kind } => {
                PutRoom { property: hotel(), room: room_named(*room), room_type: type_named(*kind) }.into()
            }
            Ask::Retire { room } => {
                Command::RetireRoom(RetireRoom { property: hotel(), room: room_named(*room) })
            }
            Ask::Rates { room, kind, from, nights, amounts, known } => {
                let target = match room {
                    Some(room) => RateTarget::Room(room_named(*room)),
                    None => RateTarget::RoomType(type_named(*kind)),
                };
                let rows: Vec<(&str, u32, i64)> = amounts
                    .iter()
                    .map(|(usd, occupancy, amount)| (if *usd { "USD" } else { "EUR" }, *occupancy, *amount))
                    .collect();
                let command = put_rates(target, day(*from), day(from + nights), prices(&rows));
                PutRates { currencies_known: *known, ..command }.into()
            }
            Ask::Rules { kind, from, nights, rules } => {
                put_restrictions(type_named(*kind).as_str(), *from, from + nights, rules.clone()).into()
            }
            Ask::Close { room, from, nights, reason } => {
                let command = put_out_of_order(room_named(*room).as_str(), *from, from + nights);
                PutOutOfOrder { reason: format!("reason {reason}").into(), ..command }.into()
            }
            Ask::Open { room, from, nights } => {
                end_out_of_order(room_named(*room).as_str(), *from, from + nights)
            }
            Ask::Block { block, kind, from, nights, rooms, status, release } => {
                let command = put_block(block_named(*block).as_str(), *from, from + nights, *rooms);
                let release_date = release.map(day);
                PutBlock { room_type: type_named(*kind), status: *status, release_date, ..command }.into()
            }
            Ask::Today { to } => match self.property.business_date_mode {
                BusinessDateMode::Clock => House::roll(*to),
                BusinessDateMode::Manual => {
                    Command::NightAudit(NightAudit { property: hotel(), business_date: day(*to) })
                }
            },
            _ => Command::EndDue(EndDue {}),
        }
    }
}

fn booking_of_nobody() -> BookingId {
    booking(424_242)
}
