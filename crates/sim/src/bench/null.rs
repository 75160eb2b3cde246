//! What the relay is held against: the same sockets and frames with nothing behind them (null), or with one plain file that is
//! synced before an answer (durable floor). No proofs, no limits, no epochs, no reading back.

use std::collections::HashMap;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use futures_util::{Sink as _, Stream as _};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_websockets::{Message, ServerBuilder};
use wire::{
    ClientFrame, Entry, EntryId, EntryKind, Epoch, Hello, Incarnation, Limits, LogId, LogState, Nonce, Push, Request,
    Response, Seq, ServerFrame, UnixMillis,
};

const SHARDS: usize = 64;
const READ_AT_ONCE: usize = 32;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Outbox {
    frames: Mutex<Vec<Bytes>>,
    waker: AtomicWaker,
}

impl Outbox {
    fn push(&self, frame: Bytes) {
        let was_empty = {
            let mut frames = lock(&self.frames);
            frames.push(frame);
            frames.len() == 1
        };
        if was_empty {
            self.waker.wake();
        }
    }
}

#[derive(Default)]
struct Log {
    last: u64,
    followers: Vec<Arc<Outbox>>,
}

struct Job {
    log: LogId,
    request: u64,
    id: EntryId,
    body: Bytes,
    commitment: [u8; 32],
    writer: Arc<Outbox>,
}

struct Null {
    logs: Vec<Mutex<HashMap<LogId, Log>>>,
    /// What waits for the file, if there is one.
    jobs: Option<(Mutex<Vec<Job>>, Condvar)>,
}

/// An entry as readers get it.
pub fn entry(seq: u64, id: EntryId, body: Bytes, commitment: [u8; 32]) -> Entry {
    Entry {
        seq: Seq(seq),
        prev: Seq(seq.saturating_sub(1)),
        time: UnixMillis(1),
        kind: EntryKind::Message,
        epoch: Epoch(0),
        id,
        body,
        commitment,
        next: None,
        stamp: [9; 32],
    }
}

impl Null {
    fn log(&self, log: LogId) -> MutexGuard<'_, HashMap<LogId, Log>> {
        lock(&self.logs[usize::from(log.0[0]) % SHARDS])
    }

    fn deliver(&self, job: Job) {
        let mut logs = self.log(job.log);
        let log = logs.entry(job.log).or_default();
        log.last += 1;
        let seq = Seq(log.last);
        if !log.followers.is_empty() {
            let entries = vec![entry(log.last, job.id, job.body, job.commitment)];
            let frame = ServerFrame::Push(Push::Entries { log: job.log, entries, head: seq }).encode();
            for follower in &log.followers {
                follower.push(frame.clone());
            }
        }
        drop(logs);
        let result = Ok(Response::Appended { seq, time: UnixMillis(1), stamp: [9; 32] });
        job.writer.push(ServerFrame::Response { id: job.request, result }.encode());
    }

    fn handle(&self, frame: ClientFrame, outbox: &Arc<Outbox>) {
        let response = match frame.request {
            Request::Append { log, id, body, commitment, .. } => {
                let job = Job { log, request: frame.id, id, body, commitment, writer: outbox.clone() };
                match &self.jobs {
                    None => self.deliver(job),
                    Some((jobs, wake)) => {
                        // As in the relay: what outlives the request owns its memory.
                        let job = Job { body: Bytes::copy_from_slice(&job.body), ..job };
                        lock(jobs).push(job);
                        wake.notify_one();
                    }
                }
                return;
            }
            Request::Open { logs } => {
                let state = |log| LogState { log, epoch: Epoch(0), head: Seq(0), error: None };
                Response::Opened(logs.into_iter().map(|open| state(open.log)).collect())
            }
            Request::Subscribe { logs } => {
                for subscription in logs {
                    self.log(subscription.log).entry(subscription.log).or_default().followers.push(outbox.clone());
                }
                Response::Done
            }
            _ => Response::Done,
        };
        outbox.push(ServerFrame::Response { id: frame.id, result: Ok(response) }.encode());
    }

    /// The file: what is queued is written and synced, then answered, again and again.
    fn write(&self, file: &mut File) -> io::Result<()> {
        let Some((jobs, wake)) = &self.jobs else { return Ok(()) };
        let mut buffer = Vec::new();
        loop {
            let batch = {
                let mut jobs = lock(jobs);
                while jobs.is_empty() {
                    jobs = wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::take(&mut *jobs)
            };
            buffer.clear();
            for job in &batch {
                buffer.extend_from_slice(&job.log.0);
                buffer.extend_from_slice(&job.id.0);
                buffer.extend_from_slice(&Sha256::digest(&job.body));
                buffer.extend_from_slice(&job.body);
            }
            file.write_all(&buffer)?;
            file.sync_data()?;
            batch.into_iter().for_each(|job| self.deliver(job));
        }
    }
}

fn hello() -> io::Result<ServerFrame> {
    Ok(ServerFrame::Hello(Hello {
        version: wire::PROTOCOL_VERSION,
        time: UnixMillis(1),
        nonce: Nonce([1; 32]),
        incarnation: Incarnation([1; 16]),
        server_name: "localhost".parse().map_err(io::Error::other)?,
        limits: Limits {
            message_bytes: 65_536,
            commit_bytes: 65_536,
            subscriptions: 2_000,
            in_flight: 16,
            key_packages: 0,
            blob_bytes: 0,
            message_retention_ms: 0,
            commit_retention_ms: 0,
        },
    }))
}

async fn session(null: Arc<Null>, stream: TcpStream, hello: Bytes) {
    let Ok((_, mut socket)) = ServerBuilder::new().accept(stream).await else { return };
    let outbox = Arc::new(Outbox::default());
    outbox.push(hello);
    let (mut batch, mut flushing) = (Vec::new(), false);
    poll_fn(|cx| {
        outbox.waker.register(cx.waker());
        let mut more = true;
        for _ in 0..READ_AT_ONCE {
            match std::pin::Pin::new(&mut socket).poll_next(cx) {
                Poll::Pending => {
                    more = false;
                    break;
                }
                Poll::Ready(Some(Ok(message))) if message.is_binary() => {
                    let Ok(frame) = ClientFrame::decode(message.into_payload().into()) else { return Poll::Ready(()) };
                    null.handle(frame, &outbox);
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        if more {
            cx.waker().wake_by_ref();
        }
        loop {
            let mut socket = std::pin::Pin::new(&mut socket);
            if flushing {
                match socket.as_mut().poll_flush(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => flushing = false,
                }
            }
            std::mem::swap(&mut *lock(&outbox.frames), &mut batch);
            if batch.is_empty() {
                return Poll::Pending;
            }
            for frame in batch.drain(..) {
                if socket.as_mut().start_send(Message::binary(frame)).is_err() {
                    return Poll::Ready(());
                }
            }
            flushing = true;
        }
    })
    .await;
}

/// Serves until it is killed; says where on stdout. With a path it is the durable floor.
pub fn serve(path: Option<&Path>) -> io::Result<()> {
    let null = Arc::new(Null {
        logs: (0..SHARDS).map(|_| Mutex::default()).collect(),
        jobs: path.map(|_| (Mutex::default(), Condvar::new())),
    });
    if let Some(path) = path {
        let (null, mut file) = (null.clone(), File::create(path)?);
        std::thread::spawn(move || null.write(&mut file));
    }
    let hello = hello()?.encode();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener: TcpListener = socket.listen(4096)?;
        println!("listening on  http://{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(session(null.clone(), stream, hello.clone()));
        }
    })
}
