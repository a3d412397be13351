//! The frame around everything that is written or sent: `magic, kind, version, length, checksum`, then named
//! MessagePack, because fields added on either side survive it; or, where there are millions of one kind, parts in a form
//! of their own, which says itself how it grows.
//!
//! A frame of an unknown version is never skipped: whoever meets one stops. Lengths are checked before memory is asked for,
//! and the depth of what is decoded is bounded.

use std::io::{self, Read};
use std::iter;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// `magic(4) kind(1) version(2) length(4) checksum(4)`, little-endian. The checksum is CRC-32C (RFC 3720, section
/// 12.1) over all the rest of the header, then the body.
pub const HEADER_BYTES: usize = 15;
const MAGIC: [u8; 4] = *b"InKp";
const CHECKSUM_AT: usize = 11;

/// Deeper nesting is refused. The deepest type of ours needs about a dozen levels.
const DEPTH_MAX: usize = 64;

/// What a frame holds. The numbers are written to disk and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A batch of commands: the payload of an entry of the log.
    Batch = 1,
    SnapshotHeader = 2,
    /// A run of the ledger's records. Reservations are among them where earlier builds wrote it.
    SnapshotRecords = 3,
    SnapshotTrailer = 4,
    /// Whose data directory it is.
    Identity = 5,
    /// A message between members.
    Peer = 6,
    /// A run of what commands changed, in the history.
    History = 7,
    /// An operator's decision: the payload of an entry of the log.
    Decision = 8,
    /// A run of reservations, [packed](crate::ledger::Packed), each behind its length in four bytes, little-endian.
    SnapshotReservations = 9,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Batch,
            2 => Kind::SnapshotHeader,
            3 => Kind::SnapshotRecords,
            4 => Kind::SnapshotTrailer,
            5 => Kind::Identity,
            6 => Kind::Peer,
            7 => Kind::History,
            8 => Kind::Decision,
            9 => Kind::SnapshotReservations,
            _ => return None,
        })
    }

    /// The version that this build writes, and the only one that it reads.
    fn version(self) -> u16 {
        1
    }

    /// Bytes asked for at once beside what is known to be long: one that grows is copied each time, into memory that the
    /// system may have to clear first.
    fn usual_bytes(self) -> usize {
        match self {
            Kind::Peer => 8 << 10,
            Kind::History => 128 << 10,
            _ => HEADER_BYTES,
        }
    }

    /// The longest body, in bytes.
    pub fn body_bytes_max(self) -> usize {
        match self {
            Kind::Batch => BATCH_BYTES_MAX - HEADER_BYTES,
            Kind::SnapshotHeader | Kind::SnapshotRecords | Kind::SnapshotReservations => 8 << 20,
            Kind::SnapshotTrailer | Kind::Decision => 1 << 10,
            Kind::Identity => 1 << 20,
            Kind::Peer | Kind::History => 40 << 20,
        }
    }
}

/// The longest encoded batch, its header included: one entry of the log.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Why bytes are no frame, or a value is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the frame is cut short: {found} of {expected} bytes")]
    Truncated { expected: usize, found: usize },
    #[error("{extra} bytes follow the end of the frame")]
    Trailing { extra: usize },
    #[error("the frame begins with {found:02x?}, not with Innkeeper's magic")]
    WrongMagic { found: [u8; 4] },
    #[error("the frame's checksum is {expected:08x}, its bytes give {found:08x}")]
    BadChecksum { expected: u32, found: u32 },
    #[error("the frame holds kind {found}, where {expected:?} was expected")]
    WrongKind { expected: Kind, found: u8 },
    #[error(
        "the frame is in version {found} of {kind:?}, this build reads version {known}: run a newer build"
    )]
    UnknownVersion { kind: Kind, found: u16, known: u16 },
    #[error("{length} bytes of {kind:?}, where at most {max} are allowed")]
    TooLong { kind: Kind, length: usize, max: usize },
    #[error("the frame's content can't be decoded: {reason}")]
    Undecodable { reason: String },
    #[error("a value can't be encoded: {reason}")]
    Unencodable { reason: String },
}

/// Encodes `value` as one frame.
pub fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, CodecError> {
    encode_about(kind, value, 0)
}

