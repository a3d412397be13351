//! The frame: what is written today is read tomorrow, and what is damaged is not.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::support::{batch, committed, framed, put_room_type};
use crate::ledger::{Lsn, StateHash};
use crate::replication::codec::{self, CodecError, Frame, HEADER_BYTES, Kind, ReadError, Run};
use crate::replication::{Batch, Check, Decision, DiskId, Identity, Payload};

fn a_batch() -> Batch {
    let check = Check { lsn: Lsn(41), state_hash: StateHash(0x0123_4567_89ab_cdef_0011_2233_4455_6677) };
    batch(1_798_761_600_000, check, &[put_room_type("Double"), put_room_type("Twin")])
}

fn an_identity() -> Identity {
    let disk_id = DiskId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    let members = BTreeMap::from([(1, disk_id), (2, DiskId(Uuid::from_u128(2)))]);
    Identity {
        cluster_id: Some(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00ff)),
        node_id: 1,
        disk_id,
        members,
    }
}

/// Compares with the bytes of an earlier build, and with what they mean.
fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, kind: Kind, value: &T) {
    let frame = codec::encode(kind, value).unwrap();
    let committed = committed(name, &frame);
    assert_eq!(&codec::decode::<T>(kind, &committed).unwrap(), value, "{name} no longer means the same");
    assert_eq!(frame, committed, "{name} is no longer written as it was");
}

#[test]
fn golden_frames_keep_their_bytes_and_their_meaning() {
    golden("batch.v1", Kind::Batch, &a_batch());
    let check = Check { lsn: Lsn(41), state_hash: StateHash(u128::MAX / 7) };
    golden("decision.v1", Kind::Decision, &Decision { index: 17, check });
    golden("identity.v1", Kind::Identity, &an_identity());
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let sound = codec::encode(Kind::Batch, &a_batch()).unwrap();
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(codec::decode::<Batch>(Kind::Batch, &flipped).is_err(), "bit {bit} was not missed");
        assert!(
            !matches!(Frame::read(&mut flipped.as_slice()), Ok(Some(_))),
            "bit {bit} was not missed in a stream"
        );
    }
    for length in 0..sound.len() {
        let cut = &sound[..length];
        assert!(
            matches!(codec::decode::<Batch>(Kind::Batch, cut), Err(CodecError::Truncated { .. })),
            "{length}"
        );
    }
}

#[test]
fn each_fault_has_its_name() {
    let sound = codec::encode(Kind::Batch, &a_batch()).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = sound.clone();
        change(&mut frame);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..11]), &frame[HEADER_BYTES..]);
        frame[11..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        codec::decode::<Batch>(Kind::Batch, &frame).unwrap_err()
    };
    assert!(matches!(with(&|frame| frame[0] = b'X'), CodecError::WrongMagic { .. }));
    assert!(matches!(with(&|frame| frame[4] = Kind::Peer as u8), CodecError::WrongKind { found: 6, .. }));
    assert!(matches!(with(&|frame| frame[4] = 200), CodecError::WrongKind { found: 200, .. }));
    assert!(matches!(with(&|frame| frame[5] = 2), CodecError::UnknownVersion { found: 2, known: 1, .. }));
    assert!(matches!(with(&|frame| frame.push(0)), CodecError::Trailing { extra: 1 }));
    assert!(matches!(with(&|frame| frame[HEADER_BYTES] = 0xc1), CodecError::Undecodable { .. }));
    let huge = with(&|frame| frame[7..11].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert!(matches!(huge, CodecError::TooLong { length: 0xffff_ffff, .. }), "{huge}");
    let mut bad_checksum = sound.clone();
    bad_checksum[12] ^= 1;
    let error = codec::decode::<Batch>(Kind::Batch, &bad_checksum).unwrap_err();
    assert!(matches!(error, CodecError::BadChecksum { .. }), "{error}");
}

#[test]
fn a_frame_that_announces_more_than_follows_is_not_waited_for() {
    let mut frame = codec::encode(Kind::Peer, &0u8).unwrap();
    frame[7..11].copy_from_slice(&(Kind::Peer.body_bytes_max() as u32).to_le_bytes());
    let error = Frame::read(&mut frame.as_slice()).err().unwrap();
    assert!(matches!(error, ReadError::Codec(CodecError::Truncated { .. })), "{error}");
}

#[test]
fn depth_is_bounded() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Nested {
        inner: Option<Box<Nested>>,
    }

    for (levels, decodes) in [(20, true), (2_000, false)] {
        // Arrays of one element, `levels` deep, around a nil.
        let mut bytes = vec![0x91; levels];
        bytes.push(0xc0);
        assert_eq!(codec::from_message_pack::<Nested>(&bytes).is_ok(), decodes, "{levels}");
    }
}

fn read(payload: &Payload) -> Batch {
    codec::decode(Kind::Batch, &payload.0).unwrap()
}

#[test]
fn a_batch_beyond_an_entry_of_the_log_is_refused() {
    let check = Check { lsn: Lsn(0), state_hash: StateHash(0) };
    let big = batch(0, check, &vec![put_room_type(&"x".repeat(60_000)); 18]);
    assert!(matches!(big.encode(), Err(CodecError::TooLong { kind: Kind::Batch, .. })));
    let fits = batch(0, check, &vec![put_room_type(&"x".repeat(60_000)); 17]);
    assert_eq!(read(&fits.encode().unwrap()), fits);
}

#[test]
fn a_field_that_a_later_build_adds_is_passed_over() {
    #[derive(Serialize)]
    struct Later<'a> {
        #[serde(flatten)]
        batch: &'a Batch,
        added: &'a str,
    }
    let batch = a_batch();
    let frame = codec::encode(Kind::Batch, &Later { batch: &batch, added: "later" }).unwrap();
    let payload = Payload(frame.into());
    assert_eq!(read(&payload), batch);
    assert_eq!(payload.decode().unwrap().submissions().unwrap().len(), batch.submissions.len());
}

#[test]
fn a_run_holds_its_values_in_their_order() {
    let mut run = Run::new(Kind::SnapshotRecords);
    for value in 0..1_000u32 {
        run.push(&value).unwrap();
    }
    let bytes = run.finish().unwrap();
    let frame = Frame::read(&mut bytes.as_slice()).unwrap().unwrap();
    assert_eq!(frame.decode_run::<u32>(Kind::SnapshotRecords).unwrap(), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_run_of_parts_holds_them_in_their_order() {
    let parts: Vec<Vec<u8>> = (0..300usize).map(|length| vec![length as u8; length]).collect();
    let mut run = Run::new(Kind::SnapshotReservations);
    parts.iter().for_each(|part| run.push_part(part).unwrap());
    let bytes = run.finish().unwrap();
    let frame = Frame::read(&mut bytes.as_slice()).unwrap().unwrap();
    let read: Result<Vec<_>, _> = frame.parts(Kind::SnapshotReservations).unwrap().collect();
    assert_eq!(read.unwrap(), parts);

    // One that is cut short is told, and is the last.
    let body = [&[2, 0, 0, 0][..], b"ab", &[9, 0, 0, 0], b"c"].concat();
    let bytes = framed(Kind::SnapshotReservations as u8, 1, &body);
    let frame = Frame::read(&mut bytes.as_slice()).unwrap().unwrap();
    let read: Vec<_> = frame.parts(Kind::SnapshotReservations).unwrap().collect();
    assert_eq!(read, [Ok(&b"ab"[..]), Err(CodecError::Truncated { expected: 9, found: 1 })]);
}
