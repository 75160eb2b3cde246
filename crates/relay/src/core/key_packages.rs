//! Key packages: put by their device, each handed out once; when none is left the last resort is, and that is remembered.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use store::{Expect, Store, StoreError};
use wire::{Address, Code, DeviceId, Error, OfferedKeyPackage, Response, Signed, UnixMillis};

use super::accounts::Authenticated;
use super::connections::{Connection, at_most};
use super::rates::limited;
use super::{Relay, keys, refusal};

/// The largest key package; those of the post-quantum suite have about 3 KiB.
const PACKAGE_BYTES: u32 = 16 * 1024;

impl<S: Store> Relay<S> {
    pub(super) async fn put_key_packages(
        &self,
        now: UnixMillis,
        conn: &Connection,
        packages: Vec<Bytes>,
        last_resort: Option<Bytes>,
        replace: bool,
    ) -> Result<Response, Error> {
        let Authenticated { address, device, .. } = self.authenticated(conn).await?;
        let (id, key) = (device.certificate.device, device.certificate.signature_key);
        for package in packages.iter().chain(&last_resort) {
            offered(now, package, &key)?;
        }
        let limit = self.config.limits.key_packages as usize;
        let kept = if replace { 0 } else { self.count(now, &address, id).await? };
        if kept + packages.len() > limit {
            return Err(Error::new(
                Code::TooMany,
                format!(
                    "the relay keeps {limit} key packages of a device and has {kept}; offer fewer, or replace them"
                ),
            ));
        }
        if replace {
            self.drop_one_time(&address, id).await?;
        }
        let prefix = keys::key_packages(&address, id);
        for package in &packages {
            // Named by their hash: the same request again adds nothing.
            let mut name = prefix.clone();
            name.extend_from_slice(&Sha256::digest(package)[..16]);
            self.store.put_record(&name, Expect::Any, Bytes::copy_from_slice(package)).await.map_err(refusal)?;
        }
        if let Some(package) = last_resort {
            let name = keys::last_resort(&address, id);
            let before = self.store.record(&name).await.map_err(refusal)?;
            // The same one again stays used.
            if before.is_none_or(|before| before.value.get(1..) != Some(&package[..])) {
                self.store.put_record(&name, Expect::Any, last_resort_value(false, &package)).await.map_err(refusal)?;
            }
        }
        self.key_package_count(now, &address, id).await
    }

    pub(super) async fn count_key_packages(&self, now: UnixMillis, conn: &Connection) -> Result<Response, Error> {
        let Authenticated { address, device, .. } = self.authenticated(conn).await?;
        self.key_package_count(now, &address, device.certificate.device).await
    }

    async fn key_package_count(&self, now: UnixMillis, address: &Address, device: DeviceId) -> Result<Response, Error> {
        let count = self.count(now, address, device).await?;
        let last_resort = self.store.record(&keys::last_resort(address, device)).await.map_err(refusal)?;
        Ok(Response::KeyPackageCount {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            last_resort_used: last_resort.is_some_and(|record| record.value.first() == Some(&1)),
        })
    }

    pub(super) async fn claim_key_package(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        address: &Address,
        device: DeviceId,
    ) -> Result<Response, Error> {
        self.spend_errand(now, conn)?;
        self.own_address(address)?;
        let record = self.account(address).await?;
        let listed =
            record.as_ref().and_then(|record| record.active().find(|listed| listed.certificate.device == device));
        let listed = listed.ok_or_else(|| {
            Error::new(Code::NotFound, "the account has no such device in use; look the account up again")
        })?;
        // By the device, too: nobody can use up somebody's key packages by coming from many places. And nobody can block somebody by
        // claiming: beyond what may be taken there is the last resort.
        let prefix = keys::key_packages(address, device);
        let rates = &self.config.rates;
        let spent = (self.claims_from.spend((prefix.clone(), conn.peer.range), rates.claims_per_range, now))
            .and_then(|()| self.claims.spend(prefix.clone(), rates.claims_per_device, now));
        if let Err(wait) = spent {
            return match self.claim_last_resort(now, address, listed).await {
                Err(error) if error.code == Code::NoKeyPackage => {
                    Err(limited("claims of this device's key packages", wait))
                }
                claimed => claimed,
            };
        }
        while let Some((_, package)) = self.store.take(&prefix).await.map_err(refusal)? {
            // What has expired since it was put is of no use to anybody.
            if offered(now, &package, &listed.certificate.signature_key).is_ok() {
                return Ok(Response::KeyPackage { package, last_resort: false });
            }
        }
        self.claim_last_resort(now, address, listed).await
    }

