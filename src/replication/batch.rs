//! A batch: what one entry of the log holds, and what applying it answers.
//!
//! Encoded once by its proposer. The log, the peers and apply share those bytes; only apply decodes them, on the leader
//! too, so that a first application and a replay are the same path.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::codec::{self, CodecError, Kind};
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
        self.submissions.iter().map(|encoded| codec::from_message_pack(encoded.0)).collect()
    }
}

/// A command encoded by the node that took it; forwarding and batching copy bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncodedSubmission(#[serde(with = "bytes_field")] Bytes);

impl EncodedSubmission {
    pub fn new(submission: &Submission) -> Result<EncodedSubmission, CodecError> {
        Ok(EncodedSubmission(codec::to_message_pack(submission)?.into()))
    }

    #[cfg(test)]
    pub fn from_static(bytes: &'static [u8]) -> EncodedSubmission {
        EncodedSubmission(Bytes::from_static(bytes))
    }

    pub fn decode(&self) -> Result<Submission, CodecError> {
        codec::from_message_pack(&self.0)
    }

    /// Bytes that it takes in a batch.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        /// The longest head of a MessagePack byte string.
        const HEAD: usize = 5;
        HEAD + self.0.len()
    }
}

impl fmt::Debug for EncodedSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedSubmission({} bytes)", self.0.len())
    }
}

impl Batch {
    /// Fails with [`CodecError::TooLong`] past what an entry of the log may hold.
    pub fn encode(&self) -> Result<Payload, CodecError> {
        Ok(Payload(codec::encode(Kind::Batch, self)?.into()))
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
