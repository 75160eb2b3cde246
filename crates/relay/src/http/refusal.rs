//! Refusals over HTTP: the protocol's codes as status and JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::{Code, Error};

/// A refusal and the status that HTTP has for it.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: Error,
}

/// What the body holds. `code` is the name of the [`Code`], `number` its number.
#[derive(Debug, Serialize)]
struct Text {
    code: String,
    number: u32,
    detail: String,
    #[serde(skip_serializing_if = "is_zero")]
    retry_after_ms: u64,
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Refusal {
    /// A refusal with a status of its own.
    pub fn new(status: StatusCode, code: Code, detail: &str) -> Self {
        Self { status, error: Error::new(code, detail) }
    }

    /// The connection's own data is missing from a request: a defect of ours.
    pub fn no_caller() -> Self {
        Error::new(Code::Internal, "the relay failed to carry out the request; it has been logged").into()
    }

    /// The body stopped coming.
    pub fn silent() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::Malformed,
            "the body stopped coming; ask with HEAD how much arrived",
        )
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.code {
            Code::Malformed | Code::WrongLane | Code::Unsupported => StatusCode::BAD_REQUEST,
            Code::NotOpened | Code::BadProof | Code::Refused => StatusCode::FORBIDDEN,
            Code::NotAuthenticated => StatusCode::UNAUTHORIZED,
            Code::StaleEpoch | Code::Aborted | Code::AlreadyExists | Code::Conflict => StatusCode::CONFLICT,
            Code::NotFound | Code::NoKeyPackage => StatusCode::NOT_FOUND,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::RateLimited | Code::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable | Code::Restoring => StatusCode::SERVICE_UNAVAILABLE,
            Code::OutcomeUnknown | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error }
    }
}

/// `StaleEpoch` -> `stale_epoch`.
fn snake(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Error { code, detail, retry_after_ms, current } = self.error;
        let body = Text { code: snake(code), number: code as u32, detail, retry_after_ms, current };
        let mut response = (self.status, Json(body)).into_response();
        if retry_after_ms > 0 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000)));
        }
        response
    }
}
