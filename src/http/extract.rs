//! What handlers take out of a request: strictly, and with the field's name in every complaint.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::{HeaderMap, HeaderValue, Uri, header, request::Parts};
use futures_util::StreamExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, timeout_at};

use super::fields::{self, Digits};
use super::problem::{Code, Problem};
use crate::ledger::{Currency, Lsn};
use crate::node::Consistency;

/// The longest body of a single request.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The longest body of a batch, a group booking or an import.
pub const GROUP_BYTES_MAX: usize = 32 << 20;
/// A body of which nothing has come for so long comes no more.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a body may take at any pace, and how much of it must have come in each millisecond past that. Two megabits a second
/// are enough for any; one that only drips keeps its place, and memory for all of its length, from others no longer than this.
pub const BODY_WAIT: Duration = Duration::from_secs(30);
pub const BODY_BYTES_A_MS: u64 = 256;
/// Memory that is asked for ahead of what has come, where a long body is announced.
const AHEAD_BYTES_MAX: u64 = 256 << 10;

/// The variable segments of the path, decoded, in order.
pub struct Segments(Option<Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segments, Self::Rejection> {
        // None where one of them is no UTF-8: whoever asks for any says so.
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        Ok(Segments(params.map(|params| params.iter().map(|(_, text)| text.to_owned()).collect())))
    }
}

impl Segments {
    /// The segment at `position`, which complaints call `name`.
    pub fn get<T: FromStr<Err: Display>>(&self, position: usize, name: &str) -> Result<T, Problem> {
        let all = self.0.as_ref().ok_or_else(|| Problem::malformed("path", "is not valid UTF-8"))?;
        let text = all.get(position).ok_or_else(|| Problem::malformed(name, "is missing"))?;
        text.parse().map_err(|error| Problem::malformed(name, error))
    }
}

/// The parameters of a query. Each is taken once; what is left over at the end is unknown.
pub struct Params(BTreeMap<String, String>);

impl Params {
    pub fn of(uri: &Uri) -> Result<Params, Problem> {
        let mut params = BTreeMap::new();
        let query = uri.query().unwrap_or_default();
        // What bytes that are no UTF-8 are read as, unless it is what was asked.
        let is_asked = query.to_ascii_lowercase().contains("%ef%bf%bd");
        let is_lost = |text: &str| !is_asked && text.contains(char::REPLACEMENT_CHARACTER);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if is_lost(&name) || is_lost(&value) {
                return Err(Problem::malformed(&name, "is not valid UTF-8"));
            }
            if params.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(Problem::malformed(&name, "is given twice"));
            }
        }
        Ok(Params(params))
    }

    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Problem::malformed(name, error))
    }

    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, Problem> {
        self.optional(name)?.ok_or_else(|| Problem::malformed(name, "is missing"))
    }

    /// A currency and whether it exists. Absent is known: the property's is meant.
    pub fn currency(&mut self) -> Result<(Option<Currency>, bool), Problem> {
        let text: Option<String> = self.optional("currency")?;
        Ok(judge_currency(text.as_deref()))
    }

    /// Digits alone, as JSON writes a number that is whole and not negative.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        Ok(self.optional::<Digits>(name)?.map(|Digits(number)| number))
    }

    /// 1–1,000, 100 when absent.
    pub fn limit(&mut self) -> Result<usize, Problem> {
        match self.number("limit")? {
            None => Ok(100),
            Some(limit @ 1..=1_000) => Ok(limit as usize),
            Some(_) => Err(Problem::malformed("limit", "must be from 1 to 1,000")),
        }
    }

    /// What the read asks of this node's state.
    pub fn consistency(&mut self) -> Result<(Consistency, Option<Lsn>), Problem> {
        let word: Option<String> = self.optional("consistency")?;
        let max_staleness = self.number("max_staleness_ms")?.map(Duration::from_millis);
        let min_lsn = self.number("min_lsn")?.map(Lsn);
        let consistency = match word.as_deref() {
            None | Some("linearizable") if max_staleness.is_some() => {
                return Err(Problem::malformed("max_staleness_ms", "goes with consistency=local only"));
            }
            None | Some("linearizable") => Consistency::Linearizable,
            Some("local") => Consistency::Local { max_staleness },
            Some(_) => return Err(Problem::malformed("consistency", "must be linearizable or local")),
        };
        Ok((consistency, min_lsn))
    }

    /// For reads that are always of what this node has: `consistency` may say so, and nothing else.
    pub fn always_local(&mut self) -> Result<(), Problem> {
        match self.optional::<String>("consistency")?.as_deref() {
            None | Some("local") => Ok(()),
            Some(_) => {
                Err(Problem::malformed("consistency", "must be local, as this read always is, or absent"))
            }
        }
    }

    /// As [`always_local`](Params::always_local), for reads that are refused where this node is too far behind.
    pub fn local_consistency(&mut self) -> Result<Consistency, Problem> {
        self.always_local()?;
        let max_staleness = self.number("max_staleness_ms")?.map(Duration::from_millis);
        Ok(Consistency::Local { max_staleness })
    }

    pub fn finish(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Problem::malformed(&name, "is not a parameter of this call")),
        }
    }
}

