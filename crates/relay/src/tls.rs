//! TLS 1.3 for the relay: which key exchanges it offers, where its certificate comes from, and the development authority.
//!
//! What always holds: X25519MLKEM768 is preferred; no session ticket is ever issued, so that resumption can't link two connections
//! of one client; private keys are written with mode 0600. Deliberately absent: TLS 1.2 and certificates from an ACME authority.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

/// A leaf is made anew when it has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY);
const LEAF_LIFETIME: Duration = Duration::from_secs(90 * DAY);
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * DAY);
const DAY: u64 = 24 * 3600;

/// Why there is no certificate to serve. Every case is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or written. The environment's fault.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no certificate or no key in PEM. The operator's fault.
    #[error("{path} holds no usable {what} in PEM")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key don't belong together, or rustls takes neither. The operator's fault.
    #[error("the certificate and the key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The development certificate could not be made. A defect of ours, or a name that no certificate can carry.
    #[error("the development certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The development authority's files don't fit together; removing the directory makes a new one.
    #[error("{0} is not what this relay wrote; remove that directory to have a new development authority made")]
    Damaged(PathBuf),
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// PEM files of the operator.
    Files {
        /// The chain, leaf first.
        cert: PathBuf,
        /// The leaf's private key.
        key: PathBuf,
    },
    /// An authority of this relay's own, for development and for closed networks; clients are given its `ca.pem`.
    Development {
        /// `DATA/tls`.
        dir: PathBuf,
        /// Host names and IP addresses that the leaf is for.
        names: Vec<String>,
    },
}

