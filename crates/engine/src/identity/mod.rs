//! Who this device is, and who the others are: keys, certificates, records, pins, safety numbers.

mod safety;

pub(crate) use safety::safety_number;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wire::{
    AccountRecord, Address, Bytes, Device, DeviceCertificate, DeviceId, LogId, RecordHash, Signed, SigningKey,
    UnixMillis,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::formats::FormatError;

/// Where [`Me`] is kept in the table `meta`.
pub(crate) const META: &str = "me";

/// What this device keeps of itself. The table that holds it is encrypted.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    device: [u8; 16],
    signature_seed: [u8; 32],
    hpke_seed: Vec<u8>,
    inbox: [u8; 16],
    /// Only on the device that certifies the others.
    account_seed: Option<[u8; 32]>,
    /// The newest own record; empty before the device is certified.
    record: Vec<u8>,
    registered: bool,
    /// The newest record is known to be at the relay.
    published: bool,
    inbox_cursor: u64,
    /// The device that the role is being handed over to: until it has taken it, or the person takes it back, nobody certifies.
    #[serde(default)]
    hands_over: Option<[u8; 16]>,
}

/// This device's identity, read from the database once.
pub(crate) struct Me {
    stored: Stored,
    pub(crate) address: Address,
    pub(crate) signer: SigningKey,
    pub(crate) record: Signed<AccountRecord>,
}

/// A device's keys before anybody has certified them.
pub(crate) struct NewDevice {
    stored: Stored,
}

impl NewDevice {
    /// Fresh keys.
    pub(crate) fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut random = |bytes: &mut [u8]| rng.fill_bytes(bytes);
        let (mut device, mut signature_seed, mut hpke_seed, mut inbox) = ([0; 16], [0; 32], vec![0; 64], [0; 16]);
        random(&mut device);
        random(&mut signature_seed);
        random(&mut hpke_seed);
        random(&mut inbox);
        Self {
            stored: Stored {
                device,
                signature_seed,
                hpke_seed,
                inbox,
                account_seed: None,
                record: Vec::new(),
                registered: false,
                published: false,
                inbox_cursor: 0,
                hands_over: None,
            },
        }
    }

    pub(crate) fn id(&self) -> DeviceId {
        DeviceId(self.stored.device)
    }

    pub(crate) fn inbox(&self) -> LogId {
        LogId(self.stored.inbox)
    }

    pub(crate) fn signature_key(&self) -> [u8; 32] {
        SigningKey::from_bytes(&self.stored.signature_seed).verifying_key().to_bytes()
    }

    pub(crate) fn hpke_key(&self) -> Bytes {
        hpke_public(&self.stored.hpke_seed)
    }

    /// What is kept while the device waits to be certified.
    pub(crate) fn to_json(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(&self.stored).expect("plain data serialises"))
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(|stored| Self { stored })
    }

    /// A new account whose first device this is.
    pub(crate) fn found_account(
        mut self,
        address: Address,
        suites: &[u16],
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
    ) -> Me {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let account = SigningKey::from_bytes(&seed);
        self.stored.account_seed = Some(seed);
        seed.zeroize();
        let device = self.certify(&account, &address, suites, now);
        let record = AccountRecord {
            address: address.clone(),
            account_key: account.verifying_key().to_bytes(),
            version: 1,
            predecessor: RecordHash::default(),
            devices: vec![device],
            certifier: None,
        }
        .sign(&account);
        self.stored.record = record.bytes().to_vec();
        let signer = SigningKey::from_bytes(&self.stored.signature_seed);
        Me { stored: self.stored, address, signer, record }
    }

    fn certify(&self, account: &SigningKey, address: &Address, suites: &[u16], now: UnixMillis) -> Device {
        let certificate = DeviceCertificate {
            account_key: account.verifying_key().to_bytes(),
            address: address.clone(),
            device: self.id(),
            signature_key: self.signature_key(),
            suites: suites.to_vec(),
            versions: vec![wire::PROTOCOL_VERSION],
            created: now,
        }
        .sign(account);
        Device { certificate, inbox: self.inbox(), hpke_key: self.hpke_key(), added: now, revoked: None }
    }

    /// A device of an account that comes back from a backup: the successor of `before` lists it and, unless they are kept, revokes all
    /// others. `None` if a record can't list one device more.
    pub(crate) fn restore_account(
        mut self,
        account: &SigningKey,
        before: &Signed<AccountRecord>,
        keep: bool,
        now: UnixMillis,
    ) -> Option<Me> {
        let mut next = before.value().clone();
        if next.devices.len() >= wire::MAX_DEVICES {
            return None;
        }
        next.version = next.version.checked_add(1)?;
        next.predecessor = before.hash();
        if !keep && !planted!(RestoreKeepsOldDevices) {
            next.devices.iter_mut().filter(|device| device.revoked.is_none()).for_each(|d| d.revoked = Some(now));
        }
        next.devices.push(self.certify(account, &before.address, &crate::mls::SUITES, now));
        next.certifier = Some(self.id());
        let record = next.sign(account);
        self.stored.account_seed = Some(account.to_bytes());
        self.stored.record = record.bytes().to_vec();
        self.stored.registered = true;
        let signer = SigningKey::from_bytes(&self.stored.signature_seed);
        Some(Me { address: record.address.clone(), stored: self.stored.clone(), signer, record })
    }

    /// The record of another device's answer lists this device with just these keys: it is part of that account.
    pub(crate) fn join_account(mut self, record: Signed<AccountRecord>) -> Option<Me> {
        let device = record.active().find(|device| device.certificate.device == self.id())?;
        let fits = device.certificate.signature_key == self.signature_key()
            && device.inbox == self.inbox()
            && device.hpke_key == self.hpke_key();
        if !fits {
            return None;
        }
        self.stored.record = record.bytes().to_vec();
        self.stored.registered = true;
        self.stored.published = true;
        let signer = SigningKey::from_bytes(&self.stored.signature_seed);
        Some(Me { address: record.address.clone(), stored: self.stored, signer, record })
    }
}

