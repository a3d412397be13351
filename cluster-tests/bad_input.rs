//! Input that no client of the contract sends, at both ports: a clear refusal, and the node goes on.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::hotel::date;
use crate::support::{Cluster, Hotel};

const MIB: usize = 1024 * 1024;

/// Where members send their messages.
const PEER_ROUTE: &str = "/v1/groups/0/line";

/// After so long a silence nothing more is expected of a connection.
const SILENCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn hostile_bodies_get_a_clear_refusal_and_the_node_goes_on() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let reservations = hotel.path("/reservations");
    let stay = |guest: &str| {
        let mut stay = hotel.stay("n1", 0, 1, "bad-input");
        stay["guest"] = guest.into();
        stay.to_string()
    };
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(2_000), close.repeat(2_000));
    let spoiled = |bytes: &[u8]| {
        let mut body = stay("X").into_bytes();
        let at = body.iter().position(|byte| *byte == b'X').expect("the guest");
        body.splice(at..=at, bytes.iter().copied());
        body
    };
    let rows: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("past 1 MiB", "application/json", stay(&"g".repeat(MIB)).into(), 413, "too_large"),
        ("past 1 MiB, and no JSON", "application/json", vec![b'x'; 2 * MIB], 413, "too_large"),
        ("2,000 arrays deep", "application/json", nested("[", "]").into(), 400, "malformed"),
        ("2,000 objects deep", "application/json", nested("{\"a\":", "}").into(), 400, "malformed"),
        (
            "2,000 levels in an unknown field",
            "application/json",
            format!("{{\"guest\":{}}}", nested("[", "]")).into(),
            400,
            "malformed",
        ),
        ("2,000 levels never closed", "application/json", "[".repeat(2_000).into(), 400, "malformed"),
        ("invalid UTF-8", "application/json", spoiled(&[0xff, 0xfe]), 400, "malformed"),
        ("overlong UTF-8", "application/json", spoiled(&[0xc0, 0xaf]), 400, "malformed"),
        ("half a surrogate pair", "application/json", spoiled(b"\\ud800"), 400, "malformed"),
        (
            "UTF-16",
            "application/json",
            stay("g").encode_utf16().flat_map(u16::to_le_bytes).collect(),
            400,
            "malformed",
        ),
        ("nothing", "application/json", Vec::new(), 400, "malformed"),
        ("cut short", "application/json", stay("g").as_bytes()[..40].to_vec(), 400, "malformed"),
        ("two values", "application/json", format!("{} {}", stay("g"), stay("g")).into(), 400, "malformed"),
        ("a list", "application/json", format!("[{}]", stay("g")).into(), 400, "malformed"),
        ("null", "application/json", "null".into(), 400, "malformed"),
        ("a form", "application/x-www-form-urlencoded", "guest=g".into(), 415, "unsupported_media_type"),
        ("text", "text/plain", stay("g").into(), 415, "unsupported_media_type"),
        ("no media type", "nonsense", stay("g").into(), 415, "unsupported_media_type"),
    ];
    for id in cluster.ids() {
        let api = cluster.api(id);
        for (what, content_type, body, status, code) in &rows {
            let call = api.call(Method::POST, &reservations).body(content_type, body.clone());
            let answer = call.answer().await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (*status, *code),
                "{what}: {}",
                answer.in_words()
            );
            answer.problem();
        }
        let answer = api
            .call(Method::POST, &reservations)
            .body("x/y", stay("g"))
            .without_content_type()
            .answer()
            .await;
        assert_eq!(answer.status, 415, "no content type: {}", answer.in_words());
        serves(&cluster, &hotel, id, "after hostile bodies").await;
    }
    assert_eq!(hotel.reservations(&cluster.api(1)).await.len(), 3, "only the probes were booked");
}

/// 40 MiB, by clients of two habits: one that reads while it writes, and one that writes all before it reads.
#[tokio::test]
async fn forty_mebibytes_are_refused_and_the_refusal_can_be_read() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let body = format!("{{\"guest\":\"{}\"}}", "g".repeat(40 * MIB));
    for id in cluster.ids() {
        let api = cluster.api(id);
        let call =
            api.call(Method::POST, &hotel.path("/reservations")).body("application/json", body.clone());
        call.refused(413, "too_large").await;

        let address = cluster.nodes[id as usize - 1].client_addr.clone();
        for framing in [format!("content-length: {}", body.len()), "transfer-encoding: chunked".to_owned()] {
            let answer =
                writes_all_then_reads(&address, &hotel.path("/reservations"), &framing, body.as_bytes())
                    .await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{framing}: {answer}");
            assert!(answer.contains("\"too_large\""), "{framing}: {answer}");
        }
        serves(&cluster, &hotel, id, "after 40 MiB").await;
    }
}

