//! How often what may be done, and who has used how much of it.
//!
//! A meter is one number, the "theoretical arrival time" of GCRA (ITU-T I.371): no counters to refill, nothing to run down, and it
//! can be forgotten as soon as that time has passed. `Errands` is the seam: anonymous tokens will take the place of limits by
//! connection and address range there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::{Code, Error, UnixMillis};

/// So many at once, then one each `interval_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many may come at once after a pause.
    pub burst: u32,
    /// Microseconds in which one more is earned; 0 is no limit.
    pub interval_us: u64,
}

impl Quota {
    /// No limit.
    pub const UNLIMITED: Self = Self { burst: u32::MAX, interval_us: 0 };

    /// `burst` at once, `count` a second in the long run.
    pub const fn per_second(burst: u32, count: u32) -> Self {
        Self { burst, interval_us: 1_000_000 / count as u64 }
    }

    /// `bytes` at once, counted in [`kibibytes`], and as many again within `within_ms`.
    pub(super) const fn bytes(bytes: u64, within_ms: u64) -> Self {
        if bytes == u64::MAX {
            return Self::UNLIMITED;
        }
        let units = if bytes < 1024 { 1 } else { bytes / 1024 };
        let burst = if units > u32::MAX as u64 { u32::MAX } else { units as u32 };
        Self { burst, interval_us: within_ms.saturating_mul(1000) / units }
    }

    /// `burst` at once, `count` an hour in the long run.
    pub const fn per_hour(burst: u32, count: u32) -> Self {
        Self { burst, interval_us: 3_600_000_000 / count as u64 }
    }
}

/// Every rate that the relay limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Messages of one connection.
    pub appends_per_connection: Quota,
    /// Messages or deposits of all into one log.
    pub appends_per_log: Quota,
    /// Commits of one connection. Of one log there is no such rate: whoever uses it up would stop his own removal, and what becomes
    /// durable is bounded by the pacing of commits.
    pub commits_per_connection: Quota,
    /// Signals of one connection.
    pub signals_per_connection: Quota,
    /// Signals of all in one log.
    pub signals_per_log: Quota,
    /// Look-ups, claims, deposits and creations of one connection.
    pub errands_per_connection: Quota,
    /// The same, and blobs begun, of one address range.
    pub errands_per_range: Quota,
    /// Key packages taken of one device; beyond it its last-resort one is handed out.
    pub claims_per_device: Quota,
    /// The same, by one address range.
    pub claims_per_range: Quota,
    /// Deposits of one address range into one inbox.
    pub deposits_per_range: Quota,
    /// Requests on the account lane of one connection.
    pub account_per_connection: Quota,
    /// Accounts registered from one address range.
    pub registrations_per_range: Quota,
    /// Pieces of blobs written from one address range; empty ones count, too.
    pub blob_writes_per_range: Quota,
    /// Bytes of blobs written from one address range at once, and again within a day.
    pub blob_bytes_per_range: u64,
    /// Rendezvous logs made from one address range.
    pub rendezvous_per_range: Quota,
    /// Proofs of logs or devices on one connection that did not verify.
    pub failed_proofs_per_connection: Quota,
    /// The same, from one address range; it refuses only connections on which a proof has failed.
    pub failed_proofs_per_range: Quota,
    /// Records put by the account key alone, from one address range.
    pub account_proofs_per_range: Quota,
    /// The same, of one account.
    pub account_proofs_per_account: Quota,
    /// Bytes of bodies kept of one log, as far as messages may fill it.
    pub bytes_per_log: u64,
    /// Bytes of deposits kept in one inbox.
    pub bytes_per_inbox: u64,
    /// Of those, what one address range may leave there within retention.
    pub inbox_bytes_per_range: u64,
    /// Bytes beyond `bytes_per_log` which commits alone may use, so that a log that was filled can still be changed.
    pub commit_bytes_per_log: u64,
}

impl Default for Rates {
    /// Generous to people, a bound for programs.
    fn default() -> Self {
        Self {
            appends_per_connection: Quota::per_second(2_000, 200),
            appends_per_log: Quota::per_second(4_000, 400),
            commits_per_connection: Quota::per_second(2_000, 20),
            signals_per_connection: Quota::per_second(500, 50),
            signals_per_log: Quota::per_second(2_000, 200),
            errands_per_connection: Quota::per_second(2_000, 20),
            errands_per_range: Quota::per_second(10_000, 50),
            claims_per_device: Quota::per_hour(200, 200),
            claims_per_range: Quota::per_hour(20, 20),
            deposits_per_range: Quota::per_hour(500, 200),
            account_per_connection: Quota::per_second(500, 10),
            registrations_per_range: Quota::per_hour(200, 100),
            blob_writes_per_range: Quota::per_second(20_000, 50),
            blob_bytes_per_range: 16 << 30,
            rendezvous_per_range: Quota::per_hour(60, 60),
            failed_proofs_per_connection: Quota::per_second(500, 1),
            failed_proofs_per_range: Quota::per_second(5_000, 10),
            account_proofs_per_range: Quota::per_hour(30, 30),
            account_proofs_per_account: Quota::per_hour(10, 2),
            bytes_per_log: 1 << 30,
            bytes_per_inbox: 256 << 20,
            inbox_bytes_per_range: 32 << 20,
            commit_bytes_per_log: 256 << 20,
        }
    }
}

