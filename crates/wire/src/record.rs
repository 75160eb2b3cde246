//! Account records, device certificates and offered key packages: what is signed about accounts and devices.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::signed::{split, verify};
use crate::{Address, DeviceId, Label, LogId, Signed, UnixMillis, proto};

/// Length of an X-Wing public key (draft-connolly-cfrg-xwing-kem-10).
pub const HPKE_KEY_BYTES: usize = 1216;

/// Devices that one record may list, revoked ones included: a bound on what a hostile record can cost a reader.
pub const MAX_DEVICES: usize = 64;

/// Why signed bytes about an account are refused. Always the fault of who made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes can't be read.
    #[error("the signed bytes can't be read")]
    Malformed,
    /// A field has an impossible value.
    #[error("the field `{0}` has an impossible value")]
    Field(&'static str),
    /// The signature does not fit.
    #[error("the signature does not verify")]
    Signature,
    /// A device in the record is certified by another account or for another address.
    #[error("a device in the record is not certified by the record's own account")]
    ForeignDevice,
}

/// SHA-256 of a record's signed bytes; all zero stands for "no predecessor".
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RecordHash(pub [u8; 32]);

impl std::fmt::Debug for RecordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// An account's word that a device is its own. The MLS credential's identity holds these signed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// The account identity key (AIK), Ed25519.
    pub account_key: [u8; 32],
    /// The account's address.
    pub address: Address,
    /// The device.
    pub device: DeviceId,
    /// The device's signature key, Ed25519; also the key of its MLS leaves.
    pub signature_key: [u8; 32],
    /// MLS ciphersuites that the device takes, best first.
    pub suites: Vec<u16>,
    /// Versions of this protocol that the device speaks.
    pub versions: Vec<u32>,
    /// When it was certified, by the certifying device's clock.
    pub created: UnixMillis,
}

impl DeviceCertificate {
    /// Signs the certificate with the account key.
    pub fn sign(self, account: &SigningKey) -> Signed<Self> {
        let payload = proto::DeviceCertificate {
            account_key: Bytes::copy_from_slice(&self.account_key),
            address: self.address.as_str().to_owned(),
            device: Bytes::copy_from_slice(&self.device.0),
            signature_key: Bytes::copy_from_slice(&self.signature_key),
            suites: self.suites.iter().map(|suite| u32::from(*suite)).collect(),
            versions: self.versions.clone(),
            created_ms: self.created.0,
        };
        Signed::seal(self, payload.encode_to_vec(), account, Label::DeviceCertificate)
    }
}

impl Signed<DeviceCertificate> {
    /// Reads a certificate and checks that the account key *it names* signed it. Whether that key is the right one for the
    /// address is the caller's question.
    pub fn parse(bytes: Bytes) -> Result<Self, RecordError> {
        let signed = split(bytes.clone()).ok_or(RecordError::Malformed)?;
        let raw = proto::DeviceCertificate::decode(signed.payload.clone()).map_err(|_| RecordError::Malformed)?;
        let value = DeviceCertificate {
            account_key: raw.account_key.as_ref().try_into().map_err(|_| RecordError::Field("account_key"))?,
            address: canonical(&raw.address)?,
            device: raw.device.as_ref().try_into().map_err(|_| RecordError::Field("device"))?,
            signature_key: raw.signature_key.as_ref().try_into().map_err(|_| RecordError::Field("signature_key"))?,
            suites: raw
                .suites
                .iter()
                .map(|suite| u16::try_from(*suite).map_err(|_| RecordError::Field("suites")))
                .collect::<Result<_, _>>()?,
            versions: raw.versions,
            created: UnixMillis(raw.created_ms),
        };
        verify(&value.account_key, Label::DeviceCertificate, &[&signed.payload], &signed.signature)
            .map_err(|_| RecordError::Signature)?;
        Ok(Self::verified(value, bytes))
    }
}

/// A device as its account's record lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its certificate.
    pub certificate: Signed<DeviceCertificate>,
    /// The log that is its inbox.
    pub inbox: LogId,
    /// The X-Wing public key that deposits are sealed to ([`HPKE_KEY_BYTES`] bytes).
    pub hpke_key: Bytes,
    /// When it was added.
    pub added: UnixMillis,
    /// When it was revoked; a revoked device stays listed.
    pub revoked: Option<UnixMillis>,
}

/// What an account says of itself: its key and its devices. Version by version, each naming the hash of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// The account's address.
    pub address: Address,
    /// The account identity key (AIK), Ed25519.
    pub account_key: [u8; 32],
    /// 1 at registration, then strictly one more.
    pub version: u64,
    /// Hash of the version before; all zero at version 1.
    pub predecessor: RecordHash,
    /// All devices, revoked ones too.
    pub devices: Vec<Device>,
    /// The device that holds the account key and certifies the others; `None` until the role was handed over for the first time.
    pub certifier: Option<DeviceId>,
}

