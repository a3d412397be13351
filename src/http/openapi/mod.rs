//! `GET /openapi.json` and `GET /docs`: the API described by the node that serves it (OpenAPI 3.1).
//!
//! Written by hand: the rows of `calls.rs`, `parameters.json` and `schemas.json`. The table of codes is taken
//! from where the answers take it. Tests hold the document against the router and against real answers.

mod calls;
mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};

use self::calls::{CALLS, Call, Kind, common_refusals};
use super::problem::Code;
use crate::node::VERSION;

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
static JSON: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());
static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&DOCUMENT));

pub async fn show() -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
}

pub async fn docs() -> Html<&'static str> {
    Html(PAGE.as_str())
}

const READ_QUERY: &[&str] = &["consistency", "max_staleness_ms", "min_lsn"];

/// Headers that every `/v1` answer has: key, name, whether always, description.
const ANSWER_HEADERS: &[(&str, &str, bool, &str)] = &[
    ("Node", "Innkeeper-Node", true, "The node that answered."),
    ("Leader", "Innkeeper-Leader", false, "The leader that it knows of."),
    ("LSN", "Innkeeper-LSN", true, "The position that the answer reflects."),
];

fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for call in CALLS {
        paths.entry(call.path).or_default().insert(call.method.to_lowercase(), operation(call));
    }
    let mut schemas: Map<String, Value> =
        serde_json::from_str(include_str!("schemas.json")).expect("the schemas are JSON");
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    schemas.insert("Code".to_owned(), json!({ "enum": codes }));
    let headers: Map<String, Value> = (ANSWER_HEADERS.iter())
        .map(|(key, _, required, description)| {
            let header =
                json!({ "required": required, "description": description, "schema": { "type": "integer" } });
            ((*key).to_owned(), header)
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Innkeeper",
            "version": VERSION,
            "summary": "A fault-tolerant ledger of hotel bookings.",
            "description": "Any node takes any request. Stays are half-open: the departure day is free for the next \
                guest. Amounts are integers in minor units. A write under an Idempotency-Key may be sent again, \
                anywhere and at any time: it is done once. 429 and `no_leader` mean that nothing happened; \
                `outcome_unknown`, or no answer, that it may have: send it again under the same key.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas, "headers": headers },
    })
}

fn operation(call: &Call) -> Value {
    let mut operation = json!({
        "operationId": operation_id(call),
        "summary": call.summary,
        "tags": [group(call.path)],
        "parameters": parameters(call),
        "responses": responses(call),
    });
    if let Some(schema) = call.body {
        operation["requestBody"] =
            json!({ "required": true, "content": content(call, schema, "BatchCommand") });
    }
    operation
}

/// Unique, because method and path are.
fn operation_id(call: &Call) -> String {
    let words = call.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(call.method.to_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

fn group(path: &str) -> &'static str {
    let has = |part: &str| path.contains(part);
    match path {
        _ if has("/reservations")
            || has("/bookings")
            || has("/imports")
            || has("/waitlist")
            || has("/batch") =>
        {
            "Reservations"
        }
        _ if has("/free-rooms") || has("/availability") || has("/search") || has("calendar.ics") => "Queries",
        _ if has("/events") => "Events",
        _ if has("/properties") => "Inventory",
        _ => "Cluster and health",
    }
}

fn parameters(call: &Call) -> Vec<Value> {
    let known: BTreeMap<String, Map<String, Value>> =
        serde_json::from_str(include_str!("parameters.json")).expect("the parameters are JSON");
    let mut parameters = Vec::new();
    for name in call.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        let schema = match name {
            "id" => "Uuid",
            "lsn" => "Lsn",
            _ => "Id",
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": reference(schema) }));
    }
    let common = if call.kind == Kind::Read { READ_QUERY } else { &[] };
    for name in call.query.iter().chain(common) {
        let (name, required) = name.strip_suffix('!').map_or((*name, false), |name| (name, true));
        let is_local = name == "consistency" && call.kind == Kind::Local;
        let described = if is_local { "always_local" } else { name };
        let parameter = known.get(described).unwrap_or_else(|| panic!("{described} is described"));
        let mut parameter = parameter.clone();
        parameter.extend([
            ("name".to_owned(), json!(name)),
            ("in".to_owned(), json!("query")),
            ("required".to_owned(), json!(required)),
        ]);
        parameters.push(Value::Object(parameter));
    }
    let key_means = match call.kind {
        Kind::Write | Kind::Change => {
            Some("The same key with the same request gets the first one's outcome.")
        }
        Kind::Local if call.method == "POST" => Some("Checked, and kept for nothing."),
        Kind::Local | Kind::Read | Kind::Batch => None,
    };
    if let Some(description) = key_means {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "description": description,
            "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
        }));
    }
    if call.path == "/v1/events" {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header",
            "description": "Where a stream that broke off goes on; goes before `after`. A page does not look at it.",
            "schema": { "type": "string" },
        }));
    }
    if call.kind == Kind::Change {
        parameters.push(json!({
            "name": "If-Match", "in": "header",
            "description": "The revision that is to be changed, in quotes.",
            "schema": { "type": "string", "pattern": "^\"(0|[1-9][0-9]*)\"$" },
        }));
    }
    parameters
}

