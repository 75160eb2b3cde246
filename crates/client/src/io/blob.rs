//! Blobs over HTTP/1.1 (protocol section 1): resumable uploads, whole downloads.
//!
//! What always holds: bytes that the relay already has are not sent again; a download never holds more than it was told to take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use engine::{Job, TransferFailure};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response, StatusCode, header};
use wire::{BlobId, BlobSecret, RelayName};

/// Why a try did not come to its end.
pub(super) enum Trouble {
    /// The connection broke; going on where it broke makes sense.
    Broken,
    /// The relay has said something final, or asks for patience.
    Said(TransferFailure),
}

type Body = BoxBody<Bytes, std::convert::Infallible>;
/// The requests' side of a connection.
pub(super) type Sender = SendRequest<Body>;
/// Hears of the bytes so far.
pub(super) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Pieces that an upload is handed over in; progress is told after each.
const PIECE: usize = 64 * 1024;

/// Moves one blob over a fresh connection.
pub(super) async fn run(
    sender: &mut Sender,
    relay: &RelayName,
    job: &Job,
    progress: &Progress,
) -> Result<Bytes, Trouble> {
    match job {
        Job::Upload { blob, secret, bytes } => upload(sender, relay, blob, secret, bytes, progress).await,
        Job::Download { blob, max_bytes } => download(sender, relay, blob, *max_bytes, progress).await,
    }
}

/// Fetches a small file that a relay shows to everybody.
pub(super) async fn small_file(sender: &mut Sender, relay: &RelayName, path: &str, max: usize) -> Option<Bytes> {
    let request = Request::get(path).header(header::HOST, relay.as_str()).body(empty()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    collect(response, max as u64, &|_| ()).await.ok()
}

async fn upload(
    sender: &mut Sender,
    relay: &RelayName,
    blob: &BlobId,
    secret: &BlobSecret,
    bytes: &Bytes,
    progress: &Progress,
) -> Result<Bytes, Trouble> {
    let total = bytes.len() as u64;
    let request = request(Method::HEAD, relay, blob)
        .header("upload-secret", secret.to_string())
        .body(empty())
        .map_err(|_| Trouble::Said(TransferFailure::Refused))?;
    let response = send(sender, request).await?;
    let offset = match response.status() {
        StatusCode::NOT_FOUND => 0,
        status if status.is_success() => upload_offset(&response).filter(|at| *at <= total).unwrap_or(0),
        status => return Err(said(status)),
    };
    // A HEAD has no body, but the connection is free only once that was noticed.
    collect(response, 0, &|_| ()).await?;
    if offset == total && total > 0 {
        return Ok(Bytes::new());
    }
    let rest = bytes.slice(usize::try_from(offset).unwrap_or(bytes.len())..);
    let body = Pieces { rest, sent: offset, progress: progress.clone() };
    let request = self::request(Method::PUT, relay, blob)
        .header("upload-offset", offset)
        .header("upload-length", total)
        .header("upload-secret", secret.to_string())
        .body(BoxBody::new(body))
        .map_err(|_| Trouble::Said(TransferFailure::Refused))?;
    let response = send(sender, request).await?;
    match response.status() {
        status if status.is_success() => match upload_offset(&response) {
            Some(at) if at < total => Err(Trouble::Broken),
            _ => Ok(Bytes::new()),
        },
        // The relay has another offset by now: another try of ours got further.
        StatusCode::CONFLICT => Err(Trouble::Broken),
        status => Err(said(status)),
    }
}

async fn download(
    sender: &mut Sender,
    relay: &RelayName,
    blob: &BlobId,
    max_bytes: u64,
    progress: &Progress,
) -> Result<Bytes, Trouble> {
    let request =
        request(Method::GET, relay, blob).body(empty()).map_err(|_| Trouble::Said(TransferFailure::Refused))?;
    let response = send(sender, request).await?;
    match response.status() {
        StatusCode::OK => collect(response, max_bytes, &**progress).await,
        status => Err(said(status)),
    }
}

fn request(method: Method, relay: &RelayName, blob: &BlobId) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(format!("/v1/blobs/{blob}")).header(header::HOST, relay.as_str())
}

fn empty() -> Body {
    BoxBody::new(Empty::new())
}

async fn send(sender: &mut Sender, request: Request<Body>) -> Result<Response<Incoming>, Trouble> {
    sender.ready().await.map_err(|_| Trouble::Broken)?;
    sender.send_request(request).await.map_err(|_| Trouble::Broken)
}

fn upload_offset(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get("upload-offset")?.to_str().ok()?.parse().ok()
}

fn said(status: StatusCode) -> Trouble {
    Trouble::Said(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => TransferFailure::NotFound,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => TransferFailure::Unreachable,
        status if status.is_server_error() => TransferFailure::Unreachable,
        _ => TransferFailure::Refused,
    })
}

async fn collect(
    response: Response<Incoming>,
    max_bytes: u64,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Bytes, Trouble> {
    let mut body = response.into_body();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Trouble::Broken)?.into_data() else { continue };
        if (all.len() + data.len()) as u64 > max_bytes {
            return Err(Trouble::Said(TransferFailure::Refused));
        }
        all.extend_from_slice(&data);
        progress(all.len() as u64);
    }
    Ok(all.freeze())
}

/// An upload's body, piece by piece.
struct Pieces {
    rest: Bytes,
    sent: u64,
    progress: Progress,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE.min(self.rest.len());
        let piece = self.rest.split_to(piece);
        (self.progress)(self.sent);
        self.sent += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
