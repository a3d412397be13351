//! Whoever follows the events sees each once, whatever happens to the nodes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::streams::fill;
use crate::support::hotel::date;
use crate::support::load::Load;
use crate::support::wait::eventually;
use crate::support::{Api, Cluster, Hotel, checker};

const CLIENTS: u64 = 8;
const ROOMS: u64 = 10;
const SOME: u64 = 60;

/// Reads on from node to node until it has come to the position that it is told; what it saw, in order.
async fn hop(apis: Vec<Api>, mut end: watch::Receiver<Option<String>>) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut next = "0-0".to_owned();
    let mut turns = apis.iter().cycle();
    while end.borrow_and_update().as_ref() != Some(&next) {
        let api = turns.next().expect("some node");
        let call = api.get(&format!("/v1/events?after={next}&limit=40&wait_ms=100"));
        // A node that is down, or lacks the past for a while, is passed over.
        let Ok(answer) = call.timeout(Duration::from_secs(2)).send().await else { continue };
        if answer.status == 503 {
            continue;
        }
        assert_eq!(answer.status, 200, "{}", answer.in_words());
        let page = answer.json();
        seen.extend(page["events"].as_array().expect("events").iter().cloned());
        next = page["next"].as_str().expect("a position").to_owned();
    }
    seen
}

pub async fn all_events(api: &Api) -> Result<Vec<Value>, String> {
    all_events_after(api, "0-0").await
}

pub async fn all_events_after(api: &Api, after: &str) -> Result<Vec<Value>, String> {
    all_events_of(api, after, "").await
}

/// `of`: what else is asked for on each page, such as `&property=grand`.
pub async fn all_events_of(api: &Api, after: &str, of: &str) -> Result<Vec<Value>, String> {
    let (mut all, mut next) = (Vec::new(), after.to_owned());
    loop {
        let answer = api.get(&format!("/v1/events?after={next}&limit=1000{of}")).send().await?;
        if answer.status != 200 {
            return Err(answer.in_words());
        }
        let page = answer.json();
        let events = page["events"].as_array().expect("events");
        if events.is_empty() {
            return Ok(all);
        }
        all.extend(events.iter().cloned());
        next = page["next"].as_str().expect("a position").to_owned();
    }
}

#[tokio::test]
async fn a_client_that_hops_between_nodes_while_they_are_killed_sees_each_event_once() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let (end, told) = watch::channel(None);
    let reader = tokio::spawn(hop(cluster.apis(), told));
    let load = Load::start(&cluster, &hotel, CLIENTS);
    for round in 0..3 {
        load.acknowledges(SOME, &format!("before round {round}")).await;
        let away = if round == 1 { cluster.leader().await } else { cluster.followers().await[0] };
        cluster.kill9(away);
        load.acknowledges(SOME, &format!("in round {round}")).await;
        if round == 2 {
            let leader = cluster.leader_of_others(away).await;
            cluster.snapshot(leader).await;
        }
        cluster.restart(away).await;
    }
    let history = load.stop().await;
    checker::holds(&cluster, &hotel, &history).await;
    cluster.agree().await;

    let whole = all_events(&cluster.api(1)).await.unwrap();
    for id in [2, 3] {
        assert!(all_events(&cluster.api(id)).await.unwrap() == whole, "node {id} tells another past");
    }
    let last = whole.last().and_then(|event| event["position"].as_str()).expect("events");
    end.send_replace(Some(last.to_owned()));
    let seen =
        tokio::time::timeout(Duration::from_secs(30), reader).await.expect("the reader comes to the end");
    let seen = seen.expect("the reader does not panic");
    let positions =
        |events: &[Value]| -> Vec<Value> { events.iter().map(|event| event["position"].clone()).collect() };
    assert!(positions(&seen) == positions(&whole), "{} seen of {}", seen.len(), whole.len());
    let reservations = hotel.reservations(&cluster.api(1)).await;
    let made = whole.iter().filter(|event| event["before"].is_null() && !event["after"]["guest"].is_null());
    assert_eq!(made.count(), reservations.len(), "each reservation is told of when it is made");
}

