//! How handlers reach the state: a write goes to the log under its caller's key, a read waits until this node's state may
//! answer it.

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use super::extract::{Params, Segments};
use super::key::key_of_headers;
use super::problem::Problem;
use super::render;
use crate::history::NotTold;
use crate::ledger::{Applied, BLOCK_NIGHTS_MAX, Command, Date, Ledger, Lsn, PropertyId, Refusal, Submission};
use crate::node::{Consistency, Node, NotInPast, NotRead};

/// Submits a command under the caller's key, and renders what became of it.
pub async fn write(
    node: &Node,
    headers: &HeaderMap,
    call: &str,
    path: &[&str],
    fields: &impl Serialize,
    command: Command,
) -> Result<Response, Problem> {
    Ok(render::applied(submit(node, headers, call, path, fields, command).await?))
}

/// Submits a command under the caller's key.
pub async fn submit(
    node: &Node,
    headers: &HeaderMap,
    call: &str,
    path: &[&str],
    fields: &impl Serialize,
    command: Command,
) -> Result<Applied, Problem> {
    let key = key_of_headers(headers)?.map(|key| key.of_request(call, path, fields)).transpose()?;
    if node.paused().is_some() {
        return Err(NotRead::Paused.into());
    }
    Ok(node.submit(&Submission { key, command }).await?)
}

/// Waits until this node's state may answer, then queries it once, so that answer and position belong together.
pub async fn read<T>(
    node: &Node,
    params: Params,
    query: impl FnOnce(&Ledger) -> Result<T, Refusal>,
) -> Result<(T, Lsn), Problem> {
    read_until(node, params, node.deadline(), query).await
}

/// Like [`read`], for a call that waits again afterwards: one deadline is for all its waits.
pub async fn read_until<T>(
    node: &Node,
    params: Params,
    deadline: Instant,
    query: impl FnOnce(&Ledger) -> Result<T, Refusal>,
) -> Result<(T, Lsn), Problem> {
    ready(node, params, deadline).await?;
    ask(node, query)
}

/// Like [`read_until`], for a question about what was there at `as_of`: who asks for a local answer may ask for a position
/// that this node has not come to, and what it does not know yet may have been there then.
pub async fn read_towards<T>(
    node: &Node,
    params: Params,
    as_of: Lsn,
    deadline: Instant,
    query: impl Fn(&Ledger) -> Result<T, Refusal>,
) -> Result<T, Problem> {
    ready(node, params, deadline).await?;
    let refused = match ask(node, &query) {
        Ok((found, _)) => return Ok(found),
        Err(refused) => refused,
    };
    match node.reach_applied(as_of, deadline).await {
        Ok(()) => ask(node, query).map(|(found, _)| found),
        // Nothing comes before it any more: what is not there has never been.
        Err(NotInPast::NotTold(NotTold::InFuture)) => Err(refused),
        Err(not_in_past) => Err(not_in_past.into()),
    }
}

fn ask<T>(node: &Node, query: impl FnOnce(&Ledger) -> Result<T, Refusal>) -> Result<(T, Lsn), Problem> {
    node.with_ledger(|ledger| {
        let lsn = ledger.lsn();
        match query(ledger) {
            Ok(found) => Ok((found, lsn)),
            Err(refusal) => Err(Problem::from(refusal).at(lsn)),
        }
    })
}

/// Waits until this node's state may answer a read that has no parameters but these, and gives which state that may be.
pub async fn ready(node: &Node, mut params: Params, deadline: Instant) -> Result<Consistency, Problem> {
    let (consistency, min_lsn) = params.consistency()?;
    params.finish()?;
    node.ready_to_read(consistency, min_lsn, deadline).await?;
    Ok(consistency)
}

/// A half-open range of dates holds at least one night.
pub fn check_range(from: Date, to: Date) -> Result<(), Problem> {
    if from < to { Ok(()) } else { Err(Problem::malformed("to", "must be later than `from`")) }
}

/// A range of which every night is counted for itself: at least one night, and no more than ten years of them.
pub fn counted_range(from: Date, to: Date) -> Result<(), Problem> {
    check_range(from, to)?;
    if from.nights_to(to) > BLOCK_NIGHTS_MAX {
        let reason = format!("is more than {BLOCK_NIGHTS_MAX} nights after `from`");
        return Err(Problem::malformed("to", reason));
    }
    Ok(())
}

/// The range that a read shows: at least one night, and at most `nights_max`.
pub fn shown_range(params: &mut Params, nights_max: i32) -> Result<(Date, Date), Problem> {
    let (from, to): (Date, Date) = (params.required("from")?, params.required("to")?);
    check_range(from, to)?;
    if from.nights_to(to) > nights_max {
        return Err(Problem::malformed("to", format!("is more than {nights_max} nights after `from`")));
    }
    Ok((from, to))
}

/// Shows what `query` finds in the property that the path names.
pub async fn show<T: Serialize>(
    node: &Node,
    segments: &Segments,
    uri: &Uri,
    query: impl FnOnce(&Ledger, &PropertyId) -> Result<T, Refusal>,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let (found, lsn) = read(node, Params::of(uri)?, |ledger| query(ledger, &property)).await?;
    Ok(render::json(StatusCode::OK, lsn, &found))
}
