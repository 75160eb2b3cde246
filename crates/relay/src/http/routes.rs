//! Which path leads where.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::upgrade::OnUpgrade;
use store::Store;
use wire::Code;

use super::refusal::Refusal;
use super::{Caller, Server, blobs};

/// Where the handler of `/v1/stream` leaves the upgrade for the connection's own task, which goes on with it: one task a connection.
pub(super) type UpgradeSlot = Arc<Mutex<Option<(OnUpgrade, Caller)>>>;

pub(super) fn router<S: Store>(server: Arc<Server<S>>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/ca.pem", get(authority))
        .route("/v1/stream", get(stream))
        .route("/v1/blobs/{id}", get(blobs::download).head(blobs::stand).put(blobs::upload))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, Code::NotFound, "there is nothing under this path"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, "this path does not take that method")
        })
        .with_state(server)
}

/// 200 while the relay serves, 503 once it stops: what a load balancer asks.
async fn health<S: Store>(State(server): State<Arc<Server<S>>>) -> Response {
    let (status, word) = match server.is_stopping() {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    let body = serde_json::json!({ "status": word, "version": env!("CARGO_PKG_VERSION") });
    (status, axum::Json(body)).into_response()
}

async fn authority<S: Store>(State(server): State<Arc<Server<S>>>) -> Result<Response, Refusal> {
    let pem = server.certificate.as_ref().and_then(|certificate| certificate.authority_pem()).ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, Code::NotFound, "this relay has no development authority of its own")
    })?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"))], pem).into_response())
}

/// RFC 6455, section 4.2.
async fn stream(mut request: Request) -> Result<Response, Refusal> {
    let bad = |detail| Refusal::new(StatusCode::BAD_REQUEST, Code::Malformed, detail);
    if request.method() != Method::GET {
        return Err(bad("a WebSocket begins with GET"));
    }
    let headers = request.headers();
    if !has_token(headers, header::UPGRADE, "websocket") || !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            Code::Unsupported,
            "this path speaks WebSocket: ask for an upgrade",
        ));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = bad("WebSocket version 13 is what this relay speaks").into_response();
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Ok(response);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| data_encoding::BASE64.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16))
        .ok_or_else(|| bad("the header sec-websocket-key must hold 16 bytes in base64"))?;
    let accept = HeaderValue::try_from(accept_key(key.as_bytes())).map_err(|_| Refusal::no_caller())?;
    let caller = request.extensions().get::<Caller>().cloned().ok_or_else(Refusal::no_caller)?;
    let upgrade = hyper::upgrade::on(&mut request);
    *caller.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, caller.clone()));
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(token)))
}

/// SHA-1 is what RFC 6455 asks for here; nothing's security rests on it.
fn accept_key(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    data_encoding::BASE64.encode(hash.finish().as_ref())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_rfc_6455_section_1_3() {
        assert_eq!(super::accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