/// The verdict that a command carries: the code, where it has the form of one, and whether ISO 4217 lists it.
pub fn judge_currency(text: Option<&str>) -> (Option<Currency>, bool) {
    let Some(text) = text else { return (None, true) };
    let currency = Currency::new(text);
    let known = currency.is_some() && iso_currency::Currency::from_code(text).is_some();
    (currency, known)
}

/// The body as `T`, of a call without parameters. Refuses, in this order, another media type, too many bytes, and what
/// can't be read.
pub async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    check_is_json(&parts.headers)?;
    let bytes = read(body, BODY_BYTES_MAX).await?;
    Params::of(&parts.uri)?.finish()?;
    parse(&bytes)
}

/// For calls that need neither parameters nor a body: nothing, or an empty object.
pub async fn nothing(request: Request) -> Result<(), Problem> {
    let params = Params::of(request.uri());
    no_body(request).await?;
    params?.finish()
}

/// For calls that need no body: nothing, or an empty object.
pub async fn no_body(request: Request) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Empty {}

    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(());
    }
    if !is_json(&parts.headers) && body.size_hint().lower() > 0 {
        return Err(unsupported_media_type());
    }
    let is_json = is_json(&parts.headers);
    let bytes = read(body, BODY_BYTES_MAX).await.map_err(|problem| match problem.code() {
        // What it is comes before how much it is.
        Code::TooLarge if !is_json => unsupported_media_type(),
        _ => problem,
    })?;
    if bytes.is_empty() {
        return Ok(());
    }
    if !is_json {
        return Err(unsupported_media_type());
    }
    parse::<Empty>(&bytes).map(|Empty {}| ())
}

pub fn unsupported_media_type() -> Problem {
    Problem::new(
        Code::UnsupportedMediaType,
        "send the body as JSON, not compressed, with `Content-Type: application/json`",
    )
}

/// What is no JSON is refused before it is read.
pub fn check_is_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) { Ok(()) } else { Err(unsupported_media_type()) }
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|essence| essence == "application/json")
}

/// The body's media type without its parameters, in lower case; none where the body is compressed.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return None;
    }
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses a body that is longer than `bytes_max` as its head says, unread.
pub fn check_length(body: &Body, bytes_max: usize) -> Result<(), Problem> {
    if body.size_hint().lower() > bytes_max as u64 { Err(too_large(bytes_max)) } else { Ok(()) }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("a body has at most {bytes_max} bytes"))
}

/// All of a body, where it has at most `bytes_max`.
pub async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    check_length(&body, bytes_max)?;
    let began = Instant::now();
    let mut bytes: Vec<u8> = Vec::with_capacity(body.size_hint().lower().min(AHEAD_BYTES_MAX) as usize);
    let mut pieces = body.into_data_stream();
    loop {
        let all_wait = BODY_WAIT + Duration::from_millis(bytes.len() as u64 / BODY_BYTES_A_MS);
        let latest = (began + all_wait).min(Instant::now() + SILENCE_MAX);
        let Some(piece) = timeout_at(latest, pieces.next()).await.map_err(|_| too_slow())? else {
            return Ok(bytes.into());
        };
        let piece = piece.map_err(|_| Problem::malformed("body", "broke off before its end"))?;
        if bytes.len() + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&piece);
    }
}