/// What a device that wants to be linked says of itself.
pub(crate) struct Candidate {
    pub(crate) id: DeviceId,
    pub(crate) signature_key: [u8; 32],
    pub(crate) hpke_key: Bytes,
    pub(crate) inbox: LogId,
    pub(crate) suites: Vec<u16>,
}

impl Me {
    /// From the database, `None` before registration or linking.
    pub(crate) fn load(db: &rusqlite::Connection) -> Result<Option<Self>, crate::OpenError> {
        Self::load_from(db, META)
    }

    /// The same, of a device that is kept in another place until it is one.
    pub(crate) fn load_from(db: &rusqlite::Connection, key: &str) -> Result<Option<Self>, crate::OpenError> {
        let Some(stored) = crate::db::meta::<Stored>(db, key)? else { return Ok(None) };
        let record = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&stored.record))
            .map_err(|_| crate::OpenError::Inconsistent("own record"))?;
        let signer = SigningKey::from_bytes(&stored.signature_seed);
        Ok(Some(Self { address: record.address.clone(), stored, signer, record }))
    }

    pub(crate) fn save(&self, db: &rusqlite::Connection) -> rusqlite::Result<()> {
        crate::sync::keep_record(db, self.record.version, self.record.bytes())?;
        crate::db::set_meta(db, META, &self.stored)
    }

    /// Keeps it in another place until it is one.
    pub(crate) fn save_to(&self, db: &rusqlite::Connection, key: &str) -> rusqlite::Result<()> {
        crate::db::set_meta(db, key, &self.stored)
    }

    pub(crate) fn device(&self) -> DeviceId {
        DeviceId(self.stored.device)
    }

    pub(crate) fn inbox(&self) -> LogId {
        LogId(self.stored.inbox)
    }

    pub(crate) fn account_key(&self) -> [u8; 32] {
        self.record.account_key
    }

    pub(crate) fn certifies(&self) -> bool {
        self.stored.account_seed.is_some()
    }

    pub(crate) fn registered(&self) -> bool {
        self.stored.registered
    }

    pub(crate) fn set_registered(&mut self) {
        self.stored.registered = true;
        // A relay that was restored is registered with again, and told of later versions one by one.
        self.stored.published = self.record.version == 1;
    }

    /// The newest record is at the relay.
    pub(crate) fn published(&self) -> bool {
        self.stored.published
    }

    /// The relay may have lost the newest record.
    pub(crate) fn set_unpublished(&mut self) {
        self.stored.published = false;
    }

    pub(crate) fn set_published(&mut self) {
        self.stored.published = true;
    }

    pub(crate) fn inbox_cursor(&self) -> u64 {
        self.stored.inbox_cursor
    }

    pub(crate) fn set_inbox_cursor(&mut self, seq: u64) {
        self.stored.inbox_cursor = seq;
    }

    /// This device's certificate, the identity of its MLS credential.
    pub(crate) fn certificate(&self) -> Option<&Signed<DeviceCertificate>> {
        self.record.device(self.device()).map(|device| &device.certificate)
    }

    /// This device was taken out of its account.
    pub(crate) fn revoked(&self) -> bool {
        self.record.device(self.device()).is_none_or(|device| device.revoked.is_some())
    }

    /// The seed of the account's key, on the device that certifies; for a backup.
    pub(crate) fn account_seed(&self) -> Option<&[u8; 32]> {
        self.stored.account_seed.as_ref()
    }

    fn account(&self) -> Option<SigningKey> {
        let seed = self.stored.account_seed.as_ref().filter(|_| self.stored.hands_over.is_none());
        seed.map(SigningKey::from_bytes)
    }

    /// The next version of the own record with a device more; `None` if this device does not certify.
    pub(crate) fn add_device(&mut self, candidate: &Candidate, now: UnixMillis) -> Option<()> {
        let account = self.account()?;
        let mut next = self.successor();
        if next.devices.iter().any(|device| device.certificate.device == candidate.id) {
            return None;
        }
        let certificate = DeviceCertificate {
            account_key: next.account_key,
            address: next.address.clone(),
            device: candidate.id,
            signature_key: candidate.signature_key,
            suites: candidate.suites.clone(),
            versions: vec![wire::PROTOCOL_VERSION],
            created: now,
        }
        .sign(&account);
        next.devices.push(Device {
            certificate,
            inbox: candidate.inbox,
            hpke_key: candidate.hpke_key.clone(),
            added: now,
            revoked: None,
        });
        self.adopt(next.sign(&account));
        Some(())
    }

    /// The next version of the own record with one device revoked; `None` if this device does not certify, or knows no such one.
    pub(crate) fn revoke_device(&mut self, id: DeviceId, now: UnixMillis) -> Option<()> {
        let account = self.account()?;
        let mut next = self.successor();
        let device = next.devices.iter_mut().find(|d| d.certificate.device == id && d.revoked.is_none())?;
        device.revoked = Some(now);
        self.adopt(next.sign(&account));
        Some(())
    }

    fn successor(&self) -> AccountRecord {
        let mut next = self.record.value().clone();
        next.version += 1;
        next.predecessor = self.record.hash();
        next
    }

    fn adopt(&mut self, record: Signed<AccountRecord>) {
        self.stored.record = record.bytes().to_vec();
        self.stored.published = false;
        self.record = record;
    }

    /// A newer own record that another own device published. False if it is not a successor of ours.
    pub(crate) fn update_record(&mut self, record: Signed<AccountRecord>) -> bool {
        let newer = record.account_key == self.record.account_key
            && record.address == self.record.address
            && record.version > self.record.version;
        if newer {
            self.stored.record = record.bytes().to_vec();
            self.stored.published = true;
            self.record = record;
            // Whoever it names holds the account's key: it has signed this.
            if self.record.certifier.is_some_and(|device| device != self.device()) {
                self.stored.account_seed.zeroize();
                self.stored.account_seed = None;
            }
            if self.record.certifier.is_some() {
                self.stored.hands_over = None;
            }
        }
        newer
    }

    /// The device that the role is being handed over to.
    pub(crate) fn hands_over(&self) -> Option<DeviceId> {
        self.stored.hands_over.map(DeviceId)
    }

    pub(crate) fn begin_hand_over(&mut self, to: DeviceId) {
        self.stored.hands_over = Some(to.0);
        if planted!(RoleGivenAtOnce) {
            self.stored.account_seed = None;
        }
    }

    /// The next version of the own record, which says that this device certifies; `None` if that is not the account's key.
    pub(crate) fn certified_by_this(&self, seed: &[u8; 32]) -> Option<Signed<AccountRecord>> {
        let account = SigningKey::from_bytes(seed);
        let mut next = self.successor();
        next.certifier = Some(self.device());
        (account.verifying_key().to_bytes() == next.account_key).then(|| next.sign(&account))
    }

    /// The relay has the record that says so: this device certifies from now on.
    pub(crate) fn take_role(&mut self, seed: [u8; 32], record: Signed<AccountRecord>) {
        self.stored.account_seed = Some(seed);
        self.stored.hands_over = None;
        if record.version >= self.record.version {
            self.adopt(record);
            self.stored.published = true;
        }
    }

    /// Opens what was sealed to this device's inbox.
    pub(crate) fn open_deposit(&self, sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
        hpke_open(&self.stored.hpke_seed, &deposit_info(self.inbox()), sealed)
    }
}