impl Rates {
    /// No limits, for load generators that stand in for thousands of people from one address.
    pub const UNLIMITED: Self = Self {
        appends_per_connection: Quota::UNLIMITED,
        appends_per_log: Quota::UNLIMITED,
        commits_per_connection: Quota::UNLIMITED,
        signals_per_connection: Quota::UNLIMITED,
        signals_per_log: Quota::UNLIMITED,
        errands_per_connection: Quota::UNLIMITED,
        errands_per_range: Quota::UNLIMITED,
        claims_per_device: Quota::UNLIMITED,
        claims_per_range: Quota::UNLIMITED,
        deposits_per_range: Quota::UNLIMITED,
        account_per_connection: Quota::UNLIMITED,
        registrations_per_range: Quota::UNLIMITED,
        blob_writes_per_range: Quota::UNLIMITED,
        blob_bytes_per_range: u64::MAX,
        rendezvous_per_range: Quota::UNLIMITED,
        failed_proofs_per_connection: Quota::UNLIMITED,
        failed_proofs_per_range: Quota::UNLIMITED,
        account_proofs_per_range: Quota::UNLIMITED,
        account_proofs_per_account: Quota::UNLIMITED,
        bytes_per_log: u64::MAX,
        bytes_per_inbox: u64::MAX,
        inbox_bytes_per_range: u64::MAX,
        commit_bytes_per_log: u64::MAX,
    };
}

/// What so many bytes use of a quota of [`Quota::bytes`]; nothing is free.
pub(super) fn kibibytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(1024).max(1)
}

/// What one party has used of one quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Meter {
    /// Microseconds since 1970 at which everything used so far is earned back.
    earned_at: u64,
}

impl Meter {
    /// Uses one; otherwise says how many milliseconds to wait.
    pub(super) fn spend(&mut self, quota: Quota, now: UnixMillis) -> Result<(), u64> {
        self.spend_many(1, quota, now)
    }

    /// Uses so many; otherwise says how many milliseconds to wait, and nothing is used.
    pub(super) fn spend_many(&mut self, count: u64, quota: Quota, now: UnixMillis) -> Result<(), u64> {
        self.earned_at = self.check(count, quota, now)?;
        Ok(())
    }

    /// Whether one could be used, without using it.
    pub(super) fn has_one(self, quota: Quota, now: UnixMillis) -> Result<(), u64> {
        self.check(1, quota, now).map(|_| ())
    }

    /// True if this meter says no more than a fresh one.
    pub(super) fn is_idle(self, now: UnixMillis) -> bool {
        self.earned_at <= now.0.saturating_mul(1000)
    }

    fn check(self, count: u64, quota: Quota, now: UnixMillis) -> Result<u64, u64> {
        let now = now.0.saturating_mul(1000);
        let allowed = now.saturating_add(quota.interval_us.saturating_mul(u64::from(quota.burst)));
        // More than this quota lets anybody use was used while the clock was ahead, and must not be waited for.
        let at = self.earned_at.min(allowed).max(now).saturating_add(quota.interval_us.saturating_mul(count));
        if at <= allowed { Ok(at) } else { Err((at - allowed).div_ceil(1000)) }
    }
}

/// "Too often" with the time to wait; `what` completes the sentence "too many … ".
pub(super) fn limited(what: &str, wait_ms: u64) -> Error {
    Error::new(Code::RateLimited, format!("too many {what} for now; try again after the time given"))
        .retry_after(wait_ms)
}

/// What pays for errands: for now each connection and each address range has a budget.
pub(super) struct Errands {
    ranges: Meters<[u8; 8]>,
}

impl Errands {
    pub(super) fn new() -> Self {
        Self { ranges: Meters::new() }
    }

