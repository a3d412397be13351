//! Commands that applying set aside: what they are, and what an operator has done with them, through the log.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::access::write;
use super::extract::{Params, Segments, nothing};
use super::problem::Problem;
use super::render;
use crate::ledger::{Command, Ledger, Lsn, SetAside};
use crate::node::Node;
use crate::wire;

/// Those that nobody has dealt with, oldest first.
pub async fn list(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    params.always_local()?;
    params.finish()?;
    // Apply waits while the ledger is held: there may be a thousand, each as long as an entry of the log.
    let of = |ledger: &Ledger| (ledger.lsn(), ledger.quarantined().cloned().collect::<Vec<_>>());
    let (lsn, found) = node.with_ledger(of);
    let commands = found.iter().map(|it| render::set_aside(it)).collect();
    Ok(render::json(StatusCode::OK, lsn, &wire::Quarantine { commands }))
}

/// Applies one again, and answers as its own call would.
pub async fn retry(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    settle(&node, segments, &headers, request, "retry", Command::Retry).await
}

/// Forgets one.
pub async fn discard(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    settle(&node, segments, &headers, request, "discard", Command::Discard).await
}

async fn settle(
    node: &Node,
    segments: Segments,
    headers: &HeaderMap,
    request: Request,
    call: &str,
    command: impl FnOnce(SetAside) -> Command,
) -> Result<Response, Problem> {
    nothing(request).await?;
    let lsn = Lsn(segments.get(0, "lsn")?);
    write(node, headers, call, &[&lsn.to_string()], &(), command(SetAside { lsn })).await
}
