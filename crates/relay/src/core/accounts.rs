//! Accounts: authentication of devices, registration, records version by version.
//!
//! What always holds: a stored record is signed by the account key of version 1, is exactly one more than its predecessor and names
//! its hash, whether a listed device brings it or somebody who proves the account key itself (a restore without any device left); no device disappears from it or comes back once revoked; an inbox has one owner for ever. A revoked device is shut out
//! at its next request, whatever its connection has proven before. Deliberately absent: any list of an account's conversations.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use store::{Expect, Store, StoreError};
use wire::{
    AccountRecord, Address, Code, Device, DeviceId, Error, LogId, RecordError, RecordHash, Response, Signed,
    UnixMillis, verify_authenticate, verify_put_record,
};

use super::connections::{Connection, at_most};
use super::logs::NO_KEY;
use super::rates::limited;
use super::{Registration, Relay, internal, keys, not_readable_yet, refusal};

/// The largest record: all the devices that one may list, with room to spare.
const RECORD_BYTES: u32 = 256 * 1024;

/// A device that has proven itself, and its account as it is now.
pub(super) struct Authenticated {
    pub(super) address: Address,
    pub(super) device: Device,
    record: Signed<AccountRecord>,
}

impl<S: Store> Relay<S> {
    pub(super) async fn authenticate(
        &self,
        now: UnixMillis,
        conn: &Connection,
        address: Address,
        device: DeviceId,
        signature: [u8; 64],
    ) -> Result<Response, Error> {
        self.may_prove(now, conn)?;
        self.own_address(&address)?;
        // An address that is not here, a device that is not listed and a wrong key are one refusal after the same work.
        let record = self.account_to_prove(&address).await?;
        let listed = record.as_ref().and_then(|record| record.device(device));
        let key = listed.map_or(self.decoy.0, |listed| listed.certificate.signature_key);
        let is_proven = self.verify_named(conn, |name| {
            verify_authenticate(&key, &conn.nonce, name, &address, &device, &signature).is_ok()
        });
        match listed {
            Some(listed) if is_proven && listed.revoked.is_none() => {}
            Some(_) if is_proven => return Err(revoked()),
            _ => {
                self.proof_failed(now, conn);
                return Err(Error::new(
                    Code::BadProof,
                    "the device's signature does not verify; sign this connection's nonce and the name that was dialled",
                ));
            }
        }
        conn.state().device = Some(Box::new((address, device)));
        Ok(Response::Done)
    }

    /// The device that this connection has proven to be, unless it was revoked since.
    pub(super) async fn authenticated(&self, conn: &Connection) -> Result<Authenticated, Error> {
        let proven = conn.state().device.as_deref().cloned();
        let (address, device) = proven.ok_or_else(|| {
            Error::new(Code::NotAuthenticated, "this connection has not authenticated as a device; do that first")
        })?;
        let record = self.account(&address).await?.ok_or_else(no_account)?;
        let device = record.active().find(|listed| listed.certificate.device == device).cloned();
        let device = device.ok_or_else(revoked)?;
        Ok(Authenticated { address, device, record })
    }

    pub(super) async fn register(
        &self,
        now: UnixMillis,
        conn: &Connection,
        record: Bytes,
        invite: &str,
    ) -> Result<Response, Error> {
        let record = parse(&record)?;
        self.own_address(&record.address)?;
        if record.version != 1 || record.active().next().is_none() {
            return Err(Error::new(
                Code::Malformed,
                "a new account's record is version 1 and lists the device it is made on",
            ));
        }
        let (range, quota) = (conn.peer.range, self.config.rates.registrations_per_range);
        let often = |wait| limited("registrations from this network", wait);
        // Before anything is looked up: that an address is taken costs as much as taking it. The very record of an account says
        // nothing new to whoever has it, and may come again because an answer was lost.
        self.registrations.has_one(&range, quota, now).map_err(often)?;
        let existing = self.account(&record.address).await?;
        if existing.as_ref().is_some_and(|existing| existing.hash() == record.hash()) {
            return Ok(Response::Done);
        }
        self.registrations.spend(range, quota, now).map_err(often)?;
        if let Some(existing) = existing {
            return same_or_taken(&existing, &record);
        }
        self.admit_account(&record, invite).await?;
        for device in &record.devices {
            self.make_inbox(now, device.inbox, &record.address, device.certificate.device).await?;
        }
        match self.store.put_record(&keys::account(&record.address), Expect::Absent, record.bytes().clone()).await {
            Ok(_) => Ok(Response::Done),
            // Somebody else was quicker, or this very request was sent twice.
            Err(StoreError::Conflict { .. }) => match self.account(&record.address).await? {
                Some(existing) => same_or_taken(&existing, &record),
                None => Err(not_readable_yet()),
            },
            Err(error) => Err(refusal(error)),
        }
    }

