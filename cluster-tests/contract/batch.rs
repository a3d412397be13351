//! `POST /v1/batch`: what is refused as a whole, what is a result of its own, and that each is the answer of its call.

use reqwest::Method;
use serde_json::{Value, json};

use super::{RESERVATIONS, Row, ask, has_its_headers, open_grand, path_of, reserve, stay, with};
use crate::support::hotel::date;
use crate::support::{Answer, Api, Cluster};

const BATCH: &str = "/v1/batch";
const LINES: &str = "application/x-ndjson";

fn whole(commands: &[Value]) -> Value {
    json!({ "commands": commands })
}

fn lines(commands: &[Value]) -> String {
    commands.iter().map(|command| format!("{command}\n")).collect()
}

/// A `reserve` of the stay with these changes.
fn command(changes: Value) -> Value {
    with(json!({"op": "reserve", "property": "grand"}), stay(changes))
}

async fn results(api: &Api, commands: &[Value]) -> Vec<Value> {
    let answer = api.post(BATCH, &whole(commands)).answer().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    has_its_headers(&answer).unwrap_or_else(|why| panic!("{why}: {}", answer.in_words()));
    results_of(&answer)
}

fn results_of(answer: &Answer) -> Vec<Value> {
    answer.json()["results"].as_array().expect("a list of results").clone()
}

fn results_in_lines(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(LINES)), "{}", answer.in_words());
    let text = std::str::from_utf8(&answer.body).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a result a line")).collect()
}

#[tokio::test]
async fn a_batch_that_can_not_be_taken_is_refused_as_a_whole() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let row = |what, body: String, status, code| Row::new(what, Method::POST, BATCH, status, code).text(body);
    let one = lines(&[command(json!({}))]);
    let too_many = vec![command(json!({})); 10_001];
    let rows = vec![
        row("no JSON", "x".into(), 400, "malformed"),
        row("a list", "[]".into(), 400, "malformed"),
        row("no commands", "{}".into(), 400, "malformed").names("commands"),
        row("commands that are no list", json!({"commands": {}}).to_string(), 400, "malformed")
            .names("commands"),
        row("an unknown field", json!({"commands": [], "more": 1}).to_string(), 400, "malformed")
            .names("more"),
        row("the commands twice", r#"{"commands":[],"commands":[]}"#.into(), 400, "malformed")
            .names("commands"),
        row("lines as JSON", format!("{one}{one}"), 400, "malformed"),
        row("another media type", one.clone(), 415, "unsupported_media_type")
            .header("content-type", "text/plain"),
        row("a key for all", whole(&[]).to_string(), 400, "idempotency_key_invalid")
            .header("idempotency-key", "k"),
        row("10,001 commands", whole(&too_many).to_string(), 413, "too_large"),
        row("past 32 MiB", "\n".repeat((32 << 20) + 1), 413, "too_large").header("content-type", LINES),
        Row::new("another shape of results", Method::POST, "/v1/batch?return=all", 400, "malformed")
            .text(whole(&[]).to_string())
            .names("return"),
        Row::new("another parameter", Method::POST, "/v1/batch?limit=1", 400, "malformed")
            .text(whole(&[]).to_string())
            .names("limit"),
        Row::get("another method", BATCH, 405, "method_not_allowed"),
    ];
    ask(&cluster, &rows).await;
    let free = cluster.api(1).get(RESERVATIONS).expect(200).await;
    assert_eq!(free["reservations"], json!([]), "what was refused as a whole has done nothing");
}

