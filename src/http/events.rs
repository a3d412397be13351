//! Events: every change, in order. As pages, as pages that are waited for, and as a stream.
//!
//! Answered from what this node knows, never from another. A stream holds a bounded piece of text for a reader that is
//! slow, and ends when the reader takes nothing for a while: it comes back with the last position that it saw.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::accept;
use super::bodies::TURN_WAIT;
use super::extract::Params;
use super::problem::Problem;
use super::render;
use crate::history::{History, NotTold, Run};
use crate::ledger::{Lsn, Mark, PropertyId};
use crate::node::{Consistency, Node};
use crate::planted::{Bug, planted};
use crate::wire;

/// A connection on which nothing moves is closed after little more.
const WAIT_MS_MAX: u64 = 60_000;
/// A page, and a piece of a stream, is full with so many bytes, as they stand in memory before they are text. One event fits
/// whatever it holds: some megabytes, where it is a block of many years.
const PAGE_BYTES: usize = 16 << 20;
const PIECE_BYTES: usize = 256 << 10;
/// A stream without news says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces of text that wait for the reader of a stream, and events in one. One is made while one is taken; more would only take
/// memory, for each stream whose reader is slow.
const PIECES: usize = 1;
const PIECE_EVENTS: usize = 64;
/// How long a stream waits for its turn to be told more, before it ends: a piece takes some milliseconds, and as many streams as
/// may be open have their turns within seconds.
const PIECE_WITHIN: Duration = Duration::from_secs(20);
/// A reader that takes nothing for so long is cut off.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// After a look that found nothing the next comes no sooner: news of others, which may be many, wake nobody in between.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A stream with nothing to tell looks so often whether its node has paused, which is no news.
const PAUSE_SEEN_WITHIN: Duration = Duration::from_secs(2);

/// What is told of, and from where on.
#[derive(Clone, Debug)]
struct Query {
    after: Position,
    limit: usize,
    bytes_max: usize,
    property: Option<PropertyId>,
}

/// The place of an event: its command, and its number within that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    lsn: Lsn,
    n: u32,
}

impl std::str::FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Position, Self::Err> {
        let parse = || {
            let (lsn, n) = text.split_once('-')?;
            let position = Position { lsn: Lsn(lsn.parse().ok()?), n: n.parse().ok()? };
            // Only as answers write it: no sign, no zero in front.
            (position.to_string() == text).then_some(position)
        };
        parse().ok_or("expected a position as events have it, such as 42-0")
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.lsn, self.n)
    }
}

pub async fn list(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    let after = params.optional("after")?.unwrap_or_default();
    let (limit, property) = (params.limit()?, params.optional("property")?);
    let query = Query { after, limit, bytes_max: PAGE_BYTES, property };
    let wait_ms = params.number("wait_ms")?.unwrap_or(0);
    let min_lsn = params.number("min_lsn")?.map(Lsn);
    let consistency = params.local_consistency()?;
    params.finish()?;
    if wait_ms > WAIT_MS_MAX {
        return Err(Problem::malformed("wait_ms", "must be at most 60,000"));
    }
    let streams = wants_stream(&headers);
    let query = if streams { Query { after: resumed(&headers, query.after)?, ..query } } else { query };
    let deadline = node.deadline();
    node.ready_to_read(consistency, min_lsn, deadline).await?;
    node.reach(query.after.lsn, deadline).await?;
    if streams { stream(node, query).await } else { page(&node, query, wait_ms, consistency).await }
}

/// A stream is for who names it, and no page more gladly.
fn wants_stream(headers: &HeaderMap) -> bool {
    let ranges = accept::ranges(headers);
    let weight_of = |of: &str| ranges.iter().filter(|range| range.of == of).map(|range| range.weight).max();
    weight_of("text/event-stream").is_some_and(|it| it > 0 && Some(it) >= weight_of("application/json"))
}

