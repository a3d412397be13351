//! A write as its caller asked for it, alone or in a batch: the same request either way.

use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::access::write;
use super::key::Key;
use super::problem::Problem;
use crate::ledger::{Command, Submission};
use crate::node::Node;

/// A parsed write. Its key stands for `call`, `path` and `fields`; the command holds what this node adds as well.
pub struct Asked<F> {
    pub call: &'static str,
    pub path: Vec<String>,
    pub fields: F,
    pub command: Command,
}

impl<F: Serialize> Asked<F> {
    /// Submits it under the key of the headers, and renders what became of it.
    pub async fn send(self, node: &Node, headers: &HeaderMap) -> Result<Response, Problem> {
        write(node, headers, self.call, &segments(&self.path), &self.fields, self.command).await
    }

    /// The command under `key`, where it has one.
    pub fn submission(self, key: Option<Key>) -> Result<Submission, Problem> {
        let key =
            key.map(|key| key.of_request(self.call, &segments(&self.path), &self.fields)).transpose()?;
        Ok(Submission { key, command: self.command })
    }
}

fn segments(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}
