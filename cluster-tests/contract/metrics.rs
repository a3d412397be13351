//! `GET /metrics`: what it counts is what was done.

use std::collections::BTreeMap;

use serde_json::json;

use super::{RESERVATIONS, open_grand, path_of, reserve, stay};
use crate::support::{Api, Cluster, eventually};

/// Samples by name and labels, as they are written.
async fn samples(api: &Api) -> BTreeMap<String, f64> {
    let answer = api.get("/metrics").answer().await;
    assert_eq!(answer.status, 200, "{}", answer.in_words());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    lines.map(sample).collect()
}

fn requests(method: &str, route: &str, status: u16, code: &str) -> String {
    let labels = format!(r#"code="{code}",method="{method}",route="{route}",status="{status}""#);
    format!("innkeeper_http_requests_total{{{labels}}}")
}

#[tokio::test]
async fn requests_are_counted_by_route_and_code() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let api = cluster.api(2);
    let made = reserve(&api, json!({})).await;
    for _ in 0..3 {
        api.post(RESERVATIONS, &stay(json!({}))).refused(409, "room_unavailable").await;
    }
    api.get(&path_of(&made)).expect(200).await;
    api.get("/v1/made/up").refused(404, "not_found").await;
    api.get("/v1/made/up/too").refused(404, "not_found").await;
    let samples = samples(&api).await;
    let route = "/v1/properties/{property}/reservations";
    for (name, count) in [
        (requests("POST", route, 201, "ok"), 1.0),
        (requests("POST", route, 409, "room_unavailable"), 3.0),
        (requests("GET", "/v1/reservations/{id}", 200, "ok"), 1.0),
        (requests("GET", "none", 404, "not_found"), 2.0),
        (format!(r#"innkeeper_http_request_seconds_count{{method="POST",route="{route}"}}"#), 4.0),
        (format!(r#"innkeeper_http_request_seconds_bucket{{method="POST",route="{route}",le="+Inf"}}"#), 4.0),
        ("innkeeper_http_requests_in_flight".to_owned(), 1.0),
    ] {
        assert_eq!(samples.get(&name), Some(&count), "{name} in {samples:#?}");
    }
}

#[tokio::test]
async fn a_node_tells_its_position_its_leader_and_its_lag() {
    let cluster = Cluster::start(3).await;
    open_grand(&cluster).await;
    let leader = cluster.leader().await;
    let (lsn, _) = cluster.agree().await;
    for id in cluster.ids() {
        let samples = eventually(&format!("node {id} tells of all that is applied"), async || {
            let samples = samples(&cluster.api(id)).await;
            let settled =
                samples["innkeeper_lsn"] == lsn as f64 && samples["innkeeper_apply_lag_entries"] == 0.0;
            if settled { Ok(samples) } else { Err(format!("{samples:#?}")) }
        })
        .await;
        let is = |name: &str, value: f64| assert_eq!(samples.get(name), Some(&value), "{name} at node {id}");
        is("innkeeper_leader", leader as f64);
        is("innkeeper_is_leader", if id == leader { 1.0 } else { 0.0 });
        is("innkeeper_paused", 0.0);
        is("innkeeper_quarantined_commands", 0.0);
        is("innkeeper_failing_due", 0.0);
        is("innkeeper_queue_commands", 0.0);
        is("innkeeper_queue_bytes", 0.0);
        is("innkeeper_batches_in_flight", 0.0);
        assert!(samples["innkeeper_applied_index"] > 0.0 && samples["innkeeper_term"] > 0.0);
        assert!(samples["innkeeper_leader_silence_seconds"] < 5.0, "{samples:#?}");
        assert!(samples["innkeeper_log_flush_seconds_count"] >= 3.0, "{samples:#?}");
        assert!(samples["innkeeper_log_flush_seconds_sum"] > 0.0);
        for other in cluster.ids() {
            let lag = samples.get(&format!(r#"innkeeper_replication_lag_entries{{node="{other}"}}"#));
            assert_eq!(lag.is_some(), id == leader && other != leader, "node {id} of {other}");
        }
    }
}
