//! The reader of reservations against the codec: both read the same, or the reader leaves it.

use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::fuzz::{changed, changes};
use super::support::{cancel, command, reserve};
use crate::ledger::{
    BlockId, BookingId, Command, Currency, Date, IdempotencyKey, PropertyId, ReservationId, Reserve, RoomId,
    RoomTypeId, Submission, Wanted,
};
use crate::replication::EncodedSubmission;
use crate::replication::codec::{from_message_pack, to_message_pack};
use crate::replication::reserve_reader::read;

const CASES: u32 = 4_000;

fn identifier() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
}

/// A number of any length.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

fn date() -> impl Strategy<Value = Date> {
    let near = (-200i32..70_000).prop_map(|days| Date::from_days(days).unwrap());
    prop_oneof![near, Just(Date::MIN), Just(Date::MAX)]
}

fn key() -> impl Strategy<Value = IdempotencyKey> {
    ("[!-~]{1,255}", any::<u128>(), any::<u128>()).prop_map(|(text, digest, request_digest)| IdempotencyKey {
        text: text.into(),
        digest,
        request_digest,
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        identifier().prop_map(|room| Wanted::Room(RoomId::new(&room).unwrap())),
        identifier().prop_map(|kind| Wanted::RoomType(RoomTypeId::new(&kind).unwrap())),
    ]
}

prop_compose! {
    /// Its guest's name and its reference take up to 255 bytes.
    fn reservation()(
        (id, booking_id) in any::<(u128, u128)>(),
        property in identifier(),
        guest in "\\PC{0,63}",
        wanted in wanted(),
        (arrival, departure) in (date(), date()),
        occupancy in number(),
        currency in option::of("[A-Z]{3}"),
        currency_known in any::<bool>(),
        hold_seconds in option::of(number()),
        expected_total in option::of((number(), any::<bool>())),
        block in option::of(identifier()),
        external_ref in option::of("[ -~]{1,255}"),
    ) -> Reserve {
        let signed = |(number, is_negative): (u64, bool)| {
            let number = (number >> 1) as i64;
            if is_negative { -1 - number } else { number }
        };
        Reserve {
            id: ReservationId(Uuid::from_u128(id)),
            booking_id: BookingId(Uuid::from_u128(booking_id)),
            property: PropertyId::new(&property).unwrap(),
            guest: guest.into(),
            wanted,
            arrival,
            departure,
            occupancy: occupancy as u32,
            currency: currency.map(|code| Currency::new(&code).unwrap()),
            currency_known,
            hold_seconds,
            expected_total: expected_total.map(signed),
            block: block.map(|block| BlockId::new(&block).unwrap()),
            external_ref: external_ref.map(Box::from),
        }
    }
}

fn submission() -> impl Strategy<Value = Submission> {
    (option::of(key()), reservation())
        .prop_map(|(key, reserve)| Submission { key, command: Command::Reserve(Box::new(reserve)) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn reservations_are_read_as_they_were_written(submission in submission()) {
        let bytes = to_message_pack(&submission).unwrap();
        prop_assert_eq!(read(&bytes), Some(submission.clone()));
        prop_assert_eq!(from_message_pack::<Submission>(&bytes).unwrap(), submission);
    }

    #[test]
    fn what_is_read_of_changed_bytes_is_what_the_codec_reads(
        submission in submission(),
        changes in changes(),
    ) {
        let bytes = changed(to_message_pack(&submission).unwrap(), &changes);
        if let Some(submission) = read(&bytes) {
            prop_assert_eq!(from_message_pack::<Submission>(&bytes).unwrap(), submission);
        }
    }
}

/// With as few fields as there may be.
fn least() -> Reserve {
    let Command::Reserve(reserve) = reserve(7, 101, 3).command else { unreachable!("it is a reservation") };
    let (arrival, departure) = (Date::from_days(5).unwrap(), Date::from_days(6).unwrap());
    Reserve { guest: "g".into(), arrival, departure, ..*reserve }
}

/// With every field.
fn full() -> Submission {
    let key = IdempotencyKey { text: "key".into(), digest: 7, request_digest: u128::MAX };
    let reserve = Reserve {
        currency: Currency::new("EUR"),
        hold_seconds: Some(900),
        expected_total: Some(5),
        block: BlockId::new("fair").ok(),
        external_ref: Some("their-7".into()),
        ..least()
    };
    Submission { key: Some(key), command: reserve.into() }
}

#[test]
fn with_any_byte_changed_both_read_the_same() {
    for sample in [command(least().into()), full()] {
        let mut bytes = to_message_pack(&sample).unwrap();
        let mut read_at_all = 0;
        for at in 0..bytes.len() {
            let sound = bytes[at];
            for to in 0..=u8::MAX {
                bytes[at] = to;
                if let Some(submission) = read(&bytes) {
                    assert_eq!(from_message_pack::<Submission>(&bytes), Ok(submission), "{to:#04x} at {at}");
                    read_at_all += 1;
                }
            }
            bytes[at] = sound;
        }
        // Each sound byte, at least.
        assert!(read_at_all > bytes.len());
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{length} bytes");
        }
    }
}

/// What makes something of the bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Readers {
    Both,
    Codec,
    Neither,
}

/// An encoded command, a part of it, what stands there instead, and what then makes something of it.
type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], Readers);

