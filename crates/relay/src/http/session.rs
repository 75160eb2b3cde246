//! One WebSocket connection as one task with a hand-written poll.
//!
//! A wake-up reads up to [`READ_AT_ONCE`] frames, hands each to the core and polls its future once before the next frame is looked at
//! (protocol rule 4), takes everything that waits to be written, and flushes once. What always holds: a request whose connection
//! goes away is still carried out to its end, so that the core never sees half of one; a peer that does not read is not read from.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Sink as _, Stream as _};
use store::Store;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_websockets::{CloseCode, Message, WebSocketStream};
use wire::{ClientFrame, Code, Error, Request, Response, ServerFrame, UnixMillis, WireError};

use super::Server;
use super::gate::Place;
use super::outbox::{Ending, Outbox};
use super::transport::Rewound;
use crate::core::ConnId;

/// Frames that are read before the connection lets others run.
const READ_AT_ONCE: usize = 32;
/// Frames that are written in one go. It bounds what the socket's own queue keeps for the connection's life.
const WRITE_AT_ONCE: usize = 128;
/// Answers that wait behind an unfinished write, in bytes, beyond which nothing more is read: the peer doesn't take them.
const UNSENT_ANSWERS: usize = 256 << 10;
/// How long a peer has for its side of the close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Requests in flight beyond which nothing more is read; one that may answer with a page counts for [`PAGE_WEIGHT`].
const IN_FLIGHT: usize = 256;
const PAGE_WEIGHT: usize = 16;
/// Frames that can't be read, after which the connection is closed: the peer does not speak the protocol.
const UNREADABLE: u8 = 64;
/// Pings without a sign of life, after which the peer is taken to be gone.
const PINGS: u8 = 3;
/// What is read and thrown away after an error, so that the peer gets to see the close frame instead of a reset.
const LINGER_BYTES: usize = 8 << 20;
/// A message larger than this is kept until the socket has been read once more. Its memory is the socket's read buffer, which goes
/// on in a small one of its own if somebody else still holds the large one, and would keep it for the connection's life otherwise.
const LARGE: usize = 4 << 10;
/// Queues that grew beyond this are given back when they are empty.
const KEPT_CAPACITY: usize = 32;

/// The time as the protocol counts it.
pub fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

struct Running {
    weight: usize,
    id: u64,
    answer: Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>,
}

/// What the socket is still good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Requests and answers.
    Serving,
    /// The relay stops: nothing is read, answers are written, then the close frame.
    Ending,
    /// A close frame was sent; the peer's is awaited.
    Closing,
    /// The peer broke the framing; what it still sends is thrown away.
    Lingering(usize),
    /// The socket is gone. Requests in flight are carried out.
    Gone,
}

/// The task of one connection. It ends when the socket is gone and nothing is in flight.
pub struct Session<S: Store> {
    server: Arc<Server<S>>,
    conn: ConnId,
    outbox: Arc<Outbox>,
    socket: Option<WebSocketStream<Rewound>>,
    stage: Stage,
    running: Vec<Running>,
    weight: usize,
    /// Bytes of answers that the outbox holds.
    unsent: usize,
    /// Taken from the outbox, not yet handed to the socket; the next one is the last.
    batch: Vec<Bytes>,
    /// Something was handed to the socket and not flushed.
    is_writing: bool,
    timer: Pin<Box<Sleep>>,
    heard: bool,
    missed: u8,
    unreadable: u8,
    _place: Place,
}

impl<S: Store> Session<S> {
    /// A session over an upgraded socket. `outbox` holds the `Hello` already.
    pub fn new(
        server: Arc<Server<S>>,
        conn: ConnId,
        outbox: Arc<Outbox>,
        socket: WebSocketStream<Rewound>,
        place: Place,
    ) -> Self {
        let ping = server.connections.ping;
        Self {
            server,
            conn,
            outbox,
            socket: Some(socket),
            stage: Stage::Serving,
            running: Vec::new(),
            weight: 0,
            unsent: 0,
            batch: Vec::new(),
            is_writing: false,
            timer: Box::pin(tokio::time::sleep(ping)),
            heard: false,
            missed: 0,
            unreadable: 0,
            _place: place,
        }
    }

