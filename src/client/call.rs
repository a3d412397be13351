//! One call of the API, before it is sent: built once, sent as often as the rules of retrying allow.

use std::fmt::Display;

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::Serialize;
use uuid::Uuid;

use super::answer::ClientError;

/// What identifies a write, so that sending it again can't do it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// The client makes one.
    #[default]
    Fresh,
    /// The caller's own: 1–255 visible ASCII characters. A later call with the same one gets the stored outcome.
    Given(String),
    /// None: the write is sent once, and what its answer does not say stays unknown.
    None,
}

impl Key {
    /// One that nobody has.
    pub fn fresh_text() -> String {
        Uuid::now_v7().to_string()
    }
}

/// A request under `/v1`.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) method: Method,
    pub(super) root: &'static str,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    pub(super) body: Option<Bytes>,
    pub(super) if_match: Option<u64>,
    pub(super) key: Option<String>,
    pub(super) is_long: bool,
}

impl Call {
    /// A read of `/v1/<path>`; the segments are escaped.
    pub fn get<S: AsRef<str>>(path: impl IntoIterator<Item = S>) -> Call {
        Call::new(Method::GET, path)
    }

    /// A write with `PUT`, under a fresh key.
    pub fn put<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: &impl Serialize) -> Call {
        Call::new(Method::PUT, path).body(body).key(Key::Fresh)
    }

    /// A write with `POST`, under a fresh key.
    pub fn post<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: Option<&impl Serialize>) -> Call {
        let call = Call::new(Method::POST, path).key(Key::Fresh);
        match body {
            Some(body) => call.body(body),
            None => call,
        }
    }

    /// A write with `PATCH`, under a fresh key.
    pub fn patch<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: &impl Serialize) -> Call {
        Call::new(Method::PATCH, path).body(body).key(Key::Fresh)
    }

    /// A write with `DELETE`, under a fresh key.
    pub fn delete<S: AsRef<str>>(path: impl IntoIterator<Item = S>) -> Call {
        Call::new(Method::DELETE, path).key(Key::Fresh)
    }

    fn new<S: AsRef<str>>(method: Method, path: impl IntoIterator<Item = S>) -> Call {
        Call {
            method,
            root: "v1",
            path: path.into_iter().map(|segment| segment.as_ref().to_owned()).collect(),
            query: Vec::new(),
            body: None,
            if_match: None,
            key: None,
            is_long: false,
        }
    }

    fn body(mut self, body: &impl Serialize) -> Call {
        let json =
            serde_json::to_vec(body).expect("requests are structs with named fields and maps with text keys");
        self.body = Some(json.into());
        self
    }

    pub fn query(mut self, name: &'static str, value: impl Display) -> Call {
        self.query.push((name, value.to_string()));
        self
    }

    /// Adds the parameter where there is a value.
    pub fn query_opt(self, name: &'static str, value: Option<impl Display>) -> Call {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub fn if_match(mut self, revision: Option<u64>) -> Call {
        self.if_match = revision;
        self
    }

    /// For what a node may take far longer over than over one booking: its answer is waited for several times as long.
    pub fn long(mut self) -> Call {
        self.is_long = true;
        self
    }

    pub fn key(mut self, key: Key) -> Call {
        self.key = match key {
            Key::Fresh => Some(Key::fresh_text()),
            Key::Given(text) => Some(text),
            Key::None => None,
        };
        self
    }

    pub(super) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether sending it again does no more than sending it once.
    pub(super) fn may_repeat(&self) -> bool {
        !self.is_write() || self.key.is_some()
    }

    /// What it means that an answer can't be read, for `error`: a write was perhaps done.
    pub(super) fn unreadable(&self, error: ClientError) -> ClientError {
        if self.is_write() {
            return ClientError::OutcomeUnknown { key: self.key_text(), reason: error.to_string() };
        }
        error
    }

    pub(super) fn key_text(&self) -> Option<String> {
        self.key.clone()
    }

    pub(super) fn url(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .push(self.root)
            .extend(&self.path);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}
