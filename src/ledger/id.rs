//! Identifiers, positions and instants: newtypes, so that none is taken for another.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Longest identifier that a caller may choose, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// What a text that is no identifier answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 64 of the characters A-Z a-z 0-9 . _ - that begin with a letter or a digit")]
pub struct NotAnId;

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= NAME_BYTES_MAX
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Longest text that [`Text`] holds in itself.
const SHORT_BYTES_MAX: usize = 14;

/// The text of an identifier. Short ones, which nearly all are, need no allocation, and are compared and copied without
/// one: identifiers are what the ledger looks up most.
#[derive(Clone, PartialEq, Eq)]
enum Text {
    /// Zeros behind its bytes, which no identifier contains.
    Short([u8; SHORT_BYTES_MAX]),
    Long(Arc<Box<str>>),
}

impl Text {
    /// The caller has checked that it is a name.
    fn new(name: &str) -> Text {
        let mut short = [0; SHORT_BYTES_MAX];
        match short.get_mut(..name.len()) {
            Some(bytes) => {
                bytes.copy_from_slice(name.as_bytes());
                Text::Short(short)
            }
            None => Text::Long(Arc::new(name.into())),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Short(bytes) => &bytes[..length(words(bytes))],
            Text::Long(text) => text.as_bytes(),
        }
    }

    /// A short one's length, and its bytes as two words, little end first.
    #[inline]
    fn as_words(&self) -> Option<(usize, [u64; 2])> {
        let Text::Short(bytes) = self else { return None };
        let words = words(bytes);
        Some((length(words), words))
    }

    fn as_str(&self) -> &str {
        match self {
            Text::Short(_) => {
                std::str::from_utf8(self.as_bytes()).expect("ASCII letters, checked by the constructor")
            }
            Text::Long(text) => text,
        }
    }
}

/// The bytes of a short text as two words, little end first.
#[inline]
fn words(bytes: &[u8; SHORT_BYTES_MAX]) -> [u64; 2] {
    const WORD: usize = size_of::<u64>();
    const TWICE: u32 = (2 * WORD - SHORT_BYTES_MAX) as u32 * u8::BITS;
    let word = |from: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[from + n]));
    // Two reads of whole words overlap: one that first put the bytes in order would wait for its own writes.
    [word(0), word(SHORT_BYTES_MAX - WORD) >> TWICE]
}

/// How many bytes of a short text are not the zeros behind it.
#[inline]
fn length([first, second]: [u64; 2]) -> usize {
    let zeros = if second == 0 { u64::BITS + first.leading_zeros() } else { second.leading_zeros() };
    size_of::<[u64; 2]>() - (zeros / u8::BITS) as usize
}

impl Hash for Text {
    /// A short one as one number: rooms are looked up several times a command.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Text::Short(bytes) => {
                let [first, second] = words(bytes);
                state.write_u128(u128::from(first) << u64::BITS | u128::from(second));
            }
            Text::Long(text) => text.hash(state),
        }
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    /// By bytes. The zeros behind a short text are less than any of its characters.
    #[inline]
    fn cmp(&self, other: &Text) -> Ordering {
        match (self, other) {
            (Text::Short(one), Text::Short(other)) => {
                words(one).map(u64::swap_bytes).cmp(&words(other).map(u64::swap_bytes))
            }
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

/// Reads a value from a text, wherever that lies: a command has many, and none needs a copy of its own.
pub(super) struct TextVisitor<F>(pub F);

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> de::Visitor<'_> for TextVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<X: de::Error>(self, text: &str) -> Result<T, X> {
        (self.0)(text).map_err(X::custom)
    }

    /// Earlier builds took a byte string too: what one build reads in the log all must.
    fn visit_bytes<X: de::Error>(self, bytes: &[u8]) -> Result<T, X> {
        let unlike = |_| X::invalid_value(de::Unexpected::Bytes(bytes), &"a string");
        self.visit_str(std::str::from_utf8(bytes).map_err(unlike)?)
    }
}

