//! One key is one outcome: whoever asks again, where, when, and after whatever happened meanwhile.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::hotel::date;
use crate::support::{Answer, Cluster, Hotel, eventually};

#[tokio::test]
async fn a_key_asked_again_after_its_leader_died_is_one_reservation() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let leader = cluster.leader().await;

    // One booking and one refusal that the leader answered.
    let made = hotel.reserve(&cluster.api(leader), "n1", 0, 2, "answered").expect(201).await;
    let refused =
        hotel.reserve(&cluster.api(leader), "n1", 1, 3, "refused").refused(409, "room_unavailable").await;
    // And one that it may or may not have: it dies with the request on its way.
    let asked = hotel.reserve(&cluster.api(leader), "n2", 0, 2, "unanswered");
    let on_its_way = tokio::spawn(async move { asked.send().await.map(|answer| answer.status) });
    tokio::task::yield_now().await;
    cluster.kill9(leader);
    let told = on_its_way.await.expect("a task that ends");

    let next = cluster.leader_of_others(leader).await;
    for id in cluster.ids().into_iter().filter(|&id| id != leader) {
        let again = hotel.reserve(&cluster.api(id), "n1", 0, 2, "answered").answer().await;
        assert_eq!((again.status, again.json()), (201, made.clone()), "at node {id}");
        assert!(again.replayed(), "{}", again.in_words());
        let again = hotel.reserve(&cluster.api(id), "n1", 1, 3, "refused").answer().await;
        assert_eq!((again.status, again.problem()), (409, refused.clone()), "at node {id}");
        assert!(again.replayed(), "{}", again.in_words());
    }
    let known = hotel.reserve(&cluster.api(next), "n2", 0, 2, "unanswered").expect(201).await;
    if let Ok(status) = told {
        assert_eq!(status, 201, "an answer before the kill can only have been a booking");
    }

    // The dead one returns and says the same.
    cluster.restart(leader).await;
    let again = hotel.reserve(&cluster.api(leader), "n2", 0, 2, "unanswered").answer().await;
    assert_eq!((again.status, again.json(), again.replayed()), (201, known, true));
    let listed = hotel.reservations(&cluster.api(leader)).await;
    let keys: Vec<&str> = listed.iter().map(|found| found["external_ref"].as_str().expect("a key")).collect();
    assert_eq!(keys, ["answered", "unanswered"]);
}

#[tokio::test]
async fn duplicates_at_the_same_time_get_the_same_outcome() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let apis = cluster.apis();

    for round in 0..5 {
        let key = format!("round-{round}");
        let running: Vec<_> = (0..24)
            .map(|n| hotel.reserve(&apis[n % apis.len()], "n1", round, round + 1, &key))
            .map(|call| tokio::spawn(async move { call.answer().await }))
            .collect();
        let mut outcomes = BTreeSet::new();
        let mut first_ones = 0;
        for call in running {
            let answer = call.await.expect("an answer");
            first_ones += u32::from(!answer.replayed());
            assert_eq!(answer.status, 201, "{}", answer.in_words());
            outcomes.insert(answer.json().to_string());
        }
        assert_eq!(outcomes.len(), 1, "one key, one outcome: {outcomes:#?}");
        assert_eq!(first_ones, 1, "all but one are told that it was replayed");
    }
    assert_eq!(hotel.reservations(&apis[0]).await.len(), 5);
}

