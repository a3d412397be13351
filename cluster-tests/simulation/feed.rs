//! Readers of the feed of events: one that hops between the nodes while they fail, and at the end one of each node.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use innkeeper::ledger::Lsn;
use innkeeper::replication::NodeId;
use innkeeper::wire;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::clients::{Desk, PROPERTY};
use super::network::{Answer, HttpAnswer, HttpRequest};

/// Events that a page holds at most: few, so that pages end within commands.
const PAGE_MAX: u64 = 24;
const AGAIN_AFTER_MS: u64 = 20;

/// Where an event stands: its command, and its number within that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub lsn: Lsn,
    pub n: u32,
}

impl Place {
    fn end_of(lsn: Lsn) -> Place {
        Place { lsn, n: u32::MAX }
    }

    fn read(position: &str) -> Place {
        let read = position.split_once('-').and_then(|(lsn, n)| {
            let lsn = lsn.parse().ok()?;
            Some(Place { lsn: Lsn(lsn), n: n.parse().ok()? })
        });
        read.unwrap_or_else(|| panic!("not a position of the contract: {position}"))
    }
}

/// What one reader was told without a break.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub reader: String,
    /// What comes after this was asked for.
    pub after: Place,
    pub events: Vec<(Place, wire::Event)>,
    /// All up to here was told.
    pub upto: Place,
    /// It is what a node told at the end, when all was well.
    pub is_final: bool,
}

/// A reader, who remembers where he is.
pub struct Reader {
    name: String,
    next: String,
    stretches: Vec<Stretch>,
}

enum Page {
    Some,
    Empty,
    /// Not now, or not from this node.
    None,
}

impl Reader {
    pub fn new(name: String) -> Reader {
        let mut reader = Reader { name, next: String::new(), stretches: Vec::new() };
        reader.begin_after(Lsn(0));
        reader
    }

    fn begin_after(&mut self, lsn: Lsn) {
        let after = Place::end_of(lsn);
        self.next = format!("{lsn}-0");
        let reader = self.name.clone();
        self.stretches.push(Stretch { reader, after, events: Vec::new(), upto: after, is_final: false });
    }

    fn take(&mut self, answer: &HttpAnswer) -> Page {
        if answer.status == StatusCode::GONE {
            // What nobody has any more can't be told; what comes next can.
            let gone: serde_json::Value = serde_json::from_slice(&answer.body).expect("a problem");
            let first = gone["first_lsn"].as_u64().expect("where the rest begins");
            self.begin_after(Lsn(first - 1));
            return Page::Some;
        }
        if answer.status != StatusCode::OK {
            return Page::None;
        }
        let page: wire::Events = serde_json::from_slice(&answer.body).expect("a page of the contract");
        let stretch = self.stretches.last_mut().expect("each reader has begun");
        let events = page.events.into_iter().map(|event| (Place::read(&event.position), event));
        let told = stretch.events.len();
        stretch.events.extend(events);
        if stretch.events.len() == told {
            assert_eq!(page.next, self.next, "an empty page leads on");
            // Up to where it looked.
            let lsn = answer.headers.get("innkeeper-lsn").and_then(|value| value.to_str().ok()?.parse().ok());
            stretch.upto = stretch.upto.max(Place::end_of(Lsn(lsn.expect("every answer has an LSN"))));
            return Page::Empty;
        }
        stretch.upto = Place::read(&page.next);
        self.next = page.next;
        Page::Some
    }
}

impl Desk {
    /// Follows the feed until the clients go, each page at any node.
    pub async fn follow(self, mut random: StdRng, told: Arc<Mutex<Vec<Stretch>>>) {
        let mut reader = Reader::new("the follower".into());
        while self.is_open() {
            sleep(Duration::from_millis(random.random_range(1..80))).await;
            let node = random.random_range(1..=self.nodes());
            self.read_page(&mut reader, node, random.random_range(1..=PAGE_MAX)).await;
        }
        told.lock().expect("one thread").extend(reader.stretches);
    }

    /// All that this node tells, from the beginning.
    pub async fn read_feed_at(self, node: NodeId) -> Vec<Stretch> {
        let mut reader = Reader::new(format!("node {node}"));
        // Each time another size, so that pages end everywhere.
        for limit in (1..=PAGE_MAX).cycle() {
            match self.read_page(&mut reader, node, limit).await {
                Page::Some => {}
                Page::Empty => break,
                Page::None => sleep(Duration::from_millis(AGAIN_AFTER_MS)).await,
            }
        }
        reader.stretches.last_mut().expect("each reader has begun").is_final = true;
        reader.stretches
    }

    /// Every other page is found by the property, which is all that there is.
    async fn read_page(&self, reader: &mut Reader, node: NodeId, limit: u64) -> Page {
        let of = if limit.is_multiple_of(2) { format!("&property={PROPERTY}") } else { String::new() };
        let path = format!("/v1/events?after={}&limit={limit}{of}", reader.next);
        let request = HttpRequest { method: Method::GET, path, key: None, body: Bytes::new() };
        match self.ask(node, request).await {
            Some(Answer::Http(answer)) => reader.take(&answer),
            _ => Page::None,
        }
    }
}