impl AccountRecord {
    /// Signs the record with the account key.
    pub fn sign(self, account: &SigningKey) -> Signed<Self> {
        let payload = proto::AccountRecord {
            address: self.address.as_str().to_owned(),
            account_key: Bytes::copy_from_slice(&self.account_key),
            version: self.version,
            predecessor: Bytes::copy_from_slice(&self.predecessor.0),
            devices: self
                .devices
                .iter()
                .map(|device| proto::Device {
                    certificate: device.certificate.bytes().clone(),
                    inbox: Bytes::copy_from_slice(&device.inbox.0),
                    hpke_key: device.hpke_key.clone(),
                    added_ms: device.added.0,
                    revoked_ms: device.revoked.map_or(0, |time| time.0),
                })
                .collect(),
            certifier: self.certifier.map(|device| Bytes::copy_from_slice(&device.0)).unwrap_or_default(),
        };
        Signed::seal(self, payload.encode_to_vec(), account, Label::AccountRecord)
    }

    /// The device of this id, revoked or not.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.certificate.device == id)
    }

    /// The device that certifies the others, as far as the record says: the one that it names, else the oldest that is not revoked.
    pub fn certifying(&self) -> Option<DeviceId> {
        self.certifier.or_else(|| self.active().next().map(|device| device.certificate.device))
    }

    /// The devices that are not revoked.
    pub fn active(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.revoked.is_none())
    }
}

impl Signed<AccountRecord> {
    /// Reads a record; checks its signature by the account key *it names*, and that this key certified every device in it for
    /// this address. Whether the key is the right one for the address is the caller's question.
    pub fn parse(bytes: Bytes) -> Result<Self, RecordError> {
        let signed = split(bytes.clone()).ok_or(RecordError::Malformed)?;
        let raw = proto::AccountRecord::decode(signed.payload.clone()).map_err(|_| RecordError::Malformed)?;
        let account_key: [u8; 32] =
            raw.account_key.as_ref().try_into().map_err(|_| RecordError::Field("account_key"))?;
        verify(&account_key, Label::AccountRecord, &[&signed.payload], &signed.signature)
            .map_err(|_| RecordError::Signature)?;
        let address = canonical(&raw.address)?;
        if raw.devices.len() > MAX_DEVICES {
            return Err(RecordError::Field("devices"));
        }
        let mut devices: Vec<Device> = Vec::with_capacity(raw.devices.len());
        for device in raw.devices {
            let certificate = Signed::<DeviceCertificate>::parse(device.certificate)?;
            if certificate.account_key != account_key || certificate.address != address {
                return Err(RecordError::ForeignDevice);
            }
            if device.hpke_key.len() != HPKE_KEY_BYTES {
                return Err(RecordError::Field("hpke_key"));
            }
            if devices.iter().any(|other| other.certificate.device == certificate.device) {
                return Err(RecordError::Field("devices"));
            }
            devices.push(Device {
                certificate,
                inbox: device.inbox.as_ref().try_into().map_err(|_| RecordError::Field("inbox"))?,
                hpke_key: device.hpke_key,
                added: UnixMillis(device.added_ms),
                revoked: (device.revoked_ms != 0).then_some(UnixMillis(device.revoked_ms)),
            });
        }
        let predecessor =
            RecordHash(raw.predecessor.as_ref().try_into().map_err(|_| RecordError::Field("predecessor"))?);
        if raw.version == 0 || (raw.version == 1) != (predecessor == RecordHash::default()) {
            return Err(RecordError::Field("version"));
        }
        let certifier = match raw.certifier.as_ref() {
            [] => None,
            id => Some(DeviceId(id.try_into().map_err(|_| RecordError::Field("certifier"))?)),
        };
        let record = AccountRecord { address, account_key, version: raw.version, predecessor, devices, certifier };
        if certifier.is_some_and(|id| record.active().all(|device| device.certificate.device != id)) {
            return Err(RecordError::Field("certifier"));
        }
        Ok(Self::verified(record, bytes))
    }

    /// The hash that the next version names as its predecessor.
    pub fn hash(&self) -> RecordHash {
        RecordHash(Sha256::digest(self.bytes()).into())
    }
}

/// A key package with the signed time until which it may be used (freshness is ours to check, not MLS's: protocol section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKeyPackage {
    /// A TLS-encoded MLS KeyPackage.
    pub package: Bytes,
    /// Nobody adds this device with it after this time.
    pub expires: UnixMillis,
}

impl OfferedKeyPackage {
    /// Signs with the device key.
    pub fn sign(self, device: &SigningKey) -> Signed<Self> {
        let payload = proto::OfferedKeyPackage { package: self.package.clone(), expires_ms: self.expires.0 };
        Signed::seal(self, payload.encode_to_vec(), device, Label::KeyPackage)
    }

    /// Until when an offered key package may be used, of bytes that [`Signed::parse`] has taken before: the signature is not checked
    /// again.
    pub fn expires(bytes: Bytes) -> Option<UnixMillis> {
        let raw = proto::OfferedKeyPackage::decode(split(bytes)?.payload).ok()?;
        Some(UnixMillis(raw.expires_ms))
    }
}

