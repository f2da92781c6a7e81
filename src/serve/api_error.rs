//! Errors as clients see them: a status, a code and a sentence.

use crate::offload::wire::{CODE_DEADLINE, CODE_QUEUE_FULL, ErrorBody};
use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// One refused request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u16>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    pub fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", message)
    }

    pub fn too_large(limit: usize) -> Self {
        let message = format!("the payload is larger than the {limit} bytes this server takes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    pub fn queue_full() -> Self {
        let message = "all workers are busy and the queue is full; try again later or run the task elsewhere";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, CODE_QUEUE_FULL, message).retry_after(1)
    }

    pub fn deadline(status: StatusCode, during: &str) -> Self {
        Self::new(
            status,
            CODE_DEADLINE,
            format!("the task's deadline passed while {during}"),
        )
    }

    /// Adds a `Retry-After` header, in seconds.
    pub fn retry_after(mut self, seconds: u16) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        tracing::debug!("{} {}: {}", self.status, self.code, self.message);
        let body = ErrorBody {
            code: self.code.to_owned(),
            message: self.message,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
