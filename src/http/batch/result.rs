//! The results of a batch, written piece by piece: a batch's answer can be many times as long as its request.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::super::answers::{PIECE_BYTES, latest};
use super::super::problem::{Code, Problem};
use super::super::render;
use super::form::Form;
use crate::ledger::{Applied, Outcome};
use crate::wire::BatchResult;

/// What most results take at most, so that a piece is written without growing.
pub const USUAL_BYTES: usize = 512;

/// How much a result shows of what its command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Whole,
    Minimal,
}

/// Results that are not written yet.
pub struct Results {
    rest: std::iter::Peekable<std::vec::IntoIter<Result<Applied, Problem>>>,
    form: Form,
    detail: Detail,
    state: State,
    /// Until when all of it must have been taken.
    latest: Instant,
    /// The batch's share of the node's memory, until the answer is sent.
    _room: Option<OwnedSemaphorePermit>,
}

enum State {
    Begins,
    Goes,
    Ended,
}

impl Results {
    pub fn new(
        results: Vec<Result<Applied, Problem>>,
        form: Form,
        detail: Detail,
        room: Option<OwnedSemaphorePermit>,
    ) -> Results {
        let latest = latest((results.len() * USUAL_BYTES) as u64);
        Results {
            rest: results.into_iter().peekable(),
            form,
            detail,
            state: State::Begins,
            latest,
            _room: room,
        }
    }

    pub fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut results| async {
            // Who takes it too slowly asks again, under the same keys.
            if Instant::now() >= results.latest {
                return Some((Err(io::Error::from(io::ErrorKind::TimedOut)), results));
            }
            let piece = results.next_piece()?;
            Some((Ok(Bytes::from(piece)), results))
        }))
    }

    fn next_piece(&mut self) -> Option<Vec<u8>> {
        let (begin, between, end) = match self.form {
            Form::Json => ("{\"results\":[", ",", "]}"),
            Form::Lines => ("", "\n", "\n"),
        };
        let mut piece = Vec::with_capacity((self.rest.len() * USUAL_BYTES).min(PIECE_BYTES + USUAL_BYTES));
        match self.state {
            State::Begins => piece.extend_from_slice(begin.as_bytes()),
            State::Goes => {}
            State::Ended => return None,
        }
        self.state = State::Goes;
        while let Some(result) = self.rest.next() {
            write(&mut piece, result, self.detail);
            if self.rest.peek().is_some() {
                piece.extend_from_slice(between.as_bytes());
                if piece.len() >= PIECE_BYTES {
                    return Some(piece);
                }
            }
        }
        self.state = State::Ended;
        // An answer in lines that has none is empty.
        if self.form == Form::Json || !piece.is_empty() {
            piece.extend_from_slice(end.as_bytes());
        }
        Some(piece)
    }
}

fn write(piece: &mut Vec<u8>, result: Result<Applied, Problem>, detail: Detail) {
    let shown = result.and_then(|applied| match detail {
        Detail::Whole => show(applied.outcome),
        Detail::Minimal => name(applied.outcome),
    });
    let result = shown.unwrap_or_else(|problem| {
        let problem = problem.to_wire();
        BatchResult { status: problem.status, problem: Some(problem), ..BatchResult::default() }
    });
    serde_json::to_writer(piece, &result).expect("a result has string keys and is written to memory");
}

/// The resource as the command left it, with the status of the command's own call.
fn show(outcome: Outcome) -> Result<BatchResult, Problem> {
    let status = status(&outcome)?;
    let mut result = BatchResult { status, ..BatchResult::default() };
    match outcome {
        Outcome::Reserved(it) | Outcome::Changed(it) => result.reservation = Some(render::reservation(&it)),
        Outcome::Booked(it) => result.booking = Some(render::booking(&it)),
        Outcome::Room { room, .. } => result.room = Some(render::room(&room)),
        Outcome::Rates(it) => result.rate = Some(render::rate(&it)),
        _ => {}
    }
    Ok(result)
}

/// Only the id of what [`show`] shows; a rate has none.
fn name(outcome: Outcome) -> Result<BatchResult, Problem> {
    let status = status(&outcome)?;
    let id = match outcome {
        Outcome::Reserved(it) | Outcome::Changed(it) => Some(it.id.to_string()),
        Outcome::Booked(it) => Some(it.id.to_string()),
        Outcome::Room { room, .. } => Some(room.room.to_string()),
        _ => None,
    };
    Ok(BatchResult { status, id, ..BatchResult::default() })
}

fn status(outcome: &Outcome) -> Result<u16, Problem> {
    let status = match outcome {
        Outcome::Reserved(_) | Outcome::Booked(_) | Outcome::Room { created: true, .. } => {
            StatusCode::CREATED
        }
        Outcome::Changed(_) | Outcome::Room { created: false, .. } | Outcome::Rates(_) => StatusCode::OK,
        Outcome::Refused(refusal) => return Err(refusal.clone().into()),
        Outcome::Quarantined { lsn } => return Err(render::quarantined(*lsn)),
        _ => return Err(Problem::new(Code::Internal, "the command had an outcome of another call")),
    };
    Ok(status.as_u16())
}
