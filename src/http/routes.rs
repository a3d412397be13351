//! Every route of the client port, and what is true of every answer of a node that has started.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Extension, Router};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answers::Answers;
use super::bodies::Bodies;
use super::drain::drain_bodies;
use super::extract::{BODY_BYTES_MAX, GROUP_BYTES_MAX};
use super::metrics::Metrics;
use super::problem::{Code, Problem};
use super::{
    batch, blocks, bookings, calendar, cluster, events, imports, inventory, metrics, openapi, quarantine,
    queries, reservations, restrictions, waitlist,
};
use crate::node::{Limits, Node};
use crate::replication::NotApplied;

pub const LSN: HeaderName = HeaderName::from_static("innkeeper-lsn");
pub const NODE: HeaderName = HeaderName::from_static("innkeeper-node");
const LEADER: HeaderName = HeaderName::from_static("innkeeper-leader");

pub fn router(node: Arc<Node>) -> Router {
    let around = Around {
        places: Semaphore::new(node.config.limits.requests_max),
        held_back: Semaphore::new(node.config.limits.requests_max / 4),
        answers: Answers::new(node.config.limits.answer_bytes_max),
        node: node.clone(),
        metrics: Arc::new(Metrics::new(&node).expect("the metrics have different and sound names")),
    };
    // One layer: each costs every request a box for its future, and one more for each layer within it.
    let around = middleware::from_fn_with_state(Arc::new(around), around_each);
    routes(&node.config.limits)
        .router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(around)
        .with_state(node)
}

/// The paths, each with its methods. The API's document is held against them.
pub fn routes(limits: &Limits) -> Routes {
    let property = "/v1/properties/{property}";
    let at = |rest: &str| format!("{property}/{rest}");
    let bodies = Extension(Bodies::new(limits));
    Routes::default()
        .route("/v1/properties", get(inventory::list_properties))
        .route(property, get(inventory::get_property).put(inventory::put_property))
        .route(&at("room-types"), get(inventory::list_room_types))
        .route(&at("room-types/{room_type}"), put(inventory::put_room_type))
        .route(&at("rooms"), get(inventory::list_rooms))
        .route(&at("rooms/{room}"), put(inventory::put_room).delete(inventory::retire_room))
        .route(
            &at("rooms/{room}/out-of-order"),
            put(inventory::put_out_of_order).delete(inventory::end_out_of_order),
        )
        .route(&at("out-of-order"), get(inventory::list_out_of_order))
        .route(&at("rooms/{room}/calendar.ics"), get(calendar::show))
        .route(&at("rates"), get(inventory::list_rates).put(inventory::put_rates))
        .route(&at("restrictions"), get(restrictions::list).put(restrictions::put))
        .route(&at("blocks"), get(blocks::list))
        .route(&at("blocks/{block}"), put(blocks::put))
        .route(&at("waitlist"), get(waitlist::list).post(waitlist::join))
        .route(&at("waitlist/{id}"), get(waitlist::get).delete(waitlist::leave))
        .route(&at("night-audit"), post(inventory::night_audit))
        .route(&at("reservations"), get(reservations::list).post(reservations::reserve))
        .route(&at("bookings"), post(bookings::book).layer(bodies.clone()))
        .route(&at("imports"), post(imports::import).layer(bodies.clone()))
        .route(&at("free-rooms"), get(queries::free_rooms))
        .route(&at("availability"), get(queries::availability))
        .route("/v1/reservations/{id}", get(reservations::show).patch(reservations::amend))
        .route("/v1/reservations/{id}/history", get(reservations::history))
        .route("/v1/reservations/{id}/confirm", post(reservations::confirm))
        .route("/v1/reservations/{id}/cancel", post(reservations::cancel))
        .route("/v1/reservations/{id}/check-in", post(reservations::check_in))
        .route("/v1/reservations/{id}/check-out", post(reservations::check_out))
        .route("/v1/reservations/{id}/no-show", post(reservations::no_show))
        .route("/v1/reservations/{id}/assign", post(reservations::assign))
        .route("/v1/bookings/{id}", get(bookings::show))
        .route("/v1/bookings/{id}/confirm", post(bookings::confirm))
        .route("/v1/bookings/{id}/cancel", post(bookings::cancel))
        .route("/v1/batch", post(batch::run).layer(bodies))
        .route("/v1/search", get(queries::search))
        .route("/v1/events", get(events::list))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/quarantine/{lsn}/retry", post(quarantine::retry))
        .route("/v1/quarantine/{lsn}/discard", post(quarantine::discard))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/cluster/snapshot", post(cluster::snapshot))
        .route("/v1/cluster/resume", post(cluster::resume))
        .route("/v1/cluster/state-hash", get(cluster::state_hash))
        .route("/livez", get(cluster::livez))
        .route("/readyz", get(cluster::readyz))
        .route("/openapi.json", get(openapi::show))
        .route("/docs", get(openapi::docs))
        .route("/metrics", get(metrics::show))
}

