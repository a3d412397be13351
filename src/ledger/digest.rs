//! The hash by which replicas compare their states.
//!
//! It is written out by hand, field by field, because the standard library promises no layout for its own derived
//! hash. It tells apart states that differ by accident; it does not withstand somebody who looks for collisions.
//! Changing anything here changes every state hash, so it needs a new version of the encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::date::Date;
use super::id::{
    BlockId, BookingId, Currency, IdempotencyKey, Lsn, PropertyId, ReservationId, RoomId, RoomTypeId,
    Timestamp, WaitlistId,
};

/// 128 bits over a whole state: the wrapping sum over the hashes of its records, with the ledger's position added.
///
/// Written as 32 hexadecimal digits where a person reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateHash(pub u128);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for StateHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u128(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for StateHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StateHash, D::Error> {
        if !deserializer.is_human_readable() {
            return u128::deserialize(deserializer).map(StateHash);
        }
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl FromStr for StateHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<StateHash, &'static str> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        parsed.map(StateHash).ok_or("expected 32 hexadecimal digits")
    }
}

/// The 128-bit variant of MurmurHash3 for 64-bit machines, fed by whole words.
pub struct Digester {
    low: u64,
    high: u64,
    words: u64,
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

impl Digester {
    fn new() -> Digester {
        Digester { low: 0x6b65_6570_6572_2031, high: 0x696e_6e6b_6565_7072, words: 0 }
    }