#[tokio::test]
async fn a_history_that_is_deleted_cut_or_damaged_is_made_again() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("deleted", |folder| std::fs::remove_dir_all(folder).unwrap()),
        ("cut", |folder| {
            let file = std::fs::File::options().write(true).open(folder.join("db")).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length / 2).unwrap();
        }),
        ("flipped", |folder| {
            let path = folder.join("db");
            let mut bytes = std::fs::read(&path).unwrap();
            let (from, to) = (bytes.len() / 20, bytes.len() / 3);
            bytes[from..to].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
            std::fs::write(&path, bytes).unwrap();
        }),
    ];
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", ROOMS).await;
    let load = Load::start(&cluster, &hotel, CLIENTS);
    load.acknowledges(300, "a past worth keeping").await;
    load.stop().await;
    cluster.agree().await;
    cluster.snapshot(2).await;
    let whole = all_events(&cluster.api(1)).await.unwrap();
    for (what, harm) in harms {
        cluster.stop(2).await;
        harm(&history_folder(&mut cluster));
        cluster.restart(2).await;
        eventually(&format!("what was {what} is told again"), async || {
            let events = all_events(&cluster.api(2)).await?;
            if events == whole { Ok(()) } else { Err(format!("{} of {}", events.len(), whole.len())) }
        })
        .await;
    }
}

fn history_folder(cluster: &mut Cluster) -> PathBuf {
    cluster.node(2).data_dir.join("history")
}

/// Reads a stream until so many events came, and gives their positions.
pub async fn read_events(stream: &mut TcpStream, count: usize) -> Vec<String> {
    let mut text = String::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        let ids: Vec<String> = ids.map(|id| id.trim().to_owned()).collect();
        if ids.len() >= count && text.ends_with("\n\n\r\n") {
            return ids;
        }
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer));
        let length = read.await.expect("events in time").expect("a stream that is open");
        assert!(length > 0, "the stream ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..length]).expect("UTF-8"));
    }
}

pub async fn open_stream(address: &str, last: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    let request =
        format!("GET /v1/events HTTP/1.1\r\nHost: innkeeper\r\nAccept: text/event-stream\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    stream
}

/// Reads a stream to its end.
pub async fn read_to_end(stream: &mut TcpStream) {
    // What was read before ended with a chunk.
    let mut text = b"\r\n".to_vec();
    let mut buffer = vec![0; 16 << 10];
    // The last chunk of a body (RFC 9112, 7.1), or the end of the connection.
    while !text.ends_with(b"\r\n0\r\n\r\n") {
        let length = stream.read(&mut buffer).await.expect("a stream that ends in order");
        if length == 0 {
            return;
        }
        text.extend_from_slice(&buffer[..length]);
    }
}

#[tokio::test]
async fn a_stream_goes_on_at_another_node_and_does_not_keep_one_from_stopping() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let whole = all_events(&cluster.api(1)).await.unwrap();
    let positions: Vec<&str> =
        whole.iter().map(|event| event["position"].as_str().expect("a position")).collect();
    let address = |cluster: &Cluster, id: usize| cluster.nodes[id - 1].client_addr.clone();

    // From the beginning, then what happens now.
    let mut first = open_stream(&address(&cluster, 1), None).await;
    assert_eq!(read_events(&mut first, positions.len()).await, positions);
    hotel.reserve(&cluster.api(2), "n1", 1, 2, "one").expect(201).await;
    let told = read_events(&mut first, 1).await;
    assert_eq!(told.len(), 1);

    // Broken off, and gone on with elsewhere.
    let last = positions[positions.len() - 3];
    let mut second = open_stream(&address(&cluster, 2), Some(last)).await;
    let mut expected: Vec<&str> = positions[positions.len() - 2..].to_vec();
    expected.push(&told[0]);
    assert_eq!(read_events(&mut second, 3).await, expected);

    // One that is read no more, and one that waits.
    let waiting = cluster.api(1).get(&format!("/v1/events?after={}&wait_ms=50000", told[0]));
    let waiting = tokio::spawn(async move { waiting.send().await });
    let began = std::time::Instant::now();
    cluster.stop(1).await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "an open stream held up the end: {:?}",
        began.elapsed()
    );
    drop(waiting.await);
}

