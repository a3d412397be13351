//! The peer port: one route, one frame in, one frame out.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;

use super::drain::drain_bodies;
use crate::node::Node;
use crate::replication::{FRAME_BYTES_MAX, PEER_PATH};

pub fn router(node: Arc<Node>) -> Router {
    Router::new().route(PEER_PATH, post(handle)).layer(middleware::from_fn(drain)).with_state(node)
}

async fn drain(request: Request, next: Next) -> Response {
    drain_bodies(request, |request| next.run(request)).await
}

async fn handle(State(node): State<Arc<Node>>, body: Body) -> Result<Bytes, StatusCode> {
    let frame = to_bytes(body, FRAME_BYTES_MAX).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    Ok(node.handle_frame(&frame).await)
}
