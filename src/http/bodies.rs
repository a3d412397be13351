//! Bodies that hold many things, and the answers to batches: what they take of this node's memory and time, together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::answers::SHORT_BYTES;
use super::extract::{BODY_BYTES_MAX, GROUP_BYTES_MAX, Params, check_is_json, check_length, parse, read};
use super::problem::Problem;
use crate::node::Limits;

/// Bodies that are parsed at the same time. To parse one takes as long as a message to a peer or a flush may be late: with
/// thousands of them ready, replication would come to its turn too seldom.
const PARSED_TOGETHER: usize = 2;
/// How long one may wait for its turn, here, for a page of events and for a long list.
pub const TURN_WAIT: Duration = Duration::from_secs(1);

/// Shared by all calls that have such bodies.
#[derive(Clone)]
pub struct Bodies {
    bytes: Arc<Semaphore>,
    parsed: Arc<Semaphore>,
}

impl Bodies {
    pub fn new(limits: &Limits) -> Bodies {
        Bodies {
            bytes: Arc::new(Semaphore::new(limits.batch_bodies_bytes_max)),
            parsed: Arc::new(Semaphore::new(PARSED_TOGETHER)),
        }
    }

    /// The body as `T`, as [`json`](super::extract::json) reads those that hold one thing.
    pub async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T, Problem> {
        let (parts, body) = request.into_parts();
        check_is_json(&parts.headers)?;
        let room = self.room_for(&body)?;
        let bytes = read(body, GROUP_BYTES_MAX).await?;
        let _room = kept(room, bytes.len());
        Params::of(&parts.uri)?.finish()?;
        // One that is no longer than any other call's takes no longer either.
        let _turn = if bytes.len() > BODY_BYTES_MAX { Some(self.turn().await?) } else { None };
        parse(&bytes)
    }

    /// A body without a length may become as long as any. One that is no longer than any other call's takes none of the room:
    /// it does not wait for those who send slowly. For one that is too long there never is room, and its client is not told
    /// to come again.
    pub fn room_for(&self, body: &Body) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        check_length(body, GROUP_BYTES_MAX)?;
        let length = body.size_hint().upper().unwrap_or(u64::MAX).min(GROUP_BYTES_MAX as u64);
        if length <= BODY_BYTES_MAX as u64 {
            return Ok(None);
        }
        self.room(length as usize).map(Some)
    }

    /// Room for the answer to a batch that is `length` bytes long or so: it stands in memory until its client has taken it.
    pub fn room_for_answer(&self, length: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if length as u64 <= SHORT_BYTES {
            return Ok(None);
        }
        self.room(length.min(GROUP_BYTES_MAX)).map(Some)
    }

    fn room(&self, length: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let room = self.bytes.clone().try_acquire_many_owned(length as u32);
        room.map_err(|_| Problem::overloaded("as many large bodies are being served as this node takes"))
    }

    /// Waits for a turn to parse.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = timeout(TURN_WAIT, self.parsed.acquire()).await;
        let turn =
            turn.map_err(|_| Problem::overloaded("more large bodies arrive than this node can read"))?;
        Ok(turn.expect("it is never closed"))
    }
}

/// What a body that was read takes of the room which it was given before. One without a length had room for any.
pub fn kept(room: Option<OwnedSemaphorePermit>, length: usize) -> Option<OwnedSemaphorePermit> {
    let mut room = room.filter(|_| length > BODY_BYTES_MAX)?;
    drop(room.split(room.num_permits().saturating_sub(length)));
    Some(room)
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use serde_json::Value;

    use super::*;

    #[test]
    fn short_answers_take_no_room_and_long_ones_share_it() {
        let limits = Limits { batch_bodies_bytes_max: 1 << 20, ..Limits::default() };
        let bodies = Bodies::new(&limits);
        let long = bodies.room_for_answer(700 << 10).unwrap();
        assert!(long.is_some());
        assert!(bodies.room_for_answer(700 << 10).is_err());
        assert!(matches!(bodies.room_for_answer(SHORT_BYTES as usize), Ok(None)));
        drop(long);
        assert!(bodies.room_for_answer(700 << 10).is_ok());
    }

    fn unknown() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, axum::Error>>())
    }

    #[test]
    fn bodies_that_would_not_fit_in_memory_are_shed() {
        let bodies = Bodies::new(&Limits { batch_bodies_bytes_max: 40 << 20, ..Limits::default() });
        let long = || Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
        let mut held = vec![bodies.room_for(&unknown()).unwrap()];
        held.extend((0..7).map(|_| bodies.room_for(&long()).unwrap()));
        assert_eq!(bodies.room_for(&long()).unwrap_err().to_wire().status, 429);
        assert!(bodies.room_for(&Body::from("x")).unwrap().is_none(), "a short one needs none");
        assert_eq!(bodies.room_for(&unknown()).unwrap_err().to_wire().status, 429);
        let too_long = Body::from(vec![b' '; GROUP_BYTES_MAX + 1]);
        assert_eq!(bodies.room_for(&too_long).unwrap_err().to_wire().status, 413);
        drop(held);
        assert!(bodies.room_for(&unknown()).is_ok());
    }

    #[test]
    fn a_body_without_a_length_keeps_the_room_that_it_took() {
        let bodies = Bodies::new(&Limits { batch_bodies_bytes_max: GROUP_BYTES_MAX, ..Limits::default() });
        assert!(kept(bodies.room_for(&unknown()).unwrap(), 200).is_none());
        let length = BODY_BYTES_MAX + 1;
        let room = kept(bodies.room_for(&unknown()).unwrap(), length).unwrap();
        assert_eq!(
            (room.num_permits(), bodies.bytes.available_permits()),
            (length, GROUP_BYTES_MAX - length)
        );
        drop(room);
        let longest = kept(bodies.room_for(&unknown()).unwrap(), GROUP_BYTES_MAX).unwrap();
        assert_eq!(longest.num_permits(), GROUP_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn none_waits_for_its_turn_without_end() {
        let bodies = Bodies::new(&Limits::default());
        let turns = (bodies.turn().await.unwrap(), bodies.turn().await.unwrap());
        assert_eq!(bodies.turn().await.unwrap_err().to_wire().status, 429);
        // A short one needs none.
        let read = async |spaces: usize| {
            let body = format!("{{{}}}", " ".repeat(spaces));
            let request = Request::post("/").header(header::CONTENT_TYPE, "application/json");
            bodies.json::<Value>(request.body(body.into()).unwrap()).await
        };
        assert!(read(100).await.is_ok());
        assert_eq!(read(BODY_BYTES_MAX).await.unwrap_err().to_wire().status, 429);
        drop(turns);
        assert!(read(BODY_BYTES_MAX).await.is_ok());
        assert_eq!(read(GROUP_BYTES_MAX).await.unwrap_err().to_wire().status, 413);
    }
}
