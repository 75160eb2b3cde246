//! Rendezvous logs: two devices of one user meet there for ten minutes. They cost no token and are limited by address range.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use store::{Expect, Store};
use wire::{Epoch, EpochPublicKey, Error, LogId, Response, UnixMillis};

use super::connections::Connection;
use super::rates::limited;
use super::{Relay, keys, refusal};

/// How long such a log lives.
const LIFE_MS: u64 = 10 * 60 * 1000;
/// Logs that one sweep removes at most.
const SWEPT: usize = 64;

impl<S: Store> Relay<S> {
    pub(super) async fn create_rendezvous(
        &self,
        now: UnixMillis,
        conn: &Connection,
        log: LogId,
        next: EpochPublicKey,
    ) -> Result<Response, Error> {
        self.rendezvous_rate
            .spend(conn.peer.range, self.config.rates.rendezvous_per_range, now)
            .map_err(|wait| limited("rendezvous from this network", wait))?;
        // The log before its expiry: the other way round, naming an existing conversation here would let it expire.
        self.create_opened_by(now, log, Epoch(0), next).await?;
        let expires = now.plus(LIFE_MS);
        self.rendezvous().insert(log, expires);
        let remembered = self.store.put_record(&keys::rendezvous(expires, log), Expect::Any, Bytes::new()).await;
        if let Err(error) = remembered {
            self.rendezvous().remove(&log);
            self.store.remove_log(log.0).await.map_err(refusal)?;
            return Err(refusal(error));
        }
        Ok(Response::Done)
    }

    /// True if `log` is a rendezvous whose time is over.
    pub(super) fn rendezvous_expired(&self, log: LogId, now: UnixMillis) -> bool {
        self.rendezvous().get(&log).is_some_and(|expires| *expires <= now)
    }

    /// Removes rendezvous logs whose time is over; learns of those that were made before the relay was started.
    pub(super) async fn sweep_rendezvous(&self, now: UnixMillis) -> Result<(), Error> {
        for (key, _) in self.store.scan(keys::RENDEZVOUS, None, SWEPT).await.map_err(refusal)? {
            let Some((expires, log)) = keys::read_rendezvous(&key) else { continue };
            if expires > now {
                self.rendezvous().entry(log).or_insert(expires);
                continue;
            }
            self.live.end_all(log);
            self.store.remove_log(log.0).await.map_err(refusal)?;
            self.store.remove_record(&key).await.map_err(refusal)?;
            self.rendezvous().remove(&log);
        }
        Ok(())
    }

    fn rendezvous(&self) -> MutexGuard<'_, BTreeMap<LogId, UnixMillis>> {
        self.rendezvous.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
