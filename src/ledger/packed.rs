//! A reservation's record as the state and its snapshots hold it: its fields behind one another in one run of bytes,
//! which takes a third of what they take apart or named, and is read several times faster than what is named.
//!
//! Persisted, so that its bytes never change their meaning. A later field goes behind all others of the record, one of the
//! reservation and of its original too, behind a number of its own and only where it has a value: a record without it is
//! then read by builds before and after. What is left behind the last field that a build knows is never skipped.

use std::sync::Arc;

use uuid::Uuid;

use super::date::Date;
use super::id::{
    BlockId, BookingId, Currency, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, Timestamp,
};
use super::record::{CreatedUnder, Member, Record, ReservationRecord};
use super::reservation::{Price, Reservation, Status, Stretch};
use super::stay::NIGHTS_MAX;

/// What most records take at most, so that one is written without growing.
const MOST: usize = 192;

/// Statuses by their number, of seven bits. A later one goes to the end.
const STATUSES: [Status; 7] = [
    Status::Held,
    Status::Confirmed,
    Status::Canceled,
    Status::Expired,
    Status::InHouse,
    Status::CheckedOut,
    Status::NoShow,
];

/// A reservation's record in one run of bytes.
#[derive(Clone)]
pub struct Packed(Box<[u8]>);

impl Packed {
    /// The packed form of a record that has one.
    pub fn of(record: &Record) -> Option<Packed> {
        match record {
            Record::Reservation(record) => Some(Packed::new(record)),
            _ => None,
        }
    }

    pub fn new(record: &ReservationRecord) -> Packed {
        let ReservationRecord { reservation, created_lsn, key, moved_lsn, member } = record;
        let mut writer = Writer(Vec::with_capacity(MOST));
        writer.reservation(reservation);
        writer.since(created_lsn.0, reservation.lsn.0);
        writer.optional(moved_lsn, |writer, lsn| writer.since(lsn.0, reservation.lsn.0));
        writer.optional(member, |writer, Member { index, of }| {
            writer.number((*index).into());
            writer.number((*of).into());
        });
        writer.optional(key, |writer, CreatedUnder { digest, request_digest, original }| {
            writer.bytes(&digest.to_le_bytes());
            writer.bytes(&request_digest.to_le_bytes());
            writer.optional(original, |writer, original| writer.reservation(original));
        });
        Packed(writer.0.as_slice().into())
    }

    /// What was persisted, with the record that it holds; `None` where it is none that this build can read.
    pub fn read(bytes: &[u8]) -> Option<(Packed, ReservationRecord)> {
        let record = Reader(bytes).record()?;
        Some((Packed(bytes.into()), record))
    }

    /// What is persisted.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is persisted, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into()
    }

    pub fn unpack(&self) -> ReservationRecord {
        Reader(&self.0).record().expect("what was packed is whole")
    }

    pub fn id(&self) -> ReservationId {
        Reader(&self.0).id().expect("what was packed is whole")
    }
}

/// Reservations without what their records hold beside them, behind one another. Kept in memory only.
pub fn pack_all(reservations: &[Arc<Reservation>]) -> Box<[u8]> {
    let mut writer = Writer(Vec::with_capacity(MOST * reservations.len()));
    reservations.iter().for_each(|reservation| writer.reservation(reservation));
    writer.0.into()
}

/// What [`pack_all`] packed.
pub fn unpack_all(packed: &[u8]) -> Vec<Arc<Reservation>> {
    let mut reader = Reader(packed);
    let mut reservations = Vec::new();
    while !reader.0.is_empty() {
        let reservation = reader.reservation().expect("what was packed is whole");
        reservations.push(Arc::new(reservation));
    }
    reservations
}

/// Set in the byte of the status where the room is pinned.
const PINNED: u8 = 0x80;

/// Whole numbers go by sevens of bits, the low ones first, a set high bit says that more follow.
struct Writer(Vec<u8>);

