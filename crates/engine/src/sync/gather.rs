//! Gathering what an addition needs: records of accounts, and one key package of each device.
//!
//! Each account is one errand: its look-up and its claims share a connection, which is shared with nothing else. What was gathered
//! lives in memory only: after a crash it is gathered again, at the cost of a few key packages.

use std::collections::{BTreeMap, BTreeSet};

use api::{Kind, Problem};
use wire::{
    AccountRecord, Address, Bytes, Code, DeviceCertificate, DeviceId, OfferedKeyPackage, Request, Response, Signed,
};

use super::{Ask, Done, State as Engine, Turn};
use crate::db::contacts::{self, Seen};
use crate::db::outbox::{self, IntentRow};
use crate::formats::Rejoin;
use crate::io::{Rejection, Route};
use crate::mls;

/// Tries before an account without a usable key package is given up.
const TRIES: u32 = 12;

/// A device that can be added.
#[derive(Clone)]
pub(super) struct Gathered {
    pub address: String,
    pub record: Bytes,
    pub device: DeviceId,
    pub package: Bytes,
    pub readd: bool,
}

impl Gathered {
    /// It is a device of the account with this key.
    pub(super) fn is_of(&self, account: &[u8; 32]) -> bool {
        Signed::<AccountRecord>::parse(self.record.clone()).is_ok_and(|record| record.account_key == *account)
    }
}

/// What one intent has gathered.
#[derive(Default)]
pub(super) struct Gather {
    accounts: BTreeMap<String, Account>,
    failed: Option<Failure>,
}

enum Failure {
    Impossible(Problem),
    Later(u64),
}

struct Account {
    route: Route,
    /// Only these devices are wanted.
    only: Option<Vec<DeviceId>>,
    record: Option<Signed<AccountRecord>>,
    /// Claims that have no answer yet.
    outstanding: BTreeSet<DeviceId>,
    found: Vec<Gathered>,
    /// Why the relay gives no key package, where that is nothing that passes.
    refused: Option<wire::Error>,
}

impl Account {
    /// Other devices are wanted than when this was gathered: some have come into the group by another commit meanwhile. False if
    /// not all that is wanted now was gathered.
    fn narrow(&mut self, only: Option<&Vec<DeviceId>>) -> bool {
        if self.only.as_ref() == only {
            return true;
        }
        let covers = |asked: &Vec<DeviceId>| only.is_some_and(|only| only.iter().all(|device| asked.contains(device)));
        if !self.only.as_ref().is_none_or(covers) {
            return false;
        }
        self.only = only.cloned();
        self.found.retain(|found| only.is_none_or(|only| only.contains(&found.device)));
        true
    }
}

/// How far a gathering is.
pub(super) enum State {
    Complete(Vec<Gathered>),
    Waiting,
    Later(u64),
    Impossible(Problem),
}

impl Engine {
    /// Begins or goes on with gathering for an intent.
    pub(super) fn gather(
        &mut self,
        turn: &mut Turn<'_>,
        row: &IntentRow,
        wanted: &BTreeMap<String, Option<Vec<DeviceId>>>,
    ) -> Done<State> {
        if wanted.is_empty() {
            self.gathers.remove(&row.n);
            return Ok(State::Complete(Vec::new()));
        }
        if let Some(failed) = self.gathers.get_mut(&row.n).and_then(|gather| gather.failed.take()) {
            self.gathers.remove(&row.n);
            return Ok(match failed {
                Failure::Impossible(problem) => State::Impossible(problem),
                Failure::Later(_) if row.attempts >= TRIES => State::Impossible(Problem::new(
                    Kind::Offline,
                    "The people to be added can't be reached.",
                    "Their relay does not answer, or their devices have not been online yet.",
                    "Try again later.",
                )),
                Failure::Later(after) => State::Later(after.saturating_mul(1 << row.attempts.min(5))),
            });
        }
        let gather = self.gathers.entry(row.n).or_default();
        gather
            .accounts
            .retain(|address, account| wanted.get(address).is_some_and(|only| account.narrow(only.as_ref())));
        let missing: Vec<(String, Option<Vec<DeviceId>>)> = wanted
            .iter()
            .filter(|(address, _)| !gather.accounts.contains_key(*address))
            .map(|(address, only)| (address.clone(), only.clone()))
            .collect();
        for (address, only) in missing {
            if let Some(problem) = self.look_up(turn, row.n, &address, only)? {
                self.gathers.remove(&row.n);
                return Ok(State::Impossible(problem));
            }
        }
        let Some(gather) = self.gathers.get(&row.n) else { return Ok(State::Waiting) };
        if gather.accounts.values().any(|account| account.record.is_none() || !account.outstanding.is_empty()) {
            return Ok(State::Waiting);
        }
        Ok(State::Complete(gather.accounts.values().flat_map(|account| account.found.clone()).collect()))
    }

