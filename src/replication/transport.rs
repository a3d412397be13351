//! How frames get from one member to another: HTTP in production, memory in a simulation. Nothing here knows what a frame
//! holds.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Url;

/// The longest frame that a member takes: entries of 4 MiB and what is around them, or forwarded batches.
pub const FRAME_BYTES_MAX: usize = 40 << 20;

/// Carries one frame to a member and brings its answer back.
pub trait Transport: Send + Sync + 'static {
    /// `address` is the member's peer address, `deadline` the time until the answer must be there.
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>>;
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

/// Frames over HTTP/1.1, one shared client for all members.
pub struct HttpTransport {
    client: reqwest::Client,
    /// Of addresses that were spoken to: to read a URL takes longer than to send most frames.
    urls: Mutex<BTreeMap<Box<str>, Url>>,
}

/// More addresses than any cluster has had members; past it they are read anew.
const URLS_MAX: usize = 64;

/// Where a member takes frames, on its peer port.
pub const PEER_PATH: &str = "/v1/groups/0/messages";

impl HttpTransport {
    pub fn new() -> Result<HttpTransport, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        Ok(HttpTransport { client, urls: Mutex::default() })
    }

    fn url(&self, address: &str) -> Result<Url, Lost> {
        let mut urls = self.urls.lock().expect("no panic while the addresses are locked");
        if let Some(url) = urls.get(address) {
            return Ok(url.clone());
        }
        let url = Url::parse(&format!("http://{address}{PEER_PATH}"))
            .map_err(|error| Lost::NotSent { address: address.to_owned(), reason: error.to_string() })?;
        if urls.len() == URLS_MAX {
            urls.clear();
        }
        urls.insert(address.into(), url.clone());
        Ok(url)
    }
}

impl Transport for HttpTransport {
    fn exchange(
        &self,
        address: &str,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Lost>> {
        let url = match self.url(address) {
            Ok(url) => url,
            Err(lost) => return Box::pin(ready(Err(lost))),
        };
        let request = self.client.post(url).timeout(deadline).body(frame);
        let address = address.to_owned();
        Box::pin(async move {
            let lost = |error: reqwest::Error| {
                let (address, reason) = (address.clone(), innermost(&error));
                if error.is_connect() {
                    Lost::NotSent { address, reason }
                } else {
                    Lost::NoAnswer { address, reason }
                }
            };
            let mut answer = request.send().await.map_err(lost)?;
            let mut frame =
                Vec::with_capacity(answer.content_length().unwrap_or(0).min(FRAME_BYTES_MAX as u64) as usize);
            while let Some(piece) = answer.chunk().await.map_err(lost)? {
                if frame.len() + piece.len() > FRAME_BYTES_MAX {
                    let reason = format!("the answer is longer than {FRAME_BYTES_MAX} bytes");
                    return Err(Lost::NoAnswer { address, reason });
                }
                frame.extend_from_slice(&piece);
            }
            Ok(frame.into())
        })
    }
}

/// The cause at the bottom of an error, without the URLs that the layers above repeat.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
