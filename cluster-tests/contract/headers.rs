//! What is true of every answer: its headers, unknown routes and methods, and the rules of the idempotency key.

use reqwest::Method;
use serde_json::json;

use super::{RESERVATIONS, Row, ask, grand, has_its_headers, open_grand, path_of, reserve, stay};
use crate::support::Cluster;
use crate::support::hotel::date;

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let mut rows = Vec::new();
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/properties/grand/nothing",
        "/v1/properties/grand/rooms/101/x",
        "/v1//properties",
    ] {
        rows.push(Row::get("no such route", path, 404, "not_found"));
        rows.push(Row::post("no such route", path, json!({}), 404, "not_found"));
    }
    for (method, path) in [
        (Method::DELETE, "/v1/properties"),
        (Method::POST, "/v1/properties"),
        (Method::DELETE, "/v1/properties/grand"),
        (Method::POST, "/v1/properties/grand/rates"),
        (Method::PUT, RESERVATIONS),
        (Method::POST, "/v1/properties/grand/free-rooms"),
        (Method::PUT, "/v1/search"),
        (Method::DELETE, "/v1/cluster"),
        (Method::GET, "/v1/cluster/snapshot"),
    ] {
        rows.push(Row::new("no such method", method, path, 405, "method_not_allowed"));
    }
    ask(&cluster, &rows).await;
    for row in rows.iter().filter(|row| row.status == 405) {
        let answer = row.call(&cluster.api(1)).answer().await;
        let allowed = answer.header("allow").unwrap_or_default();
        assert!(!allowed.is_empty(), "RFC 9110 wants Allow: {}", answer.in_words());
    }
    // Outside /v1 as well.
    let problem = cluster.api(2).get("/nothing").refused(404, "not_found").await;
    assert_eq!(problem["status"], 404);
    cluster.api(2).post("/livez", &json!({})).refused(405, "method_not_allowed").await;
}

#[tokio::test]
async fn every_answer_says_who_gave_it_and_what_it_reflects() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let made = reserve(&cluster.api(1), json!({})).await;
    let leader = cluster.leader().await.to_string();
    for (id, api) in cluster.ids().into_iter().zip(cluster.apis()) {
        let calls = [
            api.get("/v1/properties"),
            api.get(&path_of(&made)),
            api.get(RESERVATIONS),
            api.get("/v1/cluster"),
            api.get("/v1/cluster/state-hash"),
            api.get("/v1/nothing"),
            api.get(&format!("{RESERVATIONS}?limit=0")),
            api.put("/v1/properties/grand", &grand()),
            api.post(RESERVATIONS, &json!({})),
            api.post(RESERVATIONS, &stay(json!({}))),
            api.call(Method::POST, RESERVATIONS).body("text/plain", "x"),
            api.call(Method::DELETE, "/v1/properties"),
        ];
        for call in calls {
            let answer = call.answer().await;
            has_its_headers(&answer).unwrap_or_else(|why| panic!("{why}: {}", answer.in_words()));
            assert_eq!(
                answer.header("innkeeper-node"),
                Some(id.to_string().as_str()),
                "{}",
                answer.in_words()
            );
            assert_eq!(answer.header("innkeeper-leader"), Some(leader.as_str()), "{}", answer.in_words());
            let type_of = answer.header("content-type").unwrap_or_default();
            let expected = if answer.status < 400 { "application/json" } else { "application/problem+json" };
            assert_eq!(type_of, expected, "{}", answer.in_words());
        }
    }
    // A write's answer reflects the write; a refusal by the ledger has a position as well, and a later one.
    let api = cluster.api(2);
    let first = api.post(RESERVATIONS, &stay(json!({"room": "102"}))).answer().await;
    assert_eq!(Some(first.lsn()), first.json()["lsn"].as_u64());
    let refused = api.post(RESERVATIONS, &stay(json!({"room": "102"}))).answer().await;
    assert_eq!(
        (refused.status, refused.lsn()),
        (409, first.lsn() + 1),
        "refused commands have a position too"
    );
    // What is malformed never reaches the log.
    api.post(RESERVATIONS, &json!({})).refused(400, "malformed").await;
    let next = api
        .post(RESERVATIONS, &stay(json!({"room": "102", "arrival": date(90), "departure": date(91)})))
        .answer()
        .await;
    assert_eq!(next.lsn(), first.lsn() + 2);
}

