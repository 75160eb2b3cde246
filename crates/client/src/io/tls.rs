//! Whom this client believes to be a relay.
//!
//! A relay in the world needs a certificate that the machine's roots, or a file that the person named, vouch for. A relay on
//! this machine (a loopback name) usually has a development certificate: its authority is fetched from the relay the first time,
//! has to have issued the certificate that the relay shows, and is pinned for the profile; another one later is refused.
//!
//! What always holds: TLS 1.3 only, X25519MLKEM768 first, no session is ever resumed, so that lanes can't be linked by it; what is
//! learned at first use is believed for that loopback name only.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use wire::RelayName;

use crate::{Fault, fault};

/// What is believed, and where what was learned is kept.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    /// Authorities that the person named.
    named: Vec<CertificateDer<'static>>,
    /// The machine's, read when first needed: reading them takes longer than a loopback connection.
    system: OnceLock<Vec<CertificateDer<'static>>>,
    /// A directory with one file for each relay on this machine; none keeps them in memory only.
    pins: Option<PathBuf>,
    learned: Mutex<std::collections::BTreeMap<RelayName, CertificateDer<'static>>>,
}

/// How to connect to a relay.
pub(super) enum Plan {
    /// With these roots.
    Verify {
        config: Arc<ClientConfig>,
        /// The roots hold a pin: a failure means that the authority changed.
        pinned: bool,
    },
    /// A relay on this machine that has not been seen before.
    Learn,
}

impl Trust {
    pub(super) fn new(named: Vec<CertificateDer<'static>>, pins: Option<PathBuf>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { provider, named, system: OnceLock::new(), pins, learned: Mutex::default() }
    }

    pub(super) fn plan(&self, relay: &RelayName) -> Result<Plan, Fault> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.named.iter().cloned());
        let pin = if relay.is_loopback() { self.pin(relay)? } else { None };
        if relay.is_loopback() {
            roots.add_parsable_certificates(pin.clone());
            if roots.is_empty() {
                return Ok(Plan::Learn);
            }
        } else {
            let system = self.system.get_or_init(|| rustls_native_certs::load_native_certs().certs);
            roots.add_parsable_certificates(system.iter().cloned());
        }
        let verifier = self.verifier(roots)?;
        Ok(Plan::Verify { config: self.config(verifier)?, pinned: pin.is_some() })
    }

    /// True if this relay has shown a certificate before: it is never spoken to in the clear again.
    pub(super) fn is_pinned(&self, relay: &RelayName) -> bool {
        self.pin(relay).is_ok_and(|pin| pin.is_some())
    }

    /// A configuration that takes any certificate and remembers it. Only for fetching the authority that is checked against it.
    pub(super) fn observer(&self) -> Result<(Arc<ClientConfig>, Arc<Observer>), Fault> {
        let observer = Arc::new(Observer { provider: self.provider.clone(), seen: OnceLock::new() });
        Ok((self.config(observer.clone())?, observer))
    }

    /// Pins an authority, provided that it has issued the certificate that was seen.
    pub(super) fn learn(&self, relay: &RelayName, observer: &Observer, pem: &[u8]) -> Result<(), Fault> {
        let untrusted = |why: &str| Fault::Untrusted(why.to_owned());
        let authority = CertificateDer::from_pem_slice(pem)
            .map_err(|_| untrusted("the relay shows no development authority of its own"))?;
        let seen = observer.seen.get().ok_or_else(|| untrusted("the relay showed no certificate"))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(|_| untrusted("its development authority can't be read"))?;
        let name = server_name(relay)?;
        self.verifier(roots)?
            .verify_server_cert(seen, &[], &name, &[], UnixTime::now())
            .map_err(|_| untrusted("its development authority has not issued its certificate"))?;
        if let Some(directory) = &self.pins {
            let keep = || {
                std::fs::create_dir_all(directory)?;
                let path = directory.join(fault::pin_file(relay));
                let beside = path.with_extension("new");
                std::fs::write(&beside, pem)?;
                std::fs::rename(&beside, &path)
            };
            keep().map_err(|error| untrusted(&format!("its development authority can't be kept: {error}")))?;
        }
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).insert(relay.clone(), authority);
        Ok(())
    }

    fn pin(&self, relay: &RelayName) -> Result<Option<CertificateDer<'static>>, Fault> {
        if let Some(pin) = self.learned.lock().unwrap_or_else(PoisonError::into_inner).get(relay) {
            return Ok(Some(pin.clone()));
        }
        let Some(directory) = &self.pins else { return Ok(None) };
        let path = directory.join(fault::pin_file(relay));
        let unreadable = |error: &dyn std::fmt::Display| Fault::Untrusted(format!("{}: {error}", path.display()));
        match std::fs::read(&path) {
            Ok(pem) => CertificateDer::from_pem_slice(&pem).map(Some).map_err(|error| unreadable(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn verifier(&self, roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, Fault> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|_| Fault::Untrusted("this machine has no root certificates".into()))
    }

    fn config(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, Fault> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Fault::Untrusted(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The name that a relay's certificate has to carry.
pub(super) fn server_name(relay: &RelayName) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(relay.host().to_owned())
        .map_err(|_| Fault::Untrusted("its name can't stand in a certificate".into()))
}

/// What a failed handshake says about the other side.
pub(super) fn handshake_fault(error: &std::io::Error, pinned: bool) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) if pinned => {
            Fault::CertificateChanged
        }
        Some(rustls::Error::InvalidCertificate(why)) => Fault::Untrusted(match why {
            rustls::CertificateError::UnknownIssuer => "it was issued by nobody that this machine trusts".into(),
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. } => {
                "it has expired, or this machine's clock is wrong".into()
            }
            rustls::CertificateError::NotValidYet | rustls::CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet, or this machine's clock is wrong".into()
            }
            rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. } => {
                "it was issued for another name".into()
            }
            other => other.to_string(),
        }),
        Some(rustls::Error::AlertReceived(alert)) => Fault::NotARelay(format!("it refused TLS 1.3 ({alert:?})")),
        Some(other) => Fault::NotARelay(other.to_string()),
        None => Fault::Unreachable(error.to_string()),
    }
}

