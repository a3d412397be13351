//! What the fields of a body are read as: strictly, and so that no complaint speaks of how it is done.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::num::IntErrorKind;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::extract::Object;

/// The longest free text: names, locations, guests, references.
pub const TEXT_CHARS_MAX: usize = 255;

/// A complaint of serde's, without its names for types.
pub fn in_plain_words(error: &impl Display) -> String {
    let text = error.to_string();
    let count = "expected a whole number from 0 to 4294967295";
    let words = [("expected u32", count), ("expected u64", "expected a whole number from 0 on")];
    words.iter().fold(text, |text, (of_serde, plain)| text.replace(of_serde, plain))
}

/// A field that is an object.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object { beside: &[], value: PhantomData }.deserialize(deserializer)
}

/// A field that is a list of objects.
pub fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct One<T>(T);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for One<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<One<T>, D::Error> {
            object(deserializer).map(One)
        }
    }
    struct All<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of objects")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(One(value)) = list.next_element()? {
                all.push(value);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(All(PhantomData))
}

/// A field that is one of several words. Left to itself, serde takes an object with the word as its key as well.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    let word = String::deserialize(deserializer)?;
    T::deserialize(word.into_deserializer())
}

/// A number in digits: no sign, and no zero ahead of others.
pub struct Digits(pub u64);

impl std::str::FromStr for Digits {
    type Err = String;

    fn from_str(text: &str) -> Result<Digits, String> {
        let number = text.parse::<u64>().map_err(|error| error.to_string())?;
        if is_plain(text) {
            Ok(Digits(number))
        } else {
            Err("a whole number is written in digits alone".to_owned())
        }
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// A whole number that is not negative. One that is too large to be counted is the largest that is: whatever bounds it
/// refuses both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Whole(pub u64);

impl Whole {
    pub fn count(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl std::str::FromStr for Whole {
    type Err = String;

    fn from_str(text: &str) -> Result<Whole, String> {
        match text.parse::<u64>() {
            Err(error) if is_plain(text) && *error.kind() == IntErrorKind::PosOverflow => Ok(Whole(u64::MAX)),
            _ => text.parse().map(|Digits(number)| Whole(number)),
        }
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number that is not negative")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            /// JSON has no bound for numbers; those beyond 64 bits come so, and all of them are whole.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number >= u64::MAX as f64 {
                    return Ok(Whole(u64::MAX));
                }
                Err(E::invalid_type(de::Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_u64(Number)
    }
}

/// Minor units of a currency. What 64 bits can't hold is the nearest that they can: whatever bounds amounts refuses both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Amount(pub i64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            /// As a [`Whole`] that is too large.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
                if number.abs() >= i64::MAX as f64 {
                    return Ok(Amount(if number > 0.0 { i64::MAX } else { i64::MIN }));
                }
                Err(E::invalid_type(de::Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_i64(Number)
    }
}

/// Whether it has 1 to 255 characters, none of them a control character.
pub fn is_text(text: &str) -> bool {
    (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// A text of 1 to 255 characters, none of them a control character.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Text(pub Box<str>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !is_text(&text) {
            return Err(de::Error::custom("expected 1 to 255 characters, none of them a control character"));
        }
        Ok(Text(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::parse;
    use super::*;
    use crate::ledger::Status;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is tested is what is refused")]
    struct Outer {
        #[serde(deserialize_with = "object")]
        one: Inner,
        #[serde(deserialize_with = "objects")]
        many: Vec<Inner>,
        #[serde(deserialize_with = "word")]
        status: Status,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is tested is what is refused")]
    struct Inner {
        rooms: u32,
        amount: Amount,
    }

    #[test]
    fn objects_and_words_are_taken_as_nothing_else() {
        let good = r#"{"one":{"rooms":1,"amount":-2},"many":[{"rooms":1,"amount":2}],"status":"held"}"#;
        assert!(parse::<Outer>(good.as_bytes()).is_ok());
        let cases = [
            (r#"{"rooms":1,"amount":-2}"#, "[1,-2]", "`one`", "an object"),
            (r#"{"rooms":1,"amount":-2}"#, "null", "`one`", "an object"),
            (r#"[{"rooms":1,"amount":2}]"#, "[[1,2]]", "`many[0]`", "an object"),
            (r#"[{"rooms":1,"amount":2}]"#, r#"["x"]"#, "`many[0]`", "an object"),
            (r#"[{"rooms":1,"amount":2}]"#, r#"{"rooms":1}"#, "`many`", "a list of objects"),
            (r#""held""#, r#"{"held":null}"#, "`status`", "a string"),
            (r#""held""#, r#""told""#, "`status`", "`held`"),
            (r#""held""#, "1", "`status`", "a string"),
            ("1", r#""1""#, "`one.rooms`", "a whole number from 0"),
            ("-2", "1.5", "`one.amount`", "a whole number"),
        ];
        for (right, wrong, named, expected) in cases {
            let body = good.replacen(right, wrong, 1);
            let problem = parse::<Outer>(body.as_bytes()).unwrap_err().to_wire();
            assert_eq!((problem.status, &*problem.code), (400, "malformed"));
            let detail = problem.detail;
            assert!(detail.contains(named) && detail.contains(expected), "{body}: {detail}");
            assert!(
                !["struct", "enum", "u32", "i64", "Inner"].iter().any(|name| detail.contains(name)),
                "{detail}"
            );
        }
    }

    #[test]
    fn a_whole_number_may_be_too_large_to_count() {
        let cases = [
            ("0", Some(0)),
            ("4294967296", Some(1 << 32)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("1e300", Some(u64::MAX)),
            ("-1", None),
            ("-99999999999999999999", None),
            ("1.5", None),
            ("\"1\"", None),
            ("null", None),
        ];
        for (json, expected) in cases {
            assert_eq!(serde_json::from_str::<Whole>(json).ok(), expected.map(Whole), "{json}");
        }
        assert_eq!(Whole(1 << 32).count(), u32::MAX);
        assert_eq!("18446744073709551616".parse(), Ok(Whole(u64::MAX)));
        for text in ["-1", "x", "", "007", "+7", "+18446744073709551616", "018446744073709551616"] {
            assert!(text.parse::<Whole>().is_err(), "{text}");
        }
        // What a request is compared by is as it was with numbers of a bound.
        assert_eq!(rmp_serde::to_vec_named(&Whole(2)).unwrap(), rmp_serde::to_vec_named(&2u32).unwrap());
    }

    #[test]
    fn an_amount_may_be_too_large_to_hold() {
        let cases = [
            ("-2", Some(-2)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", Some(i64::MAX)),
            ("18446744073709551616", Some(i64::MAX)),
            ("-9223372036854775809", Some(i64::MIN)),
            ("1e300", Some(i64::MAX)),
            ("1.5", None),
            ("1e3", None),
            ("\"1\"", None),
            ("null", None),
        ];
        for (json, expected) in cases {
            assert_eq!(serde_json::from_str::<Amount>(json).ok(), expected.map(Amount), "{json}");
        }
        assert_eq!(rmp_serde::to_vec_named(&Amount(-2)).unwrap(), rmp_serde::to_vec_named(&-2i64).unwrap());
    }
}