impl Source {
    /// A development source for a relay of this host name: also good for the loopback names and the machine's own name.
    pub fn development(dir: PathBuf, host: &str) -> Self {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        for name in [host.to_owned(), machine] {
            let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
            if is_name && !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        Self::Development { dir, names }
    }
}

/// The certificate that is served; [`Certificate::reload`] replaces it without touching connections that stand.
#[derive(Debug)]
pub struct Certificate {
    source: Source,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads the certificate, or makes the development one.
    pub fn load(source: Source, now: SystemTime) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(certified(&source, now)?));
        Ok(Arc::new(Self { source, current }))
    }

    /// Reads it again (SIGHUP), or renews a development certificate that is near its end. On an error the old one stays.
    pub fn reload(&self, now: SystemTime) -> Result<(), TlsError> {
        let fresh = Arc::new(certified(&self.source, now)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The development authority's certificate, for `/ca.pem`; `None` with the operator's own files.
    pub fn authority_pem(&self) -> Option<String> {
        match &self.source {
            Source::Files { .. } => None,
            Source::Development { dir, .. } => fs::read_to_string(dir.join("ca.pem")).ok(),
        }
    }

    /// What rustls serves connections with.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(source: &Source, now: SystemTime) -> Result<CertifiedKey, TlsError> {
    let (cert, key) = match source {
        Source::Files { cert, key } => (cert.clone(), key.clone()),
        Source::Development { dir, names } => {
            renew(dir, names, now)?;
            (dir.join("leaf.pem"), dir.join("leaf-key.pem"))
        }
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(&cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Pem { path: cert.clone(), what: "certificate" })?;
    if chain.is_empty() {
        return Err(TlsError::Pem { path: cert, what: "certificate" });
    }
    let bytes = zeroize::Zeroizing::new(read(&key)?);
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::Pem { path: key, what: "private key" })?;
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

/// What the leaf was made for, so that nothing has to be parsed out of it again.
#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Made {
    names: Vec<String>,
    not_after: u64,
    authority_not_after: u64,
}

/// Makes what is missing, near its end, or made for other names.
fn renew(dir: &Path, names: &[String], now: SystemTime) -> Result<(), TlsError> {
    fs::create_dir_all(dir).map_err(|source| TlsError::File { path: dir.to_owned(), source })?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let enough = (now + RENEW_BEFORE).as_secs();
    let path = dir.join("made.json");
    let made: Option<Made> = match fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|_| TlsError::Damaged(dir.to_owned()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(TlsError::File { path, source }),
    };
    if made.as_ref().is_some_and(|made| made.not_after > enough && made.names == names) {
        return Ok(());
    }
    let authority = match made {
        Some(made) if made.authority_not_after > enough => {
            let pem = zeroize::Zeroizing::new(read(&dir.join("ca-key.pem"))?);
            let pem = std::str::from_utf8(&pem).map_err(|_| TlsError::Damaged(dir.to_owned()))?;
            (KeyPair::from_pem(pem).map_err(|_| TlsError::Damaged(dir.to_owned()))?, made.authority_not_after)
        }
        _ => {
            let key = KeyPair::generate()?;
            let not_after = (now + AUTHORITY_LIFETIME).as_secs();
            let certificate = authority_params(&key, now.as_secs(), not_after).self_signed(&key)?;
            write(&dir.join("ca-key.pem"), zeroize::Zeroizing::new(key.serialize_pem()).as_bytes(), 0o600)?;
            write(&dir.join("ca.pem"), certificate.pem().as_bytes(), 0o644)?;
            (key, not_after)
        }
    };
    let (key, authority_not_after) = authority;
    let issuer = Issuer::new(authority_params(&key, now.as_secs(), authority_not_after), key);
    let not_after = (now + LEAF_LIFETIME).as_secs().min(authority_not_after);
    let leaf_key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name = named("Transom development relay");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    leaf.is_ca = IsCa::ExplicitNoCa;
    lifetime(&mut leaf, now.as_secs(), not_after);
    let leaf = leaf.signed_by(&leaf_key, &issuer)?;
    write(&dir.join("leaf-key.pem"), zeroize::Zeroizing::new(leaf_key.serialize_pem()).as_bytes(), 0o600)?;
    write(&dir.join("leaf.pem"), leaf.pem().as_bytes(), 0o644)?;
    // Last, so that a crash in between only means that the leaf is made once more.
    let made = Made { names: names.to_vec(), not_after, authority_not_after };
    let made = serde_json::to_vec_pretty(&made).map_err(|_| TlsError::Damaged(dir.to_owned()))?;
    write(&path, &made, 0o644)
}

/// The same for the same key, so that a leaf made later names its issuer as the authority's own certificate does.
fn authority_params(key: &KeyPair, now: u64, not_after: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = data_encoding::HEXLOWER.encode(&params.key_identifier(key)[..4]);
    params.distinguished_name = named(&format!("Transom development authority {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lifetime(&mut params, now, not_after);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn lifetime(params: &mut CertificateParams, now: u64, not_after: u64) {
    // An hour back: a client's clock may be behind.
    let at = |seconds: u64| time::OffsetDateTime::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    params.not_before = at(now.saturating_sub(3600));
    params.not_after = at(not_after);
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// Writes beside and renames, so that a reader sees the old file or the new one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

/// True if plain HTTP may be served on this address: it never leaves the machine.
pub fn is_plain_allowed(ip: IpAddr) -> bool {
    ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_leaf_is_kept_until_it_is_near_its_end_and_its_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::development(dir.path().join("tls"), "relay.example");
        let now = SystemTime::now();
        let file = |name: &str| fs::read(dir.path().join("tls").join(name)).unwrap();

        let certificate = Certificate::load(source.clone(), now).unwrap();
        let (authority, leaf) = (file("ca.pem"), file("leaf.pem"));
        for key in ["ca-key.pem", "leaf-key.pem"] {
            let mode = fs::metadata(dir.path().join("tls").join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }

        Certificate::load(source, now + Duration::from_secs(59 * DAY)).unwrap();
        assert_eq!(file("leaf.pem"), leaf, "there are more than thirty days left");
        certificate.reload(now + Duration::from_secs(61 * DAY)).unwrap();
        assert_ne!(file("leaf.pem"), leaf, "there are fewer than thirty days left");
        assert_eq!(file("ca.pem"), authority, "clients keep the authority they were given");

        let renamed = Source::development(dir.path().join("tls"), "other.example");
        let leaf = file("leaf.pem");
        Certificate::load(renamed, now + Duration::from_secs(61 * DAY)).unwrap();
        assert_ne!(file("leaf.pem"), leaf, "the relay has another name");
    }

    #[test]
    fn files_that_hold_nothing_usable_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let source = Source::Files { cert: cert.clone(), key };
        let error = Certificate::load(source.clone(), SystemTime::now()).unwrap_err();
        assert!(matches!(error, TlsError::File { path, .. } if path == cert));
        fs::write(&cert, "no certificate").unwrap();
        let error = Certificate::load(source, SystemTime::now()).unwrap_err();
        assert!(matches!(error, TlsError::Pem { path, what: "certificate" } if path == cert));
    }
}
