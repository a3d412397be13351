//! Idempotency keys as they come, and what they stand for: digests that outlive the build, since the state keeps them. What
//! goes into one must never change, or a retry would be taken for another request.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Serialize;

use super::problem::{Code, Problem};
use crate::ledger::IdempotencyKey;

/// The idempotency key that the headers give, in its form.
pub fn key_of_headers(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(key_invalid("is given twice"));
    }
    Key::new(value.as_bytes()).map(Some)
}

fn key_invalid(reason: &str) -> Problem {
    Problem::new(Code::IdempotencyKeyInvalid, format!("`Idempotency-Key`: {reason}"))
}

/// Most requests take no more to be digested.
const USUAL_REQUEST_BYTES: usize = 512;

/// 1 to 255 visible ASCII characters that a client makes up for a request.
pub struct Key(Arc<str>);

impl Key {
    pub fn new(bytes: &[u8]) -> Result<Key, Problem> {
        if !(1..=255).contains(&bytes.len()) || !bytes.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
            return Err(key_invalid("must be 1 to 255 visible ASCII characters"));
        }
        Ok(Key(String::from_utf8_lossy(bytes).into()))
    }

    /// The key with the digest of what it stands for: the call, its path, and `fields`, the parsed request without what
    /// this node adds.
    pub fn of_request(
        self,
        call: &str,
        path: &[&str],
        fields: &impl Serialize,
    ) -> Result<IdempotencyKey, Problem> {
        // There is one principal while access control is off; its name is part of the digest from the first format on.
        let digest = digest128(&[b"anonymous", self.0.as_bytes()]);
        let mut request = Vec::with_capacity(USUAL_REQUEST_BYTES);
        rmp_serde::encode::write_named(&mut request, &(call, path, fields)).map_err(|error| {
            Problem::new(Code::Internal, format!("the request could not be digested: {error}"))
        })?;
        Ok(IdempotencyKey { text: self.0, digest, request_digest: digest128(&[&request]) })
    }
}

/// 128 bits of BLAKE3 over the parts, each behind its length.
fn digest128(parts: &[&[u8]]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A retry may meet a node of a later release: what a request is compared by stays the same.
    #[test]
    fn the_digest_of_a_request_outlives_a_release() {
        #[derive(Serialize)]
        struct Fields {
            guest: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            added_later: Option<u32>,
        }
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", "order-1".parse().unwrap());
        let fields = Fields { guest: "client-42", added_later: None };
        let key = key_of_headers(&headers).unwrap().unwrap();
        let key = key.of_request("reserve", &["grand"], &fields).unwrap();
        assert_eq!(key.digest, 128849830681732367688414256952718778869);
        assert_eq!(key.request_digest, 45049712992004667354124551590393083894);
    }
}
