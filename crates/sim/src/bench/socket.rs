//! A client's side of one connection, lean: frames are made from a template that the wire crate encoded, answers and pushes are
//! told apart by their first bytes, and some of them are decoded in full to see that they are what they seem.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use wire::{
    ClientFrame, EntryId, Epoch, EpochKey, EpochPublicKey, Hello, LogId, OpenLog, Request, Response, Seq, ServerFrame,
    Subscription,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// Requests that are sent before their answers are awaited.
const AT_ONCE: usize = 64;

/// A socket, plain or TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Where to connect, and whom to trust there.
#[derive(Clone)]
pub struct Target {
    address: String,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Plain, or TLS if an authority's file is given.
    pub fn new(address: &str, authority: Option<&str>) -> io::Result<Self> {
        let tls = match authority.filter(|path| !path.is_empty()) {
            None => None,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                    roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(io::Error::other)?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Self { address: address.to_owned(), tls })
    }
}

/// One connection.
pub struct Socket {
    socket: WebSocketStream<Box<dyn Io>>,
    /// What the relay said first.
    pub hello: Hello,
}

/// What a frame from the relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The answer to the request of this number.
    Answer(u64),
    /// A refusal of it.
    Refusal(u64),
    /// So many entries.
    Entries(u64),
    /// Anything else, `Lagged` for one.
    Other,
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let byte = *bytes.get(at)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

/// Looks at the tags only: field 2 of a server frame is a response, field 3 a push (`transom.proto`).
pub fn look(frame: &[u8]) -> Option<Seen> {
    let mut rest = frame;
    let tag = varint(&mut rest)?;
    varint(&mut rest)?;
    match tag {
        0x12 => {
            let id = if *rest.first()? == 0x08 {
                rest = &rest[1..];
                varint(&mut rest)?
            } else {
                0
            };
            Some(if *rest.first()? == 0x12 { Seen::Refusal(id) } else { Seen::Answer(id) })
        }
        0x1a if *rest.first()? == 0x0a => {
            rest = &rest[1..];
            varint(&mut rest)?;
            let mut entries = 0;
            while !rest.is_empty() {
                let tag = varint(&mut rest)?;
                let value = varint(&mut rest)?;
                if tag & 7 == 2 {
                    rest = rest.get(usize::try_from(value).ok()?..)?;
                }
                entries += u64::from(tag == 0x12);
            }
            Some(Seen::Entries(entries))
        }
        _ => Some(Seen::Other),
    }
}