    async fn claim_last_resort(
        &self,
        now: UnixMillis,
        address: &Address,
        device: &wire::Device,
    ) -> Result<Response, Error> {
        let name = keys::last_resort(address, device.certificate.device);
        loop {
            let record = self.store.record(&name).await.map_err(refusal)?;
            let package = record.as_ref().map(|record| record.value.slice(record.value.len().min(1)..));
            let fresh = package.filter(|package| offered(now, package, &device.certificate.signature_key).is_ok());
            let (Some(record), Some(package)) = (record, fresh) else {
                return Err(Error::new(
                    Code::NoKeyPackage,
                    "no key package of this device is left; it offers new ones when it comes online",
                ));
            };
            if record.value.first() == Some(&1) {
                return Ok(Response::KeyPackage { package, last_resort: true });
            }
            // Remembered before it is handed out; if the device has just put another one, that one is handed out.
            let used = last_resort_value(true, &package);
            match self.store.put_record(&name, Expect::Version(record.version), used).await {
                Ok(_) => return Ok(Response::KeyPackage { package, last_resort: true }),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
    }

    /// Drops all key packages of a device that was revoked.
    pub(super) async fn drop_key_packages(&self, address: &Address, device: DeviceId) -> Result<(), Error> {
        self.drop_one_time(address, device).await?;
        self.store.remove_record(&keys::last_resort(address, device)).await.map_err(refusal)
    }

    async fn drop_one_time(&self, address: &Address, device: DeviceId) -> Result<(), Error> {
        let prefix = keys::key_packages(address, device);
        // What is there now: what the device puts meanwhile, on another connection, stays.
        for (name, _) in self.store.scan(&prefix, None, usize::MAX).await.map_err(refusal)? {
            self.store.remove_record(&name).await.map_err(refusal)?;
        }
        Ok(())
    }

    /// How many can still be handed out. Those that have expired are dropped: they would be taken for a stock.
    async fn count(&self, now: UnixMillis, address: &Address, device: DeviceId) -> Result<usize, Error> {
        let prefix = keys::key_packages(address, device);
        let limit = self.config.limits.key_packages as usize;
        let mut count = 0;
        for (name, record) in self.store.scan(&prefix, None, limit).await.map_err(refusal)? {
            match OfferedKeyPackage::expires(record.value) {
                Some(expires) if expires > now => count += 1,
                _ => self.store.remove_record(&name).await.map_err(refusal)?,
            }
        }
        Ok(count)
    }
}

fn last_resort_value(used: bool, package: &[u8]) -> Bytes {
    let mut value = BytesMut::with_capacity(1 + package.len());
    value.put_u8(u8::from(used));
    value.put_slice(package);
    value.freeze()
}

/// Checks what a device offers: size, signature, freshness.
fn offered(now: UnixMillis, package: &Bytes, device_key: &[u8; 32]) -> Result<(), Error> {
    at_most(package.len(), PACKAGE_BYTES, "a key package")?;
    let parsed = Signed::<OfferedKeyPackage>::parse(package.clone(), device_key);
    match parsed {
        Ok(offered) if offered.expires > now => Ok(()),
        Ok(_) => Err(Error::new(Code::Refused, "a key package has expired; offer a fresh one")),
        Err(_) => Err(Error::new(Code::BadProof, "a key package is not signed by this device; sign it again")),
    }
}