/// A router that remembers its paths.
#[derive(Default)]
pub struct Routes {
    router: Router<Arc<Node>>,
    #[cfg(test)]
    pub paths: Vec<String>,
}

impl Routes {
    fn route(mut self, path: &str, methods: MethodRouter<Arc<Node>>) -> Routes {
        self.router = self.router.route(path, methods);
        #[cfg(test)]
        self.paths.push(path.to_owned());
        self
    }
}

/// What every request passes on its way to its handler and back.
struct Around {
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    /// One permit a request that may be served at once.
    places: Semaphore,
    /// One permit a refusal that may be held back at the same time; who finds none is answered at once.
    held_back: Semaphore,
    answers: Answers,
}

async fn around_each(State(around): State<Arc<Around>>, mut request: Request, next: Next) -> Response {
    if request.uri().path() == "/metrics" {
        request.extensions_mut().insert(around.metrics.clone());
    }
    // A client that asks before it sends its body (`Expect`) soon sends it without an answer.
    let may_be_held_back = is_for_the_log(&request) && !request.headers().contains_key(header::EXPECT);
    let may_be_shed = request.method().is_safe() && !is_of_health(&request);
    let counted = around.metrics.begin(&request);
    let mut answer = answer_panics(drain_bodies(request, |request| around.bound(request, next))).await;
    if may_be_shed {
        answer = around.answers.admit(answer);
    }
    let answer = around.name_the_node(answer);
    counted.end(&answer);
    // It is neither served nor counted any more: only its connection waits.
    if may_be_held_back && answer.status() == StatusCode::TOO_MANY_REQUESTS {
        around.hold_back().await;
    }
    answer
}

impl Around {
    /// Sheds what comes while as many requests are served as may be, and what could only be shed once it had been read:
    /// that work is then left for what was admitted.
    async fn bound(&self, request: Request, next: Next) -> Response {
        let place = self.places.try_acquire();
        let is_too_long = is_too_long(&request);
        if place.is_err() && !is_of_health(&request) && !is_too_long {
            return Problem::overloaded("as many requests are being served as this node takes")
                .into_response();
        }
        if is_for_the_log(&request) && !is_too_long && self.node.would_shed(1) {
            return Problem::from(NotApplied::Overloaded).into_response();
        }
        next.run(request).await
    }

    /// Waits a while, unless the node is asked to stop.
    async fn hold_back(&self) {
        if let Ok(_place) = self.held_back.try_acquire() {
            let mut closing = self.node.closing();
            // Either is the end of the wait.
            let _ = timeout(self.node.config.timings.refusal, closing.wait_for(|closing| *closing)).await;
        }
    }

    /// Says on every answer which node gave it, who leads, and which position it reflects.
    fn name_the_node(&self, mut response: Response) -> Response {
        let lsn = self.node.position().lsn;
        let headers = response.headers_mut();
        headers.entry(LSN).or_insert_with(|| HeaderValue::from(lsn.0));
        headers.insert(NODE, HeaderValue::from(self.node.id()));
        if let Some(leader) = self.node.leader() {
            headers.insert(LEADER, HeaderValue::from(leader));
        }
        response
    }
}

/// Health and numbers are asked for in trouble, and always answered.
fn is_of_health(request: &Request) -> bool {
    matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics")
}

/// Whether the request is for a route that takes commands. An operator's calls to the cluster don't wait for them.
fn is_for_the_log(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    !request.method().is_safe() && route.is_some_and(|route| !route.as_str().starts_with("/v1/cluster"))
}

/// Whether the body is longer than its route takes, as its head says. That is refused unread and for good, so its client is
/// not told to come again, however much waits.
fn is_too_long(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let takes_many = ["/bookings", "/imports", "/batch"].iter().any(|end| route.ends_with(end));
    let bytes_max = if takes_many { GROUP_BYTES_MAX } else { BODY_BYTES_MAX };
    request.body().size_hint().lower() > bytes_max as u64
}

/// A panic is a bug in one request: its client is told, and the others go on. The panic itself has been printed.
async fn answer_panics(answer: impl Future<Output = Response>) -> Response {
    // What a handler shares with others is behind locks, and a lock that was written under is poisoned by a panic.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        let detail = "the node failed in this request; if it is a write, whether it was done is unknown";
        Problem::new(Code::Internal, detail).into_response()
    })
}

