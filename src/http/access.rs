//! How handlers reach the state: a write goes to the log under its caller's key, a read waits until this node's state may
//! answer it.

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use tokio::time::Instant;

use super::extract::{Params, Segments, key_of_headers};
use super::problem::Problem;
use super::render;
use crate::history::NotTold;
use crate::ledger::{
    Applied, BLOCK_NIGHTS_MAX, Command, Date, LISTED_NIGHTS_MAX, Ledger, Lsn, PropertyId, Refusal, Submission,
};
use crate::node::{Node, NotInPast, NotRead};

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
    mut params: Params,
    deadline: Instant,
    query: impl FnOnce(&Ledger) -> Result<T, Refusal>,
) -> Result<(T, Lsn), Problem> {
    let (consistency, min_lsn) = params.consistency()?;
    params.finish()?;
    node.ready_to_read(consistency, min_lsn, deadline).await?;
    node.with_ledger(|ledger| {
        let lsn = ledger.lsn();
        match query(ledger) {
            Ok(found) => Ok((found, lsn)),
            Err(refusal) => Err(Problem::from(refusal).at(lsn)),
        }
    })
}

/// Like [`read`], of one property; with `as_of`, of the state that it had then.
pub async fn read_property<T>(
    node: &Node,
    mut params: Params,
    property: &PropertyId,
    query: impl Fn(&Ledger) -> Result<T, Refusal>,
) -> Result<(T, Lsn), Problem> {
    let Some(as_of) = params.optional("as_of")?.map(Lsn) else { return read(node, params, query).await };
    let deadline = node.deadline();
    // Nothing takes a property away: what is not there now never was.
    let known = |ledger: &Ledger| ledger.property(property).map(drop).ok_or(Refusal::PropertyNotFound);
    read_until(node, params, deadline, known).await?;
    let past = match node.property_at(property, as_of, deadline).await {
        Ok(past) => past,
        Err(not_in_past) => {
            // What comes first in the contract's order is told by the present state as well.
            let is_last = matches!(not_in_past, NotInPast::NotTold(NotTold::InFuture));
            let (lsn, refused) = node.with_ledger(|ledger| (ledger.lsn(), query(ledger).err()));
            let refused = refused.filter(|it| is_last || it.place() == Refusal::PropertyNotFound.place());
            return Err(refused.map_or_else(|| not_in_past.into(), |refusal| Problem::from(refusal).at(lsn)));
        }
    };
    let found = query(&past);
    node.let_go(past);
    Ok((found.map_err(|refusal| Problem::from(refusal).at(as_of))?, as_of))
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

/// Like [`show`], on the dates `[from, to)` that the request names.
pub async fn show_dates<T: Serialize>(
    node: &Node,
    segments: &Segments,
    uri: &Uri,
    query: impl FnOnce(&Ledger, &PropertyId, (Date, Date)) -> Result<T, Refusal>,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    let mut params = Params::of(uri)?;
    let dates = shown_range(&mut params, LISTED_NIGHTS_MAX)?;
    let (found, lsn) = read(node, params, |ledger| query(ledger, &property, dates)).await?;
    Ok(render::json(StatusCode::OK, lsn, &found))
}
