//! The file format of the public booking kata: one hotel, its rooms and their prices by date.
//!
//! ```json
//! {"HotelId": 2, "HotelName": "…", "Location": "…", "AvailabilitiesAt": {"2017-09-16T00:00:00": [
//!   {"RoomIdentifier": "101", "OneAdultOccupancyPrice": {"Currency": "EUR", "Value": 109.0},
//!    "TwoAdultsOccupancyPrice": {"Currency": "EUR", "Value": 140.0}}]}}
//! ```
//!
//! Reading is pure: bytes in, a hotel or what is wrong out. Fields that are not listed above are left alone, because
//! files of this format carry more than prices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::cli::money;
use crate::http::{TEXT_CHARS_MAX, is_text};
use crate::ledger::{Currency, Date, Prices, PropertyId, RoomId};

/// A hotel as it is to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Hotel {
    pub property: PropertyId,
    pub name: String,
    pub location: String,
    pub currency: Currency,
    /// The first date of the file.
    pub business_date: Date,
    /// Dates that the file gives.
    pub dates: usize,
    /// Every room of the file, with its prices: ranges in order, none touching another of equal prices.
    pub rooms: BTreeMap<RoomId, Vec<Range>>,
}

/// The nights `[from, to)`, which have the same prices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Range {
    pub from: Date,
    pub to: Date,
    pub prices: Prices,
}

/// What is wrong with a file, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}; {remedy}")]
pub(super) struct Wrong {
    /// The place in the JSON.
    pub path: String,
    pub what: String,
    pub remedy: &'static str,
}

impl Wrong {
    fn new(path: impl Into<String>, what: impl Into<String>, remedy: &'static str) -> Wrong {
        Wrong { path: path.into(), what: what.into(), remedy }
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Hotel, Wrong> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Wrong::new("the file", error.to_string(), "save it as UTF-8"))?;
    hotel(parse(text.strip_prefix('\u{feff}').unwrap_or(text))?)
}

fn parse(text: &str) -> Result<File, Wrong> {
    let mut json = serde_json::Deserializer::from_str(text);
    let file = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => "the file".to_owned(),
            path => path,
        };
        Wrong::new(
            path,
            error.inner().to_string(),
            "it has to hold one hotel in the format of the booking kata",
        )
    })?;
    json.end()
        .map_err(|error| Wrong::new("the file", error.to_string(), "put each hotel into its own file"))?;
    Ok(file)
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    hotel_id: serde_json::Value,
    hotel_name: String,
    location: String,
    availabilities_at: Days,
}

/// The dates in the file's order, so that one which is given twice is seen.
struct Days(Vec<(String, Vec<Offer>)>);

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Offer {
    room_identifier: String,
    one_adult_occupancy_price: OfferPrice,
    two_adults_occupancy_price: OfferPrice,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfferPrice {
    currency: Option<String>,
    value: serde_json::Number,
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Days, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Days;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a date for each key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Days, A::Error> {
                let mut days = Vec::new();
                while let Some(day) = map.next_entry()? {
                    days.push(day);
                }
                Ok(Days(days))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn hotel(file: File) -> Result<Hotel, Wrong> {
    let property = property_id(&file.hotel_id)?;
    let name = text("HotelName", file.hotel_name)?;
    let location = text("Location", file.location)?;
    let Days(days) = file.availabilities_at;
    let currency = first_currency(&days)?;

    let mut dates = BTreeSet::new();
    let mut nights: BTreeMap<RoomId, BTreeMap<Date, Prices>> = BTreeMap::new();
    for (key, offers) in &days {
        let at = format!("AvailabilitiesAt.{key}");
        let date = date(key)
            .ok_or_else(|| Wrong::new(&at, "is no date", "write it as YYYY-MM-DD or YYYY-MM-DDT00:00:00"))?;
        if !dates.insert(date) {
            return Err(Wrong::new(
                at,
                format!("{date} is given twice"),
                "put all rooms of a date under one key",
            ));
        }
        for (index, offer) in offers.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let room = RoomId::new(&offer.room_identifier).map_err(|error| {
                Wrong::new(format!("{at}.RoomIdentifier"), error.to_string(), "rename the room")
            })?;
            let prices = offer_prices(&at, offer, currency)?;
            if nights.entry(room).or_default().insert(date, prices).is_some() {
                let what = format!("room {} is listed twice on {date}", offer.room_identifier);
                return Err(Wrong::new(format!("{at}.RoomIdentifier"), what, "leave one of the two"));
            }
        }
    }
    let business_date = *dates.first().ok_or_else(|| {
        Wrong::new(
            "AvailabilitiesAt",
            "there is no date",
            "give at least one: the first is the hotel's business date",
        )
    })?;
    let rooms = nights.into_iter().map(|(room, nights)| (room, ranges(nights))).collect();
    Ok(Hotel { property, name, location, currency, business_date, dates: dates.len(), rooms })
}

fn property_id(value: &serde_json::Value) -> Result<PropertyId, Wrong> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return Err(Wrong::new("HotelId", "is neither a number nor a text", "give the hotel an id")),
    };
    PropertyId::new(&text)
        .map_err(|error| Wrong::new("HotelId", format!("`{text}`: {error}"), "give the hotel another id"))
}

