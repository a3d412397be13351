//! Commands that applying set aside: what they are, and what an operator has done with them, through the log.

use std::convert::Infallible;
use std::iter;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::access::write;
use super::extract::{Params, Segments, nothing};
use super::fields::Digits;
use super::problem::Problem;
use super::render;
use crate::ledger::{Command, Ledger, Lsn, Quarantined, SetAside};
use crate::node::Node;

/// Those that nobody has dealt with, oldest first.
pub async fn list(State(node): State<Arc<Node>>, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    params.always_local()?;
    params.finish()?;
    // Apply waits while the ledger is held: there may be a thousand, each as long as an entry of the log.
    let of = |ledger: &Ledger| (ledger.lsn(), ledger.quarantined().cloned().collect::<Vec<_>>());
    let (lsn, found) = node.with_ledger(of);
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    let mut response =
        (StatusCode::OK, content_type, Body::from_stream(stream::iter(pieces(found)))).into_response();
    render::reflect(&mut response, lsn);
    Ok(response)
}

/// What a [`Quarantine`](crate::wire::Quarantine) is in JSON, a command a piece: the state has them anyway, and all their
/// texts together may be more than a gigabyte.
fn pieces(found: Vec<Arc<Quarantined>>) -> impl Iterator<Item = Result<Bytes, Infallible>> {
    let commands = found.into_iter().enumerate().map(|(n, it)| {
        let mut piece = if n == 0 { Vec::new() } else { vec![b','] };
        serde_json::to_writer(&mut piece, &render::set_aside(&it))
            .expect("a command has string keys and is written to memory");
        Bytes::from(piece)
    });
    let begin = iter::once(Bytes::from_static(b"{\"commands\":["));
    begin.chain(commands).chain(iter::once(Bytes::from_static(b"]}"))).map(Ok)
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
    let Digits(lsn) = segments.get(0, "lsn")?;
    let lsn = Lsn(lsn);
    write(node, headers, call, &[&lsn.to_string()], &(), command(SetAside { lsn })).await
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::ledger::{Failure, NightAudit, Submission};
    use crate::wire;

    fn set_aside(lsn: u64) -> Arc<Quarantined> {
        let (property, business_date) = ("grand".parse().unwrap(), "2027-01-02".parse().unwrap());
        let command = Command::NightAudit(NightAudit { property, business_date });
        let submission = Submission { key: None, command };
        Arc::new(Quarantined { lsn: Lsn(lsn), code: Failure::Panic, submission })
    }

    #[tokio::test]
    async fn the_pieces_are_the_list() {
        for count in 0..4 {
            let found: Vec<_> = (1..=count).map(set_aside).collect();
            let commands = found.iter().map(|it| render::set_aside(it)).collect();
            let expected = serde_json::to_string(&wire::Quarantine { commands }).unwrap();
            let body = Body::from_stream(stream::iter(pieces(found)));
            assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), expected);
        }
    }
}
