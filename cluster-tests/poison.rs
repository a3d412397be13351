//! Commands that break the code that applies them, in builds that are broken on purpose.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::events::{open_stream, read_events, read_to_end};
use crate::support::{Cluster, Hotel, eventually};

/// What such a build panics at: every cancellation.
const BROKEN: &str = "cancel-panics";

/// Times that node 3 may be started because it was handed the lead before a paused leader was asked.
const STARTS_MAX: usize = 5;

/// Restarts a node, one after the other, as the build that has the bug, or as the one that has not.
async fn restart_as(cluster: &mut Cluster, ids: &[u64], bug: Option<&str>) {
    for &id in ids {
        cluster.stop(id).await;
        cluster.node(id).plant(bug);
        cluster.restart(id).await;
    }
}

/// Reserves a night in a room of its own, and answers the path of the reservation.
async fn reserved(cluster: &Cluster, hotel: &Hotel, night: u64) -> String {
    let (api, key) = (cluster.api(1 + night % 3), format!("booked-{night}"));
    let reservation = hotel.reserve(&api, "n1", night, night + 1, &key).expect(201).await;
    format!("/v1/reservations/{}", reservation["id"].as_str().expect("an id"))
}

async fn quarantine(cluster: &Cluster, id: u64) -> Vec<Value> {
    let listed = cluster.api(id).get("/v1/quarantine").expect(200).await;
    listed["commands"].as_array().expect("a list").clone()
}

async fn event_types_after(cluster: &Cluster, id: u64, lsn: u64) -> Vec<String> {
    let path = format!("/v1/events?after={lsn}-0&min_lsn={lsn}&limit=1000");
    let page = cluster.api(id).get(&path).expect(200).await;
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
}

#[tokio::test]
async fn what_no_node_can_apply_is_set_aside_alike_and_waits_for_the_operator() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let ids = cluster.ids();
    let (first, second) = (reserved(&cluster, &hotel, 1).await, reserved(&cluster, &hotel, 2).await);
    let (before, _) = cluster.agree().await;

    // Phase 1: all nodes have the broken build.
    restart_as(&mut cluster, &ids, Some(BROKEN)).await;
    let cancel = |cluster: &Cluster, id: u64, path: &str, key: &str| {
        cluster.api(id).post(&format!("{path}/cancel"), &json!({})).key(key)
    };
    let mut lsns = Vec::new();
    for (id, path, key) in [(1, &first, "cancel-1"), (2, &second, "cancel-2")] {
        let problem = cancel(&cluster, id, path, key).refused(500, "quarantined").await;
        lsns.push(problem["lsn"].as_u64().expect("where it was set aside"));
        // Sent again, it is the same one.
        assert_eq!(cancel(&cluster, 3, path, key).refused(500, "quarantined").await["lsn"], problem["lsn"]);
        assert_eq!(cluster.api(3).get(path).expect(200).await["status"], "confirmed", "it changed nothing");
    }
    let third = reserved(&cluster, &hotel, 3).await;
    cluster.agree().await;
    for id in ids.clone() {
        let listed = quarantine(&cluster, id).await;
        assert_eq!(listed.iter().map(|it| it["lsn"].as_u64().unwrap()).collect::<Vec<_>>(), lsns);
        assert!(listed.iter().all(|it| it["code"] == "panic" && it["command"]["cancel"].is_object()));
        let types = event_types_after(&cluster, id, before).await;
        assert_eq!(types, ["command.quarantined", "command.quarantined", "reservation.confirmed"]);
    }
    let said = cluster.innkeeper(&["status"]).await;
    assert!(said.stdout.contains("2 commands were set aside"), "{}", said.in_words());
    let said = cluster.innkeeper(&["quarantine", "list"]).await;
    assert!(said.stdout.contains("panic") && said.stdout.contains("cancel"), "{}", said.in_words());

    // Phase 2: it fails again while the build is broken, and stays.
    let settle = |cluster: &Cluster, id: u64, lsn: u64, what: &str| {
        cluster.api(id).post(&format!("/v1/quarantine/{lsn}/{what}"), &json!({}))
    };
    let failed = settle(&cluster, 2, lsns[0], "retry").refused(500, "quarantined").await;
    assert_eq!(failed["lsn"], lsns[0]);
    assert_eq!(quarantine(&cluster, 2).await.len(), 2);
    let metrics = cluster.api(3).get("/metrics").answer().await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("innkeeper_quarantined_commands 2"), "{metrics}");

    // Phase 3: with mended nodes one is done and the other forgotten, through any node. They start from snapshots: what the
    // mended build would do with the same log is not what was done.
    for id in ids.clone() {
        cluster.snapshot(id).await;
    }
    restart_as(&mut cluster, &ids, None).await;
    let retry = settle(&cluster, 3, lsns[0], "retry").key("retry-1");
    assert_eq!(retry.expect(200).await["status"], "canceled");
    assert!(retry.answer().await.replayed(), "the operator's key protects it too");
    let client = cancel(&cluster, 1, &first, "cancel-1").answer().await;
    assert!(client.replayed() && client.status == 200, "its client learns of it: {}", client.in_words());
    let said = cluster.innkeeper(&["quarantine", "discard", &lsns[1].to_string()]).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());
    assert_eq!(cluster.api(1).get(&second).expect(200).await["status"], "confirmed");
    for (lsn, what) in [(lsns[0], "retry"), (lsns[1], "discard"), (before, "retry")] {
        settle(&cluster, 2, lsn, what).refused(404, "not_found").await;
    }
    settle(&cluster, 2, 1, "retry?now=1").refused(400, "malformed").await;
    cluster.api(1).post("/v1/quarantine/last/retry", &json!({})).refused(400, "malformed").await;
    cluster.api(2).post(&format!("{third}/cancel"), &json!({})).expect(200).await;
    let (lsn, _) = cluster.agree().await;
    for id in ids {
        assert_eq!(quarantine(&cluster, id).await, Vec::<Value>::new());
        let types = event_types_after(&cluster, id, lsns[1]).await;
        let dealt_with: Vec<&str> = types.iter().map(String::as_str).filter(|it| it.contains('.')).collect();
        assert_eq!(
            dealt_with,
            [
                "reservation.confirmed",
                "command.retried",
                "reservation.canceled",
                "command.discarded",
                "reservation.canceled"
            ],
            "node {id} up to {lsn}"
        );
    }
}