fn text(path: &str, text: String) -> Result<String, Wrong> {
    match text.chars().count() {
        _ if is_text(&text) => Ok(text),
        1..=TEXT_CHARS_MAX => Err(Wrong::new(path, "has a control character", "take it out")),
        0 => Err(Wrong::new(path, "is empty", "fill it in")),
        count => Err(Wrong::new(path, format!("has {count} characters"), "shorten it to 255")),
    }
}

/// A date, or the midnight with which it begins.
fn date(key: &str) -> Option<Date> {
    let (date, time) = key.split_once('T').unwrap_or((key, "00:00:00"));
    if time == "00:00:00" { date.parse().ok() } else { None }
}

/// The currency of the hotel's prices; EUR where the file names none.
fn first_currency(days: &[(String, Vec<Offer>)]) -> Result<Currency, Wrong> {
    for (key, offers) in days {
        for (index, offer) in offers.iter().enumerate() {
            for (field, price) in offer.prices() {
                if let Some(code) = &price.currency {
                    return currency(&format!("AvailabilitiesAt.{key}[{index}].{field}"), code);
                }
            }
        }
    }
    Ok(Currency::new("EUR").expect("three upper-case letters"))
}

fn currency(at: &str, code: &str) -> Result<Currency, Wrong> {
    Currency::new(code).filter(|currency| money::exponent(*currency).is_some()).ok_or_else(|| {
        Wrong::new(
            format!("{at}.Currency"),
            format!("`{code}` is no currency"),
            "write a code of ISO 4217, as in EUR",
        )
    })
}

impl Offer {
    /// The two prices, in the order of their occupancy from 1.
    fn prices(&self) -> [(&'static str, &OfferPrice); 2] {
        [
            ("OneAdultOccupancyPrice", &self.one_adult_occupancy_price),
            ("TwoAdultsOccupancyPrice", &self.two_adults_occupancy_price),
        ]
    }
}

fn offer_prices(at: &str, offer: &Offer, default: Currency) -> Result<Prices, Wrong> {
    let mut prices = Prices::new();
    for (occupancy, (field, price)) in (1..).zip(offer.prices()) {
        let at = format!("{at}.{field}");
        let currency = match &price.currency {
            Some(code) => currency(&at, code)?,
            None => default,
        };
        let digits = money::exponent(currency).unwrap_or(0);
        let amount = money::minor_units(&price.value.to_string(), digits).map_err(|error| {
            Wrong::new(
                format!("{at}.Value"),
                format!("{} {currency} {error}", price.value),
                "correct the price",
            )
        })?;
        // The format writes 0 where there is no price.
        if amount > 0 {
            prices.entry(currency).or_default().insert(occupancy, amount);
        }
    }
    Ok(prices)
}

/// Nights of equal prices that follow one another become one range; nights without prices are in none.
fn ranges(nights: BTreeMap<Date, Prices>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (date, prices) in nights {
        match ranges.last_mut() {
            _ if prices.is_empty() => {}
            Some(range) if range.to == date && range.prices == prices => range.to = date.plus(1),
            _ => ranges.push(Range { from: date, to: date.plus(1), prices }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn offer(room: &str, one: &str, two: &str) -> String {
        format!(
            r#"{{"RoomIdentifier": "{room}", "OneAdultOccupancyPrice": {{"Currency": "EUR", "Value": {one}}},
                "TwoAdultsOccupancyPrice": {{"Currency": "EUR", "Value": {two}}}}}"#
        )
    }

    fn file(days: &str) -> String {
        format!(
            r#"{{"HotelId": 2, "HotelName": "THE GRAND", "Location": "Budapest", "NumberOfRooms": 240,
                "AvailabilitiesAt": {{{days}}}}}"#
        )
    }