    /// Pays for one errand of a connection, whose own meter is `connection`, or of a request without one (a blob).
    pub(super) fn spend(
        &self,
        now: UnixMillis,
        rates: &Rates,
        range: [u8; 8],
        connection: Option<&mut Meter>,
    ) -> Result<(), Error> {
        if let Some(connection) = connection {
            connection
                .spend(rates.errands_per_connection, now)
                .map_err(|wait| limited("errands on this connection", wait))?;
        }
        self.ranges
            .spend(range, rates.errands_per_range, now)
            .map_err(|wait| limited("errands from this network", wait))
    }

    pub(super) fn clean(&self, turn: usize, now: UnixMillis) {
        self.ranges.clean(turn, now);
    }
}

const SHARDS: usize = 16;

/// The meters of many parties, forgotten one shard at a time once they are idle.
pub(super) struct Meters<K> {
    shards: [Mutex<HashMap<K, Meter>>; SHARDS],
    hasher: std::hash::RandomState,
}

impl<K: Hash + Eq> Meters<K> {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: std::hash::RandomState::new() }
    }

    /// Uses one of `key`'s quota; otherwise says how many milliseconds to wait.
    pub(super) fn spend(&self, key: K, quota: Quota, now: UnixMillis) -> Result<(), u64> {
        self.spend_many(key, 1, quota, now)
    }

    /// Uses so many of `key`'s quota; otherwise says how many milliseconds to wait, and nothing is used.
    pub(super) fn spend_many(&self, key: K, count: u64, quota: Quota, now: UnixMillis) -> Result<(), u64> {
        if quota == Quota::UNLIMITED {
            return Ok(());
        }
        self.shard(&key).entry(key).or_default().spend_many(count, quota, now)
    }

    /// Whether `key` has one left.
    pub(super) fn has_one(&self, key: &K, quota: Quota, now: UnixMillis) -> Result<(), u64> {
        self.shard(key).get(key).copied().unwrap_or_default().has_one(quota, now)
    }

    /// Forgets what is idle in one shard.
    pub(super) fn clean(&self, turn: usize, now: UnixMillis) {
        let mut shard = self.shards[turn % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        shard.retain(|_, meter| !meter.is_idle(now));
        shard.shrink_to_fit();
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, Meter>> {
        use std::hash::BuildHasher;
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_each_interval() {
        let quota = Quota::per_second(3, 2);
        let mut meter = Meter::default();
        let now = UnixMillis(1_000_000);
        for _ in 0..3 {
            assert_eq!(meter.spend(quota, now), Ok(()));
        }
        assert_eq!(meter.spend(quota, now), Err(500));
        assert_eq!(meter.spend(quota, now.plus(499)), Err(1));
        assert_eq!(meter.spend(quota, now.plus(500)), Ok(()));
        assert_eq!(meter.spend(quota, now.plus(500)), Err(500));
        assert!(!meter.is_idle(now.plus(1999)));
        assert!(meter.is_idle(now.plus(2000)));
    }

    #[test]
    fn a_clock_that_was_ahead_stops_nobody_for_long() {
        let quota = Quota::per_second(3, 2);
        let mut meter = Meter::default();
        assert_eq!(meter.spend(quota, UnixMillis(1 << 40)), Ok(()));
        assert_eq!(meter.spend(quota, UnixMillis(1_000)), Err(500));
        assert_eq!(meter.spend(quota, UnixMillis(1_500)), Err(500), "nothing was used");
        assert_eq!(meter.spend(Quota::UNLIMITED, UnixMillis(1_000)), Ok(()));
        assert_eq!(meter.spend(quota, UnixMillis(1_000)), Ok(()));
    }

    #[test]
    fn the_time_to_wait_is_enough() {
        let quota = Quota::per_hour(5, 7);
        let mut meter = Meter::default();
        let mut now = UnixMillis(1);
        for _ in 0..50 {
            if let Err(wait) = meter.spend(quota, now) {
                now = now.plus(wait);
                assert_eq!(meter.spend(quota, now), Ok(()));
            }
        }
    }

    #[test]
    fn unlimited_is_unlimited_and_costs_no_memory() {
        let meters = Meters::new();
        for _ in 0..10_000 {
            assert_eq!(meters.spend(1u8, Quota::UNLIMITED, UnixMillis(5)), Ok(()));
        }
        assert!(meters.shard(&1).is_empty());
    }

    #[test]
    fn idle_meters_are_forgotten() {
        let meters = Meters::new();
        for key in 0..100u32 {
            assert_eq!(meters.spend(key, Quota::per_second(1, 1), UnixMillis(0)), Ok(()));
        }
        (0..SHARDS).for_each(|turn| meters.clean(turn, UnixMillis(999)));
        assert!(meters.has_one(&7, Quota::per_second(1, 1), UnixMillis(999)).is_err());
        (0..SHARDS).for_each(|turn| meters.clean(turn, UnixMillis(1000)));
        assert!(meters.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