/// Where a stream goes on that broke off.
fn resumed(headers: &HeaderMap, after: Position) -> Result<Position, Problem> {
    let Some(last) = headers.get("last-event-id") else { return Ok(after) };
    let text = last.to_str().map_err(|_| Problem::malformed("Last-Event-ID", "is no position"))?;
    // A browser that has seen none sends none, or an empty one.
    if text.is_empty() {
        return Ok(after);
    }
    text.parse().map_err(|error| Problem::malformed("Last-Event-ID", error))
}

async fn page(
    node: &Node,
    query: Query,
    wait_ms: u64,
    consistency: Consistency,
) -> Result<Response, Problem> {
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let (mut tips, mut closing) = (node.tips(), node.closing());
    let mut scan = Scan::new(query.clone());
    let mut waits = None;
    loop {
        let (known, looked_at) = (tips.borrow_and_update().lsn, Instant::now());
        let (next, found) = read_page(node, scan, known).await?;
        scan = next;
        if let Some(page) = found {
            return Ok(page);
        }
        if Instant::now() >= until || *closing.borrow() {
            let empty = wire::Events { events: Vec::new(), next: query.after.to_string() };
            return Ok(render::json(StatusCode::OK, known.max(scan.seen), &empty));
        }
        if waits.is_none() {
            waits = Some(node.place_for_poll().ok_or_else(|| {
                Problem::overloaded(
                    "as many requests wait for events as may; the other places are for bookings",
                )
            })?);
        }
        // News, the end of the wait and the end of the node are alike: the answer is looked for once more.
        tokio::select! {
            _ = timeout_at(until, tips.changed()) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        sleep_until(until.min(looked_at + LOOK_EVERY)).await;
        // Meanwhile it may have paused, or heard from no leader for too long.
        node.ready_to_read(consistency, None, until).await?;
    }
}

/// The page that comes next, which reflects `known` at least; `None` where there is nothing to tell. A few are read at once,
/// apart from streams, and written where they are read: what they are made of takes several times the memory of the text.
async fn read_page(node: &Node, mut scan: Scan, known: Lsn) -> Result<(Scan, Option<Response>), Problem> {
    if scan.is_quiet(node) {
        return Ok((scan, None));
    }
    let Some(place) = node.place_for_page(TURN_WAIT).await else {
        return Err(Problem::overloaded("more pages of events are asked for than this node can read"));
    };
    let read = node.ask_history(move |history| {
        // It is taken until the page is text: whoever asked may be gone, and the thread is not.
        let _place = place;
        let events = scan.next(history)?;
        let Some(last) = events.last() else { return Ok((scan, None)) };
        let page = wire::Events { next: last.position.clone(), events };
        let page = render::json(StatusCode::OK, known.max(scan.seen), &page);
        Ok((scan, Some(page)))
    });
    Ok(read.await?)
}

/// Goes through the commits, and remembers where it has come to.
#[derive(Clone, Debug)]
struct Scan {
    query: Query,
    /// All up to here was looked at.
    seen: Lsn,
}

impl Scan {
    fn new(query: Query) -> Scan {
        // The command itself may have more events than the one at this position.
        let again = if planted(Bug::PageEndsCommand) { 0 } else { 1 };
        let seen = Lsn(query.after.lsn.0.saturating_sub(again));
        Scan { query, seen }
    }

    /// The next events, until there are enough or no more are known.
    fn next(&mut self, history: &History) -> Result<Vec<wire::Event>, NotTold> {
        let mut events = Found::default();
        loop {
            let run = match self.run(history) {
                // The last command that is forgotten, told to its end.
                Err(NotTold::Gone { first })
                    if first == self.query.after.lsn.next() && self.was_told_all(history) =>
                {
                    self.seen = self.query.after.lsn;
                    self.run(history)
                }
                // What was found is told before it is said that the rest is missing.
                Err(_) if !events.told.is_empty() => return Ok(events.told),
                run => run,
            }?;
            let is_end = run.commits.is_empty() && run.upto >= history.known();
            if self.take(run, &mut events) || is_end {
                return Ok(events.told);
            }
        }
    }

    /// Whether nothing of the command at the position was left to tell. Most have one event.
    fn was_told_all(&self, history: &History) -> bool {
        let Position { lsn, n } = self.query.after;
        n == u32::MAX || (n == 0 && !history.had_more_than_one(lsn))
    }

    fn run(&self, history: &History) -> Result<Run, NotTold> {
        match &self.query.property {
            Some(property) => history.after_of(self.seen, property),
            None => history.after(self.seen),
        }
    }

    /// Whether what is known holds nothing new of the property that is asked for, as far as that can be told from memory.
    fn is_quiet(&mut self, node: &Node) -> bool {
        let told = self.query.property.as_ref().and_then(|property| node.recent_of(self.seen, property));
        match told {
            Some(Ok(run)) if run.commits.is_empty() => {
                self.seen = self.seen.max(run.upto);
                true
            }
            _ => false,
        }
    }

    /// Takes what is told of; whether that is enough.
    fn take(&mut self, run: Run, events: &mut Found) -> bool {
        for commit in &run.commits {
            for (n, event_type, change) in commit.events() {
                let position = Position { lsn: commit.lsn, n };
                let is_wanted =
                    self.query.property.is_none() || change.property() == self.query.property.as_ref();
                if position <= self.query.after || !is_wanted {
                    continue;
                }
                if events.told.len() == self.query.limit || events.bytes >= self.query.bytes_max {
                    return true;
                }
                events.push(render::event(position.to_string(), commit, event_type, change));
                self.query.after = position;
            }
            self.seen = commit.lsn;
        }
        self.seen = self.seen.max(run.upto);
        false
    }
}

/// What a scan has found.
#[derive(Default)]
struct Found {
    told: Vec<wire::Event>,
    /// What it takes in memory, roughly.
    bytes: usize,
}

impl Found {
    fn push(&mut self, event: wire::Event) {
        const AROUND: usize = 512;
        let shown = [&event.before, &event.after].into_iter().flatten();
        self.bytes += AROUND + shown.map(bytes_of).sum::<usize>();
        self.told.push(event);
    }
}

/// What a value takes in memory, roughly: an object has its fields in nodes of a tree.
fn bytes_of(value: &Value) -> usize {
    const FIELD: usize = 96;
    match value {
        Value::Object(fields) => fields.iter().map(|(name, it)| FIELD + name.len() + bytes_of(it)).sum(),
        Value::Array(items) => items.iter().map(|it| size_of::<Value>() + bytes_of(it)).sum(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The text of what comes next in a stream; empty where there is nothing to tell. A few pieces are made at once, for all streams
/// together, and written where they are made: hundreds of readers that come back together, as when a leader is gone, leave
/// the processor to those who book.
async fn next_piece(node: &Node, mut scan: Scan) -> Result<(Scan, String), Problem> {
    // Many may follow something quiet in a busy house: nothing is asked of the disk's threads for these.
    if scan.is_quiet(node) {
        return Ok((scan, String::new()));
    }
    let Some(turn) = node.turn_for_piece(PIECE_WITHIN).await else {
        return Err(Problem::overloaded("more streams are told of the past than this node can read for"));
    };
    let made = node.ask_history(move |history| {
        // It is taken until the piece is text: whoever asked may be gone, and the thread is not.
        let _turn = turn;
        let mut piece = String::new();
        for event in scan.next(history)? {
            tell(&mut piece, &event);
        }
        Ok((scan, piece))
    });
    Ok(made.await?)
}

async fn stream(node: Arc<Node>, query: Query) -> Result<Response, Problem> {
    let Some(place) = node.place_for_stream() else {
        return Err(Problem::overloaded("as many streams are open as this node takes"));
    };
    let scan = Scan::new(Query { limit: PIECE_EVENTS, bytes_max: PIECE_BYTES, ..query });
    // Before the first look: what comes while that is made is news.
    let tips = node.tips();
    // What is refused at all is refused before the stream begins.
    let (scan, first) = next_piece(&node, scan).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let feed = Feed {
        tips,
        closing: node.closing(),
        node: Arc::downgrade(&node),
        sender,
        heard_at: Instant::now(),
        _place: place,
    };
    tokio::spawn(feed.run(scan, first));
    let pieces = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece: Bytes| (Ok::<_, Infallible>(piece), receiver))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, Body::from_stream(pieces)).into_response())
}

/// Fills one stream until its reader or the node is gone.
struct Feed {
    node: Weak<Node>,
    tips: watch::Receiver<Mark>,
    closing: watch::Receiver<bool>,
    sender: mpsc::Sender<Bytes>,
    /// When the reader was last given something.
    heard_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    async fn run(mut self, mut scan: Scan, first: String) {
        let mut told = first;
        // Said at once, so that the reader knows that the stream has begun.
        let mut piece = String::from(": innkeeper\n\n");
        let mut looked_at = Instant::now();
        loop {
            let is_news = !told.is_empty();
            piece.push_str(&std::mem::take(&mut told));
            if !piece.is_empty() && !self.send(std::mem::take(&mut piece)).await {
                return;
            }
            if *self.closing.borrow() {
                return;
            }
            if !is_news {
                match self.news().await {
                    Heard::Something => {}
                    Heard::Nothing => piece.push_str(": still here\n\n"),
                    Heard::ReaderIsGone => return,
                }
                sleep_until(looked_at + LOOK_EVERY).await;
            }
            looked_at = Instant::now();
            self.tips.borrow_and_update();
            // One that has paused tells nothing for as long as that lasts: its readers turn to another.
            let Some(node) = self.node.upgrade().filter(|node| node.paused().is_none()) else { return };
            let made = tokio::select! {
                made = next_piece(&node, scan) => made,
                () = self.sender.closed() => return,
            };
            drop(node);
            // What is missing, gone or has no turn ends the stream: the reader asks again and is told why.
            let Ok(found) = made else { return };
            (scan, told) = found;
        }
    }

    /// Waits for news.
    async fn news(&mut self) -> Heard {
        let node = self.node.clone();
        let quiet_until = self.heard_at + HEARTBEAT;
        tokio::select! {
            changed = timeout_at(quiet_until, self.tips.changed()) => {
                if changed.is_ok() && Instant::now() < quiet_until { Heard::Something } else { Heard::Nothing }
            }
            _ = self.closing.wait_for(|closing| *closing) => Heard::Something,
            () = has_paused(node) => Heard::Something,
            () = self.sender.closed() => Heard::ReaderIsGone,
        }
    }

    async fn send(&mut self, piece: String) -> bool {
        self.heard_at = Instant::now();
        matches!(timeout(READ_WITHIN, self.sender.send(piece.into())).await, Ok(Ok(())))
    }
}

/// Returns once the node has paused or is gone.
async fn has_paused(node: Weak<Node>) {
    loop {
        sleep(PAUSE_SEEN_WITHIN).await;
        if node.upgrade().is_none_or(|node| node.paused().is_some()) {
            return;
        }
    }
}

/// What a stream that had nothing to tell has waited for.
enum Heard {
    Something,
    /// The reader has heard nothing for a while, either.
    Nothing,
    ReaderIsGone,
}

fn tell(piece: &mut String, event: &wire::Event) {
    // JSON has no line breaks of its own, which would end the field (HTML, section 9.2.6).
    let data = serde_json::to_string(event).expect("an event has string keys and finite numbers");
    write!(piece, "id: {}\nevent: {}\ndata: {data}\n\n", event.position, event.kind)
        .expect("a string takes what is written");
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tower::ServiceExt;

    use super::*;
    use crate::http::routes::router;
    use crate::node::Limits;
    use crate::node::tests::node;

    /// Status and body.
    async fn asked(node: &Arc<Node>, query: &str) -> (u16, String) {
        let request = Request::get(format!("/v1/events?{query}")).body(Body::empty()).unwrap();
        let response = router(node.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_few_pages_are_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let mut read = Vec::new();
        for _ in 0..Limits::default().event_pages_max {
            read.push(node.place_for_page(TURN_WAIT).await.unwrap());
        }
        let (status, problem) = asked(&node, "").await;
        assert_eq!(status, 429, "{problem}");
        // What is known to hold nothing new takes no place, and one that comes free is soon taken.
        assert_eq!(asked(&node, "property=quiet").await.0, 200);
        read.pop();
        assert_eq!(asked(&node, "").await.0, 200);
        assert!(node.place_for_page(TURN_WAIT).await.is_some(), "it was given back");
        node.shut_down().await;
    }

    #[tokio::test]
    async fn pieces_of_streams_are_made_in_turns() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let open = |query: &str| {
            let request = Request::get(format!("/v1/events?{query}")).header("accept", "text/event-stream");
            router(node.clone()).oneshot(request.body(Body::empty()).unwrap())
        };
        let mut turns = Vec::new();
        for _ in 0..Limits::default().stream_pieces_max {
            turns.push(node.turn_for_piece(PIECE_WITHIN).await.unwrap());
        }
        // What is known to hold nothing new needs none.
        assert_eq!(open("property=quiet").await.unwrap().status(), StatusCode::OK);
        let opening = tokio::spawn(open(""));
        let early = node.turn_for_piece(Duration::from_millis(200)).await;
        assert!(early.is_none() && !opening.is_finished(), "it has its turn while others are made");
        turns.pop();
        let opened = timeout(Duration::from_secs(10), opening).await.unwrap().unwrap().unwrap();
        assert_eq!(opened.status(), StatusCode::OK);
        assert!(node.turn_for_piece(PIECE_WITHIN).await.is_some(), "it was given back");
        node.shut_down().await;
    }

    #[tokio::test]
    async fn who_finds_no_place_to_wait_is_told_to_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let limits = Limits::default();
        let take_all = || std::iter::from_fn(|| node.place_for_poll()).collect::<Vec<_>>();
        let waiting = take_all();
        assert_eq!((waiting.len(), 2 * waiting.len()), (limits.long_polls_max, limits.requests_max));
        let at_once = timeout(Duration::from_secs(10), asked(&node, "wait_ms=60000")).await.unwrap();
        assert_eq!(at_once.0, 429, "{}", at_once.1);
        assert_eq!(asked(&node, "").await, (200, r#"{"events":[],"next":"0-0"}"#.to_owned()));
        drop(waiting);
        let waits = timeout(Duration::from_millis(200), asked(&node, "wait_ms=60000")).await;
        assert!(waits.is_err(), "{waits:?}");
        assert_eq!(take_all().len(), limits.long_polls_max, "who goes away waits no longer");
        node.shut_down().await;
    }

    #[tokio::test]
    async fn events_are_told_unless_they_are_too_old_for_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        // It hears from no leader.
        let node = node(&dir).await;
        for (query, status, named) in [
            ("consistency=local", 200, "events"),
            ("max_staleness_ms=60000", 503, "too_stale"),
            ("consistency=local&max_staleness_ms=60000", 503, "too_stale"),
            ("consistency=local&max_staleness_ms=60000&wait_ms=60000", 503, "too_stale"),
            ("consistency=local&max_staleness_ms=soon", 400, "max_staleness_ms"),
            ("consistency=linearizable&max_staleness_ms=1", 400, "consistency"),
        ] {
            let (answered, body) = asked(&node, query).await;
            assert_eq!(answered, status, "{query}: {body}");
            assert!(body.contains(named), "{query}: {body}");
        }
        node.shut_down().await;
    }

    #[test]
    fn who_takes_a_stream_gets_one() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;charset=utf-8", true),
            ("application/json;q=0.1, text/event-stream;q=0.5, */*", true),
            ("application/json, text/event-stream;q=0.5", false),
            ("text/event-stream;q=0, application/json", false),
            ("*/*", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wants_stream(&headers), expected, "{accept}");
        }
        assert!(!wants_stream(&HeaderMap::new()));
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for text in ["0-0", "42-7", "18446744073709551615-4294967295"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in
            ["", "-", "42", "42-", "-1", "042-0", "42-00", "+4-0", "4-0-0", "4.0-0", "18446744073709551616-0"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
