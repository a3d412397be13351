//! A reservation's record as the state holds it: its fields behind one another in one run of bytes, which takes a third
//! of what they take apart.
//!
//! In memory only: never persisted and never sent, so that the form may change from build to build.

use std::sync::Arc;

use uuid::Uuid;

use super::date::Date;
use super::id::{
    BlockId, BookingId, Currency, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId, Timestamp,
};
use super::record::{CreatedUnder, Member, Record, ReservationRecord};
use super::reservation::{Price, Reservation, Status, Stretch};

/// What most records take at most, so that one is written without growing.
const MOST: usize = 192;

/// Statuses by their number.
const STATUSES: [Status; 7] = [
    Status::Held,
    Status::Confirmed,
    Status::Canceled,
    Status::Expired,
    Status::InHouse,
    Status::CheckedOut,
    Status::NoShow,
];

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

    pub fn unpack(&self) -> ReservationRecord {
        let mut reader = Reader(&self.0);
        let reservation = Arc::new(reader.reservation());
        let lsn = reservation.lsn.0;
        ReservationRecord {
            created_lsn: Lsn(reader.since(lsn)),
            moved_lsn: reader.optional(|reader| Lsn(reader.since(lsn))),
            member: reader
                .optional(|reader| Member { index: reader.number() as u32, of: reader.number() as u32 }),
            key: reader.optional(|reader| CreatedUnder {
                digest: u128::from_le_bytes(reader.array()),
                request_digest: u128::from_le_bytes(reader.array()),
                original: reader.optional(|reader| Arc::new(reader.reservation())),
            }),
            reservation,
        }
    }

    pub fn id(&self) -> ReservationId {
        Reader(&self.0).id()
    }
}

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
        self.0.push(number as u8 | u8::from(*room_pinned) << 3);
        self.text(property.as_str());
        self.text(room_type.as_str());
        self.optional(room, |writer, room| writer.text(room.as_str()));
        self.text(guest);
        self.signed(arrival.days().into());
        self.signed(arrival.nights_to(*departure).into());
        self.number((*occupancy).into());
        self.optional(hold_expires_at, |writer, end| writer.since(end.0, created_at.0));
        self.bytes(currency.as_str().as_bytes());
        self.signed(arrival.nights_to(*from).into());
        self.amounts(amounts);
        self.optional(block, |writer, block| writer.text(block.as_str()));
        self.optional(external_ref, |writer, text| writer.text(text));
        self.optional(room_from, |writer, from| writer.signed(arrival.nights_to(*from).into()));
        self.optional(released_from, |writer, from| writer.signed(arrival.nights_to(*from).into()));
        self.optional(slept, |writer, stretches| {
            writer.number(stretches.len() as u64);
            for Stretch { room_type, room, from, to } in stretches {
                writer.text(room_type.as_str());
                writer.optional(room, |writer, room| writer.text(room.as_str()));
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

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
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

/// Reads what a [`Writer`] of this process wrote.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn id(&mut self) -> ReservationId {
        ReservationId(Uuid::from_bytes(self.array()))
    }

    fn reservation(&mut self) -> Reservation {
        let id = self.id();
        let booking_id = BookingId(Uuid::from_bytes(self.array()));
        let [status] = self.array();
        let property = PropertyId::kept(self.text());
        let room_type = RoomTypeId::kept(self.text());
        let room = self.optional(|reader| RoomId::kept(reader.text()));
        let guest = self.text().into();
        let arrival = date(self.signed());
        let departure = self.date_from(arrival);
        let occupancy = self.number() as u32;
        let hold = self.optional(Reader::signed);
        let currency = std::str::from_utf8(self.take(3)).ok().and_then(Currency::new);
        let price = Price {
            currency: currency.expect("a code was written"),
            from: self.date_from(arrival),
            amounts: self.amounts(),
        };
        let block = self.optional(|reader| BlockId::kept(reader.text()));
        let external_ref = self.optional(|reader| reader.text().into());
        let room_from = self.optional(|reader| reader.date_from(arrival));
        let released_from = self.optional(|reader| reader.date_from(arrival));
        let slept = self.optional(|reader| (0..reader.number()).map(|_| reader.stretch(arrival)).collect());
        let (revision, lsn) = (self.number(), Lsn(self.number()));
        let created_at = self.number();
        Reservation {
            id,
            booking_id,
            property,
            room_type,
            room,
            room_pinned: status & 8 != 0,
            guest,
            arrival,
            departure,
            occupancy,
            status: STATUSES[usize::from(status & 7)],
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
            updated_at: Timestamp(self.since(created_at)),
        }
    }

    fn stretch(&mut self, arrival: Date) -> Stretch {
        Stretch {
            room_type: RoomTypeId::kept(self.text()),
            room: self.optional(|reader| RoomId::kept(reader.text())),
            from: self.date_from(arrival),
            to: self.date_from(arrival),
        }
    }

    fn amounts(&mut self) -> Box<[i64]> {
        let number = self.number();
        let length = (number >> 1) as usize;
        if number & 1 == 0 || length == 0 {
            return (0..length).map(|_| self.signed()).collect();
        }
        vec![self.signed(); length].into()
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn array<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let (taken, rest) = self.0.split_first_chunk().expect("all was written");
        self.0 = rest;
        *taken
    }

    fn text(&mut self) -> &str {
        let length = self.number() as usize;
        std::str::from_utf8(self.take(length)).expect("a text was written")
    }

    #[inline]
    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let [byte] = self.array();
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    fn since(&mut self, other: u64) -> u64 {
        other.wrapping_add(self.signed() as u64)
    }

    fn date_from(&mut self, other: Date) -> Date {
        date(i64::from(other.days()) + self.signed())
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let [is_some] = self.array();
        (is_some != 0).then(|| read(self))
    }
}

fn date(days: i64) -> Date {
    i32::try_from(days).ok().and_then(Date::from_days).expect("a date was written")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(record in record()) {
            let packed = Packed::new(&record);
            prop_assert_eq!(packed.id(), record.reservation.id);
            prop_assert_eq!(packed.unpack(), record);
        }
    }
}
