//! The document against the router, and against itself.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::Value;
use tower::ServiceExt;

use super::super::routes::{router, routes};
use super::DOCUMENT;
use crate::node::Limits;
use crate::node::tests::node;

/// Calls of the contract that are being built: they may be answered before they are described.
const COMING: &[(&str, &str)] = &[
    ("POST", "/v1/cluster/members"),
    ("POST", "/v1/cluster/members/{id}/promote"),
    ("DELETE", "/v1/cluster/members/{id}"),
    ("POST", "/v1/cluster/leader"),
    ("GET", "/"),
];

/// Their codes.
const COMING_CODES: &[&str] = &["unauthenticated", "forbidden"];

fn described() -> BTreeSet<(String, String)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, calls)| {
        calls.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    calls.collect()
}

#[tokio::test]
async fn the_document_describes_the_routes_that_are_answered_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let mut answered = BTreeSet::new();
    for path in routes(&Limits::default()).paths {
        // No path has this method: the answer tells which ones it has.
        let request = Request::builder().method("PROBE").uri(path.replace(['{', '}'], "x"));
        let response = router(node.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()[header::ALLOW].to_str().unwrap().split(',');
        let allowed = allowed.map(str::trim).filter(|method| *method != "HEAD");
        answered.extend(allowed.map(|method| (method.to_owned(), path.clone())));
    }
    node.shut_down().await;
    let described = described();
    let unanswered: Vec<_> = described.difference(&answered).collect();
    assert!(unanswered.is_empty(), "described and not answered: {unanswered:?}");
    let coming: BTreeSet<_> =
        COMING.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    let undescribed: Vec<_> = answered.difference(&described).filter(|call| !coming.contains(call)).collect();
    assert!(undescribed.is_empty(), "answered, and missing in src/http/openapi/calls.rs: {undescribed:?}");
}

/// Everything under `value` that `visit` is asked for.
fn each<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| each(item, visit)),
        Value::Object(members) => members.values().for_each(|member| each(member, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let mut used = BTreeSet::new();
    each(&DOCUMENT, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(DOCUMENT.pointer(pointer).is_some(), "{reference} leads nowhere");
            used.insert(pointer.rsplit('/').next().unwrap().to_owned());
        }
    });
    for name in DOCUMENT["components"]["schemas"].as_object().unwrap().keys() {
        assert!(used.contains(name), "nothing uses the schema {name}");
    }
}

#[test]
fn operations_have_names_of_their_own_and_name_all_of_their_path() {
    let mut names = BTreeSet::new();
    for (path, calls) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, call) in calls.as_object().unwrap() {
            assert!(names.insert(call["operationId"].as_str().unwrap()), "{method} {path}");
            let parameters = call["parameters"].as_array().unwrap().iter();
            let in_path: Vec<_> = parameters.filter(|it| it["in"] == "path").collect();
            assert_eq!(in_path.len(), path.matches('{').count(), "{method} {path}");
            assert!(in_path.iter().all(|it| path.contains(&format!("{{{}}}", it["name"].as_str().unwrap()))));
            let statuses = call["responses"].as_object().unwrap().keys();
            assert!(statuses.clone().any(|status| status.starts_with('2')), "{method} {path}");
        }
    }
}

#[test]
fn answers_have_the_headers_that_belong_to_their_status() {
    let has = |path: &str, method: &str, status: &str, name: &str| {
        let answer = &DOCUMENT["paths"][path][method]["responses"][status];
        assert!(answer.is_object(), "{method} {path} {status}");
        answer["headers"].get(name).is_some()
    };
    let (reserve, cancel) = ("/v1/properties/{property}/reservations", "/v1/reservations/{id}/cancel");
    for (path, method, status, name, expected) in [
        (reserve, "post", "201", "Location", true),
        (reserve, "post", "201", "ETag", true),
        (reserve, "post", "201", "Idempotent-Replayed", true),
        (reserve, "post", "409", "Idempotent-Replayed", true),
        (reserve, "post", "409", "ETag", false),
        (reserve, "post", "429", "Retry-After", true),
        (reserve, "post", "429", "Idempotent-Replayed", false),
        (cancel, "post", "200", "ETag", true),
        (cancel, "post", "200", "Location", false),
        (reserve, "get", "200", "Idempotent-Replayed", false),
        ("/v1/properties/{property}/bookings", "post", "201", "Location", true),
        ("/v1/properties/{property}/bookings", "post", "201", "ETag", false),
        ("/v1/properties/{property}/waitlist", "post", "201", "Location", true),
    ] {
        assert_eq!(has(path, method, status, name), expected, "{method} {path} {status} {name}");
    }
}

/// A code that no call names is one that the document forgot, or that nothing answers.
#[test]
fn every_code_is_named_by_a_call_or_belongs_to_what_has_no_call() {
    let mut named: BTreeSet<&str> = ["not_found", "method_not_allowed"].into();
    for call in super::CALLS {
        named.extend(super::common_refusals(call));
        named.extend(call.refusals.iter().copied().flatten());
    }
    named.extend(COMING_CODES);
    for code in super::Code::ALL {
        assert!(named.contains(code.name()), "no call names {}", code.name());
    }
    for name in named.iter().filter(|name| !COMING_CODES.contains(name)) {
        assert!(super::Code::ALL.iter().any(|code| code.name() == *name), "{name} is no code");
    }
}

#[test]
fn the_page_shows_every_call_and_fetches_nothing() {
    let page = super::page::render(&DOCUMENT);
    for (method, path) in described() {
        let shown = format!("<span class=\"method\">{method}</span><code>{path}</code>");
        assert!(page.contains(&shown), "{method} {path}");
    }
    for name in DOCUMENT["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<section id=\"{name}\">")), "{name}");
    }
    for fetched in ["<script", "<link", "<img", "src=", "url(", "@import", "http:", "https:"] {
        assert!(!page.contains(fetched), "the page has {fetched}");
    }
}