impl Writer {
    fn reservation(&mut self, reservation: &Reservation) {
        let Reservation {
            id,
            booking_id,
            property,
            room_type,
            room,
            room_pinned,
            guest,
            arrival,
            departure,
            occupancy,
            status,
            hold_expires_at,
            price: Price { currency, from, amounts },
            block,
            external_ref,
            room_from,
            released_from,
            slept,
            revision,
            lsn,
            created_at,
            updated_at,
        } = reservation;
        self.bytes(id.0.as_bytes());
        self.bytes(booking_id.0.as_bytes());
        let number = STATUSES.iter().position(|other| other == status).expect("all are listed");
        self.0.push(number as u8 | if *room_pinned { PINNED } else { 0 });
        self.text(property.as_bytes());
        self.text(room_type.as_bytes());
        self.optional(room, |writer, room| writer.text(room.as_bytes()));
        self.text(guest.as_bytes());
        self.signed(arrival.days().into());
        self.signed(arrival.nights_to(*departure).into());
        self.number((*occupancy).into());
        self.optional(hold_expires_at, |writer, end| writer.since(end.0, created_at.0));
        self.bytes(currency.as_bytes());
        self.signed(arrival.nights_to(*from).into());
        self.amounts(amounts);
        self.optional(block, |writer, block| writer.text(block.as_bytes()));
        self.optional(external_ref, |writer, text| writer.text(text.as_bytes()));
        self.optional(room_from, |writer, from| writer.signed(arrival.nights_to(*from).into()));
        self.optional(released_from, |writer, from| writer.signed(arrival.nights_to(*from).into()));
        self.optional(slept, |writer, stretches| {
            writer.number(stretches.len() as u64);
            for Stretch { room_type, room, from, to } in stretches {
                writer.text(room_type.as_bytes());
                writer.optional(room, |writer, room| writer.text(room.as_bytes()));
                writer.signed(arrival.nights_to(*from).into());
                writer.signed(arrival.nights_to(*to).into());
            }
        });
        self.number(*revision);
        self.number(lsn.0);
        self.number(created_at.0);
        self.since(updated_at.0, created_at.0);
    }