/// Bodies of one thing may be a mebibyte long, and those of many things longer.
#[tokio::test]
async fn bodies_are_taken_up_to_what_the_contract_says() {
    const MIB: usize = 1 << 20;
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    let padded = |body: Value, length: usize| {
        let body = body.to_string();
        let blanks = " ".repeat(length - body.len());
        body + &blanks
    };
    let sent = async |path: &str, body: String| {
        api.call(Method::POST, path).body("application/json", body).answer().await.status
    };
    let nights = |n: u64| json!({"arrival": date(n), "departure": date(n + 1)});
    assert_eq!(sent(RESERVATIONS, padded(stay(nights(1)), MIB)).await, 201);
    assert_eq!(sent(RESERVATIONS, padded(stay(nights(2)), MIB + 1)).await, 413);
    let group = json!({"guest": "g", "reservations": [with(stay(nights(3)), json!({"guest": null}))]});
    assert_eq!(sent("/v1/properties/grand/bookings", padded(group, 3 * MIB)).await, 201);
    assert_eq!(sent(BATCH, padded(whole(&[command(nights(4))]), 3 * MIB)).await, 200);
    let made = api.get(RESERVATIONS).expect(200).await;
    let arrivals: Vec<&Value> =
        made["reservations"].as_array().expect("a list").iter().map(|it| &it["arrival"]).collect();
    assert_eq!(arrivals, [1, 3, 4].map(|n| json!(date(n))).iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn each_command_has_the_outcome_of_its_own_call_in_order() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    for (n, api) in cluster.apis().iter().enumerate() {
        let nights = |from: u64, changes: Value| {
            let from = from + 20 * n as u64;
            with(json!({"arrival": date(from), "departure": date(from + 2)}), changes)
        };
        let first = reserve(api, nights(10, json!({}))).await["id"].clone();
        let held = reserve(api, nights(13, json!({"hold_seconds": 600}))).await["id"].clone();
        let of = |op: &str, fields: Value| with(json!({"op": op, "reservation": held}), fields);
        let member = |from| nights(from, json!({"room": "102", "occupancy": 1}));
        let group = |members: Value| json!({"op": "book_group", "property": "grand", "guest": "g", "reservations": members});
        let put_room =
            json!({"op": "put_room", "property": "grand", "room": format!("new-{n}"), "room_type": "double"});
        let rows = [
            (of("confirm", json!({})), 200, ""),
            (command(nights(10, json!({"guest": "too early"}))), 409, "room_unavailable"),
            (json!({"op": "cancel", "reservation": first}), 200, ""),
            (command(nights(10, json!({}))), 201, ""),
            (command(json!({"guest": 7})), 400, "malformed"),
            (json!({"op": "dance"}), 400, "malformed"),
            (json!("cancel"), 400, "malformed"),
            (of("amend", json!({"occupancy": 1})), 200, ""),
            (group(json!([member(10), member(13)])), 201, ""),
            (group(json!([])), 400, "malformed"),
            (of("assign", json!({"room": "102"})), 409, "room_unavailable"),
            (of("assign", json!({"room": "301"})), 200, ""),
            (of("check_in", json!({})), 409, "invalid_state"),
            (of("check_out", json!({})), 409, "invalid_state"),
            (of("no_show", json!({})), 409, "invalid_state"),
            (
                of("cancel", json!({"reservation": "0197a7a8-2f3b-7c4d-8e5f-0123456789ab"})),
                404,
                "reservation_not_found",
            ),
            (put_room.clone(), 201, ""),
            (put_room, 200, ""),
            (
                json!({"op": "put_rate", "property": "grand", "room": format!("new-{n}"), "from": date(0),
                       "to": date(9), "prices": {"EUR": {"1": 5}}}),
                200,
                "",
            ),
            (
                command(nights(10, json!({"room": "301", "idempotency_key": "a b"}))),
                400,
                "idempotency_key_invalid",
            ),
        ];
        let commands: Vec<Value> = rows.iter().map(|(command, ..)| command.clone()).collect();
        let results = results(api, &commands).await;
        assert_eq!(results.len(), rows.len());
        for ((command, status, code), result) in rows.iter().zip(&results) {
            let problem = &result["problem"];
            let found = (result["status"].as_u64(), problem["code"].as_str().unwrap_or_default());
            assert_eq!(found, (Some(*status), *code), "node {}: {command} → {result}", n + 1);
            assert!(problem.is_null() || problem["status"] == *status, "{result}");
        }
        let made = &results[3]["reservation"];
        assert_eq!(*made, api.get(&path_of(made)).expect(200).await, "as its GET shows it");
        let booking = &results[8]["booking"];
        let path = format!("/v1/bookings/{}", booking["id"].as_str().expect("an id"));
        assert_eq!(*booking, api.get(&path).expect(200).await);
        assert_eq!(results[11]["reservation"]["room"], "301");
        assert_eq!(results[16]["room"], json!({"room": format!("new-{n}"), "room_type": "double"}));
        assert_eq!(results[18]["rate"]["prices"], json!({"EUR": {"1": 5}}));
    }
}

#[tokio::test]
async fn the_answer_takes_the_form_that_is_asked_for() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    let commands = [command(json!({})), json!({"op": "confirm"}), command(json!({"room": "102"}))];
    let keyed: Vec<Value> =
        (0..3).map(|n| with(commands[n].clone(), json!({"idempotency_key": format!("key-{n}")}))).collect();
    let first = results(&api, &keyed).await;
    assert_eq!(first[0]["status"], 201, "{first:?}");
    // Each form of the request, with each of the answer: the same results, out of the store.
    for accept in
        [None, Some("application/json"), Some(LINES), Some("application/json;q=0.1, application/x-ndjson")]
    {
        for in_lines in [false, true] {
            let call = api.call(Method::POST, BATCH);
            let call = if in_lines {
                // An empty line is none, and the last needs no end.
                call.body(LINES, format!("\n{}", lines(&keyed).trim_end()))
            } else {
                call.json(&whole(&keyed))
            };
            let call = accept.into_iter().fold(call, |call, accept| call.header("accept", accept));
            let answer = call.answer().await;
            let answered_in_lines = accept.map_or(in_lines, |accept| accept.ends_with("ndjson"));
            let results = if answered_in_lines { results_in_lines(&answer) } else { results_of(&answer) };
            assert_eq!(results, first, "{accept:?}, in lines: {in_lines}");
        }
    }
    let minimal = api.post("/v1/batch?return=minimal", &whole(&keyed)).expect(200).await;
    let expected = json!([{"status": 201, "id": first[0]["reservation"]["id"]}, first[1],
                          {"status": 201, "id": first[2]["reservation"]["id"]}]);
    assert_eq!(minimal["results"], expected);
}

