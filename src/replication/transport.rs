//! How frames get from one member to another: over connections in production, in memory in a simulation. Nothing here
//! knows what a frame holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{StatusCode, Upgraded, header};
use tokio::time::{Instant, timeout_at};

use super::line::{Frames, LINE_IDLE_MAX};

/// Carries one frame to a member and brings its answer back.
pub trait Transport: Send + Sync + 'static {
    /// `address` is the member's peer address, `deadline` the time until the answer must be there.
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>>;

    /// Opens a line to a member, within `deadline`.
    fn open(&self, address: &str, deadline: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>>;

    /// Gives up what is kept open to the address between exchanges: it may lead elsewhere by now.
    fn forget(&self, _address: &str) {}
}

/// A line to a member. Frames arrive in the order in which they were sent and are answered in it, so that the next may be
/// sent before the last is answered. After an error it is of no use any more.
pub trait Line: Send {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), Lost>>;

    /// The answer to the oldest frame that has none. Nothing is lost where the future is dropped.
    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes, Lost>>;
}

/// Why no answer came back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Lost {
    /// No connection: the member has not seen the message.
    #[error("{address} can't be reached: {reason}")]
    NotSent { address: String, reason: String },
    /// The member may have seen the message.
    #[error("no answer from {address}: {reason}")]
    NoAnswer { address: String, reason: String },
}

/// Where a member turns a connection of its peer port into a line (RFC 9110, section 7.8).
pub const LINE_PATH: &str = "/v1/groups/0/line";
/// What the connection is upgraded to.
pub const LINE_PROTOCOL: &str = "innkeeper-line/1";

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// How long a line may take to be opened, whoever waits for it.
const OPEN_WAIT: Duration = Duration::from_secs(2);
/// Lines that are kept for the next exchange, by address; and more addresses than any cluster has had members.
const IDLE_LINES_MAX: usize = 16;
const ADDRESSES_MAX: usize = 64;

/// Connections that begin as HTTP/1.1 and become lines. An exchange has one to itself.
pub struct HttpTransport {
    lines: Arc<Lines>,
}

struct Lines {
    client: reqwest::Client,
    /// Lines on which nothing is under way, the last used at the end.
    idle: Mutex<BTreeMap<Box<str>, Vec<HttpLine>>>,
}

struct HttpLine {
    address: Box<str>,
    frames: Frames<Upgraded>,
    used: Instant,
}

impl HttpTransport {
    pub fn new() -> Result<HttpTransport, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true);
        let client = client.connect_timeout(CONNECT_WAIT).pool_max_idle_per_host(0).build()?;
        Ok(HttpTransport { lines: Arc::new(Lines { client, idle: Mutex::default() }) })
    }
}

impl Lines {
    /// A line that is open still, as far as can be seen.
    fn idle(&self, address: &str) -> Option<HttpLine> {
        let mut idle = self.idle.lock().expect("no panic while the lines are locked");
        let lines = idle.get_mut(address)?;
        while let Some(mut line) = lines.pop() {
            if line.used.elapsed() > LINE_IDLE_MAX {
                // The others were used before it.
                lines.clear();
            } else if line.frames.next().now_or_never().is_none() {
                return Some(line);
            }
        }
        None
    }

    fn keep(&self, mut line: HttpLine) {
        line.used = Instant::now();
        let mut idle = self.idle.lock().expect("no panic while the lines are locked");
        if idle.len() >= ADDRESSES_MAX && !idle.contains_key(&line.address) {
            idle.clear();
        }
        let lines = idle.entry(line.address.clone()).or_default();
        if lines.len() < IDLE_LINES_MAX {
            lines.push(line);
        }
    }

    /// Nothing that is kept for the address can be trusted any more.
    fn forget(&self, address: &str) {
        self.idle.lock().expect("no panic while the lines are locked").remove(address);
    }

