//! The server around the core: listeners, TLS, HTTP routes and WebSocket connections.
//!
//! What always holds: one task for each connection; what a connection is told depends on the core alone; plain HTTP never leaves
//! the machine (`config` refuses it); and no log line names an address, an id or a peer (I10). Deliberately absent: decisions.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use store::Store;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_websockets::ServerBuilder;
use tower_service::Service;
use wire::{Limits, Push, ServerFrame};

mod blobs;
mod gate;
mod outbox;
mod proxies;
mod refusal;
mod routes;
mod session;
mod transport;

use self::gate::{Gate, Place};
use self::outbox::{Ending, Outbox};
use self::routes::UpgradeSlot;
use self::session::Session;
use self::transport::{Rewound, Transport};
use crate::config::Connections;
use crate::core::{ConnId, Peer, Relay};
use crate::tls::{Certificate, TlsError};

pub use self::proxies::Network;
pub use self::session::unix_now;

/// Beside its body a frame holds ids, numbers and framing; an offer of key packages is smaller than a commit in any case.
const FRAME_OVERHEAD: usize = 1024;
/// What `GoingAway` tells clients: long enough for a restart.
const COME_BACK_AFTER_MS: u64 = 2_000;
/// How often the core is told the time, and how often one slice of retention runs.
const TICK: Duration = Duration::from_millis(250);
const SWEEP: Duration = Duration::from_secs(1);
/// HTTP heads are small; this is hyper's least.
const HEAD_BYTES: usize = 8 << 10;
const BACKLOG: u32 = 4096;

/// A bound listener, plain or TLS.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Plain HTTP. The caller has made sure that the address is a loopback one.
    pub fn plain(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: bind(address)?, tls: None })
    }

    /// HTTPS.
    pub fn tls(address: SocketAddr, certificate: &Arc<Certificate>) -> io::Result<Self> {
        let config = certificate.server_config().map_err(|error: TlsError| io::Error::other(error))?;
        Ok(Self { socket: bind(address)?, tls: Some(config.into()) })
    }

    /// Where it listens; the port is the one that was found if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // After a restart the old connections' remains don't hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What a request knows of its connection.
#[derive(Clone)]
struct Caller {
    peer: Peer,
    /// Where the request comes from.
    client: IpAddr,
    upgrade: UpgradeSlot,
}

/// The server. Made once; [`Server::run`] drives it.
pub struct Server<S: Store> {
    relay: Arc<Relay<S>>,
    limits: Limits,
    connections: Connections,
    certificate: Option<Arc<Certificate>>,
    gate: Arc<Gate>,
    sessions: Mutex<HashMap<ConnId, Arc<Outbox>>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl<S: Store> Server<S> {
    /// A server for `relay`, which enforces the same `limits`. `certificate` is what `/ca.pem` speaks of.
    pub fn new(
        relay: Arc<Relay<S>>,
        limits: Limits,
        connections: Connections,
        certificate: Option<Arc<Certificate>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            relay,
            limits,
            gate: Gate::new(connections.total, connections.per_range),
            connections,
            certificate,
            sessions: Mutex::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Serves until `stop` is ready, then stops in an orderly way: nothing is accepted any more, connections hear `GoingAway` and
    /// finish what is in flight, and after `connections.drain` those that are left are cut.
    pub async fn run(self: Arc<Self>, listeners: Vec<Listener>, stop: impl Future<Output = ()>) {
        self.tasks.spawn(self.clone().keep_time());
        for listener in listeners {
            self.tasks.spawn(self.clone().accept(listener));
        }
        stop.await;
        self.stopping.cancel();
        self.tasks.close();
        let goodbye = ServerFrame::Push(Push::GoingAway { retry_after_ms: COME_BACK_AFTER_MS }).encode();
        for outbox in self.sessions().values() {
            outbox.end(Ending::Orderly, Some(goodbye.clone()));
        }
        if tokio::time::timeout(self.connections.drain, self.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::info!(connections = self.sessions().len(), "cutting the connections that have not ended in time");
        for outbox in self.sessions().values() {
            outbox.end(Ending::AtOnce, None);
        }
    }

    /// True once it no longer serves.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<ConnId, Arc<Outbox>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core's clock.
    async fn keep_time(self: Arc<Self>) {
        let sweeper = async {
            let mut every = tokio::time::interval(SWEEP);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                if let Err(error) = self.relay.sweep(unix_now()).await {
                    tracing::warn!(code = ?error.code, "a slice of retention did not run; it is tried again");
                }
            }
        };
        let ticker = async {
            let mut every = tokio::time::interval(TICK);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                self.relay.tick(unix_now(), &mut UnwrapErr(SysRng));
            }
        };
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = ticker => {}
            () = sweeper => {}
        }
    }

