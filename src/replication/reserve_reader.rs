//! Reads the commonest command, a reservation, as this build's encoder writes it.
//!
//! The [codec](super::codec) takes fields in any order and passes over unknown ones, which takes as long as the ledger takes to
//! apply the command; each node reads every command, and in a replay again. What is written in any other way, or is
//! anything else, is left to the codec, so that the bytes mean the same whoever reads them.

use uuid::Uuid;

use crate::ledger::{
    BlockId, BookingId, Command, Currency, Date, IdempotencyKey, PropertyId, ReservationId, Reserve, RoomId,
    RoomTypeId, Submission, Wanted,
};

/// `None` where the codec has to say what the bytes are.
pub fn read(bytes: &[u8]) -> Option<Submission> {
    let mut reader = Reader { bytes, fields_left: 0 };
    let submission = reader.map(|reader| {
        Some(Submission {
            key: reader.optional_field("key", |reader| reader.map(key))?,
            command: reader
                .field("command", |reader| reader.map(|reader| reader.field("reserve", reserve)))?,
        })
    })?;
    reader.bytes.is_empty().then_some(submission)
}

fn key(reader: &mut Reader) -> Option<IdempotencyKey> {
    Some(IdempotencyKey {
        text: reader.field("text", Reader::text)?.into(),
        digest: reader.field("digest", Reader::u128)?,
        request_digest: reader.field("request_digest", Reader::u128)?,
    })
}

fn reserve(reader: &mut Reader) -> Option<Command> {
    let reserve = reader.map(|reader| {
        Some(Reserve {
            id: ReservationId(reader.field("id", Reader::uuid)?),
            booking_id: BookingId(reader.field("booking_id", Reader::uuid)?),
            property: reader.field("property", |reader| PropertyId::new(reader.text()?).ok())?,
            guest: reader.field("guest", Reader::text)?.into(),
            wanted: reader.field("wanted", |reader| reader.map(wanted))?,
            arrival: reader.field("arrival", date)?,
            departure: reader.field("departure", date)?,
            occupancy: reader.field("occupancy", |reader| reader.unsigned()?.try_into().ok())?,
            currency: reader.optional_field("currency", |reader| Currency::new(reader.text()?))?,
            currency_known: reader.field("currency_known", Reader::bool)?,
            hold_seconds: reader.optional_field("hold_seconds", Reader::unsigned)?,
            expected_total: reader.optional_field("expected_total", Reader::signed)?,
            block: reader.optional_field("block", |reader| BlockId::new(reader.text()?).ok())?,
            external_ref: reader.optional_field("external_ref", Reader::text)?.map(Box::from),
        })
    })?;
    Some(Command::Reserve(Box::new(reserve)))
}

fn wanted(reader: &mut Reader) -> Option<Wanted> {
    let room = reader.optional_field("room", |reader| RoomId::new(reader.text()?).ok())?;
    room.map(Wanted::Room).or_else(|| {
        reader.field("room_type", |reader| RoomTypeId::new(reader.text()?).ok()).map(Wanted::RoomType)
    })
}

fn date(reader: &mut Reader) -> Option<Date> {
    Date::from_days(reader.signed()?.try_into().ok()?)
}

/// What is left to read. The numbers are those of the MessagePack specification's table of formats.
struct Reader<'a> {
    bytes: &'a [u8],
    /// Of the map in hand.
    fields_left: u8,
}

impl<'a> Reader<'a> {
    /// A map of up to 15 fields, all of which `read` has to take.
    fn map<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let [marker] = self.take()?;
        let fields = marker.checked_sub(0x80).filter(|fields| *fields < 16)?;
        let outer = std::mem::replace(&mut self.fields_left, fields);
        let value = read(self)?;
        (std::mem::replace(&mut self.fields_left, outer) == 0).then_some(value)
    }

    fn field<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.optional_field(name, read)?
    }

    /// A field that may be absent. The outer `None`: it is there and can't be read.
    fn optional_field<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        // Names are shorter than 32 bytes.
        let marked = self.bytes.strip_prefix(&[0xa0 | name.len() as u8]);
        let Some(value) = marked.and_then(|bytes| bytes.strip_prefix(name.as_bytes())) else {
            return Some(None);
        };
        self.bytes = value;
        self.fields_left = self.fields_left.checked_sub(1)?;
        read(self).map(Some)
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    /// Of up to 255 bytes.
    fn text(&mut self) -> Option<&'a str> {
        let length = match self.take()? {
            [short @ 0xa0..=0xbf] => short - 0xa0,
            [0xd9] => u8::from_be_bytes(self.take()?),
            _ => return None,
        };
        let (text, rest) = self.bytes.split_at_checked(length.into())?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    fn bool(&mut self) -> Option<bool> {
        match self.take()? {
            [0xc2] => Some(false),
            [0xc3] => Some(true),
            _ => None,
        }
    }

    fn unsigned(&mut self) -> Option<u64> {
        Some(match self.take()? {
            [small @ ..=0x7f] => small.into(),
            [0xcc] => u8::from_be_bytes(self.take()?).into(),
            [0xcd] => u16::from_be_bytes(self.take()?).into(),
            [0xce] => u32::from_be_bytes(self.take()?).into(),
            [0xcf] => u64::from_be_bytes(self.take()?),
            _ => return None,
        })
    }

    fn signed(&mut self) -> Option<i64> {
        let signed = match self.bytes.first()? {
            0xe0.. => i8::from_be_bytes(self.take()?).into(),
            0xd0 => self.behind_marker().map(i8::from_be_bytes)?.into(),
            0xd1 => self.behind_marker().map(i16::from_be_bytes)?.into(),
            0xd2 => self.behind_marker().map(i32::from_be_bytes)?.into(),
            0xd3 => self.behind_marker().map(i64::from_be_bytes)?,
            _ => return self.unsigned()?.try_into().ok(),
        };
        Some(signed)
    }

    fn behind_marker<const N: usize>(&mut self) -> Option<[u8; N]> {
        let [_] = self.take()?;
        self.take()
    }

    /// Sixteen bytes of binary.
    fn sixteen(&mut self) -> Option<[u8; 16]> {
        match self.take()? {
            [0xc4, 16] => self.take(),
            _ => None,
        }
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.sixteen().map(Uuid::from_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.sixteen().map(u128::from_be_bytes)
    }
}