    async fn open(&self, address: &str, deadline: Instant) -> Result<HttpLine, Lost> {
        let opened = timeout_at(deadline, async {
            let request = self.client.get(format!("http://{address}{LINE_PATH}"));
            let request =
                request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, LINE_PROTOCOL);
            let answer = request.send().await.map_err(|error| innermost(&error))?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(format!("it answered {} where a line was asked for", answer.status()));
            }
            answer.upgrade().await.map_err(|error| innermost(&error))
        });
        match opened.await.unwrap_or_else(|_| Err("timed out".to_owned())) {
            Ok(stream) => {
                let (address, frames) = (address.into(), Frames::new(stream));
                Ok(HttpLine { address, frames, used: Instant::now() })
            }
            Err(reason) => Err(Lost::NotSent { address: address.to_owned(), reason }),
        }
    }

    /// Opens a line and keeps it. It is opened to the end though whoever waits for it goes away: an exchange that is cut short
    /// each time, as a heartbeat is, would otherwise never get one over a long way.
    async fn open_one_more(self: &Arc<Self>, address: &str) -> Result<(), Lost> {
        let (lines, address) = (self.clone(), address.to_owned());
        let asked = address.clone();
        let opening = tokio::spawn(async move {
            let line = lines.open(&asked, Instant::now() + OPEN_WAIT).await?;
            lines.keep(line);
            Ok(())
        });
        // It does not panic; a runtime that is shut down ends it.
        opening.await.unwrap_or_else(|ended| Err(Lost::NotSent { address, reason: ended.to_string() }))
    }

    async fn exchange(
        self: &Arc<Self>,
        address: &str,
        frame: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Lost> {
        let not_sent = || Lost::NotSent { address: address.to_owned(), reason: "timed out".to_owned() };
        let mut line = loop {
            match self.idle(address) {
                Some(line) => break line,
                None => timeout_at(deadline, self.open_one_more(address)).await.map_err(|_| not_sent())??,
            }
        };
        let exchanged = timeout_at(deadline, async {
            line.send(frame).await?;
            line.receive().await
        });
        match exchanged.await.unwrap_or_else(|_| Err(no_answer(address, "timed out"))) {
            Ok(answer) => {
                self.keep(line);
                Ok(answer)
            }
            Err(lost) => {
                self.forget(address);
                Err(lost)
            }
        }
    }
}

impl Transport for HttpTransport {
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let (lines, address, deadline) = (self.lines.clone(), address.to_owned(), Instant::now() + deadline);
        Box::pin(async move { lines.exchange(&address, frame, deadline).await })
    }

    fn open(&self, address: &str, deadline: Duration) -> BoxFuture<'static, Result<Box<dyn Line>, Lost>> {
        let (lines, address, deadline) = (self.lines.clone(), address.to_owned(), Instant::now() + deadline);
        Box::pin(async move {
            let line: Box<dyn Line> = Box::new(lines.open(&address, deadline).await?);
            Ok(line)
        })
    }

    fn forget(&self, address: &str) {
        self.lines.forget(address);
    }
}

