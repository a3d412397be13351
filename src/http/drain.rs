//! Bodies that nobody read.
//!
//! A server that answers and closes while a client still sends costs the client the answer. So whatever a handler left of
//! a long body is read and thrown away after it has answered, within bounds.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};

/// Shorter bodies have arrived with their head, more or less, and are left to the server.
const SHORT_BYTES: u64 = 16 << 10;
const DRAIN_BYTES_MAX: usize = 64 << 20;
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// Lends a long body to the handler, and reads what it left.
pub async fn drain_bodies<A: Future<Output = Response>>(
    mut request: Request,
    handle: impl FnOnce(Request) -> A,
) -> Response {
    let left = may_be_long(request.headers()).then(|| Arc::new(Mutex::new(None)));
    if let Some(back) = left.clone() {
        request = request.map(|body| Body::new(Lent { body: Some(body), back }));
    }
    let response = handle(request).await;
    let Some(left) = left else { return response };
    let rest = left.lock().expect("no panic while the body is put back").take();
    if let Some(body) = rest {
        // A client that sends no more, or too slowly, is not waited for.
        let _ = tokio::time::timeout(DRAIN_WAIT, drain(body)).await;
    }
    response
}

/// A client that asks before it sends (`Expect: 100-continue`) is answered at once.
fn may_be_long(headers: &HeaderMap) -> bool {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let is_long =
        length.map_or(headers.contains_key(header::TRANSFER_ENCODING), |length| length > SHORT_BYTES);
    is_long && !headers.contains_key(header::EXPECT)
}

async fn drain(body: Body) {
    let mut left = DRAIN_BYTES_MAX;
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        left = left.saturating_sub(piece.len());
        if left == 0 {
            return;
        }
    }
}

/// A body that goes back where it came from when its reader is done with it.
struct Lent {
    body: Option<Body>,
    back: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.body.as_mut() {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.back.lock().expect("no panic while the body is put back") = self.body.take();
    }
}