/// True if what came back to the first TLS message was evidently no TLS.
pub(super) fn is_no_tls(error: &std::io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::InvalidMessage(_))
    )
}

/// Remembers the certificate that it is shown.
#[derive(Debug)]
pub(super) struct Observer {
    provider: Arc<CryptoProvider>,
    seen: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = self.seen.get_or_init(|| end_entity.clone().into_owned());
        if seen != end_entity {
            return Err(rustls::Error::General("an observer watches one connection".into()));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn leaf(authority: &Authority, name: &str) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap().der().clone()
    }

    fn seen(trust: &Trust, leaf: CertificateDer<'static>) -> Arc<Observer> {
        let (_, observer) = trust.observer().unwrap();
        observer.seen.set(leaf).unwrap();
        observer
    }

    #[test]
    fn a_development_authority_is_pinned_at_first_use_and_outlives_the_program() {
        let pins = tempfile::tempdir().unwrap();
        let relay: RelayName = "localhost:8443".parse().unwrap();
        let ours = authority();
        let trust = Trust::new(vec![], Some(pins.path().join("known-relays")));
        assert!(matches!(trust.plan(&relay), Ok(Plan::Learn)) && !trust.is_pinned(&relay));
        trust.learn(&relay, &seen(&trust, leaf(&ours, "localhost")), ours.pem.as_bytes()).unwrap();
        assert!(pins.path().join("known-relays/localhost_8443.pem").exists());

        let trust = Trust::new(vec![], Some(pins.path().join("known-relays")));
        assert!(matches!(trust.plan(&relay), Ok(Plan::Verify { pinned: true, .. })) && trust.is_pinned(&relay));
        let other: RelayName = "localhost:9443".parse().unwrap();
        assert!(matches!(trust.plan(&other), Ok(Plan::Learn)), "a pin is for one relay");
    }

    #[test]
    fn an_authority_that_did_not_issue_what_was_seen_is_not_learned() {
        let trust = Trust::new(vec![], None);
        let relay: RelayName = "localhost:8443".parse().unwrap();
        let (ours, another) = (authority(), authority());
        for (leaf, pem) in [
            (leaf(&another, "localhost"), ours.pem.as_str()),
            (leaf(&ours, "relay.example"), ours.pem.as_str()),
            (leaf(&ours, "localhost"), "no certificate"),
        ] {
            let learned = trust.learn(&relay, &seen(&trust, leaf), pem.as_bytes());
            assert!(matches!(learned, Err(Fault::Untrusted(_))), "{learned:?}");
            assert!(!trust.is_pinned(&relay));
        }
    }

    #[test]
    fn nothing_is_learned_about_a_relay_in_the_world() {
        let trust = Trust::new(vec![], None);
        let plan = trust.plan(&"relay.example".parse().unwrap());
        assert!(!matches!(plan, Ok(Plan::Learn)));
    }
}
