//! The peer port: connections that become lines, on which each frame is answered with one.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::node::Node;
use crate::replication::{LINE_PATH, LINE_PROTOCOL, serve_line};

pub fn router(node: Arc<Node>) -> Router {
    Router::new().route(LINE_PATH, get(open_line)).with_state(node)
}

/// Turns the connection into a line, for as long as the other end keeps it open.
async fn open_line(State(node): State<Arc<Node>>, mut request: Request) -> Response {
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|wanted| wanted == LINE_PROTOCOL);
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>().filter(|_| wanted) else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, LINE_PROTOCOL)]).into_response();
    };
    // Answers to forwarded commands may be long, and are waited for as long.
    let write_wait = node.config.timings.request;
    let node = Arc::downgrade(&node);
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let answer = |frame: Bytes| {
            let node = node.upgrade();
            // What could not be encoded ends the line: its other end must not take the next answer for it.
            async move { Some(node?.handle_frame(&frame).await).filter(|answer| !answer.is_empty()) }
        };
        if let Err(error) = serve_line(TokioIo::new(connection), write_wait, answer).await {
            tracing::debug!(%error, "a peer's line has ended");
        }
    });
    let upgraded = [(header::CONNECTION, "upgrade"), (header::UPGRADE, LINE_PROTOCOL)];
    (StatusCode::SWITCHING_PROTOCOLS, upgraded).into_response()
}
