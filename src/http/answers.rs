//! Long answers to reads, while their clients take them: what they hold of this node's memory, together, and for how long.
//!
//! An answer stands in memory until its client has taken it, and a client may be slow on purpose. What would be too much is
//! shed; what is taken too slowly is broken off. Answers to writes are not counted here: what was done has to be told. Those of
//! batches have their room before anything is done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::extract::{BODY_BYTES_A_MS, BODY_WAIT};
use super::problem::Problem;

/// Shorter answers are not counted: the system takes most of them in, whatever their clients do.
pub const SHORT_BYTES: u64 = 64 << 10;
/// What is passed on at once. A connection asks for sixteen pieces ahead of its client (`MAX_BUF_LIST_BUFFERS` in hyper). Once
/// it has asked for the last, the answer has no room any more, nor an end to its time: what is left is as much as a short one.
pub const PIECE_BYTES: usize = SHORT_BYTES as usize / 16;

/// Shared by all answers of a port.
pub struct Answers {
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

impl Answers {
    pub fn new(bytes_max: usize) -> Answers {
        Answers { bytes: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    /// The answer to a read as its client gets it; where it is long and there is no room for it, that it was shed. What is
    /// written as it is taken has no length, and bounds itself.
    pub fn admit(&self, answer: Response) -> Response {
        let length = answer.body().size_hint().exact();
        let Some(length) = length.filter(|length| *length > SHORT_BYTES) else { return answer };
        // One that is longer than all together may be is sent while there is no other.
        let share = length.min(self.bytes_max as u64) as u32;
        match self.bytes.clone().try_acquire_many_owned(share) {
            Ok(room) => answer.map(|body| Body::new(Long::new(body, length, room))),
            Err(_) => Problem::overloaded("clients have not taken as many long answers as this node keeps")
                .into_response(),
        }
    }
}

/// A body that is passed on in pieces, and no longer than it may take at the pace that is asked of clients' own bodies.
struct Long {
    body: Body,
    /// What the body gave and was not passed on.
    given: Bytes,
    left: u64,
    latest: Instant,
    _room: OwnedSemaphorePermit,
}

impl Long {
    fn new(body: Body, length: u64, room: OwnedSemaphorePermit) -> Long {
        Long { body, given: Bytes::new(), left: length, latest: latest(length), _room: room }
    }
}

/// Until when an answer of `length` bytes, which begins now, must have been taken.
pub fn latest(length: u64) -> Instant {
    Instant::now() + BODY_WAIT + Duration::from_millis(length / BODY_BYTES_A_MS)
}

impl HttpBody for Long {
    type Data = Bytes;
    type Error = axum::Error;

    /// Asked for only where there is room on the way to the client.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if Instant::now() >= self.latest {
            let too_slow = axum::Error::new(io::Error::from(io::ErrorKind::TimedOut));
            return Poll::Ready(Some(Err(too_slow)));
        }
        if self.given.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) => self.given = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.given.len().min(PIECE_BYTES);
        let piece = self.given.split_to(length);
        self.left = self.left.saturating_sub(length as u64);
        // A copy: on its way to the client, when the answer's room is given back, a piece would keep all of the text.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::to_bytes;
    use axum::routing::get;
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::time::advance;

    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from((0..bytes).map(|n| n as u8).collect::<Vec<u8>>()))
    }

    #[tokio::test]
    async fn what_clients_have_not_taken_is_bounded() {
        const LONG: usize = 600 << 10;
        let answers = Answers::new(1 << 20);
        let status = |bytes| answers.admit(answer(bytes)).status().as_u16();
        let slow = answers.admit(answer(LONG));
        assert_eq!(slow.body().size_hint().exact(), Some(LONG as u64));
        assert_eq!((status(LONG), status(SHORT_BYTES as usize), status(400 << 10)), (429, 200, 200));
        // What is taken is what was answered, and then there is room again.
        let taken = to_bytes(slow.into_body(), usize::MAX).await.unwrap();
        assert_eq!(taken, to_bytes(answer(LONG).into_body(), usize::MAX).await.unwrap());
        assert_eq!(status(LONG), 200);
        // One that is longer than all may be has all of it.
        let longest = answers.admit(answer(3 << 20));
        assert_eq!((longest.status().as_u16(), status(SHORT_BYTES as usize + 1)), (200, 429));
        drop(longest);
        assert_eq!(status(1 << 20), 200);
    }

    /// However much a connection asks for ahead of its client.
    #[tokio::test]
    async fn what_a_client_does_not_take_keeps_its_room() {
        const ALL: usize = 1 << 20;
        // More than the system takes in, in sockets that are as small as this.
        const SOCKET_BYTES: u32 = 4 << 10;
        const ANSWER_BYTES: usize = 300 << 10;
        let answers = Arc::new(Answers::new(ALL));
        let asked = answers.clone();
        let long = move || {
            let long = asked.admit(answer(ANSWER_BYTES));
            async { long }
        };
        let port = TcpSocket::new_v4().unwrap();
        port.set_send_buffer_size(SOCKET_BYTES).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = port.listen(1).unwrap();
        let address = port.local_addr().unwrap();
        let serving =
            tokio::spawn(async move { axum::serve(port, Router::new().route("/", get(long))).await });
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(SOCKET_BYTES).unwrap();
        let mut client = client.connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
        // What is asked for before the first byte is sent was asked for.
        client.read_exact(&mut [0]).await.unwrap();
        assert_eq!(answers.bytes.available_permits(), ALL - ANSWER_BYTES);
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_too_slowly_is_broken_off() {
        let answers = Answers::new(1 << 20);
        let mut pieces = answers.admit(answer(1 << 20)).into_body().into_data_stream();
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), PIECE_BYTES);
        advance(BODY_WAIT).await;
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), PIECE_BYTES);
        advance(Duration::from_millis((1 << 20) / BODY_BYTES_A_MS)).await;
        assert!(pieces.next().await.unwrap().is_err());
        assert_eq!(answers.admit(answer(1 << 20)).status().as_u16(), 429);
        drop(pieces);
        assert_eq!(answers.admit(answer(1 << 20)).status().as_u16(), 200);
    }
}