    /// A problem, if the account can't be looked up at all.
    fn look_up(
        &mut self,
        turn: &mut Turn<'_>,
        intent: i64,
        text: &str,
        only: Option<Vec<DeviceId>>,
    ) -> Done<Option<Problem>> {
        let address: Address = match super::resolve::address(text) {
            Ok(address) => address,
            Err(problem) => return Ok(Some(problem)),
        };
        let route = self.errand(address.relay());
        let account = Account {
            route: route.clone(),
            only,
            record: None,
            outstanding: BTreeSet::new(),
            found: Vec::new(),
            refused: None,
        };
        self.gathers.entry(intent).or_default().accounts.insert(text.to_owned(), account);
        // The own record is known better here than at the relay.
        if let Some(own) = self.me.as_ref().filter(|me| me.address == address).map(|me| me.record.clone()) {
            self.claim(turn, intent, text, own)?;
            return Ok(None);
        }
        self.progress(turn, intent, &format!("looking up {address}"));
        let ask = Ask::LookUp { intent, address: text.to_owned() };
        self.ask(turn, route, Request::LookUp { address }, ask);
        Ok(None)
    }

    pub(super) fn on_looked_up(
        &mut self,
        turn: &mut Turn<'_>,
        intent: i64,
        address: &str,
        result: Result<Response, Rejection>,
    ) -> Done {
        let record = match result {
            Ok(Response::Record(bytes)) => Signed::<AccountRecord>::parse(bytes).ok(),
            Ok(_) => None,
            Err(rejection) => return self.look_up_failed(turn, intent, address, &rejection),
        };
        let Some(record) = record.filter(|record| record.address.as_str() == address) else {
            return self.gather_failed(turn, intent, Failure::Impossible(untrustworthy(address)));
        };
        let pinned = contacts::get(turn.db, &record.address)?;
        if let Seen::Conflict { .. } = contacts::see_record(turn.db, &record, true, turn.now.0)? {
            self.conflict_notice(turn, address);
            let problem = Problem::new(
                Kind::Trust,
                format!("{address} has another identity now than the one that this device knows."),
                "Either the account was made anew, or its relay pretends that it was.",
                "Compare safety numbers with its owner, then accept the new identity.",
            );
            return self.gather_failed(turn, intent, Failure::Impossible(problem));
        }
        let known = pinned.filter(|pinned| pinned.account_key == record.account_key);
        if known.as_ref().is_some_and(|known| record.version < known.version) {
            let problem = Problem::new(
                Kind::Trust,
                format!("The relay shows an older list of {address}'s devices than it did before."),
                "",
                "Try again later; if it stays so, tell whoever runs that relay.",
            );
            return self.gather_failed(turn, intent, Failure::Impossible(problem));
        }
        // One version has one content: two are evidence that somebody else holds the account's key.
        let differs = |bytes: &Vec<u8>| bytes.as_slice() != record.bytes().as_ref();
        if known.is_some_and(|known| known.version == record.version && known.record.as_ref().is_some_and(differs)) {
            let problem = Problem::new(
                Kind::Trust,
                format!("Two different lists of {address}'s devices bear the same number."),
                "Somebody else may hold the keys of that account.",
                format!("Ask {address} by another way before you go on."),
            );
            return self.gather_failed(turn, intent, Failure::Impossible(problem));
        }
        contacts::set_known(turn.db, &record.address)?;
        self.claim(turn, intent, address, record)
    }

    fn claim(&mut self, turn: &mut Turn<'_>, intent: i64, text: &str, record: Signed<AccountRecord>) -> Done {
        let own = self.me.as_ref().map(|me| me.device());
        let Some(account) = self.gathers.get_mut(&intent).and_then(|gather| gather.accounts.get_mut(text)) else {
            return Ok(());
        };
        let devices: Vec<DeviceId> = record
            .active()
            .map(|device| device.certificate.device)
            .filter(|device| Some(*device) != own)
            .filter(|device| account.only.as_ref().is_none_or(|only| only.contains(device)))
            .collect();
        account.outstanding = devices.iter().copied().collect();
        account.record = Some(record.clone());
        let route = account.route.clone();
        if devices.is_empty() && self.me.as_ref().is_some_and(|me| me.address == record.address) {
            return Ok(());
        }
        if devices.is_empty() {
            let problem = Problem::new(Kind::NotFound, format!("{text} has no device that could be added."), "", "");
            return self.gather_failed(turn, intent, Failure::Impossible(problem));
        }
        for device in devices {
            let request = Request::ClaimKeyPackage { address: record.address.clone(), device };
            self.ask(turn, route.clone(), request, Ask::Claim { intent, address: text.to_owned(), device });
        }
        Ok(())
    }