fn too_slow() -> Problem {
    let (silence, whole) = (SILENCE_MAX.as_secs(), BODY_WAIT.as_secs());
    let reason = format!(
        "came too slowly; what takes more than {whole} s must come at {BODY_BYTES_A_MS} kB a second, and nothing may rest for \
         {silence} s: send less at once"
    );
    Problem::malformed("body", reason)
}

/// Reads JSON strictly: no unknown field, no duplicate, nothing behind the value, at most 128 levels.
pub fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Problem> {
    parse_beside(bytes, &[])
}

/// Like [`parse`], for an object in which the fields `beside` stand as well, which are passed over.
pub fn parse_beside<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    beside: &'static [&'static str],
) -> Result<T, Problem> {
    if let Some(value) = parse_strictly(bytes, beside) {
        return Ok(value);
    }
    // Once more, to name the field: to keep track of where one is takes as long again as to read.
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let value = Object { beside, value: PhantomData }.deserialize(tracked).map_err(|error| {
        let error = fields::in_plain_words(&error);
        // What has no name yet, a key that is none or the body itself, goes by the name of what holds it.
        match track.path().to_string().trim_end_matches(['.', '?']) {
            "" => Problem::new(Code::Malformed, error),
            path => Problem::malformed(path, error),
        }
    })?;
    json.end().map_err(|error| Problem::new(Code::Malformed, error.to_string()))?;
    Ok(value)
}

/// What [`parse_beside`] reads; `None` where it would complain.
pub fn parse_strictly<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    beside: &'static [&'static str],
) -> Option<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Object { beside, value: PhantomData }.deserialize(&mut json).ok()?;
    json.end().ok().map(|()| value)
}

/// A body or a field that is an object. Left to itself, serde takes an array for a struct as well, by the order of its fields.
pub(super) struct Object<T> {
    pub(super) beside: &'static [&'static str],
    pub(super) value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Object<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        if self.beside.is_empty() {
            return T::deserialize(MapAccessDeserializer::new(map));
        }
        T::deserialize(MapAccessDeserializer::new(Others { map, beside: self.beside }))
    }
}

/// The fields of an object but those `beside`.
struct Others<A> {
    map: A,
    beside: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        while let Some(key) = self.map.next_key_seed(Other { beside: self.beside, seed: &mut seed })? {
            if key.is_some() {
                return Ok(key);
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// The name of a field; none of one `beside`.
struct Other<'s, S> {
    beside: &'static [&'static str],
    /// Taken by the first name that is another.
    seed: &'s mut Option<S>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Other<'_, S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<S::Value>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Other<'_, S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<S::Value>, E> {
        if self.beside.contains(&name) {
            return Ok(None);
        }
        self.seed.take().map(|seed| seed.deserialize(name.into_deserializer())).transpose()
    }
}

