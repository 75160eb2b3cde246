//! TLS with the development authority: which key exchange, which versions, whom a client trusts, and a new certificate without a restart.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use relay::config::Connections;
use relay::core::Relay;
use relay::http::{Listener, Server};
use relay::tls::{Certificate, Source};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::faulty::Faulty;
use super::support::{Client, Log, config, patient, split_http};

fn serve(certificate: &Arc<Certificate>) -> SocketAddr {
    let config = config();
    let limits = config.limits;
    let relay = Relay::new(Arc::new(Faulty::default()), config);
    let listener = Listener::tls("127.0.0.1:0".parse().unwrap(), certificate).unwrap();
    let address = listener.address().unwrap();
    let server = Server::new(relay, limits, Connections::default(), Some(certificate.clone()));
    tokio::spawn(server.run(vec![listener], std::future::pending()));
    address
}

async fn connect(
    address: SocketAddr,
    ca: &Path,
    host: &'static str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host).unwrap();
    patient(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_development_certificate_is_good_for_local_names_and_the_exchange_is_post_quantum() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::development(dir.path().join("tls"), "relay.example");
    let certificate = Certificate::load(source, SystemTime::now()).unwrap();
    let address = serve(&certificate);
    let ca = dir.path().join("tls/ca.pem");
    for host in ["localhost", "127.0.0.1", "::1", "relay.example"] {
        let stream = connect(address, &ca, host, &[&version::TLS13]).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(session.negotiated_key_exchange_group().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
        let mut client = Client::over(stream, address).await;
        Log::new(&mut client).await;
    }
    assert!(connect(address, &ca, "other.example", &[&version::TLS13]).await.is_err(), "another name");
    assert!(connect(address, &ca, "localhost", &[&version::TLS12]).await.is_err(), "TLS 1.2");
    let stranger = tempfile::tempdir().unwrap();
    let source = Source::development(stranger.path().to_owned(), "localhost");
    Certificate::load(source, SystemTime::now()).unwrap();
    let other_ca = stranger.path().join("ca.pem");
    assert!(connect(address, &other_ca, "localhost", &[&version::TLS13]).await.is_err(), "another authority");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_served_and_a_certificate_is_replaced_under_way() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&first, &second] {
        Certificate::load(Source::development(dir.path().to_owned(), "localhost"), SystemTime::now()).unwrap();
    }
    let files = tempfile::tempdir().unwrap();
    let install = |from: &tempfile::TempDir| {
        std::fs::copy(from.path().join("leaf.pem"), files.path().join("cert.pem")).unwrap();
        std::fs::copy(from.path().join("leaf-key.pem"), files.path().join("key.pem")).unwrap();
    };
    install(&first);
    let source = Source::Files { cert: files.path().join("cert.pem"), key: files.path().join("key.pem") };
    let certificate = Certificate::load(source, SystemTime::now()).unwrap();
    let address = serve(&certificate);
    let mut old = Client::over(
        connect(address, &first.path().join("ca.pem"), "localhost", &[&version::TLS13]).await.unwrap(),
        address,
    )
    .await;
    std::fs::remove_file(files.path().join("key.pem")).unwrap();
    assert!(certificate.reload(SystemTime::now()).is_err());
    connect(address, &first.path().join("ca.pem"), "localhost", &[&version::TLS13]).await.expect("the old one stays");
    install(&second);
    certificate.reload(SystemTime::now()).unwrap();
    connect(address, &second.path().join("ca.pem"), "localhost", &[&version::TLS13]).await.expect("the new one");
    Log::new(&mut old).await;

    let development =
        Certificate::load(Source::development(first.path().to_owned(), "localhost"), SystemTime::now()).unwrap();
    let address = serve(&development);
    let mut stream = connect(address, &first.path().join("ca.pem"), "localhost", &[&version::TLS13]).await.unwrap();
    stream.write_all(b"GET /ca.pem HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    patient(stream.read_to_end(&mut answer)).await.unwrap();
    let (status, _, body) = split_http(&answer);
    assert_eq!(status, 200);
    assert_eq!(body, std::fs::read(first.path().join("ca.pem")).unwrap());
}