    /// Once where all nights cost the same.
    fn amounts(&mut self, amounts: &[i64]) {
        let same = amounts.windows(2).all(|two| two[0] == two[1]);
        self.number((amounts.len() as u64) << 1 | u64::from(same));
        for amount in &amounts[..if same { amounts.len().min(1) } else { amounts.len() }] {
            self.signed(*amount);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes(text);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Small ones of either sign are short.
    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    /// What is mostly a little more or less than something else.
    fn since(&mut self, number: u64, other: u64) {
        self.signed(number.wrapping_sub(other) as i64);
    }

    fn optional<T>(&mut self, value: &Option<T>, write: impl FnOnce(&mut Writer, &T)) {
        self.0.push(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads what a [`Writer`] wrote. `None` where the bytes are something else.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// All that there is.
    fn record(mut self) -> Option<ReservationRecord> {
        let reservation = Arc::new(self.reservation()?);
        let lsn = reservation.lsn.0;
        let created_lsn = Lsn(self.since(lsn)?);
        let moved_lsn = self.optional(|reader| reader.since(lsn).map(Lsn))?;
        let member = self.optional(|reader| Some(Member { index: reader.small()?, of: reader.small()? }))?;
        let key = self.optional(|reader| {
            Some(CreatedUnder {
                digest: u128::from_le_bytes(reader.array()?),
                request_digest: u128::from_le_bytes(reader.array()?),
                original: reader.optional(|reader| reader.reservation().map(Arc::new))?,
            })
        })?;
        let record = ReservationRecord { reservation, created_lsn, key, moved_lsn, member };
        self.0.is_empty().then_some(record)
    }

    fn id(&mut self) -> Option<ReservationId> {
        Some(ReservationId(Uuid::from_bytes(self.array()?)))
    }

    fn reservation(&mut self) -> Option<Reservation> {
        let id = self.id()?;
        let booking_id = BookingId(Uuid::from_bytes(self.array()?));
        let [status] = self.array()?;
        let property = PropertyId::new(self.text()?).ok()?;
        let room_type = RoomTypeId::new(self.text()?).ok()?;
        let room = self.optional(Reader::room)?;
        let guest = self.text()?.into();
        let arrival = date(self.signed()?)?;
        let departure = self.date_from(arrival)?;
        let occupancy = self.small()?;
        let hold = self.optional(Reader::signed)?;
        let currency = Currency::new(std::str::from_utf8(self.take(3)?).ok()?)?;
        let price = Price { currency, from: self.date_from(arrival)?, amounts: self.amounts()? };
        let block = self.optional(|reader| BlockId::new(reader.text()?).ok())?;
        let external_ref = self.optional(|reader| reader.text().map(Into::into))?;
        let room_from = self.optional(|reader| reader.date_from(arrival))?;
        let released_from = self.optional(|reader| reader.date_from(arrival))?;
        let slept = self.optional(|reader| {
            let stretches = reader.number()?;
            (0..stretches).map(|_| reader.stretch(arrival)).collect()
        })?;
        let (revision, lsn) = (self.number()?, Lsn(self.number()?));
        let created_at = self.number()?;
        Some(Reservation {
            id,
            booking_id,
            property,
            room_type,
            room,
            room_pinned: status & PINNED != 0,
            guest,
            arrival,
            departure,
            occupancy,
            status: *STATUSES.get(usize::from(status & !PINNED))?,
            hold_expires_at: hold.map(|later| Timestamp(created_at.wrapping_add(later as u64))),
            price,
            block,
            external_ref,
            room_from,
            released_from,
            slept,
            revision,
            lsn,
            created_at: Timestamp(created_at),
            updated_at: Timestamp(self.since(created_at)?),
        })
    }

    fn room(&mut self) -> Option<RoomId> {
        RoomId::new(self.text()?).ok()
    }

    fn stretch(&mut self, arrival: Date) -> Option<Stretch> {
        Some(Stretch {
            room_type: RoomTypeId::new(self.text()?).ok()?,
            room: self.optional(Reader::room)?,
            from: self.date_from(arrival)?,
            to: self.date_from(arrival)?,
        })
    }

    fn amounts(&mut self) -> Option<Box<[i64]>> {
        let number = self.number()?;
        let length = usize::try_from(number >> 1).ok().filter(|nights| *nights <= NIGHTS_MAX as usize)?;
        if number & 1 == 0 || length == 0 {
            return (0..length).map(|_| self.signed()).collect();
        }
        Some(vec![self.signed()?; length].into())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // Neither longer than it has to be nor beyond 64 bits: one number is one run of bytes.
            if byte == 0 && shift > 0 || bits > u64::MAX >> shift {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn since(&mut self, other: u64) -> Option<u64> {
        Some(other.wrapping_add(self.signed()? as u64))
    }

    fn date_from(&mut self, other: Date) -> Option<Date> {
        date(i64::from(other.days()).checked_add(self.signed()?)?)
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.array()? {
            [0] => Some(None),
            [1] => read(self).map(Some),
            _ => None,
        }
    }
}

fn date(days: i64) -> Option<Date> {
    i32::try_from(days).ok().and_then(Date::from_days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> ReservationRecord {
        let (_, record) = crate::ledger::tests::golden::record_samples(7)
            .into_iter()
            .find(|(name, _)| name == "reservation_held")
            .expect("there is such a sample");
        match record {
            Record::Reservation(record) => record,
            _ => panic!("the sample is a reservation"),
        }
    }

    fn some_date() -> impl Strategy<Value = Date> {
        (Date::MIN.days()..=Date::MAX.days()).prop_map(|days| Date::from_days(days).unwrap())
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9][a-zA-Z0-9._-]{0,40}"
    }

    fn price() -> impl Strategy<Value = Price> {
        let same = (any::<i64>(), 0..5usize).prop_map(|(amount, nights)| vec![amount; nights]);
        let amounts = prop_oneof![same, prop::collection::vec(any::<i64>(), 0..5)];
        (some_date(), amounts).prop_map(|(from, amounts)| Price {
            currency: Currency::new("EUR").unwrap(),
            from,
            amounts: amounts.into(),
        })
    }

    prop_compose! {
        fn stretch()(
            room_type in name(),
            room in prop::option::of(name()),
            [from, to] in [some_date(), some_date()],
        ) -> Stretch {
            let room = room.map(|room| RoomId::new(&room).unwrap());
            Stretch { room_type: RoomTypeId::new(&room_type).unwrap(), room, from, to }
        }
    }

    prop_compose! {
        fn reservation()(
            ids in any::<[u128; 2]>(),
            names in (name(), name(), prop::option::of(name()), prop::option::of(name())),
            texts in (".{0,300}", prop::option::of(".{0,300}")),
            dates in [some_date(), some_date()],
            later in [prop::option::of(some_date()), prop::option::of(some_date())],
            (status, room_pinned, occupancy) in (0..STATUSES.len(), any::<bool>(), any::<u32>()),
            price in price(),
            hold in prop::option::of(any::<u64>()),
            slept in prop::option::of(prop::collection::vec(stretch(), 0..3)),
            numbers in any::<[u64; 4]>(),
        ) -> Reservation {
            let [revision, lsn, created_at, updated_at] = numbers;
            Reservation {
                id: ReservationId(Uuid::from_u128(ids[0])),
                booking_id: BookingId(Uuid::from_u128(ids[1])),
                property: PropertyId::new(&names.0).unwrap(),
                room_type: RoomTypeId::new(&names.1).unwrap(),
                room: names.2.map(|room| RoomId::new(&room).unwrap()),
                room_pinned,
                guest: texts.0.into(),
                arrival: dates[0],
                departure: dates[1],
                occupancy,
                status: STATUSES[status],
                hold_expires_at: hold.map(Timestamp),
                price,
                block: names.3.map(|block| BlockId::new(&block).unwrap()),
                external_ref: texts.1.map(Into::into),
                room_from: later[0],
                released_from: later[1],
                slept: slept.map(Into::into),
                revision,
                lsn: Lsn(lsn),
                created_at: Timestamp(created_at),
                updated_at: Timestamp(updated_at),
            }
        }
    }

    prop_compose! {
        fn record()(
            reservation in reservation(),
            original in prop::option::of(reservation()),
            key in prop::option::of(any::<[u128; 2]>()),
            created in any::<u64>(),
            moved in prop::option::of(any::<u64>()),
            member in prop::option::of(any::<[u32; 2]>()),
        ) -> ReservationRecord {
            ReservationRecord {
                reservation: Arc::new(reservation),
                created_lsn: Lsn(created),
                key: key.map(|[digest, request_digest]| CreatedUnder {
                    digest,
                    request_digest,
                    original: original.map(Arc::new),
                }),
                moved_lsn: moved.map(Lsn),
                member: member.map(|[index, of]| Member { index, of }),
            }
        }
    }

    /// So many as a stay has at most; more would be memory that damaged bytes ask for.
    #[test]
    fn prices_are_read_for_as_many_nights_as_a_stay_may_have() {
        let record = sample();
        for (same, nights) in [(true, 366), (true, 367), (false, 366), (false, 367)] {
            let mut record = record.clone();
            let amounts = (0..nights).map(|night| if same { 7 } else { night });
            Arc::make_mut(&mut record.reservation).price.amounts = amounts.collect();
            let read = Packed::read(Packed::new(&record).as_bytes());
            assert_eq!(read.map(|(_, read)| read), Some(record).filter(|_| nights == 366));
        }
    }

    #[test]
    fn texts_that_are_no_identifiers_are_no_record() {
        let record = sample();
        let sound = Packed::new(&record);
        let at = |text: &str| {
            sound.as_bytes().windows(text.len()).position(|part| part == text.as_bytes()).unwrap()
        };
        for text in ["hotel", "double", "101", "fair"] {
            for byte in [0, b' ', b'/'] {
                let mut bytes = sound.as_bytes().to_vec();
                bytes[at(text) + 1] = byte;
                assert!(Packed::read(&bytes).is_none(), "{text} with {byte}");
            }
        }
    }

    #[test]
    fn a_number_has_one_form() {
        for (bytes, number) in [
            (&[0][..], Some(0)),
            (&[0x80, 0], None),
            (&[0xff, 0], None),
            (&[0x80, 1], Some(128)),
            (&[0xff; 10], None),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
            (&[0x80], None),
        ] {
            assert_eq!(Reader(bytes).number(), number, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(record in record()) {
            let packed = Packed::new(&record);
            prop_assert_eq!(packed.id(), record.reservation.id);
            prop_assert_eq!(packed.unpack(), record);
        }

        /// Nor is a record what has become longer or shorter.
        #[test]
        fn whatever_was_changed_is_read_without_a_panic(record in record(), at in any::<usize>(), byte in any::<u8>()) {
            let packed = Packed::new(&record);
            let mut bytes = packed.as_bytes().to_vec();
            prop_assert_eq!(Packed::read(&bytes).map(|(_, read)| read), Some(record));
            let at = at % bytes.len();
            prop_assert!(Packed::read(&bytes[..at]).is_none());
            bytes[at] = byte;
            drop(Packed::read(&bytes));
            let longer: Vec<u8> = packed.as_bytes().iter().copied().chain([byte]).collect();
            prop_assert!(Packed::read(&longer).is_none());
        }
    }
}