#[tokio::test]
async fn head_is_get_without_a_body_and_an_encoded_id_is_the_id() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    let made = reserve(&api, json!({})).await;
    for path in [path_of(&made), "/v1/properties/grand".to_owned(), "/v1/properties/nowhere".to_owned()] {
        let [got, head] = [Method::GET, Method::HEAD].map(|method| api.call(method, &path));
        let (got, head) = (got.answer().await, head.answer().await);
        assert_eq!((head.status, head.body.len()), (got.status, 0), "{}", head.in_words());
        for name in ["content-type", "content-length", "etag", "innkeeper-node", "innkeeper-lsn"] {
            assert_eq!(head.header(name), got.header(name), "{name} of {}", head.in_words());
        }
    }
    let encoded = api.get("/v1/properties/gr%61nd/rooms/%31%30%31/calendar.ics").answer().await;
    assert_eq!(encoded.status, 200, "{}", encoded.in_words());
    assert_eq!(api.get("/v1/properties/gr%61nd").expect(200).await["property"], "grand");
}

#[tokio::test]
async fn a_revision_is_asked_for_in_one_form_only() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let made = reserve(&cluster.api(1), json!({})).await;
    let cancel = format!("{}/cancel", path_of(&made));
    let rows: Vec<Row> = ["*", "1", "W/\"1\"", "\"1\", \"2\"", "\"one\"", "\"+1\"", "\"01\"", ""]
        .map(|form| {
            Row::post("a form of If-Match", &cancel, json!({}), 400, "malformed")
                .header("if-match", form)
                .names("If-Match")
        })
        .into();
    ask(&cluster, &rows).await;
    assert_eq!(cluster.api(1).get(&path_of(&made)).expect(200).await, made);
    cluster.api(3).post(&cancel, &json!({})).header("if-match", "\"1\"").expect(200).await;
}

#[tokio::test]
async fn an_idempotency_key_has_its_own_rules() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let row = |what, key: String| {
        Row::post(what, RESERVATIONS, stay(json!({})), 400, "idempotency_key_invalid")
            .header("idempotency-key", key)
    };
    let rows = vec![
        row("256 characters", "k".repeat(256)),
        row("no character", String::new()),
        row("not ASCII", "schlüssel".to_owned()),
        row("a blank inside", "a key".to_owned()),
        row("a tab inside", "a\tkey".to_owned()),
        Row::new("on a snapshot", Method::POST, "/v1/cluster/snapshot", 400, "idempotency_key_invalid")
            .header("idempotency-key", "a key"),
        Row::put("on a PUT", "/v1/properties/grand", grand(), 400, "idempotency_key_invalid")
            .header("idempotency-key", "k".repeat(256)),
    ];
    ask(&cluster, &rows).await;

    // The longest and the shortest, with everything visible between them.
    let visible: String = ('!'..='~').collect();
    let all = format!("{visible}{visible}{visible}")[..255].to_owned();
    for (n, key) in ["k", "~", all.as_str()].into_iter().enumerate() {
        let nights = json!({"arrival": date(n as u64), "departure": date(n as u64 + 1)});
        let made = cluster.api(1).post(RESERVATIONS, &stay(nights.clone())).key(key).answer().await;
        assert_eq!((made.status, made.replayed()), (201, false), "{}", made.in_words());
        let again = cluster.api(2).post(RESERVATIONS, &stay(nights)).key(key).answer().await;
        assert_eq!((again.status, again.json(), again.replayed()), (201, made.json(), true));
    }
    // On every write: the first answer of a PUT is the answer of its key.
    let property = grand();
    for (api, replayed) in cluster.apis().iter().zip([false, true, true]) {
        let answer = api.put("/v1/properties/keyed", &property).key("property").answer().await;
        assert_eq!((answer.status, answer.replayed()), (201, replayed), "{}", answer.in_words());
    }
    // Refusals too, although what they were refused for has gone.
    let api = cluster.api(3);
    let nights = json!({"arrival": date(50), "departure": date(51)});
    let first = reserve(&api, nights.clone()).await;
    let refused = api.post(RESERVATIONS, &stay(nights.clone())).key("refused").answer().await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "room_unavailable"));
    api.post(&format!("{}/cancel", path_of(&first)), &json!({})).expect(200).await;
    for api in cluster.apis() {
        let again = api.post(RESERVATIONS, &stay(nights.clone())).key("refused").answer().await;
        assert_eq!((again.status, again.json(), again.replayed()), (409, refused.json(), true));
    }
    // Without a key nothing protects a retry, and nothing is in its way.
    reserve(&api, nights).await;
}