    fn euros(prices: &[(u32, i64)]) -> Prices {
        let by_occupancy: BTreeMap<u32, i64> = prices.iter().copied().collect();
        Prices::from([(Currency::new("EUR").unwrap(), by_occupancy)])
    }

    #[test]
    fn a_hotel_is_read_with_its_byte_order_mark() {
        let days = format!(
            r#""2017-09-16T00:00:00": [{}, {}]"#,
            offer("101", "109.0", "140.0"),
            offer("201", "0", "240")
        );
        let hotel = read(format!("\u{feff}{}", file(&days)).as_bytes()).unwrap();
        assert_eq!(hotel.property.as_str(), "2");
        assert_eq!((hotel.name.as_str(), hotel.location.as_str()), ("THE GRAND", "Budapest"));
        assert_eq!(
            (hotel.currency.as_str(), hotel.business_date, hotel.dates),
            ("EUR", day("2017-09-16"), 1)
        );
        let night = |prices| vec![Range { from: day("2017-09-16"), to: day("2017-09-17"), prices }];
        let rooms = BTreeMap::from([
            (RoomId::new("101").unwrap(), night(euros(&[(1, 10_900), (2, 14_000)]))),
            (RoomId::new("201").unwrap(), night(euros(&[(2, 24_000)]))),
        ]);
        assert_eq!(hotel.rooms, rooms);
    }

