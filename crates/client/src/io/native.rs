//! Sockets, for native programs: one task for each connection, on one thread with a runtime of its own.
//!
//! What always holds: a connection that was dialled reports [`Report::Closed`] exactly once, unless it was closed by order; frames
//! are reported in the order they came; at most [`INBOX_BYTES`] of them wait for the engine, so that a relay can't fill this
//! machine's memory. Deliberately absent: reconnecting and everything else that is a decision (module [`crate::driver`]).

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::{Job, TransferFailure, TransferId, TransferState};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Limits, Message, upgrade};
use wire::RelayName;

use super::blob;
use super::tls::{self, Plan, Trust};
use crate::Fault;
use crate::driver::ConnId;

/// How much may wait for the engine, over all connections.
const INBOX_BYTES: usize = 16 << 20;
/// The largest message that a relay may send: a page with a commit of the largest size.
const MESSAGE_BYTES: usize = 8 << 20;
/// Something is sent at least this often, so that what is in between keeps the connection.
const PING: Duration = Duration::from_secs(25);
/// Nothing at all was heard for this long: the connection is dead.
const DEAD: Duration = Duration::from_secs(70);
/// For each address of a relay's name.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection that is closed in good order may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);
/// A blob transfer that moves nothing for this long has lost its relay.
const STALLED: Duration = Duration::from_secs(60);
/// How often a broken transfer is taken up again before the engine hears of it.
const TRIES: u32 = 3;

/// What the network is asked to do.
pub(crate) enum Order {
    Dial { conn: ConnId, relay: RelayName },
    Write { conn: ConnId, frame: Bytes },
    Close { conn: ConnId },
    Transfer { id: TransferId, relay: RelayName, job: Job },
}

/// What the network reports.
pub(crate) enum Report {
    Frame { conn: ConnId, frame: Bytes, room: Room },
    Closed { conn: ConnId, fault: Fault },
    Transfer { id: TransferId, relay: RelayName, state: TransferState },
}

/// A frame's place in the inbox; given back when it is dropped.
pub(crate) struct Room(#[allow(dead_code, reason = "held, not read")] tokio::sync::OwnedSemaphorePermit);

/// Where orders go. Dropping it closes all connections in good order and ends the thread.
pub(crate) struct Network {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Network {
    /// Starts the thread. `report` is called from it and must not block.
    pub(crate) fn start(
        authorities: Vec<CertificateDer<'static>>,
        pins: Option<std::path::PathBuf>,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            trust: Trust::new(authorities, pins),
            learning: tokio::sync::Mutex::new(()),
            clear: Mutex::default(),
            room: Arc::new(Semaphore::new(INBOX_BYTES)),
            report: Box::new(report),
        });
        let thread =
            std::thread::Builder::new().name("network".into()).spawn(move || runtime.block_on(serve(inbox, shared)))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only when this end is dropped.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Shared {
    trust: Trust,
    /// One at a time, so that two first connections don't both ask for the authority.
    learning: tokio::sync::Mutex<()>,
    /// Relays on this machine that were found to speak without TLS.
    clear: Mutex<std::collections::HashSet<RelayName>>,
    room: Arc<Semaphore>,
    report: Box<dyn Fn(Report) + Send + Sync>,
}

async fn serve(mut inbox: mpsc::UnboundedReceiver<Order>, shared: Arc<Shared>) {
    let mut conns: HashMap<ConnId, mpsc::UnboundedSender<Bytes>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut transfers = JoinSet::new();
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                None => break,
                Some(Order::Dial { conn, relay }) => {
                    let (frames, outbox) = mpsc::unbounded_channel();
                    conns.insert(conn, frames);
                    let shared = shared.clone();
                    tasks.spawn(async move {
                        let ended = connection(conn, &relay, outbox, &shared).await;
                        if let Err(fault) = ended {
                            (shared.report)(Report::Closed { conn, fault });
                        }
                        conn
                    });
                }
                Some(Order::Write { conn, frame }) => {
                    if let Some(frames) = conns.get(&conn) {
                        // A connection that has ended reports so itself.
                        let _ = frames.send(frame);
                    }
                }
                Some(Order::Close { conn }) => {
                    conns.remove(&conn);
                }
                Some(Order::Transfer { id, relay, job }) => {
                    let shared = shared.clone();
                    transfers.spawn(async move {
                        let state = transfer(id, &relay, &job, &shared).await;
                        (shared.report)(Report::Transfer { id, relay, state });
                    });
                }
            },
            Some(Ok(conn)) = tasks.join_next() => {
                conns.remove(&conn);
            }
            Some(_) = transfers.join_next() => {}
        }
    }
    drop(conns);
    // Transfers are resumable, connections say farewell; a thread never waits for the network's pleasure.
    let _ = timeout(FAREWELL * 2, async { while tasks.join_next().await.is_some() {} }).await;
}

