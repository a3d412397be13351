//! Civil dates. A night is named by the date on which it begins.
//!
//! A date is stored as a count of days, so that calendars are arithmetic; it is written `YYYY-MM-DD` wherever a
//! person reads it and as an integer wherever the ledger persists it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::id::TextVisitor;

/// A civil date: days since 1970-01-01, in no time zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

/// What a text that is no date answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a date as YYYY-MM-DD that exists in the calendar, got `{0}`")]
pub struct NotADate(String);

impl Date {
    /// 0001-01-01, the first date that the ledger takes.
    pub const MIN: Date = Date(-719_162);
    /// 9999-12-31, the last date that four digits can name.
    pub const MAX: Date = Date(2_932_896);

    /// `None` outside [`Date::MIN`]..=[`Date::MAX`].
    pub fn from_days(days: i32) -> Option<Date> {
        let date = Date(days);
        (Date::MIN..=Date::MAX).contains(&date).then_some(date)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        self.0
    }

    /// The date `days` later (earlier when negative), held within [`Date::MIN`]..=[`Date::MAX`].
    pub fn plus(self, days: i32) -> Date {
        Date(self.0.saturating_add(days).clamp(Date::MIN.0, Date::MAX.0))
    }

    /// Nights from `self` up to `later`; negative when `later` is earlier.
    pub fn nights_to(self, later: Date) -> i32 {
        later.0 - self.0
    }

    /// The nights of the half-open range `[self, to)`; none when `to` is not later.
    pub fn until(self, to: Date) -> impl DoubleEndedIterator<Item = Date> + ExactSizeIterator + Clone {
        (self.0..to.0.max(self.0)).map(Date)
    }

    fn civil(self) -> jiff::civil::Date {
        jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(self.0)
    }

    /// As it is written, put into `text`. Every answer holds several, and the standard library's formatting of the three
    /// numbers takes more than twice as long (105 ns and 41).
    fn written(self, text: &mut [u8; 10]) -> &str {
        let civil = self.civil();
        *text = *b"0000-00-00";
        let mut put = |digits: Range<usize>, mut number: u16| {
            for digit in text[digits].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, civil.year().unsigned_abs());
        put(5..7, civil.month().unsigned_abs().into());
        put(8..10, civil.day().unsigned_abs().into());
        str::from_utf8(text).expect("digits and dashes are ASCII")
    }
}

impl From<jiff::civil::Date> for Date {
    fn from(civil: jiff::civil::Date) -> Date {
        let days = jiff::civil::date(1970, 1, 1).duration_until(civil).as_hours() / 24;
        Date(days as i32).plus(0)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written(&mut [0; 10]))
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Date, NotADate> {
        let refused = || NotADate(text.chars().take(40).collect());
        let bytes = text.as_bytes();
        let number = |range: Range<usize>| {
            bytes[range]
                .iter()
                .try_fold(0i16, |n, b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))
        };
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(refused());
        }
        let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
            return Err(refused());
        };
        let civil = jiff::civil::Date::new(year, month as i8, day as i8).map_err(|_| refused())?;
        let days = jiff::civil::date(1970, 1, 1).duration_until(civil).as_hours() / 24;
        Date::from_days(days as i32).ok_or_else(refused)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.written(&mut [0; 10]))
        } else {
            serializer.serialize_i32(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(TextVisitor(str::parse))
        } else {
            let days = i32::deserialize(deserializer)?;
            Date::from_days(days).ok_or_else(|| de::Error::custom("a day outside the years 1 to 9999"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_dates_and_texts_that_are_not() {
        for text in ["0001-01-01", "1970-01-01", "2000-02-29", "2024-02-29", "2027-12-31", "9999-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
        let wrong = [
            "2027-02-30",
            "2027-02-29",
            "1900-02-29",
            "2027-2-3",
            "2027-13-01",
            "2027-00-10",
            "0000-00-00",
            "0000-12-31",
        ];
        let shaped =
            ["", "2027-01-01T00:00:00", "20270101", "+027-01-01", "2027-01-0é", "10000-01-01", "２０２７-01"];
        for text in wrong.into_iter().chain(shaped) {
            assert!(text.parse::<Date>().is_err(), "{text} was taken for a date");
        }
    }

    #[test]
    fn every_date_is_written_as_the_calendar_has_it() {
        for date in (Date::MIN.0..=Date::MAX.0).step_by(41).map(Date) {
            let text = date.to_string();
            assert_eq!(text, date.civil().to_string());
            assert_eq!(text.parse(), Ok(date));
            assert_eq!(serde_json::to_string(&date).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn bounds_are_the_dates_they_say() {
        assert_eq!(Date::MIN.to_string(), "0001-01-01");
        assert_eq!(Date::MAX.to_string(), "9999-12-31");
        assert_eq!(Date::MAX.plus(1), Date::MAX);
        assert_eq!(Date::MIN.plus(i32::MIN), Date::MIN);
    }

    #[test]
    fn nights_leave_the_departure_day_free() {
        let from: Date = "2028-02-28".parse().unwrap();
        let to: Date = "2028-03-01".parse().unwrap();
        let nights: Vec<String> = from.until(to).map(|night| night.to_string()).collect();
        assert_eq!(nights, ["2028-02-28", "2028-02-29"]);
        assert_eq!(to.until(from).count(), 0);
    }
}