    /// Words go to the two lanes in turn; a step is a bijection of its lane, so that no single change is lost.
    #[inline]
    pub fn word(&mut self, word: u64) {
        if self.words & 1 == 0 {
            self.low ^= word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
            self.low = self.low.rotate_left(27).wrapping_add(self.high);
            self.low = self.low.wrapping_mul(5).wrapping_add(0x52dc_e729);
        } else {
            self.high ^= word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
            self.high = self.high.rotate_left(31).wrapping_add(self.low);
            self.high = self.high.wrapping_mul(5).wrapping_add(0x3849_5ab5);
        }
        self.words += 1;
    }

    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            self.word(u64::from_le_bytes(*chunk));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    fn finish(self) -> u128 {
        let mix = |mut word: u64| {
            word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
            word ^ (word >> 33)
        };
        let (mut low, mut high) = (self.low ^ self.words, self.high ^ self.words);
        low = low.wrapping_add(high);
        high = high.wrapping_add(low);
        (low, high) = (mix(low), mix(high));
        low = low.wrapping_add(high);
        high = high.wrapping_add(low);
        u128::from(high) << 64 | u128::from(low)
    }
}

/// What takes part in the state hash.
pub trait Digest {
    fn digest(&self, digester: &mut Digester);
}

/// A field that came after a release; its number tells it from the words around it.
pub fn digest_later(number: u64, field: &Option<impl Digest>, digester: &mut Digester) {
    const LATER: u64 = 0x6c61_7465_7200_0000;
    if let Some(value) = field {
        digester.word(LATER + number);
        value.digest(digester);
    }
}

pub fn digest_of(value: &impl Digest) -> u128 {
    let mut digester = Digester::new();
    value.digest(&mut digester);
    digester.finish()
}

/// Takes a struct apart by name, so that a new field that is not listed does not compile.
///
/// Fields that came after a release stand behind a semicolon, each with a number of its own: they are optional, and
/// where they are absent the hash is the one that it was before they came, so that older states are read back.
macro_rules! digest_fields {
    ($($type:ty { $($field:ident),* $(,)? $(; $($later:ident = $number:literal),* $(,)?)? })*) => {$(
        impl $crate::ledger::digest::Digest for $type {
            fn digest(&self, digester: &mut $crate::ledger::digest::Digester) {
                let Self { $($field,)* $($($later,)*)? } = self;
                $($crate::ledger::digest::Digest::digest($field, digester);)*
                $($($crate::ledger::digest::digest_later($number, $later, digester);)*)?
            }
        }
    )*};
}
pub(super) use digest_fields;

macro_rules! digest_words {
    ($($type:ty),*) => {$(
        impl Digest for $type {
            #[inline]
            fn digest(&self, digester: &mut Digester) {
                digester.word(*self as u64);
            }
        }
    )*};
}
digest_words!(u32, u64, i64, bool);

impl Digest for u128 {
    fn digest(&self, digester: &mut Digester) {
        digester.word(*self as u64);
        digester.word((*self >> 64) as u64);
    }
}

impl Digest for str {
    fn digest(&self, digester: &mut Digester) {
        digester.bytes(self.as_bytes());
    }
}

impl<T: Digest + ?Sized> Digest for Box<T> {
    fn digest(&self, digester: &mut Digester) {
        (**self).digest(digester);
    }
}

impl<T: Digest + ?Sized> Digest for Arc<T> {
    fn digest(&self, digester: &mut Digester) {
        (**self).digest(digester);
    }
}

impl<T: Digest> Digest for Option<T> {
    fn digest(&self, digester: &mut Digester) {
        digester.word(u64::from(self.is_some()));
        if let Some(value) = self {
            value.digest(digester);
        }
    }
}

impl<T: Digest> Digest for [T] {
    fn digest(&self, digester: &mut Digester) {
        digester.word(self.len() as u64);
        for value in self {
            value.digest(digester);
        }
    }
}

impl<T: Digest> Digest for Vec<T> {
    fn digest(&self, digester: &mut Digester) {
        self[..].digest(digester);
    }
}

impl<K: Digest, V: Digest> Digest for BTreeMap<K, V> {
    fn digest(&self, digester: &mut Digester) {
        digester.word(self.len() as u64);
        for (key, value) in self {
            key.digest(digester);
            value.digest(digester);
        }
    }
}

macro_rules! digest_texts {
    ($($type:ty),*) => {$(
        impl Digest for $type {
            #[inline]
            fn digest(&self, digester: &mut Digester) {
                match self.as_words() {
                    // As `bytes` does: the zeros behind a short text fill its last word.
                    Some((length, [first, second])) => {
                        digester.word(length as u64);
                        digester.word(first);
                        if length > size_of::<u64>() {
                            digester.word(second);
                        }
                    }
                    None => digester.bytes(self.as_bytes()),
                }
            }
        }
    )*};
}
digest_texts!(PropertyId, RoomTypeId, RoomId, BlockId);

impl Digest for Currency {
    fn digest(&self, digester: &mut Digester) {
        digester.bytes(self.as_bytes());
    }
}

impl Digest for ReservationId {
    fn digest(&self, digester: &mut Digester) {
        self.0.as_u128().digest(digester);
    }
}

impl Digest for WaitlistId {
    fn digest(&self, digester: &mut Digester) {
        self.0.as_u128().digest(digester);
    }
}

impl Digest for BookingId {
    fn digest(&self, digester: &mut Digester) {
        self.0.as_u128().digest(digester);
    }
}

impl Digest for Date {
    fn digest(&self, digester: &mut Digester) {
        digester.word(self.days() as u64);
    }
}

impl Digest for Lsn {
    fn digest(&self, digester: &mut Digester) {
        digester.word(self.0);
    }
}

impl Digest for Timestamp {
    fn digest(&self, digester: &mut Digester) {
        digester.word(self.0);
    }
}

digest_fields! {
    IdempotencyKey { text, digest, request_digest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_every_boundary_counts() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(seen.insert(digest_of(&0u64)));
        for bit in 0..64 {
            assert!(seen.insert(digest_of(&(1u64 << bit))));
        }
        seen.clear();
        for bit in 0..128 {
            assert!(seen.insert(digest_of(&(1u128 << bit))));
        }
        seen.clear();
        for texts in [vec!["ab", "c"], vec!["a", "bc"], vec!["abc"], vec!["abc", ""], vec!["", "abc"], vec![]]
        {
            let boxed: Vec<Box<str>> = texts.into_iter().map(Box::from).collect();
            assert!(seen.insert(digest_of(&boxed)));
        }
        seen.clear();
        for length in 0..40 {
            assert!(seen.insert(digest_of(&Box::<str>::from("\0".repeat(length)))));
        }
    }

    #[test]
    fn the_function_is_the_one_that_was_released() {
        // Another value here means another hash of every state: replicas of two builds would pause each other.
        assert_eq!(StateHash(digest_of(&Box::<str>::from("a stay of three nights"))).to_string(), GOLDEN);
    }

    /// Identifiers are hashed by words, which must come to the same.
    #[test]
    fn an_identifier_is_hashed_as_its_text_is() {
        for length in 1..=64 {
            let text: String = ('a'..='z').cycle().take(length).collect();
            let of_text = digest_of(&Box::<str>::from(text.as_str()));
            assert_eq!(digest_of(&RoomId::new(&text).unwrap()), of_text, "{text}");
        }
    }

    const GOLDEN: &str = "b39d95f1c7454dca914c5fdbf90d75b9";

    #[test]
    fn a_state_hash_is_read_back() {
        let hash = StateHash(0x0123_4567_89ab_cdef);
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text, "\"00000000000000000123456789abcdef\"");
        assert_eq!(serde_json::from_str::<StateHash>(&text).unwrap(), hash);
        assert!(serde_json::from_str::<StateHash>("\"123\"").is_err());
        let bytes = rmp_serde::to_vec_named(&StateHash(u128::MAX - 5)).unwrap();
        assert_eq!(rmp_serde::from_slice::<StateHash>(&bytes).unwrap(), StateHash(u128::MAX - 5));
    }
}
