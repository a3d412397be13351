//! One exchange with one node: what came back, or how far the request got.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use super::answer::Meta;
use super::call::Call;
use crate::ledger::Lsn;
use crate::wire::Problem;

/// The longest answer that is read: a thousand free rooms with the prices of a year stay under it.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// As much of an unreadable answer as an error message shows.
const SUMMARY_CHARS: usize = 200;

/// A complete answer, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub meta: Meta,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Reply {
    pub fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The answer in words, for messages.
    pub fn summary(&self) -> String {
        match self.problem() {
            Some(problem) => format!("{} ({})", problem.detail, problem.code),
            None => {
                let text: String = String::from_utf8_lossy(&self.body).chars().take(SUMMARY_CHARS).collect();
                format!("status {} and `{}`", self.meta.status, text.trim())
            }
        }
    }
}

/// How far an exchange got.
#[derive(Debug)]
pub(super) enum Attempt {
    /// There was no connection: the node has not seen the request.
    NotSent(String),
    /// The node may have seen the request, and no complete answer came.
    Lost(String),
    /// What came is longer than is read: another node's answer would be no shorter.
    TooLong(String),
    Replied(Reply),
}

pub(super) async fn attempt(http: &Client, endpoint: &Url, call: &Call, deadline: Duration) -> Attempt {
    let mut request = http.request(call.method.clone(), call.url(endpoint));
    if let Some(body) = &call.body {
        request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
    }
    if let Some(key) = &call.key {
        request = request.header("idempotency-key", key);
    }
    if let Some(revision) = call.if_match {
        request = request.header(IF_MATCH, format!("\"{revision}\""));
    }
    let exchange = async {
        match request.send().await {
            Ok(response) => receive(endpoint, response).await,
            // A request that can't be built, as with a line break in its key, was not sent either.
            Err(error) if error.is_connect() || error.is_builder() => {
                Attempt::NotSent(format!("{} can't be reached: {}", name(endpoint), cause(&error)))
            }
            Err(error) => Attempt::Lost(format!("{} gave no answer: {}", name(endpoint), cause(&error))),
        }
    };
    match tokio::time::timeout(deadline, exchange).await {
        Ok(attempt) => attempt,
        Err(_) => Attempt::Lost(format!("{} gave no answer within {deadline:?}", name(endpoint))),
    }
}

async fn receive(endpoint: &Url, mut response: Response) -> Attempt {
    let headers = response.headers();
    let meta = Meta {
        status: response.status().as_u16(),
        lsn: number(headers, "innkeeper-lsn").map(Lsn),
        node: number(headers, "innkeeper-node"),
        leader: number(headers, "innkeeper-leader"),
        replayed: text(headers, "idempotent-replayed") == Some("true"),
        revision: text(headers, ETAG.as_str()).and_then(|tag| tag.trim_matches('"').parse().ok()),
        endpoint: name(endpoint),
        attempts: 1,
        was_left_open: false,
        key: None,
    };
    let retry_after = number(headers, RETRY_AFTER.as_str()).map(Duration::from_secs);
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                return Attempt::TooLong(meta.endpoint);
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Attempt::Replied(Reply { meta, retry_after, body: body.freeze() }),
            Err(error) => {
                return Attempt::Lost(format!("{} broke off its answer: {}", meta.endpoint, cause(&error)));
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

fn name(endpoint: &Url) -> String {
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// The innermost reason: the layers above only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
