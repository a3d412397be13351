//! A chunk's frame as the store keeps it: compressed, since sled writes a value several times before it rests.

use super::HistoryError;
use crate::replication::Kind;
use crate::replication::codec::HEADER_BYTES;

/// Stands before a compressed frame, and its length after it. A frame that begins with its own magic is not compressed.
const LZ4: u8 = 1;
const HEAD_BYTES: usize = 5;

pub fn pack(frame: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(HEAD_BYTES + frame.len() / 4);
    packed.push(LZ4);
    packed.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    packed.extend_from_slice(&lz4_flex::block::compress(frame));
    packed
}

/// The length of a frame, by the beginning of what it was packed to. All that is counted of a history is counted in frames.
pub fn frame_bytes(beginning: &[u8]) -> u64 {
    match beginning.first_chunk::<HEAD_BYTES>() {
        Some(&[LZ4, ref length @ ..]) => u64::from(u32::from_le_bytes(*length)),
        _ => beginning.len() as u64,
    }
}

/// Asks for no more memory than a frame may take.
pub fn unpack(packed: Vec<u8>) -> Result<Vec<u8>, HistoryError> {
    let Some((&[LZ4, ref length @ ..], compressed)) = packed.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(packed);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > HEADER_BYTES + Kind::History.body_bytes_max() {
        return Err(HistoryError::Damaged("a chunk that is longer than any"));
    }
    let frame = lz4_flex::block::decompress(compressed, length);
    frame.map_err(|_| HistoryError::Damaged("a chunk that can't be decompressed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_what_was_never_packed_is_taken() {
        let frame: Vec<u8> =
            b"InKp".iter().copied().chain((0..50_000u32).map(|n| (n / 7 % 50) as u8)).collect();
        let packed = pack(&frame);
        assert!(packed.len() < frame.len() / 4, "{}", packed.len());
        assert_eq!(frame_bytes(&packed), frame.len() as u64);
        assert_eq!(unpack(packed).unwrap(), frame);
        assert_eq!(unpack(frame.clone()).unwrap(), frame);
        assert!(unpack(pack(&[])).unwrap().is_empty());
    }

    #[test]
    fn damage_is_an_error_and_asks_for_little_memory() {
        let packed = pack(&[7; 1_000]);
        let cut = packed[..packed.len() - 3].to_vec();
        assert!(matches!(unpack(cut), Err(HistoryError::Damaged(_))));
        let mut vast = packed;
        vast[1..HEAD_BYTES].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unpack(vast), Err(HistoryError::Damaged(_))));
    }
}