#[tokio::test]
async fn a_key_in_a_batch_is_the_key_of_the_request_alone() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let alone = cluster.api(1).post(RESERVATIONS, &stay(json!({}))).key("order-1").answer().await;
    let keyed = |changes: Value| command(with(changes, json!({"idempotency_key": "order-1"})));
    let batched = results(&cluster.api(2), &[keyed(json!({})), keyed(json!({"occupancy": 1}))]).await;
    assert_eq!(batched[0], json!({"status": 201, "reservation": alone.json()}));
    assert_eq!(batched[1]["problem"]["code"], "idempotency_key_reused");

    let cancel = json!({"op": "cancel", "reservation": alone.json()["id"], "idempotency_key": "order-2"});
    let canceled = results(&cluster.api(3), &[cancel]).await;
    let path = format!("{}/cancel", path_of(&alone.json()));
    let again = cluster.api(1).post(&path, &json!({})).key("order-2").answer().await;
    assert_eq!((again.status, again.replayed()), (200, true), "{}", again.in_words());
    assert_eq!(canceled[0], json!({"status": 200, "reservation": again.json()}));
    // Twice in one batch: the second finds what the first stored.
    let twice = vec![command(json!({"room": "102", "idempotency_key": "order-3"})); 2];
    let twice = results(&cluster.api(2), &twice).await;
    assert_eq!((&twice[0]["status"], &twice[0]), (&json!(201), &twice[1]));
}

/// The followers' commands reach the leader together, and the log holds them in their order.
#[tokio::test]
async fn five_hundred_commands_are_a_few_entries_of_the_log() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    for (n, id) in cluster.ids().into_iter().enumerate() {
        let commands: Vec<Value> = (0..500)
            .map(|at| {
                let night = at + 500 * n as u64;
                json!({"op": "put_rate", "property": "grand", "room_type": "single", "from": date(night),
                       "to": date(night + 1), "prices": {"EUR": {"1": at}}})
            })
            .collect();
        let commands: Vec<Value> =
            commands
                .into_iter()
                .chain((0..500).map(|_| {
                    command(json!({"arrival": date(10 + n as u64), "departure": date(11 + n as u64)}))
                }))
                .collect();
        let last = |row: &Value| row["last_log_index"].as_u64().expect("an index");
        let before = last(&cluster.own_row(id).await.expect("a node that answers"));
        let results = results(&cluster.api(id), &commands).await;
        let entries = last(&cluster.own_row(id).await.expect("a node that answers")) - before;
        assert!(entries <= 5, "node {id}: 1,000 commands in {entries} entries");
        let statuses: Vec<u64> =
            results.iter().map(|result| result["status"].as_u64().expect("one")).collect();
        assert!(statuses[..500].iter().all(|status| *status == 200), "{statuses:?}");
        // The first that asks for the room has it.
        assert_eq!(statuses[500], 201);
        assert!(statuses[501..].iter().all(|status| *status == 409), "{statuses:?}");
    }
}
