//! Key packages: what others need in order to add this device.

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{KeyPackage, KeyPackageIn, KeyPackageRef, OpenMlsProvider as _, ProtocolVersion};
use openmls::treesync::LeafNodeSource;
use openmls_traits::storage::StorageProvider as _;
use wire::{Device, DeviceCertificate, Signed, SigningKey, UnixMillis};

use super::provider::{DeviceSigner, Provider};
use super::{LeafError, MlsError, config, leaf};

/// Makes a key package for this device and keeps its private half. Returns the TLS-encoded package and its reference, by which
/// [`delete_key_package`] forgets it. A one-time package is forgotten by the join that uses it, a last-resort one is not.
pub fn key_package(
    p: &Provider<'_>,
    signer: &SigningKey,
    certificate: &Signed<DeviceCertificate>,
    suite: u16,
    now: UnixMillis,
    last_resort: bool,
) -> Result<(Vec<u8>, Vec<u8>), MlsError> {
    let ciphersuite = config::suite(suite)?;
    own_certificate(signer, certificate, suite)?;
    let mut builder = KeyPackage::builder()
        .key_package_lifetime(config::lifetime(now))
        .leaf_node_capabilities(config::capabilities(p.rand()));
    if last_resort {
        builder = builder.mark_as_last_resort();
    }
    let bundle = builder
        .build(ciphersuite, p, &DeviceSigner(signer), leaf::credential(certificate))
        .map_err(|error| MlsError::Library(error.to_string()))?;
    let package = bundle.key_package();
    let reference = package.hash_ref(p.crypto()).map_err(|error| MlsError::Library(error.to_string()))?;
    let bytes = package.tls_serialize_detached().map_err(|error| MlsError::Library(error.to_string()))?;
    Ok((bytes, reference.as_slice().to_vec()))
}

/// A key package whose leaf no account has certified, for an insider who adds it (only for the simulator).
#[cfg(feature = "mutants")]
pub fn uncertified_key_package(
    p: &Provider<'_>,
    signer: &SigningKey,
    suite: u16,
    now: UnixMillis,
) -> Result<Vec<u8>, MlsError> {
    let library = |error: String| MlsError::Library(error);
    let key = crate::formats::hash(&signer.to_bytes());
    let key = SigningKey::from_bytes(&key);
    let credential = openmls::prelude::CredentialWithKey {
        credential: openmls::prelude::BasicCredential::new(b"nobody".to_vec()).into(),
        signature_key: key.verifying_key().to_bytes().to_vec().into(),
    };
    let bundle = KeyPackage::builder()
        .key_package_lifetime(config::lifetime(now))
        .leaf_node_capabilities(config::capabilities(p.rand()))
        .build(config::suite(suite)?, p, &DeviceSigner(&key), credential)
        .map_err(|error| library(error.to_string()))?;
    bundle.key_package().tls_serialize_detached().map_err(|error| library(error.to_string()))
}

/// Reads a key package and checks nothing that we ask of one (only for the simulator's insider).
#[cfg(feature = "mutants")]
pub(super) fn unchecked(p: &Provider<'_>, bytes: &[u8]) -> Option<KeyPackage> {
    KeyPackageIn::tls_deserialize_exact(bytes).ok()?.validate(p.crypto(), ProtocolVersion::Mls10).ok()
}

/// Forgets the private half of a key package; nothing happens if there is none of this reference.
pub fn delete_key_package(p: &Provider<'_>, reference: &[u8]) -> Result<(), MlsError> {
    // The reference's type has no constructor from bytes; its own wire encoding is one.
    let mut encoded = Vec::with_capacity(reference.len() + 4);
    tls_codec::VLByteSlice(reference)
        .tls_serialize(&mut encoded)
        .map_err(|error| MlsError::Library(error.to_string()))?;
    let reference =
        KeyPackageRef::tls_deserialize_exact(&encoded).map_err(|error| MlsError::Library(error.to_string()))?;
    Ok(p.storage().delete_key_package(&reference)?)
}

/// The private half of this TLS-encoded key package is here: it is this device's own, and nobody has used it.
pub fn has_key_package(p: &Provider<'_>, bytes: &[u8]) -> Result<bool, MlsError> {
    let Ok((package, _)) = parse(p, bytes) else { return Ok(false) };
    let reference = package.hash_ref(p.crypto()).map_err(|error| MlsError::Library(error.to_string()))?;
    Ok(p.storage().key_package::<_, openmls::prelude::KeyPackageBundle>(&reference)?.is_some())
}

/// The hash of the encryption key of the leaf that this TLS-encoded key package brings, as in [`super::Group::leaves`].
pub fn leaf_key(p: &Provider<'_>, bytes: &[u8]) -> Option<[u8; 32]> {
    let (package, _) = parse(p, bytes).ok()?;
    let key = package.leaf_node().encryption_key().tls_serialize_detached().ok()?;
    let key = tls_codec::VLBytes::tls_deserialize_exact(&key).ok()?;
    Some(crate::formats::hash(key.as_slice()))
}

/// Checks that `bytes` are a key package whose leaf is exactly that of `device`: its key, its certificate as the account's
/// record holds it, and that it was made within the last year. Whether it may still be used is the signed `expires` beside the
/// package, and the caller's question.
pub fn check_key_package(p: &Provider<'_>, bytes: &[u8], device: &Device, now: UnixMillis) -> Result<(), LeafError> {
    let (package, certificate) = parse(p, bytes)?;
    if let LeafNodeSource::KeyPackage(lifetime) = package.leaf_node().leaf_node_source() {
        config::check_fresh(lifetime, now)?;
    }
    if certificate.bytes() == device.certificate.bytes() { Ok(()) } else { Err(LeafError::Device) }
}

/// Reads a key package and checks everything that doesn't depend on a group.
pub(super) fn parse(p: &Provider<'_>, bytes: &[u8]) -> Result<(KeyPackage, Signed<DeviceCertificate>), LeafError> {
    let package = KeyPackageIn::tls_deserialize_exact(bytes)
        .map_err(|_| LeafError::Malformed)?
        .validate(p.crypto(), ProtocolVersion::Mls10)
        .map_err(|_| LeafError::Malformed)?;
    let certificate = leaf::check(package.leaf_node(), package.ciphersuite().into())?;
    Ok((package, certificate))
}

/// The own certificate is for the own key and lists the suite.
pub(super) fn own_certificate(
    signer: &SigningKey,
    certificate: &Signed<DeviceCertificate>,
    suite: u16,
) -> Result<(), MlsError> {
    if certificate.signature_key != signer.verifying_key().to_bytes() {
        return Err(MlsError::Certificate(LeafError::Key));
    }
    if !certificate.suites.contains(&suite) {
        return Err(MlsError::Certificate(LeafError::Suite));
    }
    Ok(())
}