#[test]
fn what_another_encoder_may_write_is_left_to_the_codec_or_read_alike() {
    use Readers::{Both, Codec, Neither};
    let least = to_message_pack(&command(least().into())).unwrap();
    let full = to_message_pack(&full()).unwrap();
    let cases: &[Case<'_>] = &[
        (&least, b"\xa9occupancy\x02", b"\xa9occupancy\xcd\x00\x02", Both),
        (&least, b"\xa9occupancy\x02", b"\xa9occupancy\xd0\x02", Codec),
        (&least, b"\xa9occupancy\x02", b"\xa9occupancy\xcf\x00\x00\x00\x01\x00\x00\x00\x00", Neither),
        (&least, b"\xa7arrival\x05", b"\xa7arrival\xd3\x00\x00\x00\x00\x00\x00\x00\x05", Both),
        (&least, b"\xa7arrival\x05", b"\xa7arrival\xd1\xff\xff", Both),
        (&least, b"\xa7arrival\x05", b"\xa7arrival\xd2\x7f\xff\xff\xff", Neither),
        (&full, b"\xaeexpected_total\x05", b"\xaeexpected_total\xd0\xff", Both),
        (&full, b"\xaeexpected_total\x05", b"\xaeexpected_total\xc0", Codec),
        (
            &full,
            b"\xaeexpected_total\x05",
            b"\xaeexpected_total\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            Neither,
        ),
        (&full, b"\xa8currency\xa3EUR", b"\xa8currency\xc0", Codec),
        (&full, b"\xa8currency\xa3EUR", b"\xa8currency\xa3eur", Neither),
        (&full, b"\xa8currency\xa3EUR", b"\xa8currency\xa3EUR\xa8currency\xa3EUR", Neither),
        (&least, b"\xa5guest\xa1g", b"\xa5guest\xd9\x01g", Both),
        (&least, b"\xa5guest\xa1g", b"\xa5guest\xda\x00\x01g", Codec),
        (&least, b"\xa5guest\xa1g", b"\xd9\x05guest\xa1g", Codec),
        (&least, b"\xa5guest\xa1g", b"\xa5guest\xa1\xff", Neither),
        (&least, b"\xa2id\xc4\x10", b"\xa2id\xc5\x00\x10", Codec),
        (&least, b"\xa7reserve\x89", b"\xa7reserve\xde\x00\x09", Codec),
        (&least, b"\xa7reserve\x89", b"\xa7reserve\x8a\xa5later\x05", Codec),
        (&least, b"\xa7reserve\x89", b"\xa7reserve\x88", Neither),
        (&least, b"\xa6wanted\x81\xa4room", b"\xa6wanted\x82\xa9room_type\xa1d\xa4room", Neither),
        (&least, b"\xaecurrency_known\xc3", b"\xaecurrency_known\xc3\xc0", Neither),
    ];
    for &(sound, part, other, expected) in cases {
        let at = sound.windows(part.len()).position(|window| window == part);
        let at = at.unwrap_or_else(|| panic!("{} is not written", part.escape_ascii()));
        let bytes = [&sound[..at], other, &sound[at + part.len()..]].concat();
        let (read, decoded) = (read(&bytes), from_message_pack::<Submission>(&bytes).ok());
        let readers = match (&read, &decoded) {
            (Some(_), _) => Both,
            (None, Some(_)) => Codec,
            (None, None) => Neither,
        };
        assert_eq!(readers, expected, "{} for {}", other.escape_ascii(), part.escape_ascii());
        assert!(read.is_none() || read == decoded, "{}", other.escape_ascii());
    }
}

#[test]
fn other_commands_and_longer_texts_are_left_to_the_codec() {
    let long = Reserve { guest: "g".repeat(256).into(), ..least() };
    for left in [command(long.into()), cancel(7)] {
        assert_eq!(read(&to_message_pack(&left).unwrap()), None);
        assert_eq!(EncodedSubmission::new(&left).unwrap().decode(), Ok(left));
    }
}
