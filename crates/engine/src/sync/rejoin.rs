//! Requests to be added again, of this device when it alone can't follow a conversation or has come back from a backup, and of others.
//!
//! A device that is not in the conversation yet is let in if its account is: the commit that adds it takes out those that the account's
//! record revokes. Whether an account is in only the group says, never a request.
//!
//! Whoever is asked may answer, and nobody has to: a member that adds the device and never sends the invitation has shut it out, so
//! that others are asked after a while, others each time, for a week.

use std::cmp::min;
use std::collections::{BTreeMap, BTreeSet};

use api::{ConversationKind, Event, Kind, Problem, Standing};
use data_encoding::HEXLOWER;
use rusqlite::params;
use wire::{
    AccountRecord, Address, Device, DeviceCertificate, DeviceId, EntryId, Label, LogId, RelayName, Request, Response,
    Signed, UnixMillis, sign, verify,
};

use super::intents::Intent;
use super::outline::all_are_gone;
use super::validity::same_device;
use super::{Ask, Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::outbox::{self, NewDeposit};
use crate::db::{self, contacts, endings, int, leaves, messages, outlines, uint};
use crate::formats::{self, CommitBody, Deposit, Rejoin};
use crate::identity::seal_deposit;
use crate::io::Rejection;
use crate::mls;

/// A request to be added again is valid for this time.
pub(super) const LIFE_MS: u64 = 7 * 86_400_000;
/// Devices of members that are asked in one round.
const ASKED: usize = 3;
/// Between two of them: if the first answers, the others need not.
const SPREAD_MS: u64 = 60_000;
/// Before the next round; doubled each time, up to a day.
pub(super) const ROUND_MS: u64 = 3_600_000;
/// Rounds before it is given up: some 7 days.
const ROUNDS: u32 = 11;
/// Before an account's new devices are brought in where it has not asked for that itself.
const RENEW_MS: u64 = 900_000;
/// Before members are asked again whose relays could not be asked for their devices.
const UNREACHED_MS: u64 = 600_000;
/// How long the invitation may take that belongs to a commit which adds this device again.
const INVITATION_MS: u64 = 600_000;

/// What is known in memory of the own requests.
#[derive(Default)]
pub(super) struct RejoinRun {
    /// The round in which members of a conversation were last looked up.
    looked: BTreeMap<LogId, u32>,
    /// Where some of them could not be.
    unreached: BTreeSet<LogId>,
}

impl State {
    /// This device alone can't follow a conversation: asks members that it knows to add it again.
    pub(super) fn ask_to_rejoin(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done {
        let id = conversation.id;
        let asked = self.ask_round(turn, conversation, 0)?;
        self.ask_later(turn, id, 1, ROUND_MS)?;
        let next = match asked {
            0 => "Ask the others to remove you and to add you again.",
            _ => "It has asked the others to add it again, which happens by itself when one of them is online.",
        };
        self.hold_until(turn, id, "This device can't follow a change of this conversation.", "", next)
    }

    /// A commit adds this device again: an invitation is on its way, or should be.
    pub(super) fn added_again(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        author: &str,
        as_asked: bool,
    ) -> Done {
        self.ask_later(turn, conversation.id, 0, INVITATION_MS)?;
        let what = format!("{author} has this device start anew in this conversation.");
        let why = "What it takes to go on is on its way.";
        if as_asked {
            // A late answer to what this device has asked itself, by somebody who could not see that it had come in meanwhile.
            return self.hold_quietly(turn, conversation.id, &what, why);
        }
        let next = "If it does not come, this device asks the others by itself.";
        self.hold_until(turn, conversation.id, &what, why, next)
    }

    /// The next round of requests is due in so long.
    pub(super) fn ask_later(&mut self, turn: &mut Turn<'_>, id: LogId, round: u32, after: u64) -> Done {
        turn.db.prepare_cached("INSERT OR REPLACE INTO rejoins VALUES (?1, ?2, ?3)")?.execute(params![
            id.0,
            round,
            int(turn.now.plus(after).0)
        ])?;
        turn.wake_at(turn.now.plus(after));
        Ok(())
    }

    /// Asks others where nobody has answered in time.
    pub(super) fn drive_rejoins(&mut self, turn: &mut Turn<'_>) -> Done {
        let rows: Vec<(LogId, u32, u64)> = turn
            .db
            .prepare_cached("SELECT conversation, round, next FROM rejoins ORDER BY conversation")?
            .query_map([], |row| Ok((LogId(db::fixed(row, 0)?), row.get(1)?, uint(row, 2)?)))?
            .collect::<Result<_, _>>()?;
        for (id, round, next) in rows {
            let held = conversations::get(turn.db, id)?.filter(|conversation| conversation.standing == Standing::Held);
            match held {
                Some(_) if next > turn.now.0 => turn.wake_at(UnixMillis(next)),
                Some(conversation) if round < ROUNDS => {
                    // A device that was away knows the members as they were then, and no device knows the lists of all from the start.
                    if (round > 0 || is_from_before(turn, id)?) && self.looks_members_up(turn, &conversation, round)? {
                        continue;
                    }
                    let asked = self.ask_round(turn, &conversation, round)?;
                    if self.rejoins.unreached.remove(&id) && asked == 0 {
                        // A relay that is out of reach costs no round.
                        self.rejoins.looked.remove(&id);
                        self.ask_later(turn, id, round, UNREACHED_MS)?;
                    } else {
                        self.ask_later(turn, id, round + 1, min(ROUND_MS << round, 86_400_000))?;
                    }
                }
                // Others can't follow either: it goes on with them.
                Some(_) if endings::goes_on(turn.db, id)? => forget_rejoin(turn, id)?,
                Some(conversation) => {
                    forget_rejoin(turn, id)?;
                    let was_away = is_from_before(turn, id)?;
                    let problem = Problem::new(
                        Kind::Offline,
                        format!("Nobody has added this device to “{}” again.", conversation.name),
                        match was_away {
                            true => "It has asked for a week: nobody was there, or you are no longer a member.",
                            false => "It has asked for a week.",
                        },
                        "Ask the others to remove you and to add you again.",
                    );
                    let notice = problem.clone();
                    turn.event(Event::Notice { conversation: Some(id.to_string()), problem: notice });
                    if was_away || conversation.kind == ConversationKind::Direct {
                        // Nothing is lost by giving it up, and another one can be begun with the same people.
                        self.end_conversation(turn, id, &problem)?;
                    } else {
                        self.conversation_changed(turn, id)?;
                    }
                }
                None => forget_rejoin(turn, id)?,
            }
        }
        Ok(())
    }

    /// Asks a few devices of members, others in each round; own ones come first. Says how many.
    pub(super) fn ask_round(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, round: u32) -> Done<usize> {
        let id = conversation.id;
        let Some(me) = &self.me else { return Ok(0) };
        let (record, device) = (me.record.clone(), me.device());
        let mut devices: Vec<(RelayName, Device)> = Vec::new();
        let mut know = |record: &Signed<AccountRecord>| {
            let others = record.active().filter(|other| other.certificate.device != device);
            devices.extend(others.map(|other| (record.address.relay().clone(), other.clone())));
        };
        know(&record);
        for member in conversations::members(turn.db, id)?.iter().filter(|m| m.account_key != record.account_key) {
            let Ok(address) = member.address.parse() else { continue };
            let contact = contacts::get(turn.db, &address)?.filter(|contact| !contact.blocked);
            let Some(bytes) = contact.and_then(|contact| contact.record) else { continue };
            if let Ok(target) = Signed::<AccountRecord>::parse(bytes.into()) {
                know(&target);
            }
        }
        outbox::remove_requests(turn.db, id)?;
        let Some(package) = self.package_to_come_in(turn)? else { return Ok(0) };
        let healed = db::held::heal(turn.db, id)?.is_some_and(|heal| heal.begun > 0);
        let leaf = self.with_group(turn, id, |_, _, group| {
            let own = group.own_leaf();
            Ok(group.leaves().into_iter().find(|(member, _)| member.leaf == own).map(|(_, key)| key))
        })?;
        let leaf = leaf.flatten().filter(|_| !healed);
        let begin = if devices.is_empty() { 0 } else { round as usize * ASKED % devices.len() };
        devices.rotate_left(begin);
        devices.truncate(ASKED);
        for (at, (relay, other)) in devices.iter().enumerate() {
            let after = at as u64 * SPREAD_MS;
            self.ask_one(turn, (&conversation.relay, id), (&package, leaf), (relay, other), after)?;
        }
        self.drive_deposits(turn)?;
        Ok(devices.len())
    }

    /// Asks one device to add this one to a conversation that it was told of.
    pub(super) fn ask_there(
        &mut self,
        turn: &mut Turn<'_>,
        (at, log): (&RelayName, LogId),
        (relay, other): (&RelayName, &Device),
    ) -> Done {
        let Some(package) = self.package_to_come_in(turn)? else { return Ok(()) };
        self.ask_one(turn, (at, log), (&package, None), (relay, other), 0)?;
        self.drive_deposits(turn)
    }

    /// A key package for a request to be added.
    fn package_to_come_in(&mut self, turn: &mut Turn<'_>) -> Done<Option<Vec<u8>>> {
        let Some(me) = &self.me else { return Ok(None) };
        let Some(certificate) = me.certificate() else { return Ok(None) };
        let (package, reference) =
            mls::key_package(&turn.mls, &me.signer, certificate, self.options.suite, turn.now, false)?;
        turn.db
            .prepare_cached("INSERT INTO key_packages VALUES (?1, x'', 0, 1, ?2)")?
            .execute(params![reference, int(turn.now.0)])?;
        Ok(Some(package))
    }

    fn ask_one(
        &mut self,
        turn: &mut Turn<'_>,
        (at, log): (&RelayName, LogId),
        (package, leaf): (&[u8], Option<[u8; 32]>),
        (relay, other): (&RelayName, &Device),
        after: u64,
    ) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let mut rejoin = Rejoin {
            version: 1,
            relay: at.to_string(),
            log: log.0.to_vec().into(),
            package: package.to_vec().into(),
            record: me.record.bytes().to_vec().into(),
            device: me.device().0.to_vec().into(),
            time: turn.now.0,
            signature: Vec::new().into(),
            leaf: leaf.map(|key| key.to_vec().into()),
        };
        rejoin.signature = sign(&me.signer, Label::Rejoin, &[&rejoin.parts(other.inbox)]).to_vec().into();
        let plain = formats::encode(&Deposit::Rejoin(Box::new(rejoin)));
        let Ok(body) = seal_deposit(other, &plain, &mut turn.rng) else { return Ok(()) };
        let deposit = NewDeposit {
            conversation: log,
            relay: relay.as_str(),
            inbox: other.inbox,
            entry: EntryId(turn.random()),
            body: &body,
            blob: None,
            not_before: turn.now.plus(after).0,
        };
        Ok(outbox::push_deposit(turn.db, &deposit)?)
    }

    /// Looks a few members up before they are asked, others in each round: a backup does not hold the record of everybody, and what it
    /// holds may have changed. True while answers are on their way.
    fn looks_members_up(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, round: u32) -> Done<bool> {
        let log = conversation.id;
        if self.is_looking_up(log) {
            return Ok(true);
        }
        let Some(own) = self.me.as_ref().map(|me| me.account_key()) else { return Ok(false) };
        if self.rejoins.looked.insert(log, round) == Some(round) {
            return Ok(false);
        }
        let mut members = Vec::new();
        for member in conversations::members(turn.db, log)?.into_iter().filter(|member| member.account_key != own) {
            let Ok(address) = member.address.parse::<Address>() else { continue };
            let known = contacts::get(turn.db, &address)?;
            let is_known = known.as_ref().is_some_and(|known| known.record.is_some());
            if known.is_none_or(|known| !known.blocked) && (round > 0 || !is_known) {
                members.push(address);
            }
        }
        if members.is_empty() {
            return Ok(false);
        }
        let begin = round as usize * ASKED % members.len();
        members.rotate_left(begin);
        for address in members.into_iter().take(ASKED) {
            let route = self.errand(address.relay());
            let ask = Ask::RejoinLookUp { log, address: address.to_string(), round };
            self.ask(turn, route, Request::LookUp { address }, ask);
        }
        // The round stays due: whoever is closed meanwhile looks them up again when it is opened.
        Ok(true)
    }

    fn is_looking_up(&self, log: LogId) -> bool {
        self.asked.values().any(|ask| matches!(ask, Ask::RejoinLookUp { log: other, .. } if *other == log))
    }

    /// What the relay of a member says of its devices. Once all have said so they are asked.
    pub(super) fn on_rejoin_looked_up(
        &mut self,
        turn: &mut Turn<'_>,
        (log, round): (LogId, u32),
        address: &str,
        result: Result<Response, Rejection>,
    ) -> Done {
        let waits = conversations::get(turn.db, log)?.is_some_and(|c| c.standing == Standing::Held);
        if !waits || !outlines::is_waiting(turn.db, log)? {
            return Ok(());
        }
        match result {
            Ok(Response::Record(bytes)) => {
                if Signed::<AccountRecord>::parse(bytes.clone()).is_ok_and(|record| record.address.as_str() == address)
                {
                    self.see_record(turn, &bytes, true)?;
                }
            }
            Err(Rejection::Refused(error)) if !error.code.is_transient() => {}
            Err(_) => {
                self.rejoins.unreached.insert(log);
            }
            Ok(_) => {}
        }
        if self.is_looking_up(log) { Ok(()) } else { self.ask_later(turn, log, round, 0) }
    }

    /// This device, which has come back from a backup, is in a conversation again: what it does not have is said where it would stand.
    pub(super) fn let_in_again(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        by: &str,
        made: u64,
    ) -> Done {
        outlines::forget_restored(turn.db, conversation.id)?;
        if let Some(last) = messages::last_up_to(turn.db, conversation.id, conversation.cursor.0)? {
            let text = "The backup that you have restored ends here.";
            self.system_message_at(turn, conversation.id, (last.seq, made), text)?;
        }
        let text =
            format!("{by} has let your new device in. What was written here since the backup is not on this device.");
        self.system_message(turn, conversation, &text)
    }

    /// Another member asks to be added again, or a device of one that is not in yet.
    pub(super) fn on_rejoin(&mut self, turn: &mut Turn<'_>, rejoin: Rejoin) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let inbox = me.inbox();
        let Some((record, device, log)) = verified(&rejoin, inbox, turn.now) else { return Ok(()) };
        let own = (me.account_key() == record.account_key).then(|| me.record.clone());
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        // What a commit carries that nobody else can follow would be this device's fault: the log of another relay, another address.
        let is_of =
            |m: &conversations::Member| m.account_key == record.account_key && m.address == record.address.as_str();
        let mut listed = conversations::members(turn.db, log)?;
        listed.extend(conversations::asleep(turn.db, log)?);
        let member = listed.iter().any(is_of) || planted!(RemovedAccountReadded);
        let here = rejoin.relay == conversation.relay.as_str();
        if here && member && conversation.standing == Standing::Held {
            return self.others_lost_it_too(turn, &conversation, rejoin.time);
        }
        let here = here && conversation.standing == Standing::Active;
        let fits = mls::check_key_package(&turn.mls, &rejoin.package, &device, turn.now).is_ok();
        if !member || !here || !fits {
            return Ok(());
        }
        let contact = contacts::get(turn.db, &record.address)?;
        // A conversation of two with somebody who is blocked stays as it is.
        if conversation.kind == ConversationKind::Direct && contact.as_ref().is_some_and(|contact| contact.blocked) {
            return Ok(());
        }
        let known = contact.and_then(|contact| contact.record);
        let known = own.or_else(|| known.and_then(|bytes| Signed::<AccountRecord>::parse(bytes.into()).ok()));
        if known.is_some_and(|known| is_out(&known, &record, device.certificate.device)) {
            return Ok(());
        }
        // A key package adds once. Somebody else may have used it meanwhile, and a relay can leave the same request again.
        let answered = is_answered(turn, log, &device.certificate, rejoin.time)?;
        let hash = formats::hash(&rejoin.signature);
        let (Some(first), false) = (hash.first_chunk::<16>(), answered) else {
            return Ok(());
        };
        if !conversations::count_entry(turn.db, inbox, first)? {
            return Ok(());
        }
        self.see_record(turn, record.bytes(), false)?;
        self.intend(turn, log, &Intent::Readd { rejoin: formats::encode(&rejoin) }, 0)?;
        self.drive_intents(turn, log)
    }

    /// An account lists other devices than it did: where all that it has in a conversation are revoked, those that it has now come in, if
    /// it does not ask for that itself before (its backup may be older than the conversation).
    pub(super) fn renew_later(&mut self, turn: &mut Turn<'_>, record: &Signed<AccountRecord>) -> Done {
        for conversation in conversations::all(turn.db)? {
            let id = conversation.id;
            if conversation.standing != Standing::Active {
                continue;
            }
            let leaves = leaves::list(turn.db, id)?;
            let theirs: Vec<DeviceId> =
                leaves.iter().filter(|leaf| leaf.address == record.address.as_str()).map(|leaf| leaf.device).collect();
            if theirs.is_empty() || !all_are_gone(theirs.into_iter(), record) {
                continue;
            }
            let member = record.address.to_string();
            let is_there = |row: &outbox::IntentRow| matches!(serde_json::from_slice(&row.intent), Ok(Intent::Renew { member: other }) if other == member);
            if outbox::intents(turn.db, id)?.iter().any(is_there) {
                continue;
            }
            // One after the other: whoever is first has done it for all.
            let own = self.me.as_ref().map(|me| me.device());
            let place = leaves.iter().position(|leaf| Some(leaf.device) == own).unwrap_or_default() as u64;
            self.intend(turn, id, &Intent::Renew { member }, RENEW_MS + min(place, 60) * SPREAD_MS)?;
        }
        Ok(())
    }

    /// These devices were added again by somebody, by an entry of this time: their requests are answered.
    pub(super) fn forget_readds(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        added: &[Signed<DeviceCertificate>],
        time: UnixMillis,
    ) -> Done {
        for certificate in added {
            db::set_meta(turn.db, &readded(id, certificate), &time.0)?;
        }
        for row in outbox::intents(turn.db, id)? {
            let Ok(Intent::Readd { rejoin }) = serde_json::from_slice(&row.intent) else { continue };
            let Ok(rejoin) = formats::decode::<Rejoin>(&rejoin) else { continue };
            let Some(asks) = super::gather::rejoining(&rejoin) else { continue };
            if added.iter().any(|certificate| same_device(certificate, &asks)) {
                outbox::remove_intent(turn.db, row.n)?;
            }
        }
        Ok(())
    }
}

/// Who asks for what, where the request is what it says: of a device that its record lists, signed for this inbox, and of these days.
fn verified(rejoin: &Rejoin, inbox: LogId, now: UnixMillis) -> Option<(Signed<AccountRecord>, Device, LogId)> {
    let record = super::gather::record_of(rejoin)?;
    let (device, log) = (DeviceId(formats::array(&rejoin.device).ok()?), LogId(formats::array(&rejoin.log).ok()?));
    let device = record.active().find(|listed| listed.certificate.device == device)?.clone();
    let key = &device.certificate.signature_key;
    verify(key, Label::Rejoin, &[&rejoin.parts(inbox)], &rejoin.signature).ok()?;
    let age = now.since(UnixMillis(rejoin.time)).max(UnixMillis(rejoin.time).since(now));
    (age <= LIFE_MS).then_some((record, device, log))
}

/// A newer list of the account's devices than the one that came along lacks this one; or another list of the same number does, which is
/// evidence that somebody else holds the account's key.
pub(super) fn is_out(known: &AccountRecord, record: &AccountRecord, device: DeviceId) -> bool {
    known.version >= record.version && known.active().all(|listed| listed.certificate.device != device)
}

/// This request is not answered yet, as the tree shows: the device has no leaf there, or the one that it had when it asked, or one that
/// somebody has brought it since, into which it never came and which this request's key package did not bring.
pub(super) fn is_open(turn: &Turn<'_>, request: &Rejoin, device: &DeviceCertificate, group: &mls::Group) -> bool {
    let Some((key, untouched)) = group.leaf_of(device) else { return true };
    match &request.leaf {
        None => true,
        Some(asked) if asked.as_slice() == key => true,
        Some(_) => untouched && mls::leaf_key(&turn.mls, &request.package).is_some_and(|brings| brings != key),
    }
}

/// The device whose request came along with a commit that adds it with the key package of that very request. Whom it had asked is not
/// looked at: the request proves that it wants to start anew, once.
pub(super) fn asked(
    turn: &Turn<'_>,
    body: &CommitBody,
    conversation: &Conversation,
    packages: &[Vec<u8>],
    group: &mls::Group,
) -> Option<Signed<DeviceCertificate>> {
    let request = formats::decode::<Rejoin>(body.asked.as_deref()?).ok()?;
    let inbox = LogId(formats::array(body.asked_in.as_deref()?).ok()?);
    let device = super::gather::rejoining(&request)?;
    let here = request.relay == conversation.relay.as_str() && request.log.as_slice() == conversation.id.0;
    let adds = packages.iter().any(|package| package.as_slice() == request.package.as_slice());
    verify(&device.signature_key, Label::Rejoin, &[&request.parts(inbox)], &request.signature).ok()?;
    (here && adds && is_open(turn, &request, &device, group)).then_some(device)
}

/// The device has come into the conversation since it asked, by an answer to this request or in any other way.
pub(super) fn is_answered(turn: &Turn<'_>, log: LogId, device: &DeviceCertificate, time: u64) -> Done<bool> {
    if db::meta::<u64>(turn.db, &readded(log, device))?.is_some_and(|at| time <= at) {
        return Ok(true);
    }
    let came = |leaf: &leaves::Leaf| {
        leaf.device == device.device && leaf.address == device.address.as_str() && leaf.since >= time
    };
    Ok(leaves::list(turn.db, log)?.iter().any(came))
}

/// Where the time is kept at which a device was last added again.
fn readded(id: LogId, certificate: &DeviceCertificate) -> String {
    format!("readded {id} {} {}", HEXLOWER.encode(&certificate.account_key), certificate.device)
}

/// What this device knows of a conversation is of before it was away: of a backup, or of before it was taken out.
fn is_from_before(turn: &Turn<'_>, id: LogId) -> Done<bool> {
    Ok(outlines::restored(turn.db, id)?.is_some() || conversations::slept(turn.db, id)?.is_some())
}

/// Nothing is asked for any more.
pub(super) fn forget_rejoin(turn: &Turn<'_>, id: LogId) -> Done {
    turn.db.prepare_cached("DELETE FROM rejoins WHERE conversation = ?1")?.execute([id.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::{RecordHash, SigningKey};

    use super::*;

    const INBOX: LogId = LogId([9; 16]);
    const NOW: UnixMillis = UnixMillis(100 * 86_400_000);

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    /// The record of account `account` with these devices, which are revoked or not.
    fn record(account: u8, version: u64, devices: &[(u8, bool)]) -> Signed<AccountRecord> {
        let address: Address = "alice@a.example".parse().unwrap();
        let devices = devices.iter().map(|(id, revoked)| Device {
            certificate: DeviceCertificate {
                account_key: key(account).verifying_key().to_bytes(),
                address: address.clone(),
                device: DeviceId([*id; 16]),
                signature_key: key(*id).verifying_key().to_bytes(),
                suites: vec![1],
                versions: vec![1],
                created: UnixMillis(1),
            }
            .sign(&key(account)),
            inbox: LogId([*id; 16]),
            hpke_key: vec![0; wire::HPKE_KEY_BYTES].into(),
            added: UnixMillis(1),
            revoked: revoked.then_some(UnixMillis(2)),
        });
        let predecessor = RecordHash([u8::from(version > 1); 32]);
        AccountRecord {
            address: address.clone(),
            account_key: key(account).verifying_key().to_bytes(),
            version,
            predecessor,
            devices: devices.collect(),
            certifier: None,
        }
        .sign(&key(account))
    }

    fn request(record: &Signed<AccountRecord>, device: u8, signed_by: u8) -> Rejoin {
        let mut rejoin = Rejoin {
            version: 1,
            relay: "a.example".into(),
            log: vec![5; 16].into(),
            package: vec![6; 40].into(),
            record: record.bytes().to_vec().into(),
            device: vec![device; 16].into(),
            time: NOW.0,
            signature: Vec::new().into(),
            leaf: Some(vec![3; 32].into()),
        };
        rejoin.signature = sign(&key(signed_by), Label::Rejoin, &[&rejoin.parts(INBOX)]).to_vec().into();
        rejoin
    }

    #[test]
    fn rule_16_only_a_listed_device_asks_and_only_this_inbox_within_a_week() {
        let listed = record(1, 2, &[(7, true), (8, false)]);
        let asks = request(&listed, 8, 8);
        let found = verified(&asks, INBOX, NOW).map(|(record, device, log)| (record.version, device.inbox, log));
        assert_eq!(found, Some((2, LogId([8; 16]), LogId([5; 16]))));
        // Revoked, not listed, signed by another device, for another inbox.
        assert!(verified(&request(&listed, 7, 7), INBOX, NOW).is_none());
        assert!(verified(&request(&listed, 6, 6), INBOX, NOW).is_none());
        assert!(verified(&request(&listed, 8, 7), INBOX, NOW).is_none());
        assert!(verified(&asks, LogId([8; 16]), NOW).is_none());
        // Too old, or of a day to come.
        assert!(verified(&asks, INBOX, NOW.plus(LIFE_MS)).is_some());
        assert!(verified(&asks, INBOX, NOW.plus(LIFE_MS + 1)).is_none());
        assert!(verified(&asks, INBOX, UnixMillis(NOW.0 - LIFE_MS - 1)).is_none());
        // Altered: another log, key package, record, relay or time.
        for altered in [
            Rejoin { log: vec![4; 16].into(), ..asks.clone() },
            Rejoin { package: vec![6; 41].into(), ..asks.clone() },
            Rejoin { record: record(1, 3, &[(8, false)]).bytes().to_vec().into(), ..asks.clone() },
            Rejoin { relay: "b.example".into(), ..asks.clone() },
            Rejoin { time: NOW.0 + 1, ..asks.clone() },
            Rejoin { leaf: None, ..asks.clone() },
            Rejoin { leaf: Some(vec![4; 32].into()), ..asks.clone() },
            Rejoin { record: b"junk".to_vec().into(), ..asks.clone() },
            Rejoin { device: b"short".to_vec().into(), ..asks.clone() },
        ] {
            assert!(verified(&altered, INBOX, NOW).is_none());
        }
    }

    #[test]
    fn rule_16_who_is_known_to_be_out_stays_out() {
        let (old, new) = (record(1, 2, &[(7, false)]), record(1, 3, &[(7, true), (8, false)]));
        let (seven, eight) = (DeviceId([7; 16]), DeviceId([8; 16]));
        // An old record that still lists a device which the newer one revokes.
        assert!(is_out(&new, &old, seven));
        assert!(!is_out(&new, &new, eight));
        assert!(!is_out(&old, &new, eight));
        // Two lists of the same number: the one that was known first counts.
        let other = record(1, 3, &[(7, true), (6, false)]);
        assert!(is_out(&new, &other, DeviceId([6; 16])));
    }
}