    async fn accept(self: Arc<Self>, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                accepted = listener.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, address)) => match self.gate.enter(address.ip(), self.is_proxy(address.ip())) {
                    Some(place) => {
                        let tls = listener.tls.clone();
                        self.tasks.spawn(self.clone().connection(socket, address.ip(), tls, place));
                    }
                    // Closed without a word: a word would cost what the limit is there to save.
                    None => drop(socket),
                },
                Err(error) => {
                    // Out of files, most of the time; the peer's own failures end up here too.
                    tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// TLS and HTTP; what asks for a WebSocket goes on as a [`Session`] in a task of its own, so that nothing of this one is kept.
    async fn connection(self: Arc<Self>, socket: TcpStream, ip: IpAddr, tls: Option<TlsAcceptor>, mut place: Place) {
        // Answers are written whole; waiting to fill a packet only delays them.
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let transport = match tls {
            None => Transport::Plain(socket),
            Some(acceptor) => match tokio::time::timeout(self.connections.handshake, acceptor.accept(socket)).await {
                Ok(Ok(stream)) => Transport::Tls(Box::new(stream)),
                Ok(Err(_)) | Err(_) => {
                    tracing::debug!("a TLS handshake failed");
                    return;
                }
            },
        };
        let slot = UpgradeSlot::default();
        let router = routes::router(self.clone());
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            // A proxy sends requests of many over one connection.
            let client = proxies::client(&self.connections.trusted_proxies, ip, request.headers());
            let peer = Peer { range: gate::range_of(client) };
            request.extensions_mut().insert(Caller { peer, client, upgrade: slot.clone() });
            router.clone().call(request)
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.connections.handshake)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(transport), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = self.stopping.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        let upgrade = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Ok(()), Some((upgrade, caller))) = (served, upgrade) else { return };
        // Who comes through a proxy is counted by his own range once that is known.
        if self.is_proxy(ip) && !self.is_proxy(caller.client) && !place.count(caller.client) {
            return;
        }
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Transport>>() else { return };
        let transport = Rewound::new(&parts.read_buf, parts.io.into_inner());
        drop(parts.read_buf);
        self.begin(transport, caller.peer, place);
    }

    fn is_proxy(&self, ip: IpAddr) -> bool {
        proxies::is_trusted(&self.connections.trusted_proxies, ip)
    }

    fn begin(self: &Arc<Self>, transport: Rewound, peer: Peer, place: Place) {
        let limits = tokio_websockets::Limits::default()
            .max_payload_len(Some(self.limits.commit_bytes as usize + FRAME_OVERHEAD));
        let socket = ServerBuilder::new().limits(limits).serve(transport);
        let outbox = Arc::new(Outbox::default());
        let (conn, hello) = self.relay.connect(unix_now(), &mut UnwrapErr(SysRng), peer, outbox.clone());
        outbox.first(ServerFrame::Hello(hello).encode());
        let session = Session::new(self.clone(), conn, outbox.clone(), socket, place);
        self.sessions().insert(conn, outbox.clone());
        if self.is_stopping() {
            // Registered too late to hear it from `run`.
            outbox.end(Ending::Orderly, None);
        }
        self.tasks.spawn(session);
    }

    /// The session of `conn` has ended.
    fn ended(&self, conn: ConnId) {
        self.relay.disconnect(conn);
        self.sessions().remove(&conn);
    }
}