    #[test]
    fn equal_prices_of_neighbouring_dates_become_one_range() {
        let cheap = offer("1", "10", "20");
        let dear = offer("1", "11", "20");
        let none = offer("1", "0", "0");
        let days = format!(
            r#""2024-02-28": [{cheap}], "2024-02-29": [{cheap}], "2024-03-01": [{dear}], "2024-03-03": [{dear}],
               "2024-03-04": [{none}], "2024-03-05": [{dear}], "2024-02-27": [{cheap}], "2024-03-06": []"#
        );
        let hotel = read(file(&days).as_bytes()).unwrap();
        assert_eq!((hotel.business_date, hotel.dates), (day("2024-02-27"), 8));
        let spans: Vec<(String, String)> = hotel.rooms[&RoomId::new("1").unwrap()]
            .iter()
            .map(|range| (range.from.to_string(), range.to.to_string()))
            .collect();
        let expected = [
            ("2024-02-27", "2024-03-01"),
            ("2024-03-01", "2024-03-02"),
            ("2024-03-03", "2024-03-04"),
            ("2024-03-05", "2024-03-06"),
        ];
        assert_eq!(spans, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    }

    #[test]
    fn a_room_without_any_price_is_still_a_room() {
        let hotel = read(file(&format!(r#""2024-01-01": [{}]"#, offer("1", "0.0", "0"))).as_bytes()).unwrap();
        assert_eq!(hotel.rooms[&RoomId::new("1").unwrap()], []);
    }

    #[test]
    fn the_currency_is_that_of_the_prices() {
        let yen = offer("1", "12000", "15000").replace("EUR", "JPY");
        let hotel = read(file(&format!(r#""2024-01-01": [{yen}]"#)).as_bytes()).unwrap();
        assert_eq!(hotel.currency.as_str(), "JPY");
        assert_eq!(
            hotel.rooms[&RoomId::new("1").unwrap()][0].prices[&hotel.currency],
            BTreeMap::from([(1, 12_000), (2, 15_000)])
        );
        let without = offer("1", "10", "20").replace(r#""Currency": "EUR", "#, "");
        let hotel = read(file(&format!(r#""2024-01-01": [{without}]"#)).as_bytes()).unwrap();
        assert_eq!(hotel.rooms[&RoomId::new("1").unwrap()][0].prices, euros(&[(1, 1_000), (2, 2_000)]));
    }

    #[test]
    fn ids_are_numbers_or_texts() {
        let with = |id: &str| {
            read(
                file(r#""2024-01-01": []"#)
                    .replace(r#""HotelId": 2"#, &format!(r#""HotelId": {id}"#))
                    .as_bytes(),
            )
        };
        assert_eq!(with("42").unwrap().property.as_str(), "42");
        assert_eq!(with(r#""grand-1""#).unwrap().property.as_str(), "grand-1");
        for bad in ["-1", "null", "true", "[]", r#""""#, r#""a b""#] {
            assert_eq!(with(bad).unwrap_err().path, "HotelId", "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_a_remedy() {
        let good = offer("101", "109.0", "140.0");
        let at = "AvailabilitiesAt.2024-01-01";
        let price = format!("{at}[1].OneAdultOccupancyPrice");
        let second = |offer: &str| file(&format!(r#""2024-01-01": [{good}, {offer}]"#));
        let empty_name = file(r#""2024-01-01": []"#).replace("THE GRAND", "");
        let two_lines = file(r#""2024-01-01": []"#).replace("THE GRAND", r"THE\nGRAND");
        for (text, path, what) in [
            (second(&offer("102", "109.005", "1")), format!("{price}.Value"), "minor units"),
            (second(&offer("102", "-5", "1")), format!("{price}.Value"), "negative"),
            (second(&offer("102", "1e30", "1")), format!("{price}.Value"), "more than"),
            (second(&offer("102", "\"5\"", "1")), format!("{price}.Value"), "invalid type"),
            (second(&offer("102", "5", "1").replace("EUR", "EURO")), format!("{price}.Currency"), "EURO"),
            (second(&offer("102", "5", "1").replace("EUR", "XQQ")), format!("{price}.Currency"), "XQQ"),
            (second(&good), format!("{at}[1].RoomIdentifier"), "listed twice"),
            (second(&offer("no room", "5", "1")), format!("{at}[1].RoomIdentifier"), "characters"),
            (second("{}"), format!("{at}[1]"), "RoomIdentifier"),
            (second("7"), format!("{at}[1]"), "invalid type"),
            (file(r#""2024-02-30": []"#), "AvailabilitiesAt.2024-02-30".into(), "no date"),
            (file(r#""2024-02-20T12:00:00": []"#), "AvailabilitiesAt.2024-02-20T12:00:00".into(), "no date"),
            (file(r#""2024-01-01": [], "2024-01-01T00:00:00": []"#), format!("{at}T00:00:00"), "given twice"),
            (file(""), "AvailabilitiesAt".into(), "no date"),
            (empty_name, "HotelName".into(), "empty"),
            (two_lines, "HotelName".into(), "control character"),
            (
                r#"{"HotelId": 1, "HotelName": "n", "AvailabilitiesAt": {}}"#.into(),
                "the file".into(),
                "Location",
            ),
            (format!("{} x", file(r#""2024-01-01": []"#)), "the file".into(), "trailing"),
            ("[]".into(), "the file".into(), "invalid"),
            (String::new(), "the file".into(), "EOF"),
        ] {
            let wrong = read(text.as_bytes()).expect_err(&text);
            assert_eq!(wrong.path, path, "{wrong}");
            assert!(wrong.what.contains(what), "{wrong}");
            assert!(!wrong.remedy.is_empty());
        }
        assert_eq!(read(b"{\"HotelId\": \"\xff\"}").unwrap_err().remedy, "save it as UTF-8");
    }
}
