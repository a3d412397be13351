//! The client against small scripted servers: which requests each of them sees, and what the call comes to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::{
    Client, ClientError, FirstBusinessDate, Key, ListQuery, NotAnEndpoint, Patience, PutProperty, Readiness,
    Reserve, StatusChange, Stay,
};
use crate::ledger::{Currency, Lsn, PropertyId, ReservationId, RoomId, Status};

const QUICK: Patience = Patience {
    connect: Duration::from_millis(200),
    attempt: Duration::from_millis(300),
    total: Duration::from_millis(1_500),
    unreachable: Duration::from_millis(400),
};

/// What a scripted node does with one request.
#[derive(Clone)]
enum Step {
    Say(u16, Value, &'static [(&'static str, &'static str)]),
    Raw(u16, &'static str),
    /// Takes the request and never answers.
    Silence,
    /// Answers after longer than is waited for what is soon done.
    Slow(&'static str),
}

#[derive(Clone, Debug)]
struct Seen {
    method: String,
    target: String,
    key: Option<String>,
    if_match: Option<String>,
    body: Value,
}

#[derive(Clone)]
struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A node that follows its script, and repeats the last step when the script is over.
struct Node {
    url: String,
    script: Script,
    server: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn start(steps: impl IntoIterator<Item = Step>) -> Node {
        let script =
            Script { steps: Arc::new(Mutex::new(steps.into_iter().collect())), seen: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(follow).with_state(script.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Node { url, script, server }
    }

    fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn follow(State(script): State<Script>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        key: header("idempotency-key"),
        if_match: header("if-match"),
        body: serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap_or(Value::Null),
    };
    script.seen.lock().unwrap().push(seen);
    let step = {
        let mut steps = script.steps.lock().unwrap();
        if steps.len() > 1 { steps.pop_front().unwrap() } else { steps.front().unwrap().clone() }
    };
    match step {
        Step::Silence => std::future::pending().await,
        Step::Slow(text) => {
            tokio::time::sleep(3 * QUICK.attempt).await;
            Response::new(Body::from(text))
        }
        Step::Raw(status, text) => Response::builder().status(status).body(Body::from(text)).unwrap(),
        Step::Say(status, body, headers) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Body::from(body.to_string())).unwrap()
        }
    }
}

fn problem(status: u16, code: &str) -> Step {
    problem_with(status, code, &[])
}

fn problem_with(status: u16, code: &str, headers: &'static [(&'static str, &'static str)]) -> Step {
    let body =
        json!({"type": "about:blank", "title": code, "status": status, "detail": "in words", "code": code});
    Step::Say(status, body, headers)
}

fn booked() -> Step {
    let body = json!({
        "id": "01890000-0000-7000-8000-000000000001", "booking_id": "01890000-0000-7000-8000-000000000002",
        "property": "p", "room_type": "double", "room": "101", "room_pinned": true, "guest": "g",
        "arrival": "2027-03-01", "departure": "2027-03-02", "occupancy": 2, "status": "confirmed",
        "hold_expires_at": null,
        "price": {"currency": "EUR", "nights": [{"date": "2027-03-01", "amount": 14000}], "total": 14000},
        "block": null, "external_ref": null, "revision": 1, "lsn": 7,
        "created_at": "2027-01-01T00:00:00.000Z", "updated_at": "2027-01-01T00:00:00.000Z"
    });
    let headers = &[
        ("innkeeper-node", "2"),
        ("innkeeper-leader", "3"),
        ("innkeeper-lsn", "7"),
        ("etag", "\"1\""),
        ("idempotent-replayed", "true"),
    ];
    Step::Say(201, body, headers)
}

fn client(nodes: &[&Node]) -> Client {
    Client::with_patience(nodes.iter().map(|node| node.url.clone()).collect(), QUICK).unwrap()
}

fn property() -> PropertyId {
    PropertyId::new("p").unwrap()
}

fn stay() -> Reserve {
    let stay = Stay {
        room: Some(RoomId::new("101").unwrap()),
        room_type: None,
        arrival: "2027-03-01".parse().unwrap(),
        departure: "2027-03-02".parse().unwrap(),
        occupancy: 2,
        currency: None,
        hold_seconds: None,
        expected_total: None,
        block: None,
        external_ref: None,
    };
    Reserve { guest: "g".into(), stay }
}

/// An address where nothing listens, as long as the socket is kept: its port is taken and refuses connections.
fn nobody() -> (String, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (format!("http://{}", socket.local_addr().unwrap()), socket)
}

#[tokio::test]
async fn a_keyed_write_goes_to_the_next_node_under_the_same_key() {
    // With whether it may have been done all the same.
    let troubles = [
        (problem(503, "no_leader"), false),
        (problem(503, "outcome_unknown"), true),
        (problem(500, "internal"), true),
        (problem(503, "not_ready"), false),
        (problem_with(429, "overloaded", &[("retry-after", "1")]), false),
        (Step::Silence, true),
        (Step::Raw(502, "<html>a proxy's page</html>"), true),
    ];
    for (trouble, is_left_open) in troubles {
        let (first, second) = (Node::start([trouble]).await, Node::start([booked()]).await);
        let answer = client(&[&first, &second]).reserve(&property(), &stay(), Key::Fresh).await.unwrap();
        let (one, two) = (first.seen(), second.seen());
        assert_eq!((one.len(), two.len()), (1, 1));
        assert!(one[0].key.as_ref().is_some_and(|key| !key.is_empty()));
        assert_eq!(one[0].key, two[0].key);
        assert_eq!(one[0].body, two[0].body);
        assert_eq!((answer.meta.attempts, answer.meta.replayed), (2, true));
        assert_eq!(answer.meta.is_of_earlier_call(), !is_left_open);
    }
}

#[tokio::test]
async fn a_write_without_a_key_is_never_sent_twice() {
    for (trouble, unknown) in [
        (problem(503, "no_leader"), false),
        (problem(503, "outcome_unknown"), true),
        (problem(500, "internal"), true),
        (problem(429, "overloaded"), false),
        (Step::Silence, true),
        (Step::Raw(502, "bad gateway"), true),
    ] {
        let (first, second) = (Node::start([trouble]).await, Node::start([booked()]).await);
        let error = client(&[&first, &second]).reserve(&property(), &stay(), Key::None).await.unwrap_err();
        match error {
            ClientError::OutcomeUnknown { key: None, .. } => assert!(unknown),
            ClientError::Refused(_) => assert!(!unknown),
            other => panic!("expected a refusal or an unknown outcome, got {other:?}"),
        }
        assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
        assert_eq!(first.seen()[0].key, None);
    }
}

#[tokio::test]
async fn a_write_without_a_key_goes_on_where_no_connection_was_made() {
    let node = Node::start([booked()]).await;
    let (nobody, _port) = nobody();
    let client = Client::with_patience(vec![nobody, node.url.clone()], QUICK).unwrap();
    client.reserve(&property(), &stay(), Key::None).await.unwrap();
    assert_eq!(node.seen().len(), 1);
}

#[tokio::test]
async fn retries_end_with_the_deadline_and_say_what_is_known() {
    let node = Node::start([problem(503, "no_leader")]).await;
    let started = Instant::now();
    let error = client(&[&node]).reserve(&property(), &stay(), Key::Fresh).await.unwrap_err();
    assert_eq!(error.code(), Some("no_leader"));
    assert!(started.elapsed() < QUICK.total + QUICK.attempt, "took {:?}", started.elapsed());
    // 25, 50, 100, 200, 400 and then 500 ms between them: six at most begin in 1.2 s.
    assert!((2..=6).contains(&node.seen().len()), "{} requests", node.seen().len());
}

#[tokio::test]
async fn what_one_attempt_left_open_no_later_refusal_closes() {
    let node = Node::start([Step::Silence, problem(503, "no_leader")]).await;
    let error = client(&[&node]).reserve(&property(), &stay(), Key::Given("mine".into())).await.unwrap_err();
    match error {
        ClientError::OutcomeUnknown { key, .. } => assert_eq!(key.as_deref(), Some("mine")),
        other => panic!("expected an unknown outcome, got {other:?}"),
    }
    assert!(node.seen().len() > 1);
}

#[tokio::test]
async fn what_takes_a_node_long_is_waited_for() {
    let id = ReservationId(uuid::Uuid::nil());
    let node = Node::start([Step::Slow(r#"{"versions":[]}"#)]).await;
    assert!(client(&[&node]).versions(id).await.unwrap().value.versions.is_empty());
    assert_eq!(node.seen().len(), 1);
    let error = client(&[&node]).reservation(id).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn retry_after_is_honoured_and_never_waited_past_the_deadline() {
    let node = Node::start([problem_with(429, "overloaded", &[("retry-after", "1")]), booked()]).await;
    let started = Instant::now();
    let patient = Patience { total: Duration::from_secs(5), ..QUICK };
    let client_of = |node: &Node| Client::with_patience(vec![node.url.clone()], patient).unwrap();
    client_of(&node).reserve(&property(), &stay(), Key::Fresh).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "came back after {:?}", started.elapsed());
    assert_eq!(node.seen().len(), 2);

    let node = Node::start([problem_with(429, "overloaded", &[("retry-after", "60")])]).await;
    let started = Instant::now();
    let error = client(&[&node]).reserve(&property(), &stay(), Key::Fresh).await.unwrap_err();
    assert_eq!(error.code(), Some("overloaded"));
    assert!(started.elapsed() < QUICK.total);
    assert_eq!(node.seen().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_its_facts() {
    let mut body = json!({"type": "about:blank", "title": "taken", "status": 409, "detail": "taken",
        "code": "room_unavailable"});
    body["nights"] = json!(["2027-03-01"]);
    let node = Node::start([Step::Say(409, body, &[("innkeeper-lsn", "9")])]).await;
    let other = Node::start([booked()]).await;
    let error = client(&[&node, &other]).reserve(&property(), &stay(), Key::Fresh).await.unwrap_err();
    let ClientError::Refused(refused) = &error else { panic!("expected a refusal, got {error:?}") };
    assert_eq!(refused.problem.facts["nights"], json!(["2027-03-01"]));
    assert_eq!(refused.meta.lsn, Some(Lsn(9)));
    assert!(error.to_string().contains("room_unavailable") && error.to_string().contains("2027-03-01"));
    assert_eq!((node.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn the_node_that_answered_is_asked_first() {
    let (first, second) = (Node::start([problem(503, "no_leader")]).await, Node::start([booked()]).await);
    let client = client(&[&first, &second]);
    for _ in 0..3 {
        client.reserve(&property(), &stay(), Key::Fresh).await.unwrap();
    }
    assert_eq!((first.seen().len(), second.seen().len()), (1, 3));
}

#[tokio::test]
async fn answers_come_with_what_the_headers_say() {
    let node = Node::start([booked()]).await;
    let client = client(&[&node]);
    let id = ReservationId("01890000-0000-7000-8000-000000000001".parse().unwrap());
    let answer = client.change(id, StatusChange::Cancel, Some(4), Key::Given("k".into())).await.unwrap();
    assert_eq!(answer.value.id, id);
    let meta = &answer.meta;
    assert_eq!((meta.status, meta.node, meta.leader, meta.lsn), (201, Some(2), Some(3), Some(Lsn(7))));
    assert_eq!((meta.replayed, meta.revision), (true, Some(1)));
    assert_eq!(meta.endpoint, node.url);
    let seen = &node.seen()[0];
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.target, format!("/v1/reservations/{id}/cancel"));
    assert_eq!((seen.key.as_deref(), seen.if_match.as_deref()), (Some("k"), Some("\"4\"")));
}

#[tokio::test]
async fn questions_are_escaped_and_leave_out_what_is_not_asked() {
    let node = Node::start([Step::Say(200, json!({"reservations": [], "next_cursor": null}), &[])]).await;
    let query =
        ListQuery { guest: Some("a b&c=é".into()), status: Some(Status::Held), ..ListQuery::default() };
    client(&[&node]).reservations(&property(), &query).await.unwrap();
    let seen = &node.seen()[0];
    assert_eq!(seen.target, "/v1/properties/p/reservations?guest=a+b%26c%3D%C3%A9&status=held");
    assert_eq!(seen.key, None);
}

#[tokio::test]
async fn a_business_date_is_a_word_or_a_date() {
    let node = Node::start([problem(400, "malformed")]).await;
    let client = client(&[&node]);
    let date = "2016-01-01".parse().unwrap();
    for business_date in [FirstBusinessDate::Clock, FirstBusinessDate::Manual(date)] {
        let body = PutProperty {
            name: "n".into(),
            location: "l".into(),
            time_zone: "UTC".into(),
            currency: Currency::new("EUR").unwrap(),
            business_date,
        };
        client.put_property(&property(), &body, Key::Fresh).await.unwrap_err();
    }
    let sent: Vec<Value> = node.seen().into_iter().map(|seen| seen.body["business_date"].clone()).collect();
    assert_eq!(sent, [json!("clock"), json!("2016-01-01")]);
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_named() {
    for step in
        [Step::Raw(200, "{\"id\":"), Step::Raw(404, "<html>not here</html>"), Step::Say(200, json!([]), &[])]
    {
        let node = Node::start([step]).await;
        let error = client(&[&node]).cluster().await.unwrap_err();
        match error {
            ClientError::Malformed { endpoint, .. } => assert_eq!(endpoint, node.url),
            other => panic!("expected a malformed answer, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_can_not_be_read_may_have_been_done() {
    let is_open = |error: ClientError| match error {
        ClientError::OutcomeUnknown { key, .. } => assert_eq!(key.as_deref(), Some("mine")),
        other => panic!("expected an unknown outcome, got {other:?}"),
    };
    let mine = || Key::Given("mine".to_owned());
    let node = Node::start([Step::Raw(201, "{\"id\":")]).await;
    is_open(client(&[&node]).reserve(&property(), &stay(), mine()).await.unwrap_err());
    // What a stranger says to the repetition tells nothing about the first attempt.
    let node = Node::start([Step::Silence, Step::Raw(404, "<html>not here</html>")]).await;
    is_open(client(&[&node]).reserve(&property(), &stay(), mine()).await.unwrap_err());
}

#[tokio::test]
async fn a_decision_is_sent_once_and_without_a_key() {
    let node = Node::start([problem(503, "outcome_unknown")]).await;
    let paused_at = crate::wire::PausedAt { index: 7, state_hash: crate::ledger::StateHash(1) };
    let error = client(&[&node]).resume(&paused_at).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { key: None, .. }), "{error:?}");
    let seen = node.seen();
    assert_eq!((seen.len(), seen[0].key.clone()), (1, None));
}

#[tokio::test]
async fn a_stranger_among_the_endpoints_is_passed_over() {
    let stranger = Node::start([Step::Raw(404, "<html>not here</html>")]).await;
    let node = Node::start([booked()]).await;
    let client = client(&[&stranger, &node]);
    client.reserve(&property(), &stay(), Key::Fresh).await.unwrap();
    client.reserve(&property(), &stay(), Key::Fresh).await.unwrap();
    assert_eq!((stranger.seen().len(), node.seen().len()), (1, 2));
}

#[tokio::test]
async fn a_cluster_that_nobody_serves_is_told_soon() {
    let ((one, _one_port), (other, _other_port)) = (nobody(), nobody());
    let client = Client::with_patience(vec![one, other], QUICK).unwrap();
    let started = Instant::now();
    let error = client.reserve(&property(), &stay(), Key::Fresh).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    // An election would be sat out for `total`; this is `unreachable` and the pause that was under way.
    assert!(started.elapsed() < Duration::from_secs(1), "took {:?}", started.elapsed());
}

#[tokio::test]
async fn readiness_is_asked_once() {
    let ready = Node::start([Step::Raw(200, "")]).await;
    assert_eq!(client(&[&ready]).readyz().await, Readiness::Ready);
    assert_eq!(ready.seen()[0].target, "/readyz");
    let waiting = Node::start([problem(503, "not_ready")]).await;
    assert_eq!(client(&[&waiting]).readyz().await, Readiness::NotReady("in words (not_ready)".into()));
    assert_eq!(waiting.seen().len(), 1);
    let (nobody, _port) = nobody();
    let silent = Client::with_patience(vec![nobody], QUICK).unwrap();
    assert!(matches!(silent.readyz().await, Readiness::Silent(_)));
}

#[test]
fn endpoints_are_a_scheme_a_host_and_a_port() {
    for good in ["http://127.0.0.1:7101", "http://localhost:7101/", " http://[::1]:80 "] {
        assert!(Client::new(vec![good.into()]).is_ok(), "{good}");
    }
    for bad in
        ["", "127.0.0.1:7101", "https://a", "http://a/v1", "http://a?x", "http://u:p@a", "http://a:99999"]
    {
        assert!(matches!(Client::new(vec![bad.into()]), Err(NotAnEndpoint::Wrong { .. })), "{bad}");
    }
    assert_eq!(Client::new(vec![]).unwrap_err(), NotAnEndpoint::None);
}