/// An identifier that the caller chose: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`. Clones of long ones share their text.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Text);

        impl $name {
            /// Fails on a text that is no identifier, see [`NotAnId`].
            pub fn new(text: &str) -> Result<$name, NotAnId> {
                if is_name(text) { Ok($name(Text::new(text))) } else { Err(NotAnId) }
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            #[inline]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            #[inline]
            pub(super) fn as_words(&self) -> Option<(usize, [u64; 2])> {
                self.0.as_words()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<$name, NotAnId> {
                $name::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                deserializer.deserialize_str(TextVisitor($name::new))
            }
        }
    };
}

name!(
    /// A property: a hotel, hostel or house that sells nights.
    PropertyId
);
name!(
    /// A type of room, unique within its property.
    RoomTypeId
);
name!(
    /// A room, unique within its property.
    RoomId
);
name!(
    /// A block (an allotment), unique within its property.
    BlockId
);

impl PropertyId {
    /// No identifier sorts before it: the alphabet's first character, alone.
    pub(super) fn least() -> PropertyId {
        PropertyId(Text::new("0"))
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &$name) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            /// The order of its bytes, by comparing numbers.
            #[inline]
            fn cmp(&self, other: &$name) -> Ordering {
                self.0.as_u128().cmp(&other.0.as_u128())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

uuid_id!(
    /// One room for one stay. A UUIDv7, made by the node that took the request.
    ReservationId
);
uuid_id!(
    /// One or more reservations that were made together.
    BookingId
);

uuid_id!(
    /// One wish on a waitlist. A UUIDv7, made by the node that took the request.
    WaitlistId
);

/// The ledger's sequence number: one a command that reached the log, from 1; 0 is the empty ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An instant of the log clock: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The last instant of the year 2999, which every persisted instant stays under.
    pub const MAX: Timestamp = Timestamp(32_503_679_999_999);
}

/// What identifies an idempotent request: digests, so that the ledger keeps 32 bytes and not the texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// The key as the client sent it, for the event feed. 1–255 visible ASCII characters.
    pub text: Arc<str>,
    /// 128 bits over principal and key.
    pub digest: u128,
    /// 128 bits over the call, its path and its parsed fields, without what the node itself added.
    pub request_digest: u128,
}

/// An ISO 4217 code: three upper-case letters. Whether the code exists is judged at the edge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// ISO 4217's code for no currency.
    pub const NONE: Currency = Currency(*b"XXX");

    /// `None` unless the text is three upper-case ASCII letters.
    pub fn new(text: &str) -> Option<Currency> {
        let code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Currency(code))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three ASCII letters, checked by the constructor")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let read =
            |text: &str| Currency::new(text).ok_or("expected an ISO 4217 code of three upper-case letters");
        deserializer.deserialize_str(TextVisitor(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_alphabet_and_the_length() {
        for good in ["1", "a", "A.b_c-d", &"x".repeat(64)] {
            assert!(RoomId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "_a", "a b", "a/b", "é", "a\0", &"x".repeat(65)] {
            assert!(RoomId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_every_length_come_in_the_order_of_their_texts() {
        let mut texts = vec!["A", "Z", "a", "a-", "a.", "a0", "aa", "z"];
        let long: Vec<String> = (12..18).map(|length| "m".repeat(length)).collect();
        texts.extend(long.iter().map(String::as_str));
        let longer: Vec<String> =
            long.iter().flat_map(|text| [format!("{text}0"), format!("{text}z")]).collect();
        texts.extend(longer.iter().map(String::as_str));
        let name = |text: &&str| RoomId::new(text).unwrap();
        for one in &texts {
            assert_eq!((name(one).as_str(), name(one).to_string()), (*one, one.to_string()));
            for other in &texts {
                assert_eq!(name(one).cmp(&name(other)), one.cmp(other), "{one} {other}");
                assert_eq!(name(one) == name(other), one == other, "{one} {other}");
            }
        }
        assert_eq!(std::mem::size_of::<Option<RoomId>>(), 16);
    }
}