#[tokio::test]
async fn what_is_due_and_fails_stops_nothing_else() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let ids = cluster.ids();
    let held = |cluster: &Cluster, room: &str, occupancy: u32| {
        let mut stay = hotel.stay(room, 1, 2, room);
        (stay["hold_seconds"], stay["occupancy"]) = (json!(1), json!(occupancy));
        hotel.post(&cluster.api(2), &stay).key(room)
    };
    let failing = async |cluster: &Cluster, id: u64| {
        let metrics = cluster.api(id).get("/metrics").answer().await;
        String::from_utf8_lossy(&metrics.body)
            .lines()
            .find_map(|line| line.strip_prefix("innkeeper_failing_due ").map(str::to_owned))
    };

    // Phase 1: a build that can't end holds for two. One for one guest ends at every node, and reads and writes go on.
    restart_as(&mut cluster, &ids, Some("due-panics")).await;
    let stuck = held(&cluster, "n1", 2).expect(201).await;
    let path = format!("/v1/reservations/{}", stuck["id"].as_str().expect("an id"));
    held(&cluster, "n2", 1).expect(201).await;
    eventually("what can be ended has ended", async || {
        let free = hotel.free_rooms(&cluster.api(3), 1, 2).await;
        if free == ["c1", "c2", "c3", "n2", "n3"] { Ok(()) } else { Err(format!("{free:?}")) }
    })
    .await;
    for id in ids.clone() {
        assert_eq!(cluster.api(id).get(&path).expect(200).await["status"], "expired");
        reserved(&cluster, &hotel, 3 + id).await;
        assert_eq!(failing(&cluster, id).await.as_deref(), Some("1"));
        assert!(cluster.node(id).log().contains("what is due fails"), "node {id}");
    }
    cluster.agree().await;
    assert_eq!(quarantine(&cluster, 1).await, Vec::<Value>::new());

    // Phase 2: the mended build ends it.
    for id in ids.clone() {
        cluster.snapshot(id).await;
    }
    restart_as(&mut cluster, &ids, None).await;
    eventually("the hold has ended", async || {
        let free = hotel.free_rooms(&cluster.api(1), 1, 2).await;
        if free.contains(&"n1".to_owned()) { Ok(()) } else { Err(format!("{free:?}")) }
    })
    .await;
    cluster.agree().await;
    for id in ids {
        assert_eq!(failing(&cluster, id).await.as_deref(), Some("0"));
    }
}