impl Socket {
    /// Connects and hears the `Hello`.
    pub async fn connect(target: &Target) -> io::Result<Self> {
        tokio::time::timeout(PATIENCE, Self::connect_now(target)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn connect_now(target: &Target) -> io::Result<Self> {
        let tcp = TcpStream::connect(&target.address).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Io> = match &target.tls {
            None => Box::new(tcp),
            Some(connector) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Box::new(connector.connect(name, tcp).await?)
            }
        };
        let uri = format!("ws://{}/v1/stream", target.address);
        let builder = ClientBuilder::new().uri(&uri).map_err(io::Error::other)?;
        let (mut socket, _) = builder.connect_on(stream).await.map_err(io::Error::other)?;
        loop {
            let frame = next(&mut socket).await?;
            if let ServerFrame::Hello(hello) = ServerFrame::decode(frame).map_err(io::Error::other)? {
                return Ok(Self { socket, hello });
            }
        }
    }

    /// Asks and waits for the answers, which come in the order of the requests here. What is pushed meanwhile is counted.
    pub async fn ask(&mut self, requests: Vec<Request>) -> io::Result<(Vec<Response>, u64)> {
        let (mut answers, mut pushed) = (Vec::with_capacity(requests.len()), 0);
        let mut requests = requests.into_iter().peekable();
        let mut id = 1;
        while requests.peek().is_some() {
            let mut waiting = 0;
            for request in requests.by_ref().take(AT_ONCE) {
                let frame = ClientFrame { id, request }.encode();
                self.socket.feed(Message::binary(frame)).await.map_err(io::Error::other)?;
                id += 1;
                waiting += 1;
            }
            self.socket.flush().await.map_err(io::Error::other)?;
            while waiting > 0 {
                match ServerFrame::decode(next(&mut self.socket).await?).map_err(io::Error::other)? {
                    ServerFrame::Response { result, .. } => {
                        waiting -= 1;
                        answers.push(result.map_err(|error| io::Error::other(error.detail))?);
                    }
                    ServerFrame::Push(wire::Push::Entries { entries, .. }) => pushed += entries.len() as u64,
                    ServerFrame::Push(push) => return Err(io::Error::other(format!("unexpected: {push:?}"))),
                    ServerFrame::Hello(_) => {}
                }
            }
        }
        Ok((answers, pushed))
    }

    /// Opens these logs in epoch 0.
    pub async fn open(&mut self, logs: &[Log]) -> io::Result<()> {
        let asked = self.opening(logs);
        for answer in self.ask(vec![asked]).await?.0 {
            let Response::Opened(states) = answer else { return Err(io::Error::other("not opened")) };
            if states.iter().any(|state| state.error.is_some()) {
                return Err(io::Error::other("a log was not opened"));
            }
        }
        Ok(())
    }

    /// The request that opens these logs.
    pub fn opening(&self, logs: &[Log]) -> Request {
        let sign = |log: &Log| {
            let signature = log.key.open(&self.hello.nonce, &self.hello.server_name, log.id, Epoch(0));
            OpenLog { log: log.id, epoch: Epoch(0), signature }
        };
        Request::Open { logs: logs.iter().map(sign).collect() }
    }

    /// Waits for the next frame.
    pub async fn frame(&mut self) -> io::Result<Bytes> {
        next(&mut self.socket).await
    }

    /// The next frame if it is there.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            return match self.socket.poll_next_unpin(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(message))) if message.is_binary() => Poll::Ready(Ok(message.into_payload().into())),
                Poll::Ready(Some(Ok(message))) if message.is_ping() => continue,
                Poll::Ready(Some(Ok(_)) | None) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(io::Error::other(error))),
            };
        }
    }

    /// Queues a frame; [`Socket::poll_flush`] writes it.
    pub fn queue(&mut self, frame: Bytes) -> io::Result<()> {
        std::pin::Pin::new(&mut self.socket).start_send(Message::binary(frame)).map_err(io::Error::other)
    }

    /// Writes what is queued.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush_unpin(cx).map_err(io::Error::other)
    }
}

