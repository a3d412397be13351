//! What is read of a batch, and what is written; what a cluster makes of batches is told by `cluster-tests`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use futures_util::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::super::extract::GROUP_BYTES_MAX;
use super::super::key::Key;
use super::super::problem::Problem;
use super::super::reservations::{AmendFields, AssignFields, CANCEL, PlainReservationId, ReserveFields};
use super::command::parse;
use super::form::Form;
use super::result::{Detail, Results};
use super::{RESERVATIONS_MAX, parse_all};
use crate::http::routes::router;
use crate::ledger::{Applied, Command, Lsn, Outcome, Refusal, Room, Submission};
use crate::node::clock::SystemClock;
use crate::node::tests::node;
use crate::node::{IdSource, Limits};
use crate::wire;

fn ids() -> IdSource {
    IdSource::new(Arc::new(SystemClock), StdRng::seed_from_u64(1))
}

const ID: &str = "0197a7a8-2f3b-7c4d-8e5f-0123456789ab";

fn stay() -> Value {
    json!({"guest": "g", "room": "101", "arrival": "2027-03-01", "departure": "2027-03-04", "occupancy": 2})
}

fn with(mut body: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn read(command: &Value) -> Result<Submission, wire::Problem> {
    parse(&ids(), command.to_string().as_bytes()).submission.map_err(|problem| problem.to_wire())
}

#[test]
fn every_op_is_read_as_its_own_call() {
    let reservation = |fields: Value| with(json!({"reservation": ID}), fields);
    let at = |fields: Value| with(json!({"property": "grand"}), fields);
    let group = json!({"guest": "g", "reservations": [
        {"room_type": "double", "arrival": "2027-03-01", "departure": "2027-03-02", "occupancy": 1}]});
    let rate = json!({"room": "101", "from": "2027-01-01", "to": "2028-01-01", "prices": {"EUR": {"1": 1}}});
    type Is = fn(&Command) -> bool;
    let cases: [(&str, Value, Is); 11] = [
        ("reserve", at(stay()), |it| matches!(it, Command::Reserve(_))),
        ("book_group", at(group), |it| matches!(it, Command::BookGroup(_))),
        ("confirm", reservation(json!({})), |it| matches!(it, Command::Confirm(_))),
        ("cancel", reservation(json!({})), |it| matches!(it, Command::Cancel(_))),
        ("amend", reservation(json!({"room": null})), |it| matches!(it, Command::Amend(_))),
        ("check_in", reservation(json!({})), |it| matches!(it, Command::CheckIn(_))),
        ("check_out", reservation(json!({})), |it| matches!(it, Command::CheckOut(_))),
        ("no_show", reservation(json!({})), |it| matches!(it, Command::NoShow(_))),
        ("assign", reservation(json!({"room": "102"})), |it| matches!(it, Command::Assign(_))),
        ("put_room", at(json!({"room": "101", "room_type": "double"})), |it| {
            matches!(it, Command::PutRoom(_))
        }),
        ("put_rate", at(rate), |it| matches!(it, Command::PutRates(_))),
    ];
    for (op, fields, is) in cases {
        for key in [Value::Null, json!("order-1"), json!("\"quoted\"")] {
            let command = with(fields.clone(), json!({"op": op, "idempotency_key": key}));
            let submission = read(&command).unwrap_or_else(|problem| panic!("{op}: {}", problem.detail));
            assert!(is(&submission.command), "{op}: {:?}", submission.command);
            assert_eq!(submission.key.map(|key| key.text), key.as_str().map(Into::into), "{op}");
        }
    }
}

/// A retry may come alone: it has to find what the batch left under its key.
#[test]
fn a_key_stands_for_the_same_request_alone_and_in_a_batch() {
    let alone: ReserveFields = serde_json::from_value(stay()).unwrap();
    let alone = alone.at(&ids(), "grand".parse().unwrap()).unwrap();
    let alone = alone.submission(Some(Key::new(b"order-1").unwrap())).unwrap();
    let op = json!({"op": "reserve", "property": "grand", "idempotency_key": "order-1"});
    assert_eq!(read(&with(stay(), op)).unwrap().key, alone.key);

    let PlainReservationId(id) = ID.parse().unwrap();
    let alone = CANCEL.of(id, None).submission(Some(Key::new(b"order-2").unwrap())).unwrap();
    let batched = json!({"reservation": ID, "idempotency_key": "order-2", "op": "cancel"});
    assert_eq!(read(&batched).unwrap().key, alone.key);
}

/// A key is looked up before `If-Match`.
#[test]
fn a_key_stands_for_the_same_change_whatever_revision_is_asked_for() {
    let PlainReservationId(id) = ID.parse().unwrap();
    let key = || Some(Key::new(b"order-1").unwrap());
    let op = |op: &str, fields: Value| {
        with(json!({"op": op, "reservation": ID, "idempotency_key": "order-1"}), fields)
    };
    let (later, room) = (json!({"departure": "2027-03-05"}), json!({"room": "102"}));
    let amended = read(&op("amend", later.clone())).unwrap();
    let assigned = read(&op("assign", room.clone())).unwrap();
    for if_match in [None, Some(1), Some(2)] {
        let fields: AmendFields = serde_json::from_value(later.clone()).unwrap();
        let amend = fields.of(id, if_match).unwrap().submission(key()).unwrap();
        assert_eq!(amend.key, amended.key);
        assert_eq!(amend.command == amended.command, if_match.is_none());
        let fields: AssignFields = serde_json::from_value(room.clone()).unwrap();
        let assign = fields.of(id, if_match).submission(key()).unwrap();
        assert_eq!(assign.key, assigned.key);
        assert_eq!(assign.command == assigned.command, if_match.is_none());
    }
}

#[test]
fn a_command_that_can_not_be_read_names_the_field() {
    let reserve = |fields: Value| with(with(stay(), json!({"op": "reserve", "property": "grand"})), fields);
    let cancel = |fields: Value| with(json!({"op": "cancel", "reservation": ID}), fields);
    let group =
        |stays: Value| json!({"op": "book_group", "property": "grand", "guest": "g", "reservations": stays});
    for (command, code, named) in [
        (json!(7), "malformed", "object"),
        (json!({}), "malformed", "op"),
        (json!({"op": "destroy"}), "malformed", "destroy"),
        (json!({"op": {"cancel": null}, "reservation": ID}), "malformed", "op"),
        (group(json!([["101", null, "2027-03-01", "2027-03-04", 2]])), "malformed", "`reservations[0]`"),
        (group(json!(["x"])), "malformed", "expected an object"),
        (group(json!([stay()])), "malformed", "guest"),
        (reserve(json!({"property": null})), "malformed", "property"),
        (reserve(json!({"property": "a/b"})), "malformed", "property"),
        (reserve(json!({"reservation": ID})), "malformed", "reservation"),
        (reserve(json!({"room_type": "double"})), "malformed", "room"),
        (reserve(json!({"color": "red"})), "malformed", "`color`: unknown field"),
        (reserve(json!({"arrival": "2027-02-30"})), "malformed", "arrival"),
        (reserve(json!({"idempotency_key": 7})), "malformed", "idempotency_key"),
        (reserve(json!({"idempotency_key": "a b"})), "idempotency_key_invalid", "Idempotency-Key"),
        (reserve(json!({"idempotency_key": ""})), "idempotency_key_invalid", "Idempotency-Key"),
        (cancel(json!({"reservation": "7"})), "malformed", "reservation"),
        (cancel(json!({"reservation": ID.to_uppercase()})), "malformed", "reservation"),
        (cancel(json!({"property": "grand"})), "malformed", "property"),
        (cancel(json!({"room": "101"})), "malformed", "room"),
    ] {
        let problem = read(&command).map(|_| ()).unwrap_err();
        assert_eq!((problem.status, &*problem.code), (400, code), "{command}: {}", problem.detail);
        assert!(problem.detail.contains(named), "{named}: {}", problem.detail);
    }
    let deep =
        format!(r#"{{"op":"cancel","reservation":"{ID}","x":{}{}}}"#, "[".repeat(9_999), "]".repeat(9_999));
    for (text, named) in [
        (deep.as_str(), "x"),
        (r#"{"op":"cancel","op":"cancel"}"#, "op"),
        (r#"{"op":"cancel","reservation":"1","reservation":"1"}"#, "reservation"),
        (r#"{"op":"cancel","#, "EOF"),
    ] {
        let problem = parse(&ids(), text.as_bytes()).submission.map(|_| ()).unwrap_err().to_wire();
        assert!(problem.detail.contains(named), "{named}: {}", problem.detail);
    }
}

#[tokio::test]
async fn the_reservations_of_groups_are_counted() {
    let one =
        json!({"room_type": "double", "arrival": "2027-03-01", "departure": "2027-03-02", "occupancy": 1});
    let group = |size: usize| {
        let reservations = vec![one.clone(); size];
        json!({"op": "book_group", "property": "grand", "guest": "g", "reservations": reservations})
            .to_string()
    };
    let (full, single) = (group(500), "{}".to_owned());
    let mut commands = vec![full.as_bytes(); RESERVATIONS_MAX / 500];
    let (parsed, reservations) = parse_all(&ids(), &commands).await.unwrap();
    assert!(parsed.iter().all(Result::is_ok));
    assert_eq!(reservations, RESERVATIONS_MAX);
    commands.push(single.as_bytes());
    let problem = parse_all(&ids(), &commands).await.map(|_| ()).unwrap_err().to_wire();
    assert_eq!((problem.status, &*problem.code), (413, "too_large"));
}

#[tokio::test]
async fn results_keep_their_order_over_the_pieces_they_are_sent_in() {
    let results = || -> Vec<Result<Applied, Problem>> {
        let room = |n: usize| {
            Arc::new(Room {
                property: "grand".parse().unwrap(),
                room: format!("r{n}").parse().unwrap(),
                room_type: "d".parse().unwrap(),
            })
        };
        (0..5_000)
            .map(|n| match n % 3 {
                0 => Err(Problem::malformed("op", "is missing")),
                1 => Ok(Outcome::Room { created: n % 2 == 0, room: room(n) }),
                _ => Ok(Outcome::Refused(Refusal::RoomTypeNotFound)),
            })
            .map(|outcome| outcome.map(|outcome| Applied { lsn: Lsn(1), replayed: false, outcome }))
            .collect()
    };
    for (form, detail) in
        [(Form::Json, Detail::Whole), (Form::Lines, Detail::Whole), (Form::Lines, Detail::Minimal)]
    {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let body = Results::new(results(), form, detail, Some(room)).into_body();
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        let written: Vec<Value> = match form {
            Form::Json => {
                serde_json::from_str::<Value>(&body).unwrap()["results"].as_array().unwrap().clone()
            }
            Form::Lines => body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        };
        assert_eq!(written.len(), 5_000);
        for (n, result) in written.iter().enumerate() {
            let expected = match n % 3 {
                0 => json!({"status": 400, "problem": result["problem"]}),
                1 if detail == Detail::Minimal => {
                    json!({"status": if n % 2 == 0 { 201 } else { 200 }, "id": format!("r{n}")})
                }
                1 => json!({"status": if n % 2 == 0 { 201 } else { 200 },
                            "room": {"room": format!("r{n}"), "room_type": "d"}}),
                _ => json!({"status": 404, "problem": result["problem"]}),
            };
            assert_eq!(*result, expected, "result {n}");
        }
    }
}

#[tokio::test]
async fn an_empty_batch_has_an_empty_answer() {
    for (form, expected) in [(Form::Json, r#"{"results":[]}"#), (Form::Lines, "")] {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let body = Results::new(Vec::new(), form, Detail::Whole, Some(room)).into_body();
        assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_taken_too_slowly_is_broken_off_and_gives_its_room_back() {
    let room = Arc::new(Semaphore::new(1));
    let refused = || Err(Problem::malformed("op", "is missing"));
    let results = (0..1_000).map(|_| refused()).collect();
    let body = Results::new(results, Form::Json, Detail::Whole, room.clone().try_acquire_owned().ok());
    let mut pieces = body.into_body().into_data_stream();
    assert!(pieces.next().await.unwrap().is_ok());
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(pieces.next().await.unwrap().is_ok(), "a long one has longer");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(pieces.next().await.unwrap().is_err());
    assert_eq!(room.available_permits(), 0);
    drop(pieces);
    assert_eq!(room.available_permits(), 1);
}

/// Each had room for the longest body until it had come, and its answer is still to be read.
#[tokio::test]
async fn short_batches_of_no_length_leave_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(&dir).await;
    let router = router(node.clone());
    let mut answers = Vec::new();
    for _ in 0..=Limits::default().batch_bodies_bytes_max / GROUP_BYTES_MAX {
        let chunks = stream::iter([Ok::<_, Infallible>(r#"{"commands":[]}"#)]);
        let request = Request::post("/v1/batch").header("content-type", "application/json");
        let request = request.body(Body::from_stream(chunks)).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    drop(answers);
    node.shut_down().await;
}