/// What a node says that has paused: where it is asked whether it may serve, in its status, and in its log.
async fn says_that_it_has_paused(cluster: &mut Cluster, id: u64) {
    let reason = eventually(&format!("node {id} pauses"), async || {
        let row = cluster.own_row(id).await?;
        row["paused"].as_str().map(str::to_owned).ok_or_else(|| row.to_string())
    })
    .await;
    assert!(reason.contains("state hash"), "{reason}");
    let unready = cluster.api(id).get("/readyz").refused(503, "not_ready").await;
    assert_eq!(unready["check"], "apply");
    let said = cluster.innkeeper(&["status"]).await;
    assert!(said.stdout.contains(&format!("node {id} has paused: ")), "{}", said.in_words());
    assert!(cluster.node(id).log().contains("this node has paused applying"));
}

/// Node 3 is away while the others cancel a reservation and make the next, and pauses when it comes back broken.
async fn comes_back_broken(cluster: &mut Cluster, hotel: &Hotel, path: &str, night: u64) {
    cluster.agree().await;
    cluster.stop(3).await;
    cluster.node(3).plant(Some(BROKEN));
    cluster.api(1).post(&format!("{path}/cancel"), &json!({})).expect(200).await;
    reserved(cluster, hotel, night).await;
    cluster.node(3).spawn();
    says_that_it_has_paused(cluster, 3).await;
}

