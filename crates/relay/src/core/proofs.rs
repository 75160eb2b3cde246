//! Proofs that fail, and what a stranger learns by them: nothing.
//!
//! What always holds: a failed proof is counted before its answer is given, first for its connection. What others of the same address
//! range got wrong refuses nobody who has got nothing wrong himself: behind a proxy or a shared address that would shut everybody
//! out. Whether an address exists is told neither by the answer to a proof nor by the work behind it.

use bytes::Bytes;
use store::Store;
use wire::{
    AccountRecord, Address, Device, DeviceCertificate, DeviceId, Error, HPKE_KEY_BYTES, LogId, RecordHash, RelayName,
    Signed, SigningKey, UnixMillis,
};

use super::Relay;
use super::connections::Connection;
use super::rates::limited;

impl<S: Store> Relay<S> {
    /// Refuses a proof where too many have failed.
    pub(super) fn may_prove(&self, now: UnixMillis, conn: &Connection) -> Result<(), Error> {
        let rates = &self.config.rates;
        let (failed, has_failed) = {
            let state = conn.state();
            (state.failed_proofs, state.has_failed)
        };
        failed
            .has_one(rates.failed_proofs_per_connection, now)
            .map_err(|wait| limited("failed proofs on this connection", wait))?;
        if !has_failed {
            return Ok(());
        }
        self.failed_proofs
            .has_one(&conn.peer.range, rates.failed_proofs_per_range, now)
            .map_err(|wait| limited("failed proofs from this network", wait))
    }

    /// Counts a proof that did not verify.
    pub(super) fn proof_failed(&self, now: UnixMillis, conn: &Connection) {
        let rates = &self.config.rates;
        {
            let mut state = conn.state();
            state.has_failed = true;
            let _spent = state.failed_proofs.spend(rates.failed_proofs_per_connection, now);
        }
        let _spent = self.failed_proofs.spend(conn.peer.range, rates.failed_proofs_per_range, now);
    }

    /// The account whose owner is to be proven. Where there is none, a record is read all the same, so that the time taken says nothing.
    pub(super) async fn account_to_prove(&self, address: &Address) -> Result<Option<Signed<AccountRecord>>, Error> {
        let account = self.account(address).await?;
        if account.is_none() {
            let read = Signed::<AccountRecord>::parse(self.nobody.clone());
            drop(std::hint::black_box(read));
        }
        Ok(account)
    }
}

/// A record of the usual size that nobody has.
pub(super) fn record_of_nobody(seed: &[u8; 32], name: &RelayName) -> Bytes {
    let Ok(address) = format!("nobody@{name}").parse::<Address>() else { return Bytes::new() };
    let key = SigningKey::from_bytes(seed);
    let account_key = key.verifying_key().to_bytes();
    let certificate = DeviceCertificate {
        account_key,
        address: address.clone(),
        device: DeviceId([0; 16]),
        signature_key: account_key,
        suites: vec![1],
        versions: vec![1],
        created: UnixMillis(0),
    };
    let device = Device {
        certificate: certificate.sign(&key),
        inbox: LogId([0; 16]),
        hpke_key: vec![0; HPKE_KEY_BYTES].into(),
        added: UnixMillis(0),
        revoked: None,
    };
    let devices = vec![device];
    let record = AccountRecord {
        address,
        account_key,
        version: 1,
        predecessor: RecordHash::default(),
        devices,
        certifier: None,
    };
    record.sign(&key).bytes().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_nobody_is_read_like_any_other() {
        for name in ["relay.example", "localhost:8443", "127.0.0.1:8080"] {
            let record = record_of_nobody(&[7; 32], &name.parse().unwrap());
            assert!(Signed::<AccountRecord>::parse(record).is_ok(), "{name}");
        }
    }
}