async fn no_route(uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("there is no resource at {}", uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{method} is not allowed at {}; see Allow", uri.path()))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep};
    use tower::ServiceExt;

    use super::*;
    use crate::node::Timings;
    use crate::node::tests::{in_order, node, property, start_with};

    /// Status, whether the answer has `Retry-After`, and how long it took.
    async fn asked(node: &Arc<Node>, method: &str, path: &str, body: String) -> (u16, bool, Duration) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let began = Instant::now();
        let response = router(node.clone()).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        (response.status().as_u16(), response.headers().contains_key("retry-after"), began.elapsed())
    }

    /// Has so many commands wait, on a node that finds no leader, while it is asked.
    async fn while_commands_wait(node: &Arc<Node>, commands: usize, ask: impl Future<Output = ()>) {
        let all: Vec<_> = (0..commands).map(|n| property(n, 1)).collect();
        let all = join_all(all.iter().map(|one| in_order(node, std::slice::from_ref(one))));
        tokio::select! {
            biased;
            _ = all => panic!("they were answered before the node was asked"),
            () = ask => {}
        }
    }

    #[tokio::test]
    async fn what_would_be_shed_is_shed_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let asked = async |method, path| asked(&node, method, path, "no JSON".to_owned()).await;
        assert_eq!(asked("PUT", "/v1/properties/p").await.0, 400);
        while_commands_wait(&node, Limits::default().queued_commands_max, async {
            while !node.would_shed(1) {
                sleep(Duration::from_millis(1)).await;
            }
            for (method, path) in [("PUT", "/v1/properties/p"), ("POST", "/v1/batch")] {
                let (status, retry_after, took) = asked(method, path).await;
                assert_eq!((status, retry_after), (429, true), "{path}");
                assert!(took >= node.config.timings.refusal, "{took:?}");
            }
            let too_long = [
                ("PUT", "/v1/properties/p", BODY_BYTES_MAX),
                ("POST", "/v1/properties/p/bookings", GROUP_BYTES_MAX),
                ("POST", "/v1/batch", GROUP_BYTES_MAX),
            ];
            for (method, path, bytes_max) in too_long {
                let answer = self::asked(&node, method, path, " ".repeat(bytes_max + 1)).await;
                assert_eq!((answer.0, answer.1), (413, false), "{path}");
            }
            assert_eq!(asked("POST", "/v1/nowhere").await.0, 404);
            assert_eq!(asked("GET", "/v1/cluster").await.0, 200);
            assert_ne!(asked("POST", "/v1/cluster/snapshot").await.0, 429);
        })
        .await;
        node.shut_down().await;
    }

    #[tokio::test]
    async fn no_refusal_is_held_back_from_who_waits_with_the_body_nor_once_the_node_stops() {
        let dir = tempfile::tempdir().unwrap();
        let (long, soon) = (Duration::from_secs(3_600), Duration::from_secs(4));
        let timings = Timings { refusal: long, ..Timings::default() };
        let node = start_with(&dir, &[(1, "127.0.0.1:2"), (2, "127.0.0.1:3")], timings).await.unwrap();
        while_commands_wait(&node, Limits::default().queued_commands_max, async {
            while !node.would_shed(1) {
                sleep(Duration::from_millis(1)).await;
            }
            let request = Request::put("/v1/properties/p").header("expect", "100-continue");
            let answer = router(node.clone()).oneshot(request.body(Body::empty()).unwrap());
            assert_eq!(timeout(soon, answer).await.unwrap().unwrap().status(), 429);
            let mut held = pin!(asked(&node, "PUT", "/v1/properties/p", String::new()));
            assert!(timeout(Duration::from_millis(100), &mut held).await.is_err());
            node.close_streams();
            assert_eq!(timeout(soon, held).await.unwrap().0, 429);
        })
        .await;
        node.shut_down().await;
    }

    #[tokio::test]
    async fn a_batch_is_shed_unparsed_where_its_commands_have_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        let asked = async |commands| {
            // None can be read, so none is submitted.
            let body = format!(r#"{{"commands":[{}]}}"#, vec!["7"; commands].join(","));
            asked(&node, "POST", "/v1/batch", body).await.0
        };
        // A batch leaves a quarter of the places to single commands.
        while_commands_wait(&node, Limits::default().queued_commands_max * 3 / 4 - 600, async {
            while node.would_shed(600) || !node.would_shed(601) {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(asked(600).await, 200);
            assert_eq!(asked(601).await, 429);
            assert_eq!(asked(9_000).await, 429);
            assert_eq!(asked(10_001).await, 413);
        })
        .await;
        node.shut_down().await;
    }
}
