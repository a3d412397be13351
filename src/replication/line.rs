//! A line between two members: frames one behind the other on one connection, each answered in its turn.
//!
//! All that members say to one another goes over lines: what costs HTTP its heads and routes is done once a connection.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::codec;

/// Frames of a line that are not answered yet, at most.
pub const LINE_FRAMES_MAX: usize = 8;
/// A line that was not used for so long may soon be closed at its other end, and is opened anew.
pub const LINE_IDLE_MAX: Duration = Duration::from_secs(30);
/// A line on which nothing came for so long, and nothing is left to be answered, is used no more: its other end may be gone
/// without a word.
const LINE_SILENT_MAX: Duration = LINE_IDLE_MAX.saturating_mul(3);
/// Memory that is asked for ahead of what has come, where a long frame was announced.
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// Read at once, where no frame is known to be longer.
const READ_BYTES: usize = 16 << 10;

/// Frames on a stream of bytes.
pub struct Frames<S> {
    stream: S,
    /// What was read beyond the last frame.
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    pub fn new(stream: S) -> Frames<S> {
        Frames { stream, read: BytesMut::new() }
    }

    /// The next frame, whose content is not checked yet; `None` at the end of the stream. Nothing is lost where the future
    /// is dropped.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let length = codec::frame_length(&self.read)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match length {
                Some(length) if self.read.len() >= length => {
                    return Ok(Some(self.read.split_to(length).freeze()));
                }
                Some(length) => self.read.reserve((length - self.read.len()).min(AHEAD_BYTES_MAX)),
                None => self.read.reserve(READ_BYTES),
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                let end =
                    if self.read.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                return end;
            }
        }
    }

    pub async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await
    }
}

/// Serves a line until its other end closes it, or has long been silent, or something fails: begins with each frame as it
/// comes, and writes the answers in their order, for which the other end must take each within `write_wait`. Without an
/// answer the line ends.
pub async fn serve_line<S, A>(
    stream: S,
    write_wait: Duration,
    mut handle: impl FnMut(Bytes) -> A,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = Option<Bytes>>,
{
    let mut frames = Frames::new(stream);
    let mut answers: FuturesOrdered<A> = FuturesOrdered::new();
    loop {
        tokio::select! {
            // A frame is begun with before the next is read, so that what it leads to keeps the order.
            biased;
            Some(answer) = answers.next() => {
                let Some(answer) = answer else { return Ok(()) };
                timeout(write_wait, frames.write(&answer)).await??;
            }
            frame = frames.next(), if answers.len() < LINE_FRAMES_MAX => {
                let Some(frame) = frame? else { return Ok(()) };
                answers.push_back(handle(frame));
            }
            () = sleep(LINE_SILENT_MAX), if answers.is_empty() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::duplex;
    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::*;
    use crate::replication::codec::{Kind, decode, encode};

    const WAIT: Duration = Duration::from_secs(1);

    fn frame(n: usize) -> Vec<u8> {
        encode(Kind::Peer, &n).unwrap()
    }

    fn number(frame: &[u8]) -> usize {
        decode(Kind::Peer, frame).unwrap()
    }

    #[tokio::test]
    async fn frames_are_begun_with_as_they_come_and_answered_in_their_order() {
        let (near, far) = duplex(1 << 10);
        let later = Arc::new(Notify::new());
        let handle = move |asked: Bytes| {
            let later = later.clone();
            async move {
                match number(&asked) {
                    // Only the second lets the first go on.
                    1 => later.notified().await,
                    _ => later.notify_one(),
                }
                Some(Bytes::from(frame(number(&asked) + 10)))
            }
        };
        let serving = tokio::spawn(serve_line(far, WAIT, handle));
        let mut line = Frames::new(near);
        line.write(&frame(1)).await.unwrap();
        line.write(&frame(2)).await.unwrap();
        for expected in [11, 12] {
            assert_eq!(number(&line.next().await.unwrap().unwrap()), expected);
        }
        drop(line);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_silent_ends_and_one_that_waits_for_an_answer_does_not() {
        let (near, far) = duplex(1 << 10);
        let handle = |asked: Bytes| async {
            sleep(10 * LINE_SILENT_MAX).await;
            Some(asked)
        };
        let serving = tokio::spawn(serve_line(far, WAIT, handle));
        let (mut line, began) = (Frames::new(near), Instant::now());
        line.write(&frame(1)).await.unwrap();
        assert_eq!(number(&line.next().await.unwrap().unwrap()), 1);
        assert!(line.next().await.unwrap().is_none());
        let after = began.elapsed();
        assert!((11 * LINE_SILENT_MAX..12 * LINE_SILENT_MAX).contains(&after), "{after:?}");
        serving.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_takes_no_more_than_it_may_hold_and_waits_for_no_reader() {
        let (near, far) = duplex(1 << 20);
        let begun = Arc::new(AtomicUsize::new(0));
        let (count, go_on) = (begun.clone(), Arc::new(Notify::new()));
        let gate = go_on.clone();
        let handle = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            let gate = gate.clone();
            async move {
                gate.notified().await;
                Some(Bytes::from(vec![0; 2 << 20]))
            }
        };
        let serving = tokio::spawn(serve_line(far, WAIT, handle));
        let mut line = Frames::new(near);
        for n in 0..LINE_FRAMES_MAX + 3 {
            line.write(&frame(n)).await.unwrap();
        }
        tokio::time::sleep(WAIT).await;
        assert_eq!(begun.load(Ordering::Relaxed), LINE_FRAMES_MAX);
        // The answer is longer than what fits on the way, and nobody takes it.
        go_on.notify_one();
        assert_eq!(serving.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_frame_is_read_in_pieces_and_what_is_none_ends_the_line() {
        let (mut near, far) = duplex(1 << 10);
        let mut frames = Frames::new(far);
        let (begin, end) = (frame(7), frame(8));
        near.write_all(&begin[..begin.len() - 1]).await.unwrap();
        assert!(timeout(Duration::from_millis(20), frames.next()).await.is_err());
        near.write_all(&begin[begin.len() - 1..]).await.unwrap();
        near.write_all(&end).await.unwrap();
        assert_eq!(number(&frames.next().await.unwrap().unwrap()), 7);
        assert_eq!(number(&frames.next().await.unwrap().unwrap()), 8);
        near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(frames.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);

        let (mut near, far) = duplex(1 << 10);
        near.write_all(&begin[..10]).await.unwrap();
        drop(near);
        assert_eq!(Frames::new(far).next().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
