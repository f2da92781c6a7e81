//! Answers: always whole in memory, because all are small.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// What goes back to a client.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer of JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Our own types have string keys and no custom serializer that fails, so this cannot fail either.
    let body = serde_json::to_vec(body).unwrap_or_default();
    typed(status, HeaderValue::from_static("application/json"), body)
}

/// An answer of another type.
pub(super) fn typed(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}