impl Signed<OfferedKeyPackage> {
    /// Reads an offered key package and checks that the device with this key signed it.
    pub fn parse(bytes: Bytes, device_key: &[u8; 32]) -> Result<Self, RecordError> {
        let signed = split(bytes.clone()).ok_or(RecordError::Malformed)?;
        verify(device_key, Label::KeyPackage, &[&signed.payload], &signed.signature)
            .map_err(|_| RecordError::Signature)?;
        let raw = proto::OfferedKeyPackage::decode(signed.payload).map_err(|_| RecordError::Malformed)?;
        let value = OfferedKeyPackage { package: raw.package, expires: UnixMillis(raw.expires_ms) };
        Ok(Self::verified(value, bytes))
    }
}

/// An address inside signed bytes must be in its one canonical form.
fn canonical(text: &str) -> Result<Address, RecordError> {
    let address: Address = text.parse().map_err(|_| RecordError::Field("address"))?;
    if address.as_str() == text { Ok(address) } else { Err(RecordError::Field("address")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(account: &SigningKey, address: &str, id: u8) -> Device {
        let certificate = DeviceCertificate {
            account_key: account.verifying_key().to_bytes(),
            address: address.parse().unwrap(),
            device: DeviceId([id; 16]),
            signature_key: SigningKey::from_bytes(&[id; 32]).verifying_key().to_bytes(),
            suites: vec![0x004f, 1],
            versions: vec![1],
            created: UnixMillis(1),
        }
        .sign(account);
        Device {
            certificate,
            inbox: LogId([id; 16]),
            hpke_key: vec![id; HPKE_KEY_BYTES].into(),
            added: UnixMillis(1),
            revoked: None,
        }
    }

    fn record(account: &SigningKey, devices: Vec<Device>) -> AccountRecord {
        AccountRecord {
            address: "alice@relay.example".parse().unwrap(),
            account_key: account.verifying_key().to_bytes(),
            version: 1,
            predecessor: RecordHash::default(),
            devices,
            certifier: None,
        }
    }

    #[test]
    fn who_certifies_is_a_device_that_is_listed_and_not_revoked() {
        let account = SigningKey::from_bytes(&[1; 32]);
        let (one, mut other) = (device(&account, "alice@relay.example", 2), device(&account, "alice@relay.example", 3));
        let named = |devices: &[Device], id: u8| {
            let certifier = Some(DeviceId([id; 16]));
            let signed = AccountRecord { certifier, ..record(&account, devices.to_vec()) }.sign(&account);
            Signed::<AccountRecord>::parse(signed.bytes().clone()).map(|record| record.certifying())
        };
        let both = [one.clone(), other.clone()];
        assert_eq!(record(&account, both.to_vec()).certifying(), Some(DeviceId([2; 16])));
        assert_eq!(named(&both, 3), Ok(Some(DeviceId([3; 16]))));
        assert_eq!(named(&both, 4), Err(RecordError::Field("certifier")));
        other.revoked = Some(UnixMillis(5));
        assert_eq!(named(&[one, other], 3), Err(RecordError::Field("certifier")));
    }

    #[test]
    fn a_record_comes_back_as_it_was_signed() {
        let account = SigningKey::from_bytes(&[1; 32]);
        let signed = record(&account, vec![device(&account, "alice@relay.example", 2)]).sign(&account);
        let parsed = Signed::<AccountRecord>::parse(signed.bytes().clone()).unwrap();
        assert_eq!(parsed, signed);
        assert_eq!(parsed.hash(), signed.hash());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let account = SigningKey::from_bytes(&[1; 32]);
        let signed = record(&account, vec![]).sign(&account);
        for at in 0..signed.bytes().len() {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(Signed::<AccountRecord>::parse(bytes.into()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_device_of_another_account_or_address_is_refused() {
        let account = SigningKey::from_bytes(&[1; 32]);
        let other = SigningKey::from_bytes(&[9; 32]);
        for device in [device(&other, "alice@relay.example", 2), device(&account, "bob@relay.example", 2)] {
            let signed = record(&account, vec![device]).sign(&account);
            assert_eq!(Signed::<AccountRecord>::parse(signed.bytes().clone()), Err(RecordError::ForeignDevice));
        }
    }

    #[test]
    fn a_device_twice_is_refused() {
        let account = SigningKey::from_bytes(&[1; 32]);
        let twice = vec![device(&account, "alice@relay.example", 2), device(&account, "alice@relay.example", 2)];
        let signed = record(&account, twice).sign(&account);
        assert_eq!(Signed::<AccountRecord>::parse(signed.bytes().clone()), Err(RecordError::Field("devices")));
    }

    #[test]
    fn version_1_has_no_predecessor_and_the_others_have_one() {
        let account = SigningKey::from_bytes(&[1; 32]);
        for (version, predecessor) in [(0, 0), (1, 7), (2, 0)] {
            let mut wrong = record(&account, vec![]);
            wrong.version = version;
            wrong.predecessor = RecordHash([predecessor; 32]);
            let signed = wrong.sign(&account);
            assert_eq!(Signed::<AccountRecord>::parse(signed.bytes().clone()), Err(RecordError::Field("version")));
        }
    }
}