    pub(super) fn on_claimed(
        &mut self,
        turn: &mut Turn<'_>,
        intent: i64,
        text: &str,
        device: DeviceId,
        result: Result<Response, Rejection>,
    ) -> Done {
        let now = turn.now;
        let Some(account) = self.gathers.get_mut(&intent).and_then(|gather| gather.accounts.get_mut(text)) else {
            return Ok(());
        };
        if !account.outstanding.remove(&device) {
            // Asked when other devices were wanted.
            return Ok(());
        }
        let mut retry = None;
        match (result, &account.record) {
            (Ok(Response::KeyPackage { package, .. }), Some(record)) => {
                let wanted = account.only.as_ref().is_none_or(|only| only.contains(&device));
                if let Some(package) = usable(turn, record, device, package, now).filter(|_| wanted) {
                    account.found.push(Gathered {
                        address: text.to_owned(),
                        record: record.bytes().clone(),
                        device,
                        package,
                        readd: false,
                    });
                }
            }
            // A device that has not offered anything yet is left out, unless it is all that there is.
            (Err(Rejection::Refused(error)), _) if matches!(error.code, Code::NoKeyPackage | Code::NotFound) => {}
            (Err(Rejection::Refused(error)), _) if !error.code.is_transient() => account.refused = Some(error),
            (Err(rejection), _) => retry = Some(super::intents::retry_after(&rejection, 1_000)),
            _ => {}
        }
        if let Some(after) = retry {
            return self.gather_failed(turn, intent, Failure::Later(after));
        }
        if account.outstanding.is_empty() {
            // Own devices that offer nothing yet hold nobody else up: they are added once they do.
            let own = self.me.as_ref().is_some_and(|me| me.address.as_str() == text);
            if account.found.is_empty() && !own {
                return self.found_nothing(turn, intent, text);
            }
            return self.drive_intent(turn, intent);
        }
        Ok(())
    }

    /// None of an account's devices can be added. What a person has asked for fails if the relay says so; else they may come online.
    fn found_nothing(&mut self, turn: &mut Turn<'_>, intent: i64, address: &str) -> Done {
        let account = self.gathers.get_mut(&intent).and_then(|gather| gather.accounts.get_mut(address));
        let failure = match account.and_then(|account| account.refused.take()) {
            Some(error) if self.adds_people(turn, intent)? => {
                Failure::Impossible(super::account::refusal(&format!("{address} can't be added."), &error))
            }
            _ => {
                self.progress(turn, intent, &format!("waiting for a device of {address} that can be added"));
                Failure::Later(1_000)
            }
        };
        self.gather_failed(turn, intent, failure)
    }

    fn look_up_failed(&mut self, turn: &mut Turn<'_>, intent: i64, address: &str, rejection: &Rejection) -> Done {
        let failure = match rejection {
            Rejection::Refused(error) if error.code == Code::NotFound => Failure::Impossible(Problem::new(
                Kind::NotFound,
                format!("There is no account {address}."),
                "Its relay says so.",
                "Check the spelling, or ask for the address.",
            )),
            Rejection::Refused(error) if !error.code.is_transient() => {
                Failure::Impossible(super::account::refusal(&format!("{address} can't be looked up."), error))
            }
            _ => {
                self.progress(turn, intent, &format!("waiting for the relay of {address}"));
                Failure::Later(super::intents::retry_after(rejection, 1_000))
            }
        };
        self.gather_failed(turn, intent, failure)
    }

    fn gather_failed(&mut self, turn: &mut Turn<'_>, intent: i64, failure: Failure) -> Done {
        self.gathers.entry(intent).or_default().failed = Some(failure);
        self.drive_intent(turn, intent)
    }

    fn drive_intent(&mut self, turn: &mut Turn<'_>, intent: i64) -> Done {
        match outbox::intent(turn.db, intent)? {
            Some(row) => self.drive_intents(turn, row.conversation),
            None => {
                self.gathers.remove(&intent);
                Ok(())
            }
        }
    }
}

/// The MLS key package inside an offer, if it is this device's own and fresh.
fn usable(
    turn: &Turn<'_>,
    record: &Signed<AccountRecord>,
    device: DeviceId,
    offered: Bytes,
    now: wire::UnixMillis,
) -> Option<Bytes> {
    let device = record.device(device)?;
    let offered = Signed::<OfferedKeyPackage>::parse(offered, &device.certificate.signature_key).ok()?;
    if offered.expires < now {
        return None;
    }
    mls::check_key_package(&turn.mls, &offered.package, device, now).ok()?;
    Some(offered.package.clone())
}

/// The record of the account whose device asks to be added again.
pub(super) fn record_of(rejoin: &Rejoin) -> Option<Signed<AccountRecord>> {
    Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&rejoin.record)).ok()
}

/// Who asks to be added again.
pub(super) fn rejoining(rejoin: &Rejoin) -> Option<Signed<DeviceCertificate>> {
    let record = record_of(rejoin)?;
    let device = DeviceId(rejoin.device.as_slice().try_into().ok()?);
    record.active().find(|d| d.certificate.device == device).map(|d| d.certificate.clone())
}

/// A device that asked to be added again brings its own key package.
pub(super) fn rejoined(rejoin: &Rejoin) -> Option<Gathered> {
    let record = record_of(rejoin)?;
    let device: [u8; 16] = rejoin.device.as_slice().try_into().ok()?;
    Some(Gathered {
        address: record.address.to_string(),
        record: record.bytes().clone(),
        device: DeviceId(device),
        package: Bytes::copy_from_slice(&rejoin.package),
        readd: true,
    })
}

fn untrustworthy(address: &str) -> Problem {
    Problem::new(
        Kind::Trust,
        format!("What the relay says of {address} does not verify."),
        "The record that it sent is not signed by that account.",
        "Do not trust this relay; tell whoever runs it.",
    )
}