/// What a page shows of each, a stream shows; and of a stay that makes way for another, what moved where.
#[tokio::test]
async fn a_stream_shows_each_event_as_a_page_does_and_a_change_of_plan_what_moved() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let api = cluster.api(1);
    let stay = |wanted: &str, it: &Value| json!({"guest": "g", (wanted): it, "arrival": date(1), "departure": date(3), "occupancy": 1});
    let planned = hotel.post(&api, &stay("room_type", &json!("counted"))).expect(201).await;
    hotel.post(&api, &stay("room", &planned["room"])).expect(201).await;
    let path = format!("/v1/reservations/{}", planned["id"].as_str().expect("an id"));
    let now = api.get(&path).expect(200).await;
    assert_ne!(now["room"], planned["room"]);
    for stays in ["revision", "updated_at", "lsn", "room_pinned"] {
        assert_eq!(now[stays], planned[stays], "{stays}");
    }
    let versions = api.get(&format!("{path}/history")).expect(200).await;
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(1), "{versions}");

    let whole = all_events(&api).await.expect("all events");
    let moved: Vec<&Value> = whole.iter().filter(|event| event["type"] == "reservation.moved").collect();
    assert_eq!(moved.len(), 1);
    assert_eq!(
        (&moved[0]["reservation"], &moved[0]["from"], &moved[0]["to"]),
        (&planned["id"], &planned["room"], &now["room"])
    );
    assert_eq!((&moved[0]["before"], &moved[0]["after"]), (&planned, &now));

    cluster.agree().await;
    let mut stream = open_stream(cluster.api(3).address(), None).await;
    let (mut text, mut buffer) = (String::new(), vec![0; 16 << 10]);
    let last =
        format!("id: {}\n", whole.last().and_then(|event| event["position"].as_str()).expect("events"));
    while !(text.contains(&last) && text.ends_with("\n\n\r\n")) {
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let length = read.expect("events in time").expect("a stream that is open");
        text.push_str(std::str::from_utf8(&buffer[..length]).expect("UTF-8"));
    }
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    for header in
        ["content-type: text/event-stream", "innkeeper-node: 3", "innkeeper-leader: ", "innkeeper-lsn: "]
    {
        assert!(head.contains(&format!("\r\n{header}")), "no `{header}`: {head}");
    }
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let streamed: Vec<Value> = data.map(|event| serde_json::from_str(event).expect("JSON")).collect();
    assert_eq!(streamed, whole);

    // A page that is to reflect what is not there yet waits for it, and says in the end that it is not.
    let ahead = whole.last().and_then(|event| event["lsn"].as_u64()).expect("an LSN") + 1_000;
    api.get(&format!("/v1/events?min_lsn={ahead}")).refused(503, "too_stale").await;
}