/// Encodes `value`, parts of which take `bytes` or so, as one frame: memory for them is asked for at once.
pub fn encode_about<T: Serialize>(kind: Kind, value: &T, bytes: usize) -> Result<Vec<u8>, CodecError> {
    let mut run = Run::with_space(kind, kind.usual_bytes() + bytes.min(kind.body_bytes_max()));
    run.push(value)?;
    run.finish()
}

/// A frame of many values, one behind the other.
pub struct Run {
    kind: Kind,
    frame: Vec<u8>,
}

impl Run {
    pub fn new(kind: Kind) -> Run {
        Run::with_space(kind, kind.usual_bytes())
    }

    fn with_space(kind: Kind, bytes: usize) -> Run {
        let mut frame = Vec::with_capacity(bytes);
        frame.resize(HEADER_BYTES, 0);
        Run { kind, frame }
    }

    pub fn push<T: Serialize>(&mut self, value: &T) -> Result<(), CodecError> {
        append(&mut self.frame, value)
    }

    /// Puts what is encoded already, which [`Frame::parts`] gives again.
    pub fn push_part(&mut self, part: &[u8]) -> Result<(), CodecError> {
        let (length, max) = (part.len(), self.kind.body_bytes_max());
        if length > max {
            return Err(CodecError::TooLong { kind: self.kind, length, max });
        }
        self.frame.extend_from_slice(&(length as u32).to_le_bytes());
        self.frame.extend_from_slice(part);
        Ok(())
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of the frame so far.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    pub fn finish(mut self) -> Result<Vec<u8>, CodecError> {
        let (kind, frame) = (self.kind, &mut self.frame);
        let (length, max) = (frame.len() - HEADER_BYTES, kind.body_bytes_max());
        if length > max {
            return Err(CodecError::TooLong { kind, length, max });
        }
        frame[..4].copy_from_slice(&MAGIC);
        frame[4] = kind as u8;
        frame[5..7].copy_from_slice(&kind.version().to_le_bytes());
        frame[7..CHECKSUM_AT].copy_from_slice(&(length as u32).to_le_bytes());
        let checksum = checksum(frame);
        frame[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Ok(self.frame)
    }
}

/// Whether bytes begin as a frame of `kind` does. Says nothing about whether they can be decoded.
pub fn begins(kind: Kind, frame: &[u8]) -> bool {
    frame.get(..4) == Some(&MAGIC) && frame.get(4) == Some(&(kind as u8))
}

/// Decodes exactly one frame, which must hold `kind`.
pub fn decode<'de, T: Deserialize<'de>>(kind: Kind, frame: &'de [u8]) -> Result<T, CodecError> {
    let Some(header) = frame.first_chunk::<HEADER_BYTES>() else {
        return Err(CodecError::Truncated { expected: HEADER_BYTES, found: frame.len() });
    };
    let expected = HEADER_BYTES + body_length(header)?;
    match frame.len() {
        found if found < expected => return Err(CodecError::Truncated { expected, found }),
        found if found > expected => return Err(CodecError::Trailing { extra: found - expected }),
        _ => {}
    }
    verify(frame)?;
    from_message_pack(body(kind, frame)?)
}

/// A frame read from a stream, whose checksum is right.
pub struct Frame {
    bytes: Vec<u8>,
}

/// Why no frame could be read from a stream.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Frame {
    /// Reads the next frame and verifies its checksum. `None` at the end of the stream.
    pub fn read(reader: &mut impl Read) -> Result<Option<Frame>, ReadError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(CodecError::Truncated { expected: HEADER_BYTES, found: bytes.len() }.into());
        };
        let length = body_length(header)?;
        reader.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        let expected = HEADER_BYTES + length;
        if bytes.len() < expected {
            return Err(CodecError::Truncated { expected, found: bytes.len() }.into());
        }
        verify(&bytes)?;
        Ok(Some(Frame { bytes }))
    }

    /// The whole frame, header included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `None` where this build knows no such kind.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.bytes[4])
    }

    pub fn decode<T: DeserializeOwned>(&self, kind: Kind) -> Result<T, CodecError> {
        from_message_pack(body(kind, &self.bytes)?)
    }

    /// What was put into a [`Run`] by [`push_part`](Run::push_part).
    pub fn parts(&self, kind: Kind) -> Result<impl Iterator<Item = Result<&[u8], CodecError>>, CodecError> {
        let mut rest = body(kind, &self.bytes)?;
        Ok(iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let part = split_part(rest);
            rest = part.as_ref().map_or(&[], |(_, rest)| rest);
            Some(part.map(|(part, _)| part))
        }))
    }

    /// The values of a [`Run`].
    pub fn decode_run<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<T>, CodecError> {
        let mut deserializer = deserializer(body(kind, &self.bytes)?);
        let mut values = Vec::new();
        loop {
            match T::deserialize(&mut deserializer) {
                Ok(value) => values.push(value),
                // Nothing is left to begin another value with.
                Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => return Ok(values),
                Err(error) => return Err(undecodable(error)),
            }
        }
    }
}

