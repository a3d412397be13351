//! A port with bounds: on the connections that are open at once, on how long one may be silent, and on how slowly one may ask.
//!
//! A connection costs a file descriptor, and the log and its snapshots need theirs. Past the bound a new connection is
//! closed at once; one on which nothing moves is closed after a while, so that idle clients don't keep others out. Nor does
//! one whose request never ends, be it in its head, which no handler sees before it is whole.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use super::extract::{BODY_BYTES_A_MS, BODY_WAIT};

pub struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl BoundedListener {
    /// `silence_max` must be longer than any answer takes once all of what it answers has come.
    pub fn new(listener: TcpListener, connections_max: usize, silence_max: Duration) -> BoundedListener {
        BoundedListener { listener, places: Arc::new(Semaphore::new(connections_max)), silence_max }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                tracing::debug!(%address, "a connection was closed: as many are open as this port takes");
                continue;
            };
            // Answers are small and awaited; a failure only costs delay.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was not set");
            }
            let silence_max = self.silence_max;
            let silence = Box::pin(sleep(silence_max));
            return (Connection { stream, silence_max, silence, asked: None, _place: place }, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An accepted connection, with its place among those that may be open.
pub struct Connection {
    stream: TcpStream,
    silence_max: Duration,
    silence: Pin<Box<Sleep>>,
    /// What has come since something was last answered.
    asked: Option<Asked>,
    _place: OwnedSemaphorePermit,
}

struct Asked {
    since: Instant,
    bytes: u64,
}

impl Asked {
    /// When an answer to it must have begun: a body may come as slowly as handlers take one, and has then been answered.
    fn latest(&self, silence_max: Duration) -> Instant {
        self.since + BODY_WAIT + Duration::from_millis(self.bytes / BODY_BYTES_A_MS) + silence_max
    }
}

impl Connection {
    fn moved(&mut self) {
        let mut until = Instant::now() + self.silence_max;
        if let Some(asked) = &self.asked {
            until = until.min(asked.latest(self.silence_max));
        }
        self.silence.as_mut().reset(until);
    }

    fn has_come(&mut self, bytes: usize) {
        let asked = self.asked.get_or_insert_with(|| Asked { since: Instant::now(), bytes: 0 });
        asked.bytes += bytes as u64;
    }

    /// Takes note of what moved on the way of `polled`, and ends the connection where nothing has moved for too long: be it
    /// that nothing comes, or that nothing is taken.
    fn note<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.moved();
        } else if self.silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }

    fn note_answer<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.asked = None;
        }
        self.note(polled, context)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if polled.is_ready() {
            self.has_come(into.filled().len() - before);
        }
        self.note(polled, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_answer(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_answer(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::advance;

    use super::*;

    const SILENCE_MAX: Duration = Duration::from_secs(75);

    /// A client, and its connection as the port has accepted it.
    async fn connected() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut port = BoundedListener::new(listener, 1, SILENCE_MAX);
        let (client, (held, _)) = tokio::join!(TcpStream::connect(address), port.accept());
        (client.unwrap(), held)
    }

    #[tokio::test]
    async fn a_connection_past_the_bound_is_closed_and_its_place_comes_free() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut port = BoundedListener::new(listener, 1, SILENCE_MAX);
        let _first = TcpStream::connect(address).await.unwrap();
        let (held, _) = port.accept().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let third = async {
            assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0, "the second is closed");
            drop(held);
            TcpStream::connect(address).await.unwrap()
        };
        let ((_again, _), _third) = tokio::join!(port.accept(), third);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed() {
        let (client, mut held) = connected().await;
        let silent = held.read(&mut [0]).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_takes_nothing_is_closed() {
        let (client, mut held) = connected().await;
        // More than the system takes in for a client that does not.
        let piece = vec![0; 1 << 20];
        let not_taken = loop {
            if let Err(error) = held.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(not_taken.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_request_never_ends_is_closed() {
        let (mut client, mut held) = connected().await;
        let drips = async {
            for _ in 0..100 {
                client.write_all(b"x").await.unwrap();
                sleep(SILENCE_MAX / 3).await;
            }
        };
        let read_all = async {
            loop {
                if let Err(error) = held.read(&mut [0; 64]).await {
                    return error;
                }
            }
        };
        tokio::select! {
            error = read_all => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            () = drips => panic!("it goes on for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_is_not_waited_for_any_more() {
        let (_client, mut held) = connected().await;
        let mut context = Context::from_waker(Waker::noop());
        let began = Instant::now();
        let ends_after = |held: &Connection| (held.silence.deadline() - began).as_secs();
        for expected in [75, 75 + 30, 75 + 30, 75 + 30] {
            held.has_come(1);
            assert!(held.note(Poll::Ready(Ok(())), &mut context).is_ready());
            assert_eq!(ends_after(&held), expected);
            advance(Duration::from_secs(50)).await;
        }
        // Its client may as well keep it for later.
        assert!(held.note_answer(Poll::Ready(Ok(())), &mut context).is_ready());
        assert_eq!(ends_after(&held), 200 + 75);
        held.has_come(1);
        assert!(held.note(Poll::Ready(Ok(())), &mut context).is_ready());
        assert_eq!(ends_after(&held), 200 + 75);
    }

    #[test]
    fn who_sends_much_has_the_longer() {
        let since = Instant::now();
        let minute = 60_000 * BODY_BYTES_A_MS;
        for (bytes, seconds) in [(0, 75 + 30), (minute, 75 + 30 + 60), (10 * minute, 75 + 30 + 600)] {
            let asked = Asked { since, bytes };
            assert_eq!(asked.latest(SILENCE_MAX), since + Duration::from_secs(seconds));
        }
    }
}