fn responses(call: &Call) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, schema) in call.answers {
        let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        let headers = headers(call, *status, schema);
        let mut response = json!({ "description": reason.unwrap_or_default(), "headers": headers });
        if !schema.is_empty() {
            response["content"] = content(call, schema, "BatchResult");
        }
        responses.insert(status.to_string(), response);
    }
    let own = call.refusals.iter().copied().flatten().copied();
    let names: BTreeSet<&str> = common_refusals(call).into_iter().chain(own).collect();
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in Code::ALL.iter().filter(|code| names.contains(code.name())) {
        by_status.entry(code.status()).or_default().push(code.name());
    }
    for (status, codes) in by_status {
        let schema =
            json!({ "allOf": [reference("Problem"), { "properties": { "code": { "enum": codes } } }] });
        let response = json!({
            "description": codes.join(", "),
            "headers": headers(call, status, "Problem"),
            "content": { "application/problem+json": { "schema": schema } },
        });
        responses.insert(status.to_string(), response);
    }
    responses
}

/// The headers of an answer of this status, whose body has this schema.
fn headers(call: &Call, status: u16, schema: &str) -> Map<String, Value> {
    let mut headers: Map<String, Value> = (ANSWER_HEADERS.iter())
        .map(|(key, name, ..)| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{key}") })))
        .collect();
    let mut add = |name: &str, description: &str, of: Value| {
        headers.insert(name.to_owned(), json!({ "description": description, "schema": of }));
    };
    let text = json!({ "type": "string" });
    if matches!(schema, "Reservation" | "AsItsCall") {
        add("ETag", "The revision, in quotes.", text.clone());
    }
    if status == 201 && matches!(schema, "Reservation" | "Booking" | "WaitlistEntry" | "AsItsCall") {
        add("Location", "The path of what was made.", text);
    }
    // What was refused before it reached the log is not kept under a key.
    if matches!(call.kind, Kind::Write | Kind::Change)
        && matches!(status, 200..=299 | 404 | 409..=413 | 422 | 500)
    {
        add(
            "Idempotent-Replayed",
            "The key was used before: this is the first outcome.",
            json!({ "type": "boolean", "const": true }),
        );
    }
    if matches!(status, 429 | 503) {
        add("Retry-After", "Seconds; with `overloaded` and `no_leader`.", json!({ "type": "integer" }));
    }
    headers
}

/// A body of this schema, or of this media type. A batch and its answer may be lines of `line` as well, and events a stream.
fn content(call: &Call, schema: &str, line: &str) -> Value {
    if schema.contains('/') {
        return json!({ schema: { "schema": { "type": "string" } } });
    }
    let mut content = json!({ "application/json": { "schema": reference(schema) } });
    if call.kind == Kind::Batch {
        content["application/x-ndjson"] = json!({ "schema": reference(line) });
    }
    if schema == "Events" {
        content["text/event-stream"] = json!({ "schema": { "type": "string" } });
    }
    content
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
