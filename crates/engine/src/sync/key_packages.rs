//! Key packages: enough of them at the account's relay, and none kept longer than somebody may use them.

use rusqlite::params;
use wire::{Bytes, OfferedKeyPackage, Request, Response};

use super::intents::{CLOCK_AGAIN_MS, retry_after};
use super::{Ask, Done, State, Turn};
use crate::db;
use crate::io::Rejection;
use crate::mls;

/// How long an offered key package may be used.
const KEY_PACKAGE_LIFE_MS: u64 = 90 * 86_400_000;
/// The last-resort package is replaced after this time.
const LAST_RESORT_LIFE_MS: u64 = 7 * 86_400_000;
/// How long a device keeps the private half of a key package that somebody may have used: an invitation waits in an inbox for 30 days.
const INVITATION_LIFE_MS: u64 = 37 * 86_400_000;
/// Between looks at how many key packages are left at the relay, on a connection that stays up.
const COUNT_EVERY_MS: u64 = 3_600_000;
/// Before what was refused is asked again, if the relay names no time.
const AGAIN_MS: u64 = 2_000;
/// Key packages that one request carries: some 2.7 kB each.
const KEY_PACKAGE_BATCH: usize = 10;

impl State {
    /// Asks how many key packages are left.
    pub(super) fn count_key_packages(&mut self, turn: &mut Turn<'_>) {
        if let Some(route) = self.account_route() {
            self.ask(turn, route, Request::CountKeyPackages, Ask::CountKeyPackages);
        }
    }

    /// Looks again at how many key packages are left; soon, if the relay has refused something, and whoever registers waits for it.
    fn count_later(&mut self, turn: &mut Turn<'_>, refused: Option<&Rejection>) {
        let after = match refused {
            Some(Rejection::Lost) => return,
            // The same packages would be refused again.
            Some(Rejection::Refused(error)) if !error.code.is_transient() => COUNT_EVERY_MS,
            Some(rejection) => retry_after(rejection, AGAIN_MS),
            None => COUNT_EVERY_MS,
        };
        self.account.count_again = Some(turn.now.plus(after));
        turn.wake_at(turn.now.plus(after));
    }

    pub(super) fn on_key_packages_counted(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        let (count, last_resort_used) = match result {
            Ok(Response::KeyPackageCount { count, last_resort_used }) => (count, last_resort_used),
            Ok(_) => return Ok(()),
            Err(rejection) => {
                match Self::is_about_device(&rejection) {
                    Some(error) => self.shut_out(turn, error),
                    None => self.count_later(turn, Some(&rejection)),
                }
                return Ok(());
            }
        };
        self.account.key_packages = count;
        // Others would refuse those that are made by a clock that is wrong.
        if !self.clock_agrees_at_home() {
            self.account.count_again = Some(turn.now.plus(CLOCK_AGAIN_MS));
            turn.wake_at(turn.now.plus(CLOCK_AGAIN_MS));
            return self.registration_complete(turn);
        }
        // By such a clock those that are here would seem old.
        if self.clock_agrees() {
            self.forget_key_packages(turn)?;
        }
        let target = self.options.key_packages;
        let last_resort: Option<i64> = turn
            .db
            .prepare_cached("SELECT max(created) FROM key_packages WHERE last_resort = 1 AND uploaded = 1")?
            .query_row([], |row| row.get(0))?;
        let renew = last_resort_used
            || last_resort.is_none_or(|created| turn.now.0.saturating_sub(created.max(0) as u64) > LAST_RESORT_LIFE_MS);
        if self.key_packages_are_void(turn)? {
            return self.put_key_packages(turn, target as usize, true);
        }
        let missing = if count < target.div_ceil(2).max(1) { target.saturating_sub(count) as usize } else { 0 };
        if missing == 0 && !renew {
            self.count_later(turn, None);
            return self.registration_complete(turn);
        }
        self.put_key_packages(turn, missing, renew)
    }