impl Line for HttpLine {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), Lost>> {
        Box::pin(async move {
            let sent = self.frames.write(&frame).await;
            sent.map_err(|error| no_answer(&self.address, error))
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes, Lost>> {
        Box::pin(async move {
            match self.frames.next().await {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => Err(no_answer(&self.address, "the line was closed")),
                Err(error) => Err(no_answer(&self.address, error)),
            }
        })
    }
}

fn no_answer(address: &str, reason: impl ToString) -> Lost {
    Lost::NoAnswer { address: address.to_owned(), reason: reason.to_string() }
}

/// The cause at the bottom of an error, without the URLs that the layers above repeat.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::time::sleep;

    use super::*;
    use crate::replication::codec::{Kind, decode, encode};
    use crate::replication::line::serve_line;

    const SOON: Duration = Duration::from_millis(100);
    const PATIENT: Duration = Duration::from_secs(5);

    /// Numbers that the member below does something else with than answer.
    const HANGS_UP: usize = 0;
    const STAYS_SILENT: usize = 1;

    fn frame(n: usize) -> Bytes {
        encode(Kind::Peer, &n).unwrap().into()
    }

    /// A member's peer port that answers a number with the next.
    struct Member {
        address: String,
        connections: Arc<AtomicUsize>,
        /// Ends all its lines.
        hang_up: Arc<Notify>,
    }

    impl Member {
        /// `status` is what it answers where a line is asked for, after the wait.
        async fn start(status: &'static str, wait: Duration) -> Member {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let connections = Arc::new(AtomicUsize::new(0));
            let hang_up = Arc::new(Notify::new());
            let (count, ends) = (connections.clone(), hang_up.clone());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    let ends = ends.clone();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = Member::serve(stream, status, wait) => {}
                            () = ends.notified() => {}
                        }
                    });
                }
            });
            Member { address, connections, hang_up }
        }

        async fn serve(mut stream: TcpStream, status: &'static str, wait: Duration) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with(&format!("GET {LINE_PATH} HTTP/1.1\r\n")), "{head}");
            assert!(head.contains(LINE_PROTOCOL), "{head}");
            sleep(wait).await;
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: upgrade\r\nupgrade: {LINE_PROTOCOL}\r\n\
                 content-length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let answer = |asked: Bytes| async move {
                let number: usize = decode(Kind::Peer, &asked).unwrap();
                if number == STAYS_SILENT {
                    std::future::pending::<()>().await;
                }
                (number != HANGS_UP).then(|| frame(number + 1))
            };
            let _ = serve_line(stream, PATIENT, answer).await;
        }

        async fn started() -> Member {
            Member::start("101 Switching Protocols", Duration::ZERO).await
        }

        async fn asked(&self, from: &HttpTransport, n: usize, deadline: Duration) -> Result<usize, Lost> {
            let answer = from.exchange(&self.address, frame(n), deadline).await?;
            Ok(decode(Kind::Peer, &answer).unwrap())
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn exchanges_that_follow_one_another_share_a_line() {
        let (transport, member) = (HttpTransport::new().unwrap(), Member::started().await);
        for n in 10..15 {
            assert_eq!(member.asked(&transport, n, PATIENT).await.unwrap(), n + 1);
        }
        assert_eq!(member.connections(), 1);
        let (one, other) =
            tokio::join!(member.asked(&transport, 20, PATIENT), member.asked(&transport, 30, PATIENT));
        assert_eq!((one.unwrap(), other.unwrap()), (21, 31));
        assert_eq!(member.connections(), 2, "each has a line to itself");
    }

    /// As to a node that the address led to by mistake.
    #[tokio::test]
    async fn a_line_that_was_given_up_is_not_used_again() {
        let (transport, member) = (HttpTransport::new().unwrap(), Member::started().await);
        assert_eq!(member.asked(&transport, 10, PATIENT).await.unwrap(), 11);
        transport.forget(&member.address);
        assert_eq!(member.asked(&transport, 20, PATIENT).await.unwrap(), 21);
        assert_eq!(member.connections(), 2);
    }

    /// The answer that was not waited for must not be taken for that to the next frame.
    #[tokio::test]
    async fn a_line_is_not_used_again_after_an_exchange_that_was_cut_short() {
        let (transport, member) = (HttpTransport::new().unwrap(), Member::started().await);
        assert_eq!(member.asked(&transport, 10, PATIENT).await.unwrap(), 11);
        let lost = member.asked(&transport, STAYS_SILENT, SOON).await.unwrap_err();
        assert!(matches!(lost, Lost::NoAnswer { .. }), "{lost}");
        assert_eq!(member.asked(&transport, 20, PATIENT).await.unwrap(), 21);
        assert_eq!(member.connections(), 2);
        let dropped = tokio::time::timeout(SOON, member.asked(&transport, STAYS_SILENT, PATIENT)).await;
        assert!(dropped.is_err());
        assert_eq!(member.asked(&transport, 30, PATIENT).await.unwrap(), 31);
        assert_eq!(member.connections(), 3);
    }

    #[tokio::test]
    async fn a_member_that_hangs_up_may_have_seen_the_frame() {
        let (transport, member) = (HttpTransport::new().unwrap(), Member::started().await);
        let lost = member.asked(&transport, HANGS_UP, PATIENT).await.unwrap_err();
        assert!(matches!(lost, Lost::NoAnswer { .. }), "{lost}");
        assert_eq!(member.asked(&transport, 10, PATIENT).await.unwrap(), 11);
    }

    #[tokio::test]
    async fn a_line_that_was_closed_while_idle_is_opened_anew() {
        let (transport, member) = (HttpTransport::new().unwrap(), Member::started().await);
        for n in [10, 20] {
            assert_eq!(member.asked(&transport, n, PATIENT).await.unwrap(), n + 1);
            // As a member that restarts.
            member.hang_up.notify_waiters();
            while let Some(line) = transport.lines.idle(&member.address) {
                transport.lines.keep(line);
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(member.connections(), 2);
    }

    #[tokio::test]
    async fn who_opens_no_line_has_not_seen_the_frame() {
        let transport = HttpTransport::new().unwrap();
        let of_another_build = Member::start("404 Not Found", Duration::ZERO).await;
        let lost = of_another_build.asked(&transport, 10, PATIENT).await.unwrap_err();
        assert!(matches!(&lost, Lost::NotSent { reason, .. } if reason.contains("404")), "{lost}");
        let lost = transport.open(&of_another_build.address, PATIENT).await.err().unwrap();
        assert!(matches!(lost, Lost::NotSent { .. }), "{lost}");
        let lost = transport.exchange("127.0.0.1:2", frame(10), PATIENT).await.unwrap_err();
        assert!(matches!(lost, Lost::NotSent { .. }), "{lost}");
    }

    #[tokio::test]
    async fn a_line_is_opened_to_the_end_though_nobody_waits_for_it() {
        let transport = HttpTransport::new().unwrap();
        let far = Member::start("101 Switching Protocols", 3 * SOON).await;
        let lost = far.asked(&transport, 10, SOON).await.unwrap_err();
        assert!(matches!(lost, Lost::NotSent { .. }), "{lost}");
        while transport.lines.idle.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(far.asked(&transport, 20, PATIENT).await.unwrap(), 21);
        assert_eq!(far.connections(), 1);
    }
}