/// `If-Match: "<revision>"`; a number that no revision has is one that the reservation is not at.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut given = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::malformed("If-Match", "is given twice"));
    }
    let quoted = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    quoted
        .filter(|text| is_number(text) && (*text == "0" || !text.starts_with('0')))
        .map(|text| Some(text.parse().unwrap_or(u64::MAX)))
        .ok_or_else(|| Problem::malformed("If-Match", "must be the revision in quotes, such as \"3\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fields::Text;
    use crate::wire::UniqueMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is tested is what is refused")]
    struct Sample {
        name: Text,
        count: u32,
        #[serde(default)]
        prices: Option<UniqueMap<String, i64>>,
    }

    /// A body in pieces of so many bytes, each so long after the last.
    fn in_pieces(pieces: usize, bytes: usize, every: Duration) -> Body {
        Body::from_stream(futures_util::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok::<_, std::convert::Infallible>(vec![b' '; bytes])
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_its_time_while_it_comes() {
        let read = async |pieces, bytes, every_ms| {
            let began = Instant::now();
            let body = in_pieces(pieces, bytes, Duration::from_millis(every_ms));
            let read = read(body, GROUP_BYTES_MAX).await.map(|all| all.len());
            (read.map_err(|problem| problem.to_wire().code), began.elapsed().as_secs())
        };
        let refused = || Err("malformed".to_owned());
        // The longest over two megabits a second, and over half of that.
        assert_eq!(read(64, 512 << 10, 2_000).await, (Ok(GROUP_BYTES_MAX), 128));
        assert_eq!(read(64, 512 << 10, 4_000).await.0, refused());
        assert_eq!(read(2, 1, 9_999).await.0, Ok(2));
        assert_eq!(read(2, 1, 10_001).await, (refused(), 10));
        // One that drips takes no longer than one of which little comes.
        assert_eq!(read(1_000, 1, 9_000).await, (refused(), 30));
        assert_eq!(read(65, 512 << 10, 1).await.0, Err("too_large".to_owned()));
    }

    #[test]
    fn a_revision_is_a_number_in_quotes() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, text.parse().unwrap());
            if_match(&headers).map_err(|problem| problem.to_wire().code)
        };
        let beyond = "\"99999999999999999999\"";
        for (text, revision) in [("\"3\"", 3), ("\"0\"", 0), (beyond, u64::MAX)] {
            assert_eq!(read(text), Ok(Some(revision)), "{text}");
        }
        for text in ["", "3", "\"\"", "\"03\"", "\"+3\"", "\"-1\"", "W/\"3\"", "*"] {
            assert_eq!(read(text), Err("malformed".to_owned()), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_named_as_far_as_it_has_a_name() {
        let told = |problem: Problem| problem.to_wire().detail;
        let body = |text: &str| told(parse::<Sample>(text.as_bytes()).unwrap_err());
        assert!(body(r#"{"name":"x","count":1,"prices":{"a":1,"a":2}}"#).starts_with("`prices`"));
        for text in ["{", "", "[", r#"{"name":"x","count":1,"#] {
            assert!(!body(text).contains('?'), "{}", body(text));
        }
        let query = |text: &str| {
            let uri: Uri = format!("/v1/search?{text}").parse().unwrap();
            Params::of(&uri).map(|params| params.0).map_err(told)
        };
        for text in ["guest=%ff", "guest=a%C3", "%fe=a"] {
            assert!(query(text).unwrap_err().ends_with("is not valid UTF-8"), "{text}");
        }
        for (text, guest) in [("guest=%C3%A9", "é"), ("guest=%EF%BF%BD", "\u{fffd}"), ("guest=a+b", "a b")] {
            assert_eq!(query(text).unwrap()["guest"], guest);
        }
    }

    #[test]
    fn a_body_that_is_compressed_is_of_no_type() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        assert!(is_json(&headers));
        for (coding, plain) in [("identity", true), ("Identity", true), ("gzip", false), ("", false)] {
            headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
            assert_eq!(is_json(&headers), plain, "{coding}");
        }
    }

    #[test]
    fn a_body_that_can_not_be_read_names_the_field() {
        let deep = "[".repeat(2_000);
        let cases: [(&[u8], &str); 13] = [
            (br#"{"name":"a"}"#, "count"),
            (br#"{"name":"a","count":1,"color":2}"#, "color"),
            (br#"{"name":"a","name":"b","count":1}"#, "name"),
            (br#"{"name":"a","count":"1"}"#, "count"),
            (br#"{"name":"a","count":-1}"#, "count"),
            (br#"{"name":"a","count":1.5}"#, "count"),
            (br#"{"name":"","count":1}"#, "name"),
            (br#"{"name":"a","count":1,"prices":{"EUR":1,"EUR":2}}"#, "EUR"),
            (br#"{"name":"a","count":1,"prices":{"EUR":"x"}}"#, "prices.EUR"),
            (br#"{"name":"a","count":1} {}"#, "trailing"),
            (br#"["a",1,null]"#, "object"),
            (b"{\"name\":\"\xff\",\"count\":1}", "name"),
            (deep.as_bytes(), "object"),
        ];
        for (body, named) in cases {
            let problem = parse::<Sample>(body).unwrap_err().to_wire();
            assert_eq!((problem.status, &*problem.code), (400, "malformed"));
            assert!(problem.detail.contains(named), "{named}: {}", problem.detail);
        }
        assert!(parse::<Sample>(br#"{"name":"a","count":1,"prices":null}"#).is_ok());
    }
}