/// Lives as long as the connection. `Ok` if it was closed by order.
async fn connection(
    conn: ConnId,
    relay: &RelayName,
    mut outbox: mpsc::UnboundedReceiver<Bytes>,
    shared: &Arc<Shared>,
) -> Result<(), Fault> {
    let dialled = async {
        let stream = open(relay, shared).await?;
        let uri = format!("ws://{relay}/v1/stream")
            .parse()
            .map_err(|_| Fault::Unreachable("its name can't stand in a URL".into()))?;
        let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES));
        let (socket, _) =
            ClientBuilder::from_uri(uri).limits(limits).connect_on(stream).await.map_err(|error| match error {
                tokio_websockets::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Fault::Ended,
                tokio_websockets::Error::Io(error) => Fault::Unreachable(error.to_string()),
                tokio_websockets::Error::Upgrade(upgrade::Error::DidNotSwitchProtocols(429 | 503)) => {
                    Fault::Unreachable("it takes no more connections at the moment".into())
                }
                tokio_websockets::Error::Upgrade(upgrade::Error::DidNotSwitchProtocols(code)) => {
                    Fault::NotARelay(format!("it answers as other web servers do, with the code {code}"))
                }
                other => Fault::NotARelay(other.to_string()),
            })?;
        Ok::<_, Fault>(socket)
    };
    let socket = tokio::select! {
        socket = dialled => socket?,
        () = let_go(&mut outbox) => return Ok(()),
    };
    let (mut sink, mut stream) = socket.split();

    let reading = async {
        loop {
            let message = match timeout(DEAD, stream.next()).await {
                Err(_) => return Fault::Silent,
                Ok(None | Some(Err(_))) => return Fault::Ended,
                Ok(Some(Ok(message))) => message,
            };
            if message.is_close() {
                return Fault::Ended;
            }
            if message.is_binary() {
                let frame = Bytes::from(message.into_payload());
                // Never more than there is, so a permit always comes; the bound is below u32.
                let want = u32::try_from(frame.len().clamp(1, INBOX_BYTES)).unwrap_or(u32::MAX);
                let Ok(room) = shared.room.clone().acquire_many_owned(want).await else { return Fault::Ended };
                (shared.report)(Report::Frame { conn, frame, room: Room(room) });
            } else if message.is_text() {
                return Fault::Protocol;
            }
        }
    };
    let writing = async {
        loop {
            match timeout(PING, outbox.recv()).await {
                Err(_) => sink.feed(Message::ping(Bytes::new())).await?,
                Ok(None) => break,
                Ok(Some(frame)) => {
                    sink.feed(Message::binary(frame)).await?;
                    while let Ok(frame) = outbox.try_recv() {
                        sink.feed(Message::binary(frame)).await?;
                    }
                }
            }
            sink.flush().await?;
        }
        let _ = timeout(FAREWELL, sink.close()).await;
        Ok::<_, tokio_websockets::Error>(())
    };
    tokio::select! {
        fault = reading => Err(fault),
        written = writing => written.map_err(|_| Fault::Ended),
    }
}

/// Ends when the other end of the channel is dropped. Nothing is sent on it before the connection is up.
async fn let_go(outbox: &mut mpsc::UnboundedReceiver<Bytes>) {
    while outbox.recv().await.is_some() {}
}

/// What a socket can do, with TLS or without.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A connection to a relay that is who it says it is.
async fn open(relay: &RelayName, shared: &Shared) -> Result<Box<dyn Socket>, Fault> {
    let is_clear = |relay| shared.clear.lock().unwrap_or_else(PoisonError::into_inner).contains(relay);
    if is_clear(relay) {
        return Ok(Box::new(tcp(relay).await?));
    }
    let plan = match shared.trust.plan(relay)? {
        known @ Plan::Verify { .. } => known,
        Plan::Learn => {
            let _one_at_a_time = shared.learning.lock().await;
            if is_clear(relay) {
                return Ok(Box::new(tcp(relay).await?));
            }
            if !shared.trust.is_pinned(relay) && !learn(relay, shared).await? {
                shared.clear.lock().unwrap_or_else(PoisonError::into_inner).insert(relay.clone());
                return Ok(Box::new(tcp(relay).await?));
            }
            shared.trust.plan(relay)?
        }
    };
    let Plan::Verify { config, pinned } = plan else {
        return Err(Fault::Untrusted("what was learned of it could not be kept".into()));
    };
    let connector = tokio_rustls::TlsConnector::from(config);
    let name = tls::server_name(relay)?;
    match connector.connect(name, tcp(relay).await?).await {
        Ok(stream) => Ok(Box::new(stream)),
        // With authorities of the person's own (--ca), a relay on this machine may still be one without TLS.
        Err(error) if relay.is_loopback() && !pinned && tls::is_no_tls(&error) => {
            shared.clear.lock().unwrap_or_else(PoisonError::into_inner).insert(relay.clone());
            Ok(Box::new(tcp(relay).await?))
        }
        Err(error) => Err(tls::handshake_fault(&error, pinned)),
    }
}

