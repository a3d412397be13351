//! Streams of events and those who read them badly: one that reads nothing, and a thousand that wait for nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::hotel::date;
use crate::support::http::Call;
use crate::support::wait::eventually_within;
use crate::support::{Api, Cluster, Hotel};

/// A stream whose reader takes nothing is ended after 20 s; twice that on a busy machine.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(45);
/// More than all buffers on the way of a stream can hold, at some hundred bytes an event.
const EVENTS: u64 = 20_000;

async fn request(stream: &mut TcpStream, query: &str, last: Option<&str>) {
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    let head = format!(
        "GET /v1/events?{query} HTTP/1.1\r\nHost: innkeeper\r\nAccept: text/event-stream\r\n{last}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("a request");
}

/// A connection that takes as little as it can before it is read.
async fn narrow_connection(api: &Api) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let address: SocketAddr = api.address().parse().expect("an address");
    socket.connect(address).await.expect("a connection")
}

/// The positions of the events that came whole.
fn positions(text: &str) -> Vec<String> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let events = whole.split("\n\n").filter(|event| event.contains("\ndata: "));
    let ids = events.filter_map(|event| event.lines().find_map(|line| line.strip_prefix("id: ")));
    ids.map(|id| id.trim().to_owned()).collect()
}

/// Reads until `count` events came whole, the stream has ended, or nothing more comes for a while.
async fn read_whole(stream: &mut TcpStream, count: usize) -> Vec<String> {
    let (mut text, mut buffer, mut ids) = (Vec::new(), vec![0; 256 << 10], 0);
    while let Ok(Ok(length @ 1..)) = timeout(Duration::from_secs(5), stream.read(&mut buffer)).await {
        // One that two pieces share is seen with the second.
        let from = text.len().saturating_sub(4);
        text.extend_from_slice(&buffer[..length]);
        ids += text[from..].windows(5).filter(|bytes| *bytes == b"\nid: ").count();
        if ids >= count {
            break;
        }
    }
    positions(&String::from_utf8_lossy(&text))
}

pub async fn metric(api: &Api, name: &str) -> Result<f64, String> {
    let answer = api.get("/metrics").send().await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    sample.and_then(|sample| sample.parse().ok()).ok_or_else(|| format!("no {name} in {text}"))
}

/// Some of the hotel's nights, each a reservation of its own.
pub fn batch(api: &Api, hotel: &Hotel, nights: std::ops::Range<u64>) -> Call {
    let stay = |n: u64| {
        let (room, night) = (n % hotel.rooms + 1, n / hotel.rooms);
        json!({"op": "reserve", "idempotency_key": format!("fill-{}-{n}", hotel.property), "property": hotel.property,
               "guest": format!("guest-{n}"), "room": format!("n{room}"), "arrival": date(night),
               "departure": date(night + 1), "occupancy": 1})
    };
    let commands: Vec<Value> = nights.map(stay).collect();
    api.post("/v1/batch?return=minimal", &json!({ "commands": commands })).timeout(Duration::from_secs(120))
}

/// Fills the hotel by batches.
pub async fn fill(api: &Api, hotel: &Hotel) {
    for first in (0..EVENTS).step_by(5_000) {
        all_are_booked(&batch(api, hotel, first..first + 5_000).expect(200).await);
    }
}

pub fn all_are_booked(answer: &Value) {
    let results = answer["results"].as_array().expect("results");
    assert!(results.iter().all(|result| result["status"] == 201), "{}", results[0]);
}