    /// Whether this relay takes a new account. A code is used up by the first record that comes with it.
    async fn admit_account(&self, record: &Signed<AccountRecord>, invite: &str) -> Result<(), Error> {
        let codes = match &self.config.registration {
            Registration::Open => return Ok(()),
            Registration::Closed => {
                return Err(Error::new(
                    Code::Refused,
                    "this relay takes no new accounts; ask its operator or use another",
                ));
            }
            Registration::Invite(codes) => codes,
        };
        // Compared by hash: what the time taken could tell is of no use then.
        let hash: [u8; 32] = Sha256::digest(invite).into();
        let is_code = codes.iter().any(|code| Sha256::digest(code)[..] == hash[..]);
        let unknown =
            || Error::new(Code::Refused, "this relay takes new accounts by invitation only; ask for a fresh code");
        if !is_code {
            return Err(unknown());
        }
        let admitted = Bytes::copy_from_slice(&record.hash().0);
        match self.store.put_record(&keys::invite(&hash), Expect::Absent, admitted.clone()).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                let used_by = self.store.record(&keys::invite(&hash)).await.map_err(refusal)?;
                let used_by = used_by.ok_or_else(not_readable_yet)?;
                if used_by.value == admitted { Ok(()) } else { Err(unknown()) }
            }
            Err(error) => Err(refusal(error)),
        }
    }

    pub(super) async fn put_account(
        &self,
        now: UnixMillis,
        conn: &Connection,
        record: Bytes,
        account_proof: Option<[u8; 64]>,
    ) -> Result<Response, Error> {
        let (address, record, current) = match account_proof {
            None => {
                let Authenticated { address, record: current, .. } = self.authenticated(conn).await?;
                (address, parse(&record)?, current)
            }
            Some(proof) => {
                let record = parse(&record)?;
                let current = self.account_proven(now, conn, &record, &proof).await?;
                (record.address.clone(), record, current)
            }
        };
        if record.bytes() == current.bytes() {
            return Ok(Response::Done);
        }
        if account_proof.is_some() {
            self.spend_account_proof(now, conn, &address)?;
        }
        if record.address != address || record.account_key != current.account_key {
            return Err(Error::new(
                Code::Refused,
                "the record is of another account or signed with another account key; a new key is a new account",
            ));
        }
        let conflict = |version| {
            let detail = "the record is not the successor of the current one; look the account up and go on from there";
            Err(Error::new(Code::Conflict, detail).current(version))
        };
        if record.version != current.version.saturating_add(1) || record.predecessor != current.hash() {
            return conflict(current.version);
        }
        follows(&current, &record)?;
        for device in record.devices.iter().filter(|device| current.device(device.certificate.device).is_none()) {
            self.make_inbox(now, device.inbox, &address, device.certificate.device).await?;
        }
        let expect = Expect::Version(current.version);
        match self.store.put_record(&keys::account(&address), expect, record.bytes().clone()).await {
            Ok(_) => {}
            Err(StoreError::Conflict { current }) => {
                // The same bytes may have come twice at once.
                return match self.account(&address).await? {
                    Some(stored) if stored.bytes() == record.bytes() => Ok(Response::Done),
                    // What was first can't be read yet, and may be these very bytes.
                    Some(stored) if stored.version < current => Err(not_readable_yet()),
                    _ => conflict(current),
                };
            }
            Err(error) => return Err(refusal(error)),
        }
        for device in record.devices.iter().filter(|device| device.revoked.is_some()) {
            if current.device(device.certificate.device).is_none_or(|before| before.revoked.is_none()) {
                self.live.end_all(device.inbox);
                self.drop_key_packages(&address, device.certificate.device).await?;
            }
        }
        Ok(Response::Done)
    }

    /// The account whose key this connection has proven for this record. An account that is not here and a key that is another one are
    /// the same refusal after the same work: whether an address exists only `LookUp` tells, which is paid for as an errand.
    async fn account_proven(
        &self,
        now: UnixMillis,
        conn: &Connection,
        record: &Signed<AccountRecord>,
        proof: &[u8; 64],
    ) -> Result<Signed<AccountRecord>, Error> {
        self.may_prove(now, conn)?;
        self.own_address(&record.address)?;
        let is_proven = self.verify_named(conn, |name| {
            let (key, address, hash) = (&record.account_key, &record.address, &record.hash());
            verify_put_record(key, &conn.nonce, name, address, hash, proof).is_ok()
        });
        let current = self.account_to_prove(&record.address).await?;
        match current.filter(|current| is_proven && current.account_key == record.account_key) {
            Some(current) => Ok(current),
            None => {
                self.proof_failed(now, conn);
                Err(Error::new(
                    Code::BadProof,
                    "the account key does not verify; sign this connection's nonce, the name that was dialled and this record with \
                     the key of the account",
                ))
            }
        }
    }

    /// What the account key alone may do is seldom needed.
    fn spend_account_proof(&self, now: UnixMillis, conn: &Connection, address: &Address) -> Result<(), Error> {
        let rates = &self.config.rates;
        self.account_proofs
            .spend(conn.peer.range, rates.account_proofs_per_range, now)
            .map_err(|wait| limited("restored accounts from this network", wait))?;
        self.account_proofs_of
            .spend(keys::account(address), rates.account_proofs_per_account, now)
            .map_err(|wait| limited("restores of this account", wait))
    }

    pub(super) async fn look_up(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        address: &Address,
    ) -> Result<Response, Error> {
        self.spend_errand(now, conn)?;
        self.own_address(address)?;
        let record = self.store.record(&keys::account(address)).await.map_err(refusal)?;
        record.map(|record| Response::Record(record.value)).ok_or_else(no_account)
    }

    /// The current record of an account.
    pub(super) async fn account(&self, address: &Address) -> Result<Option<Signed<AccountRecord>>, Error> {
        let record = self.store.record(&keys::account(address)).await.map_err(refusal)?;
        match record.map(|record| Signed::<AccountRecord>::parse(record.value)).transpose() {
            Ok(record) => Ok(record),
            Err(_) => Err(internal()),
        }
    }

    /// Makes a device's inbox, a log that no key opens, and remembers whose it is. The same again is no error.
    async fn make_inbox(
        &self,
        now: UnixMillis,
        inbox: LogId,
        address: &Address,
        device: DeviceId,
    ) -> Result<(), Error> {
        let taken = || Error::new(Code::AlreadyExists, "the id of a device's inbox is taken; choose another at random");
        match self.store.create(inbox.0, 0, NO_KEY.0, now.0).await {
            Ok(()) => {}
            Err(StoreError::Exists) if self.store.info(inbox.0).await == Err(StoreError::NotFound) => {
                return Err(not_readable_yet());
            }
            // A conversation under this id must never become an inbox: only an inbox begins with the key that opens nothing.
            Err(StoreError::Exists) => match self.store.epoch(inbox.0, 0).await {
                Ok(state) if state.key == NO_KEY.0 => {}
                Ok(_) | Err(StoreError::NotFound) => return Err(taken()),
                Err(error) => return Err(refusal(error)),
            },
            Err(error) => return Err(refusal(error)),
        }
        let owner = Bytes::from(keys::owner(address, device));
        match self.store.put_record(&keys::inbox(inbox), Expect::Absent, owner.clone()).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                let record = self.store.record(&keys::inbox(inbox)).await.map_err(refusal)?;
                let record = record.ok_or_else(not_readable_yet)?;
                if record.value == owner { Ok(()) } else { Err(taken()) }
            }
            Err(error) => Err(refusal(error)),
        }
    }

    pub(super) fn own_address(&self, address: &Address) -> Result<(), Error> {
        if *address.relay() == self.config.name {
            return Ok(());
        }
        Err(Error::new(
            Code::Refused,
            format!("this relay is {}, and the address is of another one; ask that one", self.config.name),
        ))
    }
}