#[tokio::test]
async fn paths_and_ids_out_of_bounds_are_refused() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let longest = "p".repeat(64);
    let too_long = "p".repeat(65);
    let property = json!({"name": "P", "location": "L", "time_zone": "UTC", "currency": "EUR", "business_date": date(0)});
    let api = cluster.api(2);

    api.put(&format!("/v1/properties/{longest}"), &property).expect(201).await;
    for id in [
        too_long.as_str(),
        ".hidden",
        "-dash",
        "_line",
        "a%20b",
        "a%2Fb",
        "%C3%A9",
        "%00",
        "%FF",
        "a%0Ab",
        "%2e%2e",
    ] {
        for (method, path) in [
            (Method::PUT, format!("/v1/properties/{id}")),
            (Method::PUT, hotel.path(&format!("/rooms/{id}"))),
            (Method::PUT, hotel.path(&format!("/room-types/{id}"))),
            (Method::GET, format!("/v1/properties/{id}/rooms")),
            (Method::GET, format!("/v1/reservations/{id}")),
            (Method::POST, format!("/v1/reservations/{id}/cancel")),
        ] {
            let body = if path.contains("/rooms/") {
                json!({"room_type": "named"})
            } else if path.contains("/room-types/") {
                json!({"name": "T", "max_occupancy": 2, "overbooking_limit": 0})
            } else {
                property.clone()
            };
            let mut call = api.call(method.clone(), &path);
            if method == Method::PUT {
                call = call.json(&body);
            } else if method == Method::POST {
                call = call.json(&json!({}));
            }
            let answer = call.answer().await;
            assert!(matches!(answer.status, 400 | 404 | 405), "{}", answer.in_words());
            answer.problem();
        }
    }
    // A request line without an end, and headers without one.
    for (what, request) in [
        ("a path of 100 KiB", format!("GET /v1/{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100 * 1024))),
        ("headers of 2 MiB", format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(2 * MIB))),
        ("no HTTP", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
    ] {
        let answer = raw(&cluster.nodes[1].client_addr, request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    serves(&cluster, &hotel, 2, "after bad paths").await;
}

#[tokio::test]
async fn parameters_that_a_write_does_not_know_are_named() {
    let cluster = Cluster::start(1).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let api = cluster.api(1);
    let stay = hotel.stay("n1", 0, 1, "g");
    let nobody = uuid::Uuid::from_u128(7);
    for (method, path, body) in [
        (Method::POST, hotel.path("/reservations"), stay.clone()),
        (Method::POST, hotel.path("/bookings"), json!({"guest": "g", "reservations": [stay]})),
        (Method::PUT, hotel.path("/rooms/n1"), json!({"room_type": "named"})),
        (Method::DELETE, hotel.path("/rooms/n1"), json!({})),
        (Method::POST, format!("/v1/reservations/{nobody}/cancel"), json!({})),
        (Method::POST, format!("/v1/bookings/{nobody}/confirm"), json!({})),
        (Method::POST, "/v1/cluster/snapshot".to_owned(), json!({})),
    ] {
        let answer = api.call(method, &format!("{path}?dry_run=true")).json(&body).answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{}", answer.in_words());
        assert!(answer.in_words().contains("dry_run"), "{}", answer.in_words());
    }
    serves(&cluster, &hotel, 1, "after parameters").await;
}

#[tokio::test]
async fn garbage_on_the_peer_port_is_refused_and_the_node_goes_on() {
    let cluster = Cluster::start(3).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let term = cluster.cluster_seen_by(1).await.expect("a node that answers")["term"].clone();
    let mut chance = cluster.chance();
    let mut noise = |length: usize| (0..length).map(|_| chance.next() as u8).collect::<Vec<u8>>();

    for id in cluster.ids() {
        let address = cluster.nodes[id as usize - 1].peer_addr.clone();
        let peer = crate::support::Api::new(&crate::support::http::client(), &address);
        // No HTTP at all, and a connection that says nothing and goes.
        for length in [0, 1, 64, 4_096, MIB] {
            let answer = raw(&address, &noise(length)).await;
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
                "{length} bytes of noise: {answer}"
            );
        }
        // The route that peers use, and routes that look like it, with bodies that no peer sends.
        for path in [PEER_ROUTE, "/v1/groups/1/line", "/v1/groups/0", "/v1/groups/0/line/1", "/"] {
            for length in [0, 1, 10, 100, 10_000, MIB] {
                let call = peer.call(Method::POST, path).body("application/octet-stream", noise(length));
                // A body that nobody reads may cost its sender the answer.
                if let Ok(answer) = call.send().await {
                    assert!((400..500).contains(&answer.status), "{length} bytes: {}", answer.in_words());
                }
            }
        }
        // A line on which comes what is no frame, or one that announces more than any.
        let upgrade = format!(
            "GET {PEER_ROUTE} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\n\
             upgrade: innkeeper-line/1\r\n\r\n"
        );
        let longest = [b"InKp\x06\x01\x00\xff\xff\xff\xff".as_slice(), &[0; 4]].concat();
        for bytes in [noise(64), noise(MIB), longest] {
            let answer = raw(&address, &[upgrade.as_bytes(), &bytes].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        }
        // Clients that took the wrong port. On a connection of its own: those before may be closing, for bodies unread.
        let lost = crate::support::Api::new(&crate::support::http::client(), &address);
        let answer = lost.get("/v1/properties").answer().await;
        assert!((400..500).contains(&answer.status), "{}", answer.in_words());
        // Far more than any append, by length alone and in full.
        for path in ["/", PEER_ROUTE] {
            let header =
                format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 99999999999\r\n\r\n");
            let answer = raw(&address, header.as_bytes()).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        serves(&cluster, &hotel, id, "after garbage on its peer port").await;
    }
    let seen = cluster.cluster_seen_by(1).await.expect("a node that answers");
    assert_eq!(seen["term"], term, "garbage made nobody elect: {seen}");
    cluster.agree().await;
}

/// In chunks of unknown number, and of a kind that is not said: nothing is nothing, and something is judged by its kind.
#[tokio::test]
async fn a_call_without_a_body_takes_none_however_it_is_sent() {
    let cluster = Cluster::start(1).await;
    let hotel = Hotel::open(&cluster, "grand", 2).await;
    let api = cluster.api(1);
    for (n, (body, status)) in [("0\r\n\r\n", 200), ("2\r\n{}\r\n0\r\n\r\n", 415)].into_iter().enumerate() {
        let night = n as u64;
        let made = hotel.reserve(&api, "n1", night, night + 1, &format!("key-{n}")).expect(201).await;
        let id = made["id"].as_str().expect("an id");
        let request = format!(
            "POST /v1/reservations/{id}/cancel HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(api.address()).await.expect("a port that listens");
        stream.write_all(request.as_bytes()).await.expect("a request is read");
        let answer = read_to_end(stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// A booking through this node, canceled again so that the next probe finds the room free.
async fn serves(cluster: &Cluster, hotel: &Hotel, id: u64, when: &str) {
    let api = cluster.api(id);
    let stay = hotel.stay("n2", id * 10, id * 10 + 1, &format!("probe-{id}"));
    let answer = hotel.post(&api, &stay).timeout(Duration::from_secs(10)).answer().await;
    assert_eq!(answer.status, 201, "{when}: {}", answer.in_words());
    let made: Value = answer.json();
    let path = format!("/v1/reservations/{}", made["id"].as_str().expect("an id"));
    api.post(&format!("{path}/cancel"), &json!({})).expect(200).await;
}

/// What comes back on a connection of its own, until the other side ends it or has been silent for a while.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a port that listens");
    // It may refuse in the middle of it; what it said then can still be read.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    read_to_end(stream).await
}

async fn writes_all_then_reads(address: &str, path: &str, framing: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a port that listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("a head is read");
    let chunked = framing.contains("chunked");
    for part in body.chunks(MIB) {
        let written = if chunked {
            let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
            chunk.extend(part);
            chunk.extend(b"\r\n");
            stream.write_all(&chunk).await
        } else {
            stream.write_all(part).await
        };
        match written {
            Ok(()) => {}
            // The node may close before it has read all; what it answered must be there nevertheless.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
            Err(error) => panic!("writing the body: {error}"),
        }
    }
    if chunked {
        // As above: the node may have closed already.
        let _ = stream.write_all(b"0\r\n\r\n").await;
    }
    read_to_end(stream).await
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    // An answer that keeps its connection open ends with a pause.
    while let Ok(Ok(length)) = tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
