//! Blobs over HTTP: resumable uploads and downloads of sealed files.
//!
//! `PUT /v1/blobs/{id}` with `Upload-Offset`, `Upload-Length` and `Upload-Secret` (64 hexadecimal digits each for id and secret)
//! writes from the offset on; what has become durable stays when the connection breaks, and `HEAD` says how much that is. `GET`
//! reads a complete blob, from `Range: bytes=N-` if that is given. Knowing the id is the right to read.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use store::Store;
use wire::{BlobId, BlobSecret, Code, Error};

use super::refusal::Refusal;
use super::session::unix_now;
use super::{Caller, Server};
use crate::core::{BlobState, BlobWrite};

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_SECRET: HeaderName = HeaderName::from_static("upload-secret");

/// One durable write, and one read. The store syncs once for each.
const PIECE: usize = 1 << 20;
/// Longest silence in the middle of an upload.
const SILENCE: Duration = Duration::from_secs(30);

fn malformed(detail: &str) -> Error {
    Error::new(Code::Malformed, detail)
}

fn blob_id(text: &str) -> Result<BlobId, Error> {
    text.parse().map_err(|_| malformed("a blob's id is 64 hexadecimal digits"))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Error> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    value.ok_or_else(|| malformed(&format!("the header {name} must be there and hold a number")))
}

fn progress(status: StatusCode, state: BlobState) -> Response {
    let numbers = [(UPLOAD_OFFSET, state.length), (UPLOAD_LENGTH, state.total)];
    (status, numbers.map(|(name, value)| (name, HeaderValue::from(value)))).into_response()
}

pub(super) async fn upload<S: Store>(
    State(server): State<Arc<Server<S>>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let caller = request.extensions().get::<Caller>().cloned().ok_or_else(Refusal::no_caller)?;
    let headers = request.headers();
    let id = blob_id(&id)?;
    let mut offset = number(headers, &UPLOAD_OFFSET)?;
    let total = number(headers, &UPLOAD_LENGTH)?;
    let secret: BlobSecret = headers
        .get(&UPLOAD_SECRET)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("the header upload-secret must be there and hold 64 hexadecimal digits"))?;
    if total > server.limits.blob_bytes {
        return Err(Error::new(Code::TooLarge, "the file is larger than this relay takes").into());
    }
    if offset > total {
        return Err(malformed("upload-offset is beyond upload-length").into());
    }
    let mut body = request.into_body().into_data_stream();
    let mut piece = BytesMut::new();
    let mut state = None;
    let mut is_end = false;
    while !is_end {
        while piece.len() < PIECE {
            let next = tokio::time::timeout(SILENCE, body.next());
            match next.await.map_err(|_| Refusal::silent())? {
                Some(Ok(bytes)) => piece.extend_from_slice(&bytes),
                // The connection broke: what came until then is kept below.
                Some(Err(_)) | None => {
                    is_end = true;
                    break;
                }
            }
        }
        if u64::try_from(piece.len()).unwrap_or(u64::MAX) > total - offset {
            return Err(Error::new(Code::TooLarge, "the body is longer than upload-length announced").into());
        }
        // An empty body asks where an upload stands; it is also how an empty blob is made.
        if piece.is_empty() && state.is_some() {
            break;
        }
        let bytes = piece.split().freeze();
        let write = BlobWrite { id, secret, offset, total, bytes };
        let now = server.relay.put_blob(unix_now(), caller.peer, write).await?;
        offset = now.length;
        state = Some(now);
    }
    let state = state.ok_or_else(|| malformed("the body is missing"))?;
    Ok(progress(if state.complete { StatusCode::CREATED } else { StatusCode::ACCEPTED }, state))
}

pub(super) async fn stand<S: Store>(
    State(server): State<Arc<Server<S>>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let state = server.relay.blob(blob_id(&id)?).await?;
    Ok(progress(StatusCode::OK, state))
}

pub(super) async fn download<S: Store>(
    State(server): State<Arc<Server<S>>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = blob_id(&id)?;
    let BlobState { total, complete, .. } = server.relay.blob(id).await?;
    if !complete {
        return Err(Error::new(Code::NotFound, "the upload is not complete yet").into());
    }
    let from = match headers.get(header::RANGE) {
        None => 0,
        // RFC 9110, section 14.2: a range that isn't understood is ignored; only "from N to the end" is of use here.
        Some(range) => range
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok())
            .unwrap_or(0),
    };
    if from > total || (from == total && total > 0) {
        let all = HeaderValue::try_from(format!("bytes */{total}")).map_err(|_| Refusal::no_caller())?;
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, all)]).into_response());
    }
    let pieces = stream::unfold(from, move |at| {
        let server = server.clone();
        async move {
            if at >= total {
                return None;
            }
            match server.relay.get_blob(id, at, PIECE).await {
                // Nothing where there should be something: the body breaks off and the reader comes back.
                Ok(bytes) if bytes.is_empty() => {
                    Some((Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)), total))
                }
                Ok(bytes) => {
                    let next = at.saturating_add(bytes.len() as u64);
                    Some((Ok(bytes), next))
                }
                Err(_) => Some((Err(std::io::Error::other("the store could not read")), total)),
            }
        }
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(total - from));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, immutable, max-age=31536000"));
    if from > 0 {
        let range = format!("bytes {from}-{}/{total}", total - 1);
        headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).map_err(|_| Refusal::no_caller())?);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}