/// Seals bytes to a device.
pub(crate) fn seal_deposit(device: &Device, plain: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, FormatError> {
    hpke_seal(&device.hpke_key, &deposit_info(device.inbox), plain, rng)
}

/// Seals bytes to a public key (HPKE base mode, RFC 9180, with X-Wing): encapsulated key, then ciphertext.
pub(crate) fn hpke_seal(
    public: &[u8],
    info: &[u8],
    plain: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, FormatError> {
    let public = <XWing as Kem>::PublicKey::from_bytes(public).map_err(|_| FormatError)?;
    let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public,
        info,
        plain,
        b"",
        rng,
    )
    .map_err(|_| FormatError)?;
    Ok([encapped.to_bytes().as_slice(), &ciphertext].concat())
}

/// Opens what was sealed to the public key of this seed.
pub(crate) fn hpke_open(seed: &[u8], info: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
    const ENCAPSULATION: usize = 1120;
    let (encapped, ciphertext) = sealed.split_at_checked(ENCAPSULATION).ok_or(FormatError)?;
    let encapped = <XWing as Kem>::EncappedKey::from_bytes(encapped).map_err(|_| FormatError)?;
    let (private, _) = XWing::derive_keypair(seed);
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &private,
        &encapped,
        info,
        ciphertext,
        b"",
    )
    .map_err(|_| FormatError)
}

/// What a deposit is bound to.
pub(crate) fn deposit_info(inbox: LogId) -> Vec<u8> {
    wire::signing_input("transom v1 deposit", &[&inbox.0])
}

/// The public key of a seed.
pub(crate) fn hpke_public(seed: &[u8]) -> Bytes {
    let (_, public) = XWing::derive_keypair(seed);
    Bytes::copy_from_slice(&public.to_bytes())
}

/// 16 hexadecimal digits of a key's hash, for people to tell keys apart.
pub(crate) fn fingerprint(key: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(&crate::formats::hash(key)[..8])
}
