//! The two forms of a batch and of its answer: one JSON object, or one command a line.

use std::fmt;

use axum::http::HeaderMap;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::accept::{self, Range};
use super::super::extract::{self, media_type};
use super::super::problem::Problem;
use super::RESERVATIONS_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    /// JSON values, each ended by a line feed.
    Lines,
}

const FORMS: [Form; 2] = [Form::Json, Form::Lines];

impl Form {
    pub fn media_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Lines => "application/x-ndjson",
        }
    }

    /// The form that the body is in, as its head says.
    pub fn of_body(headers: &HeaderMap) -> Option<Form> {
        let media_type = media_type(headers)?;
        FORMS.into_iter().find(|form| form.media_type() == media_type)
    }

    /// The form that the client prefers for the answer: the request's, unless `Accept` weighs the other higher (RFC 9110,
    /// section 12.5.1). Who accepts neither gets the request's too.
    pub fn of_answer(self, headers: &HeaderMap) -> Form {
        let ranges = accept::ranges(headers);
        let other = if self == Form::Json { Form::Lines } else { Form::Json };
        if weight(&ranges, other) > weight(&ranges, self) { other } else { self }
    }

    /// The commands of a body, each as it is written; of too many, no more than show that.
    pub fn commands(self, body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
        match self {
            Form::Json => {
                let Commands { commands: Kept(commands) } = extract::parse(body)?;
                Ok(commands.into_iter().map(|raw| raw.get().as_bytes()).collect())
            }
            Form::Lines => {
                let lines = body.split(|byte| *byte == b'\n');
                Ok(lines.filter(|line| !line.trim_ascii().is_empty()).take(KEPT_MAX).collect())
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands<'a> {
    #[serde(borrow)]
    commands: Kept<'a>,
}

/// A body of the shortest commands holds millions of them.
const KEPT_MAX: usize = RESERVATIONS_MAX + 1;

/// The first commands of a list, at most [`KEPT_MAX`].
struct Kept<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Kept<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept<'a>, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Kept<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of commands")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kept<'de>, A::Error> {
                let mut kept = Vec::new();
                while let Some(command) = list.next_element()? {
                    kept.push(command);
                    if kept.len() == KEPT_MAX {
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                }
                Ok(Kept(kept))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// What the most specific range that covers the form gives it.
fn weight(ranges: &[Range], form: Form) -> u32 {
    let given = |name: &str| ranges.iter().find(|range| range.of == name).map(|range| range.weight);
    given(form.media_type()).or_else(|| given("application/*")).or_else(|| given("*/*")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[test]
    fn the_answer_has_the_form_of_the_request_unless_accept_prefers_the_other() {
        use Form::{Json, Lines};
        for (accept, of_json, of_lines) in [
            (None, Json, Lines),
            (Some("*/*"), Json, Lines),
            (Some("application/*"), Json, Lines),
            (Some("application/json"), Json, Json),
            (Some("application/x-ndjson"), Lines, Lines),
            (Some("Application/X-NDJSON; charset=utf-8"), Lines, Lines),
            (Some("application/json, application/x-ndjson"), Json, Lines),
            (Some("application/json;q=0.5, application/x-ndjson;q=0.6"), Lines, Lines),
            (Some("application/x-ndjson;q=0, */*"), Json, Json),
            (Some("application/json, */*;q=0.1"), Json, Json),
            (Some("text/html"), Json, Lines),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(Json.of_answer(&headers), of_json, "{accept:?} of JSON");
            assert_eq!(Lines.of_answer(&headers), of_lines, "{accept:?} of lines");
        }
    }

    #[test]
    fn of_millions_of_commands_few_are_kept() {
        let whole = format!(r#"{{"commands":[{}1]}}"#, "1,".repeat(1_000_000));
        assert_eq!(Form::Json.commands(whole.as_bytes()).unwrap().len(), KEPT_MAX);
        assert_eq!(Form::Lines.commands("1\n".repeat(1_000_000).as_bytes()).unwrap().len(), KEPT_MAX);
        let unsound = format!(r#"{{"commands":[{}"#, "1,".repeat(1_000_000));
        assert!(Form::Json.commands(unsound.as_bytes()).is_err(), "what is passed over is read all the same");
    }

    #[test]
    fn a_body_falls_apart_into_its_commands() {
        let whole = br#"{"commands":[{"op":"a"}, 7,"x" ]}"#;
        assert_eq!(Form::Json.commands(whole).unwrap(), [br#"{"op":"a"}"# as &[u8], b"7", br#""x""#]);
        let lines = b"{\"op\":\"a\"}\r\n\n  \n7\n\xff";
        let commands = Form::Lines.commands(lines).unwrap();
        assert_eq!(commands, [b"{\"op\":\"a\"}\r" as &[u8], b"7", b"\xff"]);
        assert!(Form::Lines.commands(b"").unwrap().is_empty());
        let wrong: [(&[u8], &str); 6] = [
            (b"", "EOF"),
            (b"[]", "object"),
            (br#"{}"#, "commands"),
            (br#"{"commands":{}}"#, "commands"),
            (br#"{"commands":[],"more":1}"#, "more"),
            (br#"{"commands":[{"op":]}"#, "commands[0]"),
        ];
        for (body, named) in wrong {
            let problem = Form::Json.commands(body).unwrap_err().to_wire();
            assert!(problem.detail.contains(named), "{named}: {}", problem.detail);
        }
    }
}