async fn next<S>(socket: &mut S) -> io::Result<Bytes>
where
    S: Stream<Item = Result<Message, tokio_websockets::Error>> + Sink<Message> + Unpin,
{
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.map_err(|_| io::ErrorKind::TimedOut)?;
        match message {
            Some(Ok(message)) if message.is_binary() => return Ok(message.into_payload().into()),
            Some(Ok(message)) if message.is_ping() => {}
            Some(Err(error)) => return Err(io::Error::other(error)),
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// A log with a made-up epoch key.
#[derive(Clone)]
pub struct Log {
    /// Its id.
    pub id: LogId,
    key: Arc<EpochKey>,
}

impl Log {
    /// The same for one number in every process; `space` keeps workloads apart.
    pub fn new(space: u8, number: u64) -> Self {
        // In every byte, as the random ids of real logs are: whatever is sharded by any of them is spread.
        let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let other = (spread ^ spread >> 29 ^ u64::from(space)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&spread.to_be_bytes());
        id[8..].copy_from_slice(&(other ^ other >> 32).to_be_bytes());
        let mut seed = [space; 32];
        seed[8..16].copy_from_slice(&number.to_be_bytes());
        Self { id: LogId(id), key: Arc::new(EpochKey::from_seed(&seed)) }
    }

    /// What creates it.
    pub fn creation(&self) -> Request {
        Request::Create { log: self.id, epoch: Epoch(0), next: self.public() }
    }

    fn public(&self) -> EpochPublicKey {
        self.key.public()
    }

    /// What follows it from `from` on.
    pub fn following(&self, from: u64) -> Subscription {
        Subscription { log: self.id, epoch: Epoch(0), from: Seq(from) }
    }
}

/// Bodies that don't compress.
pub fn body(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut body = vec![0; length];
    for chunk in body.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    body
}

/// An append of a log, encoded once; only its numbers change.
pub struct Template {
    bytes: BytesMut,
    id_at: usize,
}

/// Request numbers from here on have the same length as varints.
const FIRST_ID: u64 = 1 << 21;

impl Template {
    /// Appends of `length` bytes to `log`.
    pub fn append(log: &Log, length: usize) -> io::Result<Self> {
        const MARK: [u8; 16] = [0xa5; 16];
        let request = Request::Append {
            log: log.id,
            epoch: Epoch(0),
            pipe: 0,
            id: EntryId(MARK),
            body: body(7, length).into(),
            commitment: [3; 32],
        };
        let bytes = BytesMut::from(&ClientFrame { id: FIRST_ID, request }.encode()[..]);
        let found = bytes.windows(16).position(|window| window == MARK);
        let id_at = found.ok_or_else(|| io::Error::other("a frame without its entry's id"))?;
        Ok(Self { bytes, id_at })
    }

    /// The next one: request number `FIRST_ID + slot`, entry id from `number`.
    pub fn frame(&mut self, slot: u64, number: u64) -> Bytes {
        let mut id = FIRST_ID + slot % FIRST_ID;
        for byte in &mut self.bytes[1..5] {
            *byte = (id & 0x7f) as u8 | 0x80;
            id >>= 7;
        }
        self.bytes[4] &= 0x7f;
        self.bytes[self.id_at..self.id_at + 8].copy_from_slice(&number.to_be_bytes());
        Bytes::copy_from_slice(&self.bytes)
    }

    /// The slot of an answer.
    pub fn slot(id: u64) -> u64 {
        id.saturating_sub(FIRST_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_makes_the_frames_that_the_wire_crate_reads() {
        let log = Log::new(1, 5);
        let mut template = Template::append(&log, 500).unwrap();
        for slot in [0, 1, 127, 128, 70_000] {
            let frame = ClientFrame::decode(template.frame(slot, slot + 9)).unwrap();
            assert_eq!(Template::slot(frame.id), slot);
            let Request::Append { log: to, id, body, .. } = frame.request else { panic!("not an append") };
            assert_eq!((to, body.len()), (log.id, 500));
            assert_eq!(id.0[..8], (slot + 9).to_be_bytes());
        }
    }

    #[test]
    fn frames_are_told_apart_by_their_tags() {
        let answer = ServerFrame::Response { id: 300, result: Ok(Response::Done) }.encode();
        assert_eq!(look(&answer), Some(Seen::Answer(300)));
        let error = wire::Error::new(wire::Code::NotFound, "no");
        assert_eq!(look(&ServerFrame::Response { id: 7, result: Err(error) }.encode()), Some(Seen::Refusal(7)));
        let lagged = ServerFrame::Push(wire::Push::Lagged { log: LogId([1; 16]), seq: Seq(4) }).encode();
        assert_eq!(look(&lagged), Some(Seen::Other));
        let entries = vec![super::super::null::entry(1, EntryId([2; 16]), Bytes::from_static(b"x"), [0; 32]); 3];
        let push = wire::Push::Entries { log: LogId([1; 16]), entries, head: Seq(3) };
        assert_eq!(look(&ServerFrame::Push(push).encode()), Some(Seen::Entries(3)));
    }
}
