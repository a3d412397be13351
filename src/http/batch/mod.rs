//! Many writes in one request (`POST /v1/batch`): each alone, in their order, each with a result of its own.
//!
//! The commands are read as their own calls read them, submitted as few entries of the log, and answered piece by piece.
//! What is wrong with one command is its result; only what is wrong with the request as a whole refuses the whole.

mod command;
mod form;
mod result;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use self::command::{Parsed, parse};
use self::form::Form;
use self::result::{Detail, Results, USUAL_BYTES};
use super::bodies::{Bodies, kept};
use super::extract::{GROUP_BYTES_MAX, Params, read, unsupported_media_type};
use super::key::key_of_headers;
use super::problem::{Code, Problem};
use super::render;
use crate::ledger::{Applied, Submission};
use crate::node::{IdSource, Node, NotRead, Places};

/// Reservations of one batch, at most: those of a group are counted, and every other command as one.
const RESERVATIONS_MAX: usize = 10_000;
/// Commands that are parsed before others get a turn on the thread.
const PARSED_AT_ONCE: usize = 256;

pub async fn run(
    State(node): State<Arc<Node>>,
    Extension(bodies): Extension<Bodies>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::of_body(&headers).ok_or_else(unsupported_media_type)?;
    let (parts, body) = request.into_parts();
    let room = bodies.room_for(&body)?;
    let body = read(body, GROUP_BYTES_MAX).await?;
    let room = kept(room, body.len());
    let detail = Params::of(&parts.uri).and_then(detail);
    let deadline = node.deadline();
    let turn = bodies.turn().await?;
    let (places, (commands, reservations)) = {
        let texts = form.commands(&body)?;
        // Asked before places are: a client that finds none is told to come again. What groups count for is known only once
        // they are read.
        if texts.len() > RESERVATIONS_MAX {
            return Err(too_many());
        }
        // What could only be shed is not worth being parsed. A command takes about as much in the log as in JSON.
        let places = node.places_for(texts.len(), body.len())?;
        (places, parse_all(&node.ids, &texts).await?)
    };
    drop(body);
    let detail = detail?;
    if key_of_headers(&headers)?.is_some() {
        return Err(Problem::new(
            Code::IdempotencyKeyInvalid,
            "`Idempotency-Key`: a batch has none; give each command its `idempotency_key`",
        ));
    }
    if node.paused().is_some() {
        return Err(NotRead::Paused.into());
    }
    drop(turn);
    // A large body has room already: an answer that is some times as long, megabytes, is little beside the largest of them.
    let room = match room {
        Some(room) => Some(room),
        None => bodies.room_for_answer(reservations * USUAL_BYTES)?,
    };
    let results = submit(&node, commands, places, deadline).await;
    let lsn = results.iter().flatten().map(|applied| applied.lsn).max();
    let answer_form = form.of_answer(&headers);
    let content_type = [(header::CONTENT_TYPE, answer_form.media_type())];
    let body = Results::new(results, answer_form, detail, room).into_body();
    let mut response = (StatusCode::OK, content_type, body).into_response();
    render::reflect(&mut response, lsn.unwrap_or_else(|| node.position().lsn));
    Ok(response)
}

fn detail(mut params: Params) -> Result<Detail, Problem> {
    let wanted: Option<String> = params.optional("return")?;
    params.finish()?;
    match wanted.as_deref() {
        None => Ok(Detail::Whole),
        Some("minimal") => Ok(Detail::Minimal),
        Some(_) => Err(Problem::malformed("return", "must be minimal, or left out")),
    }
}

/// Reads every command before the first is submitted, so that a batch that is too large leaves nothing done. With how many
/// reservations they are.
async fn parse_all(
    ids: &IdSource,
    commands: &[&[u8]],
) -> Result<(Vec<Result<Submission, Problem>>, usize), Problem> {
    let mut parsed = Vec::with_capacity(commands.len().min(RESERVATIONS_MAX));
    let mut reservations = 0;
    for (number, some) in commands.chunks(PARSED_AT_ONCE).enumerate() {
        // Not behind the last: a short batch gives its turn back before another asks for it.
        if number > 0 {
            tokio::task::yield_now().await;
        }
        for text in some {
            let Parsed { submission, reservations: more } = parse(ids, text);
            reservations += more;
            if reservations > RESERVATIONS_MAX {
                return Err(too_many());
            }
            parsed.push(submission);
        }
    }
    Ok((parsed, reservations))
}

fn too_many() -> Problem {
    let detail = format!("a batch has at most {RESERVATIONS_MAX} reservations; split it");
    Problem::new(Code::TooLarge, detail)
}

/// Submits what could be read, and puts the outcomes where their commands stood.
async fn submit(
    node: &Node,
    commands: Vec<Result<Submission, Problem>>,
    places: Places,
    deadline: Instant,
) -> Vec<Result<Applied, Problem>> {
    let mut submissions = Vec::with_capacity(commands.len());
    let refused: Vec<Option<Problem>> =
        commands.into_iter().map(|command| command.map(|it| submissions.push(it)).err()).collect();
    let mut outcomes = node.submit_in_order(&submissions, places, deadline).await.into_iter();
    let result = |refused: Option<Problem>| match refused {
        Some(problem) => Err(problem),
        None => outcomes.next().expect("every submission has an outcome").map_err(Problem::from),
    };
    refused.into_iter().map(result).collect()
}