/// A part and what is behind it.
fn split_part(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let (length, rest) =
        bytes.split_first_chunk().ok_or(CodecError::Truncated { expected: 4, found: bytes.len() })?;
    let expected = u32::from_le_bytes(*length) as usize;
    rest.split_at_checked(expected).ok_or(CodecError::Truncated { expected, found: rest.len() })
}

/// How long the frame is that begins here, its header included, in bytes; `None` where more of it has to be there to know.
pub fn frame_length(begin: &[u8]) -> Result<Option<usize>, CodecError> {
    let header = begin.first_chunk::<HEADER_BYTES>();
    header.map(|header| Ok(HEADER_BYTES + body_length(header)?)).transpose()
}

fn verify(frame: &[u8]) -> Result<(), CodecError> {
    let expected = u32::from_le_bytes(frame[CHECKSUM_AT..HEADER_BYTES].try_into().expect("four bytes"));
    let found = checksum(frame);
    if found == expected { Ok(()) } else { Err(CodecError::BadChecksum { expected, found }) }
}

/// The body of a verified frame, if it is of that kind and in a version that this build reads.
fn body(kind: Kind, frame: &[u8]) -> Result<&[u8], CodecError> {
    if Kind::from_number(frame[4]) != Some(kind) {
        return Err(CodecError::WrongKind { expected: kind, found: frame[4] });
    }
    let (found, known) = (u16::from_le_bytes([frame[5], frame[6]]), kind.version());
    if found != known {
        return Err(CodecError::UnknownVersion { kind, found, known });
    }
    Ok(&frame[HEADER_BYTES..])
}

/// The length that a header announces, once the header is known to be one of ours and the length to be allowed.
fn body_length(header: &[u8; HEADER_BYTES]) -> Result<usize, CodecError> {
    let found = [header[0], header[1], header[2], header[3]];
    if found != MAGIC {
        return Err(CodecError::WrongMagic { found });
    }
    let length = u32::from_le_bytes([header[7], header[8], header[9], header[10]]) as usize;
    // A kind of a later build gets the widest bound: its checksum tells a damaged header from an unknown kind.
    let kind = Kind::from_number(header[4]).unwrap_or(Kind::Peer);
    let max = kind.body_bytes_max();
    if length > max { Err(CodecError::TooLong { kind, length, max }) } else { Ok(length) }
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKSUM_AT]), &frame[HEADER_BYTES..])
}

/// Most records and commands take no more, in bytes.
pub const USUAL_PART_BYTES: usize = 512;

/// Named MessagePack without a frame: for parts of a frame that travel already encoded.
pub fn to_message_pack<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(USUAL_PART_BYTES);
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// As [`to_message_pack`], behind what `bytes` holds. After an error it holds a beginning more.
pub fn append<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), CodecError> {
    value.serialize(&mut rmp_serde::Serializer::new(bytes).with_struct_map()).map_err(unencodable)
}

/// Decodes exactly one value, of bounded depth.
pub fn from_message_pack<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let mut deserializer = deserializer(bytes);
    let value = T::deserialize(&mut deserializer).map_err(undecodable)?;
    match serde::Deserialize::deserialize(&mut deserializer) {
        // Nothing is left to begin another value with.
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        Ok(IgnoredAny) | Err(_) => Err(CodecError::Undecodable { reason: "more follows the value".into() }),
    }
}

fn deserializer(bytes: &[u8]) -> rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'_, [u8]>> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    deserializer
}

fn undecodable(error: rmp_serde::decode::Error) -> CodecError {
    CodecError::Undecodable { reason: error.to_string() }
}

fn unencodable(error: rmp_serde::encode::Error) -> CodecError {
    CodecError::Unencodable { reason: error.to_string() }
}