    fn hang_up(&mut self) {
        self.socket = None;
        self.stage = Stage::Gone;
        self.batch = Vec::new();
    }

    fn watch_time(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let next = Instant::now() + self.server.connections.ping;
            self.timer.as_mut().reset(next);
            if matches!(self.stage, Stage::Lingering(_) | Stage::Closing) {
                self.hang_up();
            }
            if mem::take(&mut self.heard) {
                self.missed = 0;
                continue;
            }
            self.missed += 1;
            let Some(socket) = self.socket.as_mut() else { continue };
            if self.missed > PINGS {
                self.hang_up();
            } else if Pin::new(socket).start_send(Message::ping(Bytes::new())).is_ok() {
                self.is_writing = true;
            }
        }
    }

    fn run_requests(&mut self, cx: &mut Context<'_>) {
        let (outbox, weight, unsent) = (&self.outbox, &mut self.weight, &mut self.unsent);
        self.running.retain_mut(|running| match running.answer.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                let frame = ServerFrame::Response { id: running.id, result }.encode();
                *unsent += frame.len();
                outbox.answer(frame);
                *weight -= running.weight;
                false
            }
        });
        if self.running.is_empty() && self.running.capacity() > KEPT_CAPACITY {
            self.running = Vec::new();
        }
    }

    fn is_full(&self) -> bool {
        self.weight >= IN_FLIGHT || self.unsent >= UNSENT_ANSWERS
    }

    fn answer(&mut self, id: u64, result: Result<Response, Error>) {
        let frame = ServerFrame::Response { id, result }.encode();
        self.unsent += frame.len();
        self.outbox.answer(frame);
    }

    /// True if it ended with more to read, or may have: its share is used up, or the answers have to be written first.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let now = unix_now();
        let mut large = Bytes::new();
        for _ in 0..READ_AT_ONCE {
            if self.stage != Stage::Serving {
                return false;
            }
            if self.is_full() {
                return true;
            }
            let Some(socket) = self.socket.as_mut() else { return false };
            let next = Pin::new(socket).poll_next(cx);
            drop(mem::take(&mut large));
            match next {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(message))) => {
                    self.heard = true;
                    if message.is_ping() {
                        self.is_writing = true;
                    } else if message.is_binary() {
                        let bytes = Bytes::from(message.into_payload());
                        if bytes.len() > LARGE {
                            large = bytes.clone();
                        }
                        self.frame(now, bytes, cx);
                    } else if message.is_text() {
                        self.refuse(0, Code::Malformed, "frames are binary WebSocket messages");
                    }
                }
                // The close frame that answers the peer is written before this is seen.
                Poll::Ready(None) => self.hang_up(),
                Poll::Ready(Some(Err(tokio_websockets::Error::Io(_)))) => self.hang_up(),
                Poll::Ready(Some(Err(error))) => {
                    // A message that grew too large in pieces is the one case in which the socket has not queued a close
                    // frame of its own; in the others it takes none from here.
                    if let (tokio_websockets::Error::PayloadTooLong { .. }, Some(socket)) =
                        (error, self.socket.as_mut())
                    {
                        let close = Message::close(Some(CloseCode::MESSAGE_TOO_BIG), "");
                        let _ = Pin::new(socket).start_send(close);
                    }
                    self.stage = Stage::Lingering(LINGER_BYTES);
                    self.is_writing = true;
                }
            }
        }
        true
    }

    fn frame(&mut self, now: UnixMillis, bytes: Bytes, cx: &mut Context<'_>) {
        let frame = match ClientFrame::decode(bytes.clone()) {
            Ok(frame) => frame,
            Err(error) => {
                let code = match error {
                    WireError::Missing("request") => Code::Unsupported,
                    _ => Code::Malformed,
                };
                let id = ClientFrame::decode_id(&bytes).unwrap_or(0);
                return self.refuse(id, code, &error.to_string());
            }
        };
        drop(bytes);
        let weight = match frame.request {
            Request::Read { .. } | Request::ReadInbox { .. } => PAGE_WEIGHT,
            _ => 1,
        };
        let (relay, conn) = (self.server.relay.clone(), self.conn);
        let mut answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { relay.handle(now, conn, frame.request).await });
        match answer.as_mut().poll(cx) {
            Poll::Ready(result) => self.answer(frame.id, result),
            Poll::Pending => {
                self.weight += weight;
                self.running.push(Running { weight, id: frame.id, answer });
            }
        }
    }

    fn refuse(&mut self, id: u64, code: Code, detail: &str) {
        self.answer(id, Err(Error::new(code, detail)));
        self.unreadable += 1;
        if self.unreadable >= UNREADABLE {
            self.stage = Stage::Ending;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some(socket) = self.socket.as_mut() else { return };
            let mut socket = Pin::new(socket);
            if self.is_writing {
                match socket.as_mut().poll_flush(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Err(_)) => return self.hang_up(),
                    Poll::Ready(Ok(())) => self.is_writing = false,
                }
            }
            if matches!(self.stage, Stage::Closing | Stage::Lingering(_)) {
                return;
            }
            if self.batch.is_empty() {
                if self.batch.capacity() > KEPT_CAPACITY {
                    self.batch = Vec::new();
                }
                if self.outbox.flushed() {
                    self.server.relay.drained(self.conn, unix_now());
                }
                self.outbox.take(&mut self.batch);
                self.unsent = 0;
                self.batch.reverse();
            }
            if self.batch.is_empty() {
                if self.stage != Stage::Ending || !self.running.is_empty() {
                    return;
                }
                let code =
                    if self.unreadable >= UNREADABLE { CloseCode::POLICY_VIOLATION } else { CloseCode::GOING_AWAY };
                if socket.start_send(Message::close(Some(code), "")).is_err() {
                    return self.hang_up();
                }
                self.stage = Stage::Closing;
                self.is_writing = true;
                continue;
            }
            for _ in 0..WRITE_AT_ONCE {
                let Some(frame) = self.batch.pop() else { break };
                if socket.as_mut().start_send(Message::binary(frame)).is_err() {
                    return self.hang_up();
                }
            }
            self.is_writing = true;
        }
    }

    /// Waits for the peer's side of the end.
    fn close(&mut self, cx: &mut Context<'_>) {
        while let Some(socket) = self.socket.as_mut() {
            match &mut self.stage {
                Stage::Closing => match Pin::new(socket).poll_next(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(None | Some(Err(_))) => return self.hang_up(),
                },
                Stage::Lingering(left) if !self.is_writing => {
                    let mut scrap = [mem::MaybeUninit::uninit(); 4096];
                    let mut scrap = ReadBuf::uninit(&mut scrap);
                    let transport = Pin::new(socket.get_mut());
                    match transport.poll_read(cx, &mut scrap) {
                        Poll::Pending => return,
                        Poll::Ready(Ok(())) if !scrap.filled().is_empty() && *left > 4096 => {
                            *left -= scrap.filled().len();
                        }
                        Poll::Ready(_) => return self.hang_up(),
                    }
                }
                _ => return,
            }
        }
    }
}