/// A successor keeps every device with its inbox, and what is revoked stays so.
fn follows(current: &AccountRecord, next: &AccountRecord) -> Result<(), Error> {
    let is_kept = |before: &Device| {
        next.device(before.certificate.device)
            .is_some_and(|after| after.inbox == before.inbox && (before.revoked.is_none() || after.revoked.is_some()))
    };
    if current.devices.iter().all(is_kept) {
        return Ok(());
    }
    Err(Error::new(
        Code::Refused,
        "the record drops a device, moves its inbox or takes a revocation back; list all devices as they were",
    ))
}

fn parse(bytes: &Bytes) -> Result<Signed<AccountRecord>, Error> {
    at_most(bytes.len(), RECORD_BYTES, "a record")?;
    Signed::<AccountRecord>::parse(Bytes::copy_from_slice(bytes)).map_err(|error| {
        let code = match error {
            RecordError::Malformed | RecordError::Field(_) => Code::Malformed,
            RecordError::Signature | RecordError::ForeignDevice => Code::BadProof,
        };
        Error::new(code, format!("{error}; sign the record again"))
    })
}

fn same_or_taken(existing: &Signed<AccountRecord>, record: &Signed<AccountRecord>) -> Result<Response, Error> {
    let same: fn(&Signed<AccountRecord>) -> RecordHash = Signed::hash;
    if same(existing) == same(record) {
        return Ok(Response::Done);
    }
    Err(Error::new(Code::AlreadyExists, "the address is taken; choose another"))
}

fn no_account() -> Error {
    Error::new(Code::NotFound, "there is no account of this address here; check the spelling")
}

fn revoked() -> Error {
    Error::new(Code::Refused, "the account has revoked this device; link it anew from a device that is still in use")
}
