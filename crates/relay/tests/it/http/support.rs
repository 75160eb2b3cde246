//! A relay on real sockets in this process, and a client that speaks its frames.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use relay::config::Connections;
use relay::core::{Config, Relay};
use relay::http::{Listener, Server, unix_now};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_websockets::{ClientBuilder, Error as SocketError, Message, WebSocketStream};
use wire::{
    AccountRecord, Address, ClientFrame, Device, DeviceCertificate, DeviceId, EntryId, Epoch, EpochKey, Error, Hello,
    Incarnation, LogId, OpenLog, Push, RecordHash, RelayName, Request, Response, Seq, ServerFrame, Signed, SigningKey,
    UnixMillis,
};
use zeroize::Zeroizing;

use super::faulty::Faulty;

/// Longer than anything here takes; a test that gets here has hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn name() -> RelayName {
    "localhost:8443".parse().unwrap()
}

pub fn config() -> Config {
    Config::new(name(), Incarnation([3; 16]), Zeroizing::new([7; 32]))
}

pub struct Served {
    pub address: SocketAddr,
    pub store: Arc<Faulty>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    pub async fn start() -> Self {
        Self::with(config(), Connections::default()).await
    }

    pub async fn with(config: Config, connections: Connections) -> Self {
        let store = Arc::new(Faulty::default());
        let limits = config.limits;
        let relay = Relay::new(store.clone(), config);
        let listener = Listener::plain("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = Server::new(relay, limits, connections, None);
        let task = tokio::spawn(server.run(vec![listener], async {
            let _ = stopped.await;
        }));
        Self { address, store, stop: Some(stop), task }
    }

    pub async fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(stream, self.address).await
    }

    /// Asks it to stop; the future is ready when it has.
    pub fn stop(mut self) -> JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task
    }

    /// That the relay still serves a newcomer: what every hostile test ends with.
    pub async fn is_healthy(&self) {
        let log = Log::new(&mut self.client().await).await;
        let mut client = self.client().await;
        log.open(&mut client, 0).await;
        assert!(matches!(client.ask(log.append(0, b"still here")).await, Ok(Response::Appended { .. })));
    }
}

pub struct Client<T> {
    socket: WebSocketStream<T>,
    pub hello: Hello,
    pub pushes: VecDeque<Push>,
    answers: Vec<(u64, Result<Response, Error>)>,
    next: u64,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub async fn over(stream: T, address: SocketAddr) -> Self {
        let builder = ClientBuilder::new().uri(&format!("ws://{address}/v1/stream")).unwrap();
        let (mut socket, _) = patient(builder.connect_on(stream)).await.unwrap();
        let first = patient(socket.next()).await.unwrap().unwrap();
        let ServerFrame::Hello(hello) = ServerFrame::decode(first.into_payload().into()).unwrap() else {
            panic!("the first frame is not Hello");
        };
        Self { socket, hello, pushes: VecDeque::new(), answers: Vec::new(), next: 1 }
    }

    pub async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), SocketError> {
        self.socket.send(Message::binary(bytes)).await
    }

    /// The request's number.
    pub async fn send(&mut self, request: Request) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send_bytes(ClientFrame { id, request }.encode()).await.unwrap();
        id
    }

    /// Many requests in one write.
    pub async fn send_all(&mut self, requests: Vec<Request>) -> Vec<u64> {
        self.try_send_all(requests).await.unwrap()
    }

    /// The same, to a relay that may be killed.
    pub async fn try_send_all(&mut self, requests: Vec<Request>) -> Result<Vec<u64>, SocketError> {
        let mut ids = Vec::new();
        for request in requests {
            let id = self.next;
            self.next += 1;
            ids.push(id);
            self.socket.feed(Message::binary(ClientFrame { id, request }.encode())).await?;
        }
        self.socket.flush().await?;
        Ok(ids)
    }

    /// The next message; `None` once the relay closed the connection.
    pub async fn message(&mut self) -> Option<Message> {
        patient(self.socket.next()).await.transpose().ok().flatten()
    }

    /// The next frame; `None` once the relay closed the connection.
    pub async fn frame(&mut self) -> Option<ServerFrame> {
        loop {
            let message = self.message().await?;
            if message.is_binary() {
                return Some(ServerFrame::decode(message.into_payload().into()).unwrap());
            }
            if message.is_close() {
                return None;
            }
        }
    }

    /// The answer to the request of this number; what else comes is kept.
    pub async fn answer(&mut self, id: u64) -> Result<Response, Error> {
        self.try_answer(id).await.expect("the relay closed the connection")
    }

    /// The same; `None` once the relay is gone.
    pub async fn try_answer(&mut self, id: u64) -> Option<Result<Response, Error>> {
        loop {
            if let Some(at) = self.answers.iter().position(|(of, _)| *of == id) {
                return Some(self.answers.swap_remove(at).1);
            }
            match self.frame().await? {
                ServerFrame::Response { id, result } => self.answers.push((id, result)),
                ServerFrame::Push(push) => self.pushes.push_back(push),
                ServerFrame::Hello(_) => panic!("a second Hello"),
            }
        }
    }

    pub async fn ask(&mut self, request: Request) -> Result<Response, Error> {
        let id = self.send(request).await;
        self.answer(id).await
    }

    /// The next push.
    pub async fn push(&mut self) -> Push {
        loop {
            if let Some(push) = self.pushes.pop_front() {
                return push;
            }
            match self.frame().await.expect("the relay closed the connection") {
                ServerFrame::Response { id, result } => self.answers.push((id, result)),
                ServerFrame::Push(push) => self.pushes.push_back(push),
                ServerFrame::Hello(_) => panic!("a second Hello"),
            }
        }
    }
}