/// Learns the development authority of a relay on this machine. `false` if the relay evidently does not speak TLS.
async fn learn(relay: &RelayName, shared: &Shared) -> Result<bool, Fault> {
    let (config, observer) = shared.trust.observer()?;
    let connector = tokio_rustls::TlsConnector::from(config);
    let stream = match connector.connect(tls::server_name(relay)?, tcp(relay).await?).await {
        Ok(stream) => stream,
        Err(error) if tls::is_no_tls(&error) => return Ok(false),
        Err(error) => return Err(tls::handshake_fault(&error, false)),
    };
    let ask = async {
        let (mut sender, driving) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::select! {
            pem = blob::small_file(&mut sender, relay, "/ca.pem", 64 << 10) => pem,
            _ = driving => None,
        }
    };
    let pem = timeout(CONNECT, ask).await.map_err(|_| Fault::Silent)?.unwrap_or_default();
    shared.trust.learn(relay, &observer, &pem)?;
    Ok(true)
}

/// The first address of a relay's name that answers.
async fn tcp(relay: &RelayName) -> Result<TcpStream, Fault> {
    let mut last = Fault::Unreachable("its name has no address".into());
    let addresses = timeout(CONNECT, tokio::net::lookup_host((relay.host(), relay.port())))
        .await
        .map_err(|_| Fault::Unreachable("its name could not be looked up in time".into()))?
        .map_err(|_| Fault::Unreachable("there is no such host, or no network".into()))?;
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Frames are written whole; waiting for more would only delay them.
                stream.set_nodelay(true).map_err(|error| Fault::Unreachable(error.to_string()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Fault::Unreachable(reason(&error)),
            Err(_) => last = Fault::Unreachable("the connection was not answered in time".into()),
        }
    }
    Err(last)
}

/// The system's reason, without its error number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens on that port (connection refused)".into(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "there is no way to its network".into(),
        _ => error.to_string(),
    }
}

async fn transfer(id: TransferId, relay: &RelayName, job: &Job, shared: &Arc<Shared>) -> TransferState {
    let mut tries = 0;
    loop {
        tries += 1;
        let moved = Arc::new(tokio::sync::Notify::new());
        let progress: blob::Progress = {
            let (shared, relay, moved) = (shared.clone(), relay.clone(), moved.clone());
            Arc::new(move |bytes| {
                moved.notify_one();
                let state = TransferState::Progress(bytes);
                (shared.report)(Report::Transfer { id, relay: relay.clone(), state });
            })
        };
        let attempt = async {
            let stream = open(relay, shared).await.map_err(|_| blob::Trouble::Said(TransferFailure::Unreachable))?;
            let (mut sender, driving) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| blob::Trouble::Broken)?;
            let work = blob::run(&mut sender, relay, job, &progress);
            drive(work, driving).await
        };
        match unless_stalled(attempt, &moved).await {
            Some(Ok(bytes)) => return TransferState::Done(bytes),
            Some(Err(blob::Trouble::Said(failure))) => return TransferState::Failed(failure),
            Some(Err(blob::Trouble::Broken)) | None if tries < TRIES => {}
            Some(Err(blob::Trouble::Broken)) | None => return TransferState::Failed(TransferFailure::Unreachable),
        }
    }
}

/// Runs `work` while the connection under it is driven; the connection's end does not end work that can still finish.
async fn drive<T>(work: impl Future<Output = T>, driving: impl Future) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => done,
        _ = driving => work.await,
    }
}

/// `None` if nothing moved for too long.
async fn unless_stalled<T>(work: impl Future<Output = T>, moved: &tokio::sync::Notify) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            still = timeout(STALLED, moved.notified()) => still.ok()?,
        }
    }
}