#[tokio::test]
async fn a_node_that_was_given_a_snapshot_fetches_the_past_from_a_peer_and_says_what_it_lacks() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 5).await;
    let away = cluster.followers().await[0];
    let had = cluster.own_row(away).await.expect("a node that answers")["last_log_index"].as_u64();
    let (had_lsn, _) = cluster.agree().await;
    cluster.kill9(away);
    let near = cluster.leader_of_others(away).await;
    let stays: Vec<u64> = cluster.ids().into_iter().filter(|&id| id != away).collect();
    for phase in 0..2 {
        for n in 0..SOME {
            let (room, night) = (format!("n{}", 1 + n % 5), phase * SOME + n);
            hotel
                .reserve(&cluster.api(near), &room, night, night + 1, &format!("k-{night}"))
                .expect(201)
                .await;
        }
        cluster.agree_among(&stays).await;
        for &id in &stays {
            cluster.snapshot(id).await;
        }
    }
    for &id in &stays {
        eventually(&format!("node {id} has purged what the other lacks"), async || {
            let row = cluster.own_row(id).await?;
            if row["purged_index"].as_u64() > had { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
    }
    let whole = all_events(&cluster.api(near)).await.expect("all events");

    cluster.node(away).spawn();
    eventually("the node has its whole past again", async || {
        let told = match all_events(&cluster.api(away)).await {
            Ok(told) => told,
            // No answer yet, or one that says so.
            Err(reason) if reason.contains("not_ready") || !reason.contains('→') => return Err(reason),
            Err(reason) => panic!("it lacks some of the past, and says {reason}"),
        };
        // Whatever it tells is so; it never passes over what it lacks.
        assert_eq!(told[..], whole[..told.len()]);
        if told.len() == whole.len() { Ok(()) } else { Err(format!("{} events", told.len())) }
    })
    .await;
    let log = cluster.node(away).log();
    for said in ["fetching the history from a peer", "what was missing of the history is there again"] {
        assert!(log.contains(said), "it does not say {said:?} after LSN {had_lsn}");
    }
}

#[tokio::test]
async fn a_page_of_large_events_is_short_and_the_next_goes_on_behind_it() {
    const CHANGES: u64 = 60;
    let cluster = Cluster::start(1).await;
    let hotel = Hotel::open(&cluster, "grand", 1).await;
    let api = cluster.api(1);
    for rooms in 1..=CHANGES {
        // Shown with each of its nights, before and after.
        let block = json!({"room_type": "named", "from": date(0), "to": date(1_000), "rooms": rooms, "status": "tentative"});
        let answer = api.put(&hotel.path("/blocks/long"), &block).send().await.expect("an answer");
        assert!(answer.status < 300, "{}", answer.in_words());
    }
    let page = api.get("/v1/events?limit=1000").expect(200).await;
    let first = page["events"].as_array().expect("events").len();
    let all = all_events(&api).await.expect("all pages");
    let changes =
        all.iter().filter(|event| event["type"].as_str().is_some_and(|it| it.starts_with("block.")));
    assert_eq!(changes.count() as u64, CHANGES);
    assert!(first < all.len(), "all {first} at once");
    let told: BTreeSet<String> = all.iter().map(|event| event["position"].to_string()).collect();
    assert_eq!(told.len(), all.len(), "each once");
}

#[tokio::test]
async fn what_is_too_much_is_forgotten_alike_on_all_nodes() {
    let mut cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 60).await;
    let ids = cluster.ids();
    for &id in &ids {
        cluster.stop(id).await;
        cluster.node(id).set("--history-mib", "1");
        cluster.restart(id).await;
    }
    fill(&cluster.api(1), &hotel).await;
    cluster.agree().await;
    eventually("all nodes have forgotten the same", async || {
        let mut firsts = BTreeSet::new();
        for &id in &ids {
            let answer = cluster.api(id).get("/v1/events").send().await?;
            if answer.code() != "history_gone" {
                return Err(answer.in_words());
            }
            firsts.insert(answer.problem()["first_lsn"].as_u64().expect("where it begins"));
        }
        let first = firsts.pop_first().filter(|_| firsts.is_empty()).ok_or("they differ")?;
        let mut told = BTreeSet::new();
        for &id in &ids {
            let all = all_events_after(&cluster.api(id), &format!("{}-0", first - 1)).await?;
            // More may have been forgotten meanwhile.
            if all.first().is_none_or(|event| event["lsn"] != first) {
                return Err(format!("node {id} does not begin at {first}"));
            }
            told.insert(all.iter().map(|event| event["position"].to_string()).collect::<Vec<_>>());
            let row = format!(
                "/v1/properties/grand/availability?from=2027-01-01&to=2027-01-02&as_of={}",
                first - 2
            );
            let gone = cluster.api(id).get(&row).send().await?;
            if gone.status != 410 || gone.problem()["first_lsn"] != first {
                return Err(gone.in_words());
            }
        }
        if told.len() == 1 { Ok(()) } else { Err("they tell of different things".to_owned()) }
    })
    .await;
    // From the beginning is from what is left.
    let said = cluster.innkeeper(&["events", "--property", "grand", "--output", "json"]).await;
    assert_eq!(said.code, Some(0), "{}", said.in_words());
    assert!(said.stderr.contains("is kept no longer"), "{}", said.stderr);
    assert!(said.stdout.lines().count() > 0, "{}", said.in_words());
    // What stands is not touched by what is forgotten about it.
    assert!(hotel.reservations(&cluster.api(2)).await.len() >= 20_000);
}
