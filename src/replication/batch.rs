//! A batch: what one entry of the log holds, and what applying it answers.
//!
//! Encoded once by its proposer. The log, the peers and apply share those bytes; only apply decodes them, on the leader
//! too, so that a first application and a replay are the same path.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::codec::{self, CodecError, Kind};
use super::reserve_reader;
use super::types::bytes_field;
use crate::ledger::{Applied, Lsn, StateHash, Submission, Timestamp};

/// Commands that are logged, flushed and applied together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The proposer's log time.
    pub stamp: Timestamp,
    pub check: Check,
    pub submissions: Vec<EncodedSubmission>,
}

/// Where the proposer's ledger stood when it proposed. Every replica and every replay that stood there compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub lsn: Lsn,
    pub state_hash: StateHash,
}

/// A [`Batch`] whose commands lie where they were read.
#[derive(Debug, Deserialize)]
pub struct BatchInPlace<'a> {
    pub stamp: Timestamp,
    pub check: Check,
    #[serde(borrow)]
    submissions: Vec<EncodedInPlace<'a>>,
}

/// As an [`EncodedSubmission`] is read: a byte string, and nothing else.
#[derive(Debug)]
struct EncodedInPlace<'a>(&'a [u8]);

impl<'de: 'a, 'a> Deserialize<'de> for EncodedInPlace<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EncodedInPlace<'a>, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = &'de [u8];

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
        }

        deserializer.deserialize_bytes(Visitor).map(EncodedInPlace)
    }
}

impl BatchInPlace<'_> {
    pub fn submissions(&self) -> Result<Vec<Submission>, CodecError> {
        self.submissions.iter().map(|encoded| submission(encoded.0)).collect()
    }
}

fn submission(encoded: &[u8]) -> Result<Submission, CodecError> {
    reserve_reader::read(encoded).map_or_else(|| codec::from_message_pack(encoded), Ok)
}

/// A command encoded by the node that took it; forwarding and batching copy bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncodedSubmission(#[serde(with = "bytes_field")] Bytes);

impl EncodedSubmission {
    pub fn new(submission: &Submission) -> Result<EncodedSubmission, CodecError> {
        Ok(EncodedSubmission(codec::to_message_pack(submission)?.into()))
    }

    /// Encodes commands that travel together, one behind the other: memory for each would cost as much as encoding it.
    pub fn all(submissions: &[Submission]) -> Vec<Result<EncodedSubmission, CodecError>> {
        let mut bytes = Vec::with_capacity(submissions.len() * codec::USUAL_PART_BYTES);
        let encode = |submission| {
            let begin = bytes.len();
            match codec::append(&mut bytes, submission) {
                Ok(()) => Ok(begin..bytes.len()),
                Err(error) => {
                    bytes.truncate(begin);
                    Err(error)
                }
            }
        };
        let ranges: Vec<_> = submissions.iter().map(encode).collect();
        let bytes = Bytes::from(bytes);
        ranges.into_iter().map(|range| Ok(EncodedSubmission(bytes.slice(range?)))).collect()
    }

    #[cfg(test)]
    pub fn from_static(bytes: &'static [u8]) -> EncodedSubmission {
        EncodedSubmission(Bytes::from_static(bytes))
    }

    pub fn decode(&self) -> Result<Submission, CodecError> {
        submission(&self.0)
    }

    /// Bytes that it takes in a batch.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        /// The longest head of a MessagePack byte string.
        const HEAD: usize = 5;
        HEAD + self.0.len()
    }
}

/// Reads commands into the memory of one: they came together, and are let go of together.
pub fn encoded_together<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<EncodedSubmission>, D::Error> {
    /// Room that is made ahead for so many, however many are announced.
    const AHEAD_MAX: usize = 512;

    struct Together;

    impl<'de> de::Visitor<'de> for Together {
        type Value = Vec<EncodedSubmission>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of byte strings")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut all: A) -> Result<Vec<EncodedSubmission>, A::Error> {
            let ahead = all.size_hint().unwrap_or(0).min(AHEAD_MAX);
            let (mut bytes, mut ends) = (Vec::with_capacity(ahead * codec::USUAL_PART_BYTES), Vec::new());
            while let Some(EncodedInPlace(encoded)) = all.next_element()? {
                bytes.extend_from_slice(encoded);
                ends.push(bytes.len());
            }
            let (bytes, mut begin) = (Bytes::from(bytes), 0);
            let slice = |end| EncodedSubmission(bytes.slice(std::mem::replace(&mut begin, end)..end));
            Ok(ends.into_iter().map(slice).collect())
        }
    }

    deserializer.deserialize_seq(Together)
}

impl fmt::Debug for EncodedSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedSubmission({} bytes)", self.0.len())
    }
}

impl Batch {
    /// Fails with [`CodecError::TooLong`] past what an entry of the log may hold.
    pub fn encode(&self) -> Result<Payload, CodecError> {
        let bytes = self.submissions.iter().map(EncodedSubmission::len).sum();
        Ok(Payload(codec::encode_about(Kind::Batch, self, bytes)?.into()))
    }
}

/// The frame of a [`Batch`], or of a [`Decision`](super::Decision), as it stands in the log. Says nothing about whether it
/// can be decoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(#[serde(with = "bytes_field")] pub Bytes);

impl Payload {
    #[cfg(test)]
    pub fn from_static(frame: &'static [u8]) -> Payload {
        Payload(Bytes::from_static(frame))
    }

    pub fn decode(&self) -> Result<BatchInPlace<'_>, CodecError> {
        codec::decode(Kind::Batch, &self.0)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({self})")
    }
}

/// What applying an entry answers to its proposer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchReply {
    /// One outcome a submission, in their order.
    Applied(Vec<Applied>),
    /// This node has paused: the entry is committed and was not applied here. Others may have applied it.
    Paused,
    /// The entry held no batch: a blank one, a change of membership, or a decision that was followed.
    NoBatch,
}