#[tokio::test]
async fn an_outcome_is_replayed_as_the_command_left_it() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let api = cluster.api(1);
    let made = hotel.reserve(&api, "n1", 0, 2, "create").expect(201).await;
    let path = format!("/v1/reservations/{}", made["id"].as_str().expect("an id"));
    let cancel = || api.post(&format!("{path}/cancel"), &json!({})).key("cancel");
    let canceled = cancel().expect(200).await;
    hotel.reserve(&api, "n1", 0, 2, "another").expect(201).await;
    let refused = hotel.reserve(&api, "n1", 1, 2, "too-late").refused(409, "room_unavailable").await;
    api.post(&format!("{path}/cancel"), &json!({})).key("cancel-again").refused(409, "invalid_state").await;

    let mut hold = hotel.stay("n2", 0, 2, "hold");
    hold["hold_seconds"] = json!(600);
    let held = hotel.post(&api, &hold).key("hold").expect(201).await;
    let held_path = format!("/v1/reservations/{}", held["id"].as_str().expect("an id"));
    let confirmed = api.post(&format!("{held_path}/confirm"), &json!({})).key("confirm").expect(200).await;
    // The room is free again, and still the refusal of then is the answer of now.
    let other = hotel.reservations(&api).await.into_iter().find(|found| found["external_ref"] == "another");
    let other = other.expect("the second booking")["id"].as_str().expect("an id").to_owned();
    api.post(&format!("/v1/reservations/{other}/cancel"), &json!({})).expect(200).await;

    for phase in ["running", "restarted"] {
        for id in cluster.ids() {
            let api = cluster.api(id);
            let again = hotel.reserve(&api, "n1", 0, 2, "create").answer().await;
            replays(&again, 201, &made, phase);
            assert_eq!(again.header("etag"), Some("\"1\""));
            assert_eq!(again.header("location"), Some(path.as_str()));
            replays(
                &api.post(&format!("{path}/cancel"), &json!({})).key("cancel").answer().await,
                200,
                &canceled,
                phase,
            );
            replays(
                &hotel.reserve(&api, "n1", 1, 2, "too-late").answer().await,
                409,
                &refused.clone().into(),
                phase,
            );
            replays(&hotel.post(&api, &hold).key("hold").answer().await, 201, &held, phase);
            let again = api.post(&format!("{held_path}/confirm"), &json!({})).key("confirm").answer().await;
            replays(&again, 200, &confirmed, phase);
        }
        let before = cluster.agree().await;
        cluster.kill9_all();
        cluster.restart_all().await;
        assert_eq!(cluster.agree().await, before);
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let made = hotel.reserve(&cluster.api(1), "n1", 0, 2, "key").expect(201).await;

    // Another night, another call, another path: each is another request, at any node.
    for api in cluster.apis() {
        let mut other = hotel.stay("n1", 0, 2, "key");
        other["occupancy"] = json!(2);
        hotel.post(&api, &other).key("key").refused(422, "idempotency_key_reused").await;
        let path = format!("/v1/reservations/{}/cancel", made["id"].as_str().expect("an id"));
        api.post(&path, &json!({})).key("key").refused(422, "idempotency_key_reused").await;
        let rates = json!({"room": "n1", "from": date(0), "to": date(1), "prices": {}});
        api.put(&hotel.path("/rates"), &rates).key("key").refused(422, "idempotency_key_reused").await;
    }
    // Another spelling of the same fields is the same request.
    let spelled = format!(
        " {{\"occupancy\":1, \"external_ref\":\"key\", \"departure\":\"{}\",\n\"arrival\":\"{}\", \"room\":\"n1\", \
         \"guest\":\"guest-key\", \"hold_seconds\":null}}",
        date(2),
        date(0)
    );
    let again = cluster.api(2).call(reqwest::Method::POST, &hotel.path("/reservations"));
    let again = again.body("application/json; charset=utf-8", spelled).key("key").answer().await;
    replays(&again, 201, &made, "spelled otherwise");
    // Whatever was refused above has left no reservation.
    assert_eq!(hotel.reservations(&cluster.api(3)).await.len(), 1);
}

/// What is decided before the log isn't stored: the same key may be asked again rightly.
#[tokio::test]
async fn what_never_reached_the_log_is_not_stored() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 1).await;
    let api = cluster.api(1);
    let mut malformed = hotel.stay("n1", 0, 2, "key");
    malformed["arrival"] = json!("2027-02-30");
    hotel.post(&api, &malformed).key("key").refused(400, "malformed").await;

    for id in [2, 3] {
        cluster.kill9(id);
    }
    eventually("the lonely node knows that it is alone", async || {
        let answer = hotel.reserve(&api, "c1", 0, 2, "probe").send().await?;
        if answer.code() == "no_leader" { Ok(()) } else { Err(answer.in_words()) }
    })
    .await;
    hotel.reserve(&api, "n1", 0, 2, "key").refused(503, "no_leader").await;
    for id in [2, 3] {
        cluster.restart(id).await;
    }
    let made = hotel.reserve(&api, "n1", 0, 2, "key").answer().await;
    assert_eq!((made.status, made.replayed()), (201, false), "{}", made.in_words());
}

fn replays(again: &Answer, status: u16, expected: &Value, phase: &str) {
    assert_eq!((again.status, &again.json()), (status, expected), "{phase}: {}", again.in_words());
    assert!(again.replayed(), "{phase}: {}", again.in_words());
}
