//! The client port from its first moment on, which is before there is a node to ask: a start that replays much of a log
//! takes up to a minute.
//!
//! Until the node has started, the port says that the process runs, and refuses all else. A probe that found nobody there
//! would have the process killed in the middle of its replay, again and again; and a write that waited to be accepted would
//! be done when its client has long given up. Connections outlive the change: what answers a request is chosen when it comes.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum::routing::{IntoMakeService, get};
use axum::serve::Serve;
use axum::{Router, ServiceExt};
use tower::Service;

use super::cluster;
use super::drain::drain_bodies;
use super::listen::BoundedListener;
use super::problem::Problem;
use super::routes::{LSN, NODE, router};
use crate::node::{Node, Unready};
use crate::replication::NodeId;

#[derive(Clone)]
pub struct ClientPort(Arc<Routers>);

struct Routers {
    /// Of a node that starts.
    starting: Router,
    /// Of the node, once it has started.
    started: OnceLock<Router>,
}

impl ClientPort {
    /// The port of a node that starts.
    pub fn new(node: NodeId) -> ClientPort {
        ClientPort(Arc::new(Routers { starting: starting(node), started: OnceLock::new() }))
    }

    /// From here on requests get to the node. For whoever has started it, once.
    pub fn open(&self, node: Arc<Node>) {
        assert!(self.0.started.set(router(node)).is_ok(), "a port belongs to one node");
    }

    /// Answers what comes to `listener`.
    pub fn serve(
        self,
        listener: BoundedListener,
    ) -> Serve<BoundedListener, IntoMakeService<ClientPort>, ClientPort> {
        axum::serve(listener, ServiceExt::<Request>::into_make_service(self))
    }
}

impl Service<Request> for ClientPort {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> RouteFuture<Infallible> {
        let Routers { starting, started } = &*self.0;
        // Routers are always ready, and a clone is only another handle.
        started.get().unwrap_or(starting).clone().call(request)
    }
}

fn starting(node: NodeId) -> Router {
    Router::new()
        .route("/livez", get(cluster::livez))
        .fallback(refuse)
        .method_not_allowed_fallback(refuse)
        .layer(middleware::from_fn_with_state(node, around_each))
}

async fn refuse() -> Problem {
    Unready::Starting.into()
}

/// As around the node's own answers: a client that still sends does not lose its answer, and each says which node gave it.
async fn around_each(State(node): State<NodeId>, request: Request, next: Next) -> Response {
    let mut answer = drain_bodies(request, |request| next.run(request)).await;
    let headers = answer.headers_mut();
    headers.insert(NODE, HeaderValue::from(node));
    // Nothing that was done is reflected by it.
    headers.insert(LSN, HeaderValue::from_static("0"));
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::node::tests::node;

    /// A connection that is kept alive.
    struct Kept(BufReader<TcpStream>);

    struct Answer {
        status: u16,
        head: String,
        body: Value,
    }

    impl Kept {
        async fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{body}"
            );
            self.0.write_all(request.as_bytes()).await.unwrap();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(self.0.read_line(&mut head).await.unwrap(), 0, "it was closed after {head:?}");
            }
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Answer { status, head, body: serde_json::from_slice(&body).unwrap() }
        }
    }

    #[tokio::test]
    async fn while_its_node_starts_the_port_says_so_and_then_the_same_connection_gets_to_the_node() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = ClientPort::new(1);
        // Room for this connection alone: what is asked after the change is asked on it.
        let listener = BoundedListener::new(listener, 1, Duration::from_secs(75));
        let serving = tokio::spawn(port.clone().serve(listener).into_future());
        let mut client = Kept(BufReader::new(TcpStream::connect(address).await.unwrap()));

        // Such a body is read to its end, or who sends it would lose the answer, and the connection.
        let long = "x".repeat(1 << 20);
        for (method, path, body, status) in [
            ("GET", "/livez", "", 200),
            ("GET", "/readyz", "", 503),
            ("POST", "/livez", "", 503),
            ("GET", "/v1/nowhere", "", 503),
            ("PUT", "/v1/properties/p", "{}", 503),
            ("POST", "/v1/batch", long.as_str(), 503),
            ("GET", "/livez", "", 200),
        ] {
            let answer = client.ask(method, path, body).await;
            assert_eq!(answer.status, status, "{method} {path}");
            for header in ["innkeeper-node: 1\r\n", "innkeeper-lsn: 0\r\n"] {
                assert!(answer.head.contains(header), "{method} {path}: {}", answer.head);
            }
            if status == 503 {
                assert!(
                    answer.head.contains("content-type: application/problem+json\r\n"),
                    "{}",
                    answer.head
                );
                assert_eq!(answer.body["code"], "not_ready", "{method} {path}");
                assert_eq!(answer.body["check"], "starting", "{method} {path}");
            }
        }

        let dir = tempfile::tempdir().unwrap();
        let node = node(&dir).await;
        port.open(node.clone());
        assert_eq!(client.ask("GET", "/livez", "").await.status, 200);
        assert_eq!(client.ask("GET", "/v1/nowhere", "").await.status, 404);
        assert_eq!(client.ask("PUT", "/v1/properties/p", "{}").await.status, 400);
        let unready = client.ask("GET", "/readyz", "").await;
        assert_eq!(unready.status, 503);
        assert_eq!(unready.body["check"], "leader");
        serving.abort();
        node.shut_down().await;
    }
}
