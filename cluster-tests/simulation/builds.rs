//! Nodes of other builds: what they say to their peers, and what they can't read, differs from what this build says.
//!
//! Frames are changed as bytes, on their way between a node of this build and the network.

use bytes::Bytes;
use innkeeper::replication::codec::HEADER_BYTES;
use innkeeper::replication::{Envelope, Kind, Request, decode};

/// Where a frame's version, its body's length and its checksum stand.
const VERSION_AT: usize = 5;
const LENGTH_AT: usize = 7;
const CHECKSUM_AT: usize = 11;
/// MessagePack's marker of a map of up to 15 pairs, and of one of up to 31 bytes of text.
const MAP: u8 = 0x80;
const TEXT: u8 = 0xa0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    #[default]
    This,
    /// Does not know the newest kind of message.
    Earlier,
    /// Says more in every message than this build knows of.
    Later,
    /// Speaks, and reads, a version of messages that this build does not.
    Incompatible,
}

impl Build {
    /// What a node of this kind makes of a frame that this build wrote.
    pub fn says(self, frame: Bytes) -> Bytes {
        match self {
            Build::This | Build::Earlier => frame,
            Build::Later => with_more(&frame),
            Build::Incompatible => in_version(&frame, u16::MAX),
        }
    }

    /// A frame as code of this build has to see it, in place of a node of this kind.
    pub fn hears(self, frame: Bytes) -> Bytes {
        match self {
            Build::This | Build::Later => frame,
            Build::Earlier if asks_for_history(&frame) => unknown_kind(&frame),
            Build::Earlier => frame,
            // Among themselves they understand each other.
            Build::Incompatible if version(&frame) == u16::MAX => in_version(&frame, 1),
            Build::Incompatible => in_version(&frame, u16::MAX),
        }
    }
}

fn version(frame: &[u8]) -> u16 {
    frame.get(VERSION_AT..LENGTH_AT).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn asks_for_history(frame: &[u8]) -> bool {
    let asked = decode::<Envelope<Request>>(Kind::Peer, frame);
    asked.is_ok_and(|envelope| matches!(envelope.body, Request::History(_)))
}

/// The same question under a name that nobody knows.
fn unknown_kind(frame: &[u8]) -> Bytes {
    let (known, unknown) = (b"\xa7history", b"\xa7mystery");
    let at = frame.windows(known.len()).position(|window| window == known);
    let mut changed = frame.to_vec();
    let at = at.expect("the question names its kind");
    changed[at..at + known.len()].copy_from_slice(unknown);
    sealed(changed)
}

/// One more pair at the end of the outermost map.
fn with_more(frame: &[u8]) -> Bytes {
    let mut changed = frame.to_vec();
    let Some(marker) = changed.get_mut(HEADER_BYTES) else { return sealed(changed) };
    assert_eq!(*marker & 0xf0, MAP, "a message is a small map");
    *marker += 1;
    let name = b"of_later";
    changed.push(TEXT | name.len() as u8);
    changed.extend_from_slice(name);
    // A map of one pair, whose value is an array of three numbers.
    changed.extend_from_slice(&[MAP | 1, TEXT | 1, b'x', 0x93, 1, 2, 3]);
    sealed(changed)
}

fn in_version(frame: &[u8], version: u16) -> Bytes {
    let mut changed = frame.to_vec();
    if changed.len() >= HEADER_BYTES {
        changed[VERSION_AT..LENGTH_AT].copy_from_slice(&version.to_le_bytes());
    }
    sealed(changed)
}

/// With the length and the checksum that the changed bytes have.
fn sealed(mut frame: Vec<u8>) -> Bytes {
    if frame.len() >= HEADER_BYTES {
        let length = (frame.len() - HEADER_BYTES) as u32;
        frame[LENGTH_AT..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKSUM_AT]), &frame[HEADER_BYTES..]);
        frame[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }
    frame.into()
}
