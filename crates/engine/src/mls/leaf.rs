//! What a leaf must be: the leaf of a certified device.

use bytes::Bytes;
use openmls::prelude::{
    BasicCredential, Credential, CredentialType, CredentialWithKey, ExtensionType, LeafNode, ProtocolVersion,
    SignaturePublicKey,
};
use openmls::treesync::LeafNodeSource;
use wire::{DeviceCertificate, Signed};

use super::LeafError;
use super::config::{STATE_EXTENSION, check_lifetime};

/// The credential of a device: the signed certificate's bytes, as they are, and the key that it names.
pub(super) fn credential(certificate: &Signed<DeviceCertificate>) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(certificate.bytes().to_vec()).into(),
        signature_key: SignaturePublicKey::from(certificate.signature_key.to_vec()),
    }
}

/// The certificate in a credential, if `key` is the one that it names and `suite` is one that it lists.
pub(super) fn certificate(
    credential: &Credential,
    key: &[u8],
    suite: u16,
) -> Result<Signed<DeviceCertificate>, LeafError> {
    let basic = BasicCredential::try_from(credential.clone()).map_err(|_| LeafError::Credential)?;
    let certificate =
        Signed::<DeviceCertificate>::parse(Bytes::copy_from_slice(basic.identity())).map_err(LeafError::Certificate)?;
    if certificate.signature_key != key {
        return Err(LeafError::Key);
    }
    if !certificate.suites.contains(&suite) {
        return Err(LeafError::Suite);
    }
    Ok(certificate)
}

/// Checks a leaf that is new to a group. OpenMLS has checked what RFC 9420 demands, signature and position included.
pub(super) fn check(leaf: &LeafNode, suite: u16) -> Result<Signed<DeviceCertificate>, LeafError> {
    let capabilities = leaf.capabilities();
    let announced = capabilities.versions().contains(&ProtocolVersion::Mls10)
        && capabilities.ciphersuites().iter().any(|listed| listed.value() == suite)
        && capabilities.credentials().contains(&CredentialType::Basic)
        && capabilities.extensions().contains(&ExtensionType::Unknown(STATE_EXTENSION));
    if !announced {
        return Err(LeafError::Capabilities);
    }
    if let LeafNodeSource::KeyPackage(lifetime) = leaf.leaf_node_source() {
        check_lifetime(lifetime)?;
    }
    certificate(leaf.credential(), leaf.signature_key().as_slice(), suite)
}

/// Checks a leaf that takes the place of `before`: account and device stay, the certificate may be a newer one.
pub(super) fn check_update(
    leaf: &LeafNode,
    before: &Signed<DeviceCertificate>,
    suite: u16,
) -> Result<Signed<DeviceCertificate>, LeafError> {
    let after = check(leaf, suite)?;
    let same =
        after.account_key == before.account_key && after.address == before.address && after.device == before.device;
    if same { Ok(after) } else { Err(LeafError::Device) }
}