/// A log of this test alone.
#[derive(Clone, Copy)]
pub struct Log {
    pub id: LogId,
}

impl Log {
    /// Creates it by an errand on `client`.
    pub async fn new<T: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<T>) -> Self {
        let log = Self { id: LogId(random()) };
        assert_eq!(client.ask(log.create()).await, Ok(Response::Done));
        log
    }

    pub fn create(&self) -> Request {
        Request::Create { log: self.id, epoch: Epoch(0), next: self.key(0).public() }
    }

    /// Of each epoch, known to this test.
    pub fn key(&self, epoch: u64) -> EpochKey {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.id.0);
        seed[16..24].copy_from_slice(&epoch.to_be_bytes());
        EpochKey::from_seed(&seed)
    }

    pub fn open_request(&self, hello: &Hello, epoch: u64) -> Request {
        let signature = self.key(epoch).open(&hello.nonce, &hello.server_name, self.id, Epoch(epoch));
        Request::Open { logs: vec![OpenLog { log: self.id, epoch: Epoch(epoch), signature }] }
    }

    pub async fn open<T: AsyncRead + AsyncWrite + Unpin>(&self, client: &mut Client<T>, epoch: u64) {
        let request = self.open_request(&client.hello, epoch);
        match client.ask(request).await {
            Ok(Response::Opened(states)) => assert_eq!(states[0].error, None),
            other => panic!("{other:?}"),
        }
    }

    pub fn append(&self, epoch: u64, body: &[u8]) -> Request {
        self.append_in(epoch, 0, body)
    }

    pub fn append_in(&self, epoch: u64, pipe: u32, body: &[u8]) -> Request {
        let body = Bytes::copy_from_slice(body);
        Request::Append { log: self.id, epoch: Epoch(epoch), pipe, id: EntryId(random()), body, commitment: [0; 32] }
    }

    pub fn commit(&self, epoch: u64) -> Request {
        Request::Commit {
            log: self.id,
            epoch: Epoch(epoch),
            id: EntryId(random()),
            next: self.key(epoch + 1).public(),
            body: Bytes::from_static(b"commit"),
            end_watches: false,
            repost: false,
        }
    }

    pub fn read(&self, epoch: u64, from: u64) -> Request {
        Request::Read { log: self.id, epoch: Epoch(epoch), from: Seq(from), max_bytes: 1 << 20 }
    }
}

/// An account of this test alone, with one device.
pub struct Account {
    pub address: Address,
    pub device: DeviceId,
    key: SigningKey,
    device_key: SigningKey,
    inbox: LogId,
}

impl Account {
    pub fn new(address: &str) -> Self {
        Self {
            address: address.parse().unwrap(),
            device: DeviceId(random()),
            key: SigningKey::from_bytes(&random()),
            device_key: SigningKey::from_bytes(&random()),
            inbox: LogId(random()),
        }
    }

    pub fn record(&self, version: u64, predecessor: RecordHash) -> Signed<AccountRecord> {
        let certificate = DeviceCertificate {
            account_key: self.key.verifying_key().to_bytes(),
            address: self.address.clone(),
            device: self.device,
            signature_key: self.device_key.verifying_key().to_bytes(),
            suites: vec![0x004f],
            versions: vec![1],
            created: UnixMillis(1),
        };
        let device = Device {
            certificate: certificate.sign(&self.key),
            inbox: self.inbox,
            hpke_key: vec![1; wire::HPKE_KEY_BYTES].into(),
            added: UnixMillis(1),
            revoked: None,
        };
        let record = AccountRecord {
            address: self.address.clone(),
            account_key: self.key.verifying_key().to_bytes(),
            version,
            predecessor,
            devices: vec![device],
            certifier: None,
        };
        record.sign(&self.key)
    }

    pub fn register(&self) -> Request {
        Request::Register { record: self.record(1, RecordHash::default()).bytes().clone(), invite: String::new() }
    }

    pub fn authenticate(&self, hello: &Hello) -> Request {
        let input = wire::authenticate_input(&hello.nonce, &hello.server_name, &self.address, &self.device);
        let signature = ed25519_sign(&self.device_key, &input);
        Request::Authenticate { address: self.address.clone(), device: self.device, signature }
    }

    /// The account key itself puts a record.
    pub fn put_record(&self, record: &Signed<AccountRecord>, hello: &Hello) -> Request {
        let proof = wire::sign_put_record(&self.key, &hello.nonce, &hello.server_name, &self.address, &record.hash());
        Request::PutRecord { record: record.bytes().clone(), account_proof: Some(proof) }
    }

    pub async fn registered<T: AsyncRead + AsyncWrite + Unpin>(self, client: &mut Client<T>) -> Self {
        assert_eq!(client.ask(self.register()).await, Ok(Response::Done));
        let request = self.authenticate(&client.hello);
        assert_eq!(client.ask(request).await, Ok(Response::Done));
        self
    }
}

fn ed25519_sign(key: &SigningKey, input: &[u8]) -> [u8; 64] {
    use ed25519_dalek::Signer;
    key.sign(input).to_bytes()
}

/// Ids only have to be different from each other here.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// What hangs fails.
pub async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for a minute")
}

/// One HTTP request on a connection of its own: status, head, body.
pub async fn http(address: SocketAddr, request: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    patient(stream.read_to_end(&mut answer)).await.unwrap();
    split_http(&answer)
}

pub fn split_http(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no HTTP answer");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

/// The time, for whoever needs it.
pub fn now() -> UnixMillis {
    unix_now()
}