#[tokio::test]
async fn a_broken_build_that_replays_what_the_others_applied_pauses_and_recovers() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;

    // Phase 1: everybody cancels but the node that is away, which comes back broken.
    let path = reserved(&cluster, &hotel, 1).await;
    comes_back_broken(&mut cluster, &hotel, &path, 4).await;
    // The others go on, and the paused one serves nothing.
    reserved(&cluster, &hotel, 6).await;
    cluster.api(3).get(&path).refused(503, "not_ready").await;
    cluster.agree_among(&[1, 2]).await;

    // Phase 2: the mended build.
    cluster.stop(3).await;
    cluster.node(3).plant(None);
    cluster.restart(3).await;
    cluster.agree().await;

    // Phase 3: broken again. Without a restart it takes over the first snapshot that has what it could not apply, whoever
    // of the others took it, and applies from its own log what came after.
    let path = reserved(&cluster, &hotel, 7).await;
    comes_back_broken(&mut cluster, &hotel, &path, 9).await;
    let leader = cluster.leader_of_others(3).await;
    cluster.snapshot(3 - leader).await;
    reserved(&cluster, &hotel, 12).await;
    cluster.wait_ready().await;
    cluster.agree().await;
    assert!(cluster.node(3).log().contains("a peer's snapshot was fetched"));
    let told = event_types_after(&cluster, 1, 0).await;
    eventually("node 3 tells of the past that its state has now", async || {
        let answer = cluster.api(3).get("/v1/events?after=0-0&limit=1000").send().await?;
        let types = answer.json()["events"].as_array().cloned().unwrap_or_default();
        let types: Vec<_> = types.iter().map(|event| event["type"].as_str().unwrap_or_default()).collect();
        if types == told { Ok(()) } else { Err(answer.in_words()) }
    })
    .await;
    assert_eq!(cluster.api(3).get(&path).expect(200).await["status"], "canceled");

    // Phase 4: and again. A snapshot of the others that is newer than all that it has is taken over at its start.
    cluster.stop(3).await;
    cluster.node(3).plant(None);
    cluster.restart(3).await;
    let path = reserved(&cluster, &hotel, 15).await;
    comes_back_broken(&mut cluster, &hotel, &path, 16).await;
    let last = cluster.own_row(3).await.expect("a node that answers")["last_log_index"].as_u64();
    cluster.stop(3).await;
    for night in [18, 19] {
        reserved(&cluster, &hotel, night).await;
        for id in [1, 2] {
            cluster.snapshot(id).await;
        }
    }
    let leader = cluster.leader_of_others(3).await;
    eventually("the others have purged what the paused node would have to replay", async || {
        let row = cluster.own_row(leader).await?;
        if row["purged_index"].as_u64() > last { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    cluster.node(3).spawn();
    cluster.wait_ready().await;
    assert!(cluster.node(3).log().contains("a peer's snapshot has ended the pause"));
    let (lsn, _) = cluster.agree().await;
    cluster.stop(3).await;
    cluster.node(3).plant(None);
    cluster.restart(3).await;
    assert_eq!(cluster.agree().await.0, lsn);
}

/// Node 3 has all of the log, and the highest number.
#[tokio::test]
async fn leadership_passes_over_who_has_paused() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let path = reserved(&cluster, &hotel, 1).await;
    comes_back_broken(&mut cluster, &hotel, &path, 4).await;
    reserved(&cluster, &hotel, 6).await;
    let leader = cluster.leader_of_others(3).await;
    let last = cluster.own_row(leader).await.expect("a node that answers")["last_log_index"].as_u64();
    for id in [3 - leader, 3] {
        eventually(&format!("node {id} has all of the log"), async || {
            let row = cluster.own_row(id).await?;
            if row["last_log_index"].as_u64() >= last { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }
    cluster.stop(leader).await;
    // Whether it was taken in time is another matter.
    let heir = format!("heir={}", 3 - leader);
    let node = cluster.node(leader);
    assert!(node.log().contains(&heir), "{}", node.log_tail(20));
}

#[tokio::test]
async fn a_stream_of_a_node_that_pauses_ends_so_that_its_reader_turns_to_another() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let path = reserved(&cluster, &hotel, 1).await;
    restart_as(&mut cluster, &[3], Some(BROKEN)).await;
    let leader = cluster.leader_of_others(3).await;
    let mut stream = open_stream(&cluster.nodes[2].client_addr, None).await;
    read_events(&mut stream, 1).await;
    cluster.api(leader).post(&format!("{path}/cancel"), &json!({})).expect(200).await;
    // What the next entry was proposed on is not what this node has.
    hotel.reserve(&cluster.api(leader), "n1", 2, 3, "next").expect(201).await;
    says_that_it_has_paused(&mut cluster, 3).await;
    timeout(Duration::from_secs(10), read_to_end(&mut stream)).await.expect("the stream ends");
}

/// Starts node 3, and asks the leader, which has paused, for a decision as soon as it hears node 3. Within two seconds it
/// passes its lead on to node 3, which has not paused: then it is asked too late, and all of this begins anew.
async fn refused_by_a_paused_leader(cluster: &mut Cluster, paused_at: &Value) -> Map<String, Value> {
    for _ in 0..STARTS_MAX {
        let leader = cluster.leader_of_others(3).await;
        cluster.node(3).spawn();
        eventually("the leader hears that node 3 goes on", async || {
            let seen = cluster.cluster_seen_by(leader).await?;
            let rows = seen["nodes"].as_array().cloned().unwrap_or_default();
            let goes_on = |row: &Value| row["id"] == 3 && row["reachable"] == true && row["paused"].is_null();
            if rows.iter().any(goes_on) { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        let resume = cluster.api(leader).post("/v1/cluster/resume", paused_at);
        let problem = resume.refused(409, "invalid_state").await;
        if problem["state"] != "not_paused" {
            return problem;
        }
        cluster.stop(3).await;
    }
    panic!("{STARTS_MAX} times node 3 led before a decision was asked for");
}

#[tokio::test]
async fn where_one_goes_on_nothing_is_decided_and_its_snapshot_mends_the_others() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;

    // Phase 1: what all have applied two of them do otherwise when they are back. The third is away.
    let path = reserved(&cluster, &hotel, 1).await;
    cluster.api(1).post(&format!("{path}/cancel"), &json!({})).expect(200).await;
    reserved(&cluster, &hotel, 2).await;
    let (lsn, _) = cluster.agree().await;
    cluster.stop_all().await;
    for id in [1, 2] {
        cluster.node(id).plant(Some(BROKEN));
        cluster.node(id).spawn();
    }
    let mut places = Vec::new();
    for id in [1, 2] {
        says_that_it_has_paused(&mut cluster, id).await;
        places.push(cluster.own_row(id).await.expect("a node that answers")["paused_at"].clone());
    }
    assert_eq!(places[0], places[1]);

    // Phase 2: the third is back, and has what the others lack. To decide would be to make its past another.
    let problem = refused_by_a_paused_leader(&mut cluster, &places[0]).await;
    assert_eq!(problem["state"], "others_go_on");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("node 3")), "{problem:?}");
    cluster.wait_ready_of(&[3]).await;
    for id in cluster.ids() {
        let row = cluster.own_row(id).await.expect("a node that answers");
        assert!(row["decided"].is_null(), "{row}");
    }

    // Phase 3: what the refusal advises.
    cluster.snapshot(3).await;
    cluster.wait_ready().await;
    assert_eq!(cluster.agree().await.0, lsn);
    for id in cluster.ids() {
        assert_eq!(cluster.api(id).get(&path).expect(200).await["status"], "canceled");
        assert_eq!(quarantine(&cluster, id).await, Vec::<Value>::new());
    }
    restart_as(&mut cluster, &[1, 2], None).await;
    reserved(&cluster, &hotel, 3).await;
    cluster.agree().await;
}

#[tokio::test]
async fn where_all_have_paused_alike_the_operator_decides_and_all_go_on_alike() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 3).await;
    let ids = cluster.ids();
    let decide =
        |cluster: &Cluster, id: u64, paused_at: &Value| cluster.api(id).post("/v1/cluster/resume", paused_at);

    // Phase 1: what everybody has applied the broken build does otherwise, and everybody gets the broken build.
    let path = reserved(&cluster, &hotel, 1).await;
    cluster.api(1).post(&format!("{path}/cancel"), &json!({})).expect(200).await;
    let last = reserved(&cluster, &hotel, 2).await;
    let (_, hash) = cluster.agree().await;
    let now = json!({"index": 1, "state_hash": hash});
    assert_eq!(decide(&cluster, 1, &now).refused(409, "invalid_state").await["state"], "not_paused");
    cluster.stop_all().await;
    for &id in &ids {
        cluster.node(id).plant(Some(BROKEN));
        cluster.node(id).spawn();
    }
    let mut places = Vec::new();
    for &id in &ids {
        says_that_it_has_paused(&mut cluster, id).await;
        places.push(cluster.own_row(id).await.expect("a node that answers")["paused_at"].clone());
    }
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");

    // Phase 2: nothing but a decision about exactly that place is taken, at any node.
    let (index, hash) = (places[0]["index"].to_string(), places[0]["state_hash"].as_str().expect("a hash"));
    let elsewhere = json!({"index": places[0]["index"].as_u64().expect("an index") + 1, "state_hash": hash});
    for id in ids.clone() {
        let problem = decide(&cluster, id, &elsewhere).refused(409, "invalid_state").await;
        assert_eq!(problem["state"], "paused_elsewhere");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(hash)), "{problem:?}");
    }
    decide(&cluster, 2, &json!({"index": 1})).refused(400, "malformed").await;
    let said = cluster.innkeeper(&["status"]).await;
    assert!(said.stdout.contains(&format!("innkeeper resume {index} {hash}")), "{}", said.in_words());
    let said = cluster.innkeeper(&["resume", &index, hash]).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());

    // Phase 3: all go on, with one history: the broken build's.
    cluster.wait_ready().await;
    let after = reserved(&cluster, &hotel, 3).await;
    cluster.agree().await;
    for id in ids.clone() {
        assert_eq!(quarantine(&cluster, id).await.len(), 1);
        assert_eq!(cluster.api(id).get(&path).expect(200).await["status"], "confirmed");
        assert_eq!(cluster.api(id).get(&last).expect(200).await["status"], "confirmed");
    }
    let said = cluster.innkeeper(&["status"]).await;
    assert!(said.stdout.contains("node 2 follows an operator's decision"), "{}", said.in_words());

    // What they had told before is not what they have now. It is gone, everywhere alike.
    let mut firsts = Vec::new();
    for id in ids.clone() {
        let first = eventually(&format!("node {id} tells no past that is not its own"), async || {
            let answer = cluster.api(id).get("/v1/events?after=0-0").send().await?;
            match answer.status {
                410 => Ok(answer.json()["first_lsn"].as_u64().expect("where it begins")),
                _ => Err(answer.in_words()),
            }
        })
        .await;
        firsts.push(first);
    }
    assert!(firsts.iter().all(|first| *first == firsts[0]), "{firsts:?}");
    let told = event_types_after(&cluster, 1, firsts[0]).await;
    assert!(told.contains(&"reservation.confirmed".to_owned()), "{told:?}");
    for id in [2, 3] {
        assert_eq!(event_types_after(&cluster, id, firsts[0]).await, told);
    }

    // Phase 4: one that replays it all comes out the same.
    let said_so = "by an operator's decision this node goes on";
    assert_eq!(cluster.node(2).log().matches(said_so).count(), 1);
    let state = cluster.agree().await;
    cluster.stop(2).await;
    cluster.restart(2).await;
    assert_eq!(cluster.agree().await, state);
    assert_eq!(cluster.node(2).log().matches(said_so).count(), 2);

    // Phase 5: behind a snapshot it does not matter any more which build replays what.
    for id in ids.clone() {
        cluster.snapshot(id).await;
    }
    restart_as(&mut cluster, &ids, None).await;
    cluster.api(3).post(&format!("{after}/cancel"), &json!({})).expect(200).await;
    let lsn = quarantine(&cluster, 1).await[0]["lsn"].to_string();
    let retry = cluster.api(2).post(&format!("/v1/quarantine/{lsn}/retry"), &json!({}));
    assert_eq!(retry.expect(200).await["status"], "canceled");
    cluster.agree().await;
}