impl<S: Store> Future for Session<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // First, so that nothing that is queued from here on goes unnoticed.
        this.outbox.register(cx.waker());
        match this.outbox.ending() {
            Ending::No => {}
            Ending::Orderly if this.stage == Stage::Serving => this.stage = Stage::Ending,
            Ending::Orderly => {}
            Ending::AtOnce => return Poll::Ready(()),
        }
        this.watch_time(cx);
        this.run_requests(cx);
        let stage = this.stage;
        let is_more = this.read(cx);
        this.write(cx);
        this.close(cx);
        if stage != this.stage && matches!(this.stage, Stage::Closing | Stage::Lingering(_)) {
            this.timer.as_mut().reset(Instant::now() + CLOSE_WITHIN);
            // Looked at once more, so that the timer knows whom to wake.
            cx.waker().wake_by_ref();
        }
        if this.socket.is_none() && this.running.is_empty() {
            return Poll::Ready(());
        }
        // While it is full, the end of a write or of a request wakes it.
        if is_more && this.stage == Stage::Serving && !this.is_full() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S: Store> Drop for Session<S> {
    fn drop(&mut self) {
        self.server.ended(self.conn);
    }
}

// Sessions are held in their thousands: what one connection costs beside its buffers.
const _: () = assert!(size_of::<Session<store::memory::MemoryStore>>() <= 640);