#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off_and_goes_on_where_it_was() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 60).await;
    let api = cluster.api(1);
    let mut lazy = narrow_connection(&api).await;
    request(&mut lazy, "", None).await;
    eventually_within(CUT_OFF_WITHIN, "the stream is open", async || {
        let open = metric(&api, "innkeeper_event_streams").await?;
        if open == 1.0 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;
    fill(&api, &hotel).await;
    // Bookings don't wait for it.
    let began = Instant::now();
    hotel.reserve(&api, "n1", 390, 391, "meanwhile").expect(201).await;
    assert!(began.elapsed() < Duration::from_secs(5), "a booking took {:?}", began.elapsed());
    eventually_within(CUT_OFF_WITHIN, "the reader is cut off", async || {
        let open = metric(&api, "innkeeper_event_streams").await?;
        if open == 0.0 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;

    // What was on its way still comes, and another node goes on behind it.
    let whole = crate::events::all_events(&api).await.expect("all events");
    let whole: Vec<&str> =
        whole.iter().map(|event| event["position"].as_str().expect("a position")).collect();
    assert!(whole.len() as u64 > EVENTS);
    let read = read_whole(&mut lazy, usize::MAX).await;
    assert!(!read.is_empty() && read.len() < whole.len(), "{} of {}", read.len(), whole.len());
    assert_eq!(read, whole[..read.len()]);
    cluster.agree().await;
    let mut resumed = TcpStream::connect(cluster.api(2).address()).await.expect("a connection");
    request(&mut resumed, "", read.last().map(String::as_str)).await;
    let rest = whole.len() - read.len();
    let told = read_whole(&mut resumed, rest + 1).await;
    assert_eq!(told, whole[read.len()..]);
}

/// Bookings by clients that each wait for their answers, and how long they took.
async fn booked(cluster: &Cluster, hotel: &Hotel, nights: std::ops::Range<u64>) -> Duration {
    let began = Instant::now();
    let clients = (1..=hotel.rooms).map(|room| {
        let (api, hotel, nights) = (cluster.api(1 + room % 3), hotel.clone(), nights.clone());
        tokio::spawn(async move {
            for night in nights {
                let key = format!("{room}-{night}");
                hotel.reserve(&api, &format!("n{room}"), night, night + 1, &key).expect(201).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("bookings that are made");
    }
    began.elapsed()
}

#[tokio::test]
async fn a_thousand_streams_of_a_quiet_property_are_answered_and_slow_nobody_down() {
    // A thousand connections and as many files again are more than a shell allows by default.
    let limits = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    setrlimit(Resource::Nofile, raised).expect("files that may be open");
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 8).await;
    let quiet = Hotel::open(&cluster, "quiet", 1).await;
    let api = cluster.api(1);
    booked(&cluster, &hotel, 0..20).await;
    let before = booked(&cluster, &hotel, 20..120).await;

    let (mut open, mut shed) = (Vec::new(), 0);
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(api.address()).await.expect("a connection");
        let newest = format!("property={}", quiet.property);
        request(&mut stream, &newest, None).await;
        let mut head = vec![0; 1_024];
        let read = timeout(Duration::from_secs(10), stream.read(&mut head)).await.expect("an answer");
        let head = String::from_utf8_lossy(&head[..read.expect("an answer")]).into_owned();
        match head.split(' ').nth(1) {
            Some("200") => open.push(stream),
            Some("429") => {
                assert!(head.to_lowercase().contains("retry-after"), "{head}");
                shed += 1;
            }
            _ => panic!("{head}"),
        }
    }
    assert!(open.len() >= 256 && shed > 0, "{} are open, {shed} were shed", open.len());
    let during = booked(&cluster, &hotel, 120..220).await;
    eprintln!("800 bookings took {before:?}, and {during:?} with {} streams", open.len());
    // Another story may begin or end on the same processors meanwhile; each event looked at for each stream takes ten times.
    let bound = before * 3 + Duration::from_secs(1);
    assert!(during < bound, "{during:?} instead of {before:?}");

    // What then happens in it is told to each.
    let api_2 = cluster.api(2);
    let news = quiet.reserve(&api_2, "n1", 1, 2, "at-last").expect(201).await;
    let wanted = format!("id: {}-0", news["lsn"]);
    for stream in &mut open {
        let (mut text, mut buffer) = (String::new(), vec![0; 64 << 10]);
        let told = timeout(Duration::from_secs(20), async {
            while !text.contains(&wanted) {
                let length = stream.read(&mut buffer).await.expect("a stream that is open");
                assert!(length > 0, "the stream has ended: {text}");
                text.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        assert!(told.await.is_ok(), "no {wanted} in time");
    }

    // Readers that are gone leave their places, sooner than a stream would find out by a sign of life that it sends.
    drop(open);
    eventually_within(Duration::from_secs(8), "all places are free", async || {
        let streams = metric(&api, "innkeeper_event_streams").await?;
        if streams == 0.0 { Ok(()) } else { Err(format!("{streams} streams are open")) }
    })
    .await;
}