    /// Forgets the private halves of key packages with which nobody can have made an invitation that may still come: what was recorded
    /// of the others can't be opened with what a thief of the device finds. One-time packages are handed out until they expire; the
    /// last-resort one until another took its place.
    fn forget_key_packages(&mut self, turn: &mut Turn<'_>) -> Done {
        let since = |life: u64| db::int(turn.now.0.saturating_sub(life));
        let old: Vec<Vec<u8>> = turn
            .db
            .prepare_cached(
                "SELECT reference FROM key_packages WHERE (last_resort = 0 AND created < ?1) OR (last_resort = 1 AND created < \
                 (SELECT max(created) FROM key_packages WHERE last_resort = 1 AND uploaded = 1 AND created < ?2))",
            )?
            .query_map([since(KEY_PACKAGE_LIFE_MS + INVITATION_LIFE_MS), since(INVITATION_LIFE_MS)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for reference in old {
            mls::delete_key_package(&turn.mls, &reference)?;
            turn.db.prepare_cached("DELETE FROM key_packages WHERE reference = ?1")?.execute([reference])?;
        }
        Ok(())
    }

    fn put_key_packages(&mut self, turn: &mut Turn<'_>, missing: usize, last_resort: bool) -> Done {
        let (Some(me), Some(route)) = (&self.me, self.account_route()) else { return Ok(()) };
        let Some(certificate) = me.certificate().cloned() else { return Ok(()) };
        let signer = me.signer.clone();
        let mut references = Vec::new();
        let mut make = |turn: &mut Turn<'_>, last_resort: bool| -> Done<Bytes> {
            let suite = self.options.suite;
            let (package, reference) =
                mls::key_package(&turn.mls, &signer, &certificate, suite, turn.now, last_resort)?;
            let expires = turn.now.plus(KEY_PACKAGE_LIFE_MS);
            let offered = OfferedKeyPackage { package: package.into(), expires }.sign(&signer).bytes().clone();
            turn.db.prepare_cached("INSERT INTO key_packages VALUES (?1, ?2, ?3, 0, ?4)")?.execute(params![
                reference,
                offered.as_ref(),
                last_resort,
                db::int(turn.now.0)
            ])?;
            references.push(reference);
            Ok(offered)
        };
        let mut packages = Vec::new();
        for _ in 0..missing.min(KEY_PACKAGE_BATCH) {
            packages.push(make(turn, false)?);
        }
        let last_resort = if last_resort { Some(make(turn, true)?) } else { None };
        let replace = self.key_packages_are_void(turn)?;
        if replace {
            self.account.key_packages = 0;
        }
        let request = Request::PutKeyPackages { packages, last_resort, replace };
        self.ask(turn, route, request, Ask::PutKeyPackages { references });
        Ok(())
    }

    pub(super) fn on_key_packages_put(
        &mut self,
        turn: &mut Turn<'_>,
        references: Vec<Vec<u8>>,
        result: Result<Response, Rejection>,
    ) -> Done {
        match result {
            Ok(response) => {
                self.key_packages_replaced(turn)?;
                for reference in references {
                    turn.db
                        .prepare_cached("UPDATE key_packages SET uploaded = 1 WHERE reference = ?1")?
                        .execute([reference])?;
                }
                self.registration_complete(turn)?;
                match response {
                    // Until the relay has enough of them, as long as they become more.
                    Response::KeyPackageCount { count, .. }
                        if count < self.options.key_packages
                            && count > std::mem::replace(&mut self.account.key_packages, count) =>
                    {
                        self.put_key_packages(turn, (self.options.key_packages - count) as usize, false)
                    }
                    _ => {
                        self.count_later(turn, None);
                        Ok(())
                    }
                }
            }
            // The packages stay here: the relay may have them after all.
            Err(rejection) => {
                self.count_later(turn, Some(&rejection));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use wire::{DeviceCertificate, DeviceId, SigningKey, UnixMillis};

    use super::*;
    use crate::Options;
    use crate::db::{Database, open};

    #[test]
    fn key_packages_that_nobody_can_use_any_more_are_forgotten() {
        const DAY: u64 = 86_400_000;
        const BEGIN: u64 = 20_779;
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let db = open(&Database::Memory { name: "key-packages".into() }, &mut rng).unwrap();
        let mut state = State::load(&db, Options::default()).unwrap();
        let mut turn = Turn::new(&db, &mut rng, ChaCha20Rng::from_seed([2; 32]), UnixMillis(0));
        let (account, signer) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let certificate = DeviceCertificate {
            account_key: account.verifying_key().to_bytes(),
            address: "alice@a.example".parse().unwrap(),
            device: DeviceId([3; 16]),
            signature_key: signer.verifying_key().to_bytes(),
            suites: vec![1],
            versions: vec![1],
            created: UnixMillis(0),
        }
        .sign(&account);
        let make = |turn: &Turn<'_>, days: u64, last_resort: bool, uploaded: bool| {
            let now = UnixMillis((BEGIN + days) * DAY);
            let (package, reference) = mls::key_package(&turn.mls, &signer, &certificate, 1, now, last_resort).unwrap();
            turn.db
                .prepare_cached("INSERT INTO key_packages VALUES (?1, x'', ?2, ?3, ?4)")
                .unwrap()
                .execute(params![reference, last_resort, uploaded, db::int(now.0)])
                .unwrap();
            package
        };
        let one_time = make(&turn, 0, false, true);
        let last_resorts = [(0, true), (7, true), (8, false)].map(|(days, up)| make(&turn, days, true, up));
        let mut left = |days: u64| {
            turn.now = UnixMillis((BEGIN + days) * DAY);
            state.forget_key_packages(&mut turn).unwrap();
            let all = last_resorts.iter().chain([&one_time]);
            all.map(|package| mls::has_key_package(&turn.mls, package).unwrap()).collect::<Vec<_>>()
        };
        // The first was handed out until the eighth day, and may lie in an inbox for a month from then on.
        assert_eq!(left(37 + 7), [true, true, true, true]);
        assert_eq!(left(37 + 8), [false, true, true, true]);
        // One-time packages are handed out until they expire. The last-resort one that the relay has stays, however old.
        assert_eq!(left(90 + 37), [false, true, true, true]);
        assert_eq!(left(90 + 38), [false, true, true, false]);
        assert_eq!(left(1_000), [false, true, true, false]);
    }
}
