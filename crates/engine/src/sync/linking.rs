//! Linking a device: two devices of one user meet in a rendezvous log whose id and keys come from a code that one shows and the
//! other is told (protocol section 8).
//!
//! The new device says who it is; the certifying one shows that to the person, certifies, publishes the record, and answers with
//! it. Conversations follow by ordinary invitations.

use api::{Event, Kind, LinkPreview, Problem, Standing};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use wire::{
    AccountRecord, Bytes, Code, DeviceId, Entry, EntryId, Epoch, EpochKey, LogId, OpenLog, RelayName, Request,
    Response, Seq, Signed, Subscription, UnixMillis,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::intents::Intent;
use super::{Done, State, Turn};
use crate::db::{self, conversations, outbox};
use crate::formats::{self, LinkAnswer, LinkHello};
use crate::identity::{Candidate, NewDevice, fingerprint};
use crate::io::{CommandId, Lane, Rejection, Route};
use crate::mls;

const META: &str = "linking";
/// A rendezvous log dies after this time at the relay.
const LIFE_MS: u64 = 600_000;

/// A link in progress, on either side.
pub(super) struct Linking {
    relay: RelayName,
    secret: Secret,
    role: Side,
    commands: Vec<CommandId>,
    pub(super) until: UnixMillis,
    cursor: Seq,
    /// The rendezvous log is open and followed on the connection that is up.
    ready: bool,
}

/// The 20 random bytes of a code.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Secret([u8; 20]);

enum Side {
    /// This device wants to be linked.
    New { device: NewDevice, made: bool },
    /// This device certifies another.
    Certifying { candidate: Option<Candidate>, confirmed: bool, history: bool, answering: bool },
}

/// What a request of linking was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Make,
    Open,
    Subscribe,
    Hello,
    Answer,
}

/// Kept while a new device waits, so that it can be closed and opened in between.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Stored {
    relay: String,
    secret: [u8; 20],
    device: Vec<u8>,
    until: u64,
}

impl Secret {
    fn derive<const N: usize>(&self, relay: &RelayName, what: &str) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(Some(b"transom v1 link"), &self.0)
            .expand(&wire::signing_input(what, &[relay.as_str().as_bytes()]), out.as_mut_slice())
            .expect("at most 32 bytes are asked for");
        out
    }

    fn log(&self, relay: &RelayName) -> LogId {
        LogId(*self.derive::<16>(relay, "log"))
    }

    fn key(&self, relay: &RelayName) -> EpochKey {
        EpochKey::from_seed(&self.derive::<32>(relay, "key"))
    }

    fn sealing(&self, relay: &RelayName, from_new: bool) -> Zeroizing<[u8; 32]> {
        self.derive::<32>(relay, if from_new { "from the new device" } else { "to the new device" })
    }
}

/// What is derived from a code of these bytes, for the vectors: the code as it is shown, `log`, the seed `key`, and the two sealing keys.
#[cfg(test)]
pub(crate) fn derived(secret: [u8; 20], relay: &RelayName) -> (String, [Vec<u8>; 4]) {
    let secret = Secret(secret);
    let (log, key) = (secret.log(relay).0.to_vec(), secret.derive::<32>(relay, "key").to_vec());
    let keys = [log, key, secret.sealing(relay, true).to_vec(), secret.sealing(relay, false).to_vec()];
    (code(relay, &secret), keys)
}

/// `relay/abcd-efgh-…`: what people read out or scan.
fn code(relay: &RelayName, secret: &Secret) -> String {
    let text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&secret.0).to_lowercase());
    format!("{relay}/{}", *crate::backup::in_groups(&text))
}

fn parse_code(text: &str) -> Result<(RelayName, Secret), Problem> {
    let wrong = || {
        Problem::new(
            Kind::Usage,
            "That is not a link code.",
            "A code is the relay's name, a slash and eight groups of four letters and digits.",
            "Copy it from the new device as it is shown there.",
        )
    };
    let (relay, secret) = text.trim().rsplit_once('/').ok_or_else(wrong)?;
    let relay = relay.parse().map_err(|_| wrong())?;
    let letters: Zeroizing<String> =
        Zeroizing::new(secret.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect::<String>().to_uppercase());
    let bytes = Zeroizing::new(data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| wrong())?);
    let secret = bytes.as_slice().try_into().map_err(|_| wrong())?;
    Ok((relay, Secret(secret)))
}

impl State {
    /// The new device's side begins, or goes on with the code that is still good.
    pub(super) fn begin_link(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        relay: &str,
    ) -> Done<Result<(), Problem>> {
        if let Some(me) = &self.me {
            return Ok(Err(Problem::new(
                Kind::Conflict,
                format!("This profile already belongs to {}.", me.address),
                "",
                "Use another profile to link a device.",
            )));
        }
        if let Some(problem) = self.unfinished_recovery(turn)? {
            return Ok(Err(problem));
        }
        let Ok(relay) = relay.parse::<RelayName>() else {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not a relay's name.",
                "",
                "It looks like relay.example or localhost:8443.",
            )));
        };
        // Whoever stopped waiting and asks again: the code is out, and may have been confirmed meanwhile. A new one would leave the
        // account with a device that nobody runs.
        if let Some(Linking { relay: before, secret, role: Side::New { made, .. }, commands, .. }) = &mut self.linking
            && *before == relay
        {
            commands.push(command);
            if *made {
                turn.event(Event::LinkCode { command, code: code(&relay, secret) });
            }
            self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
            return Ok(Ok(()));
        }
        self.drop_linking(turn)?;
        let device = NewDevice::generate(&mut turn.rng);
        let secret = Secret(turn.random());
        let until = turn.now.plus(LIFE_MS);
        let stored =
            Stored { relay: relay.to_string(), secret: secret.0, device: device.to_json().to_vec(), until: until.0 };
        db::set_meta(turn.db, META, &stored)?;
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        self.linking = Some(Linking {
            relay,
            secret,
            role: Side::New { device, made: false },
            commands: vec![command],
            until,
            cursor: Seq(0),
            ready: false,
        });
        turn.wake_at(until);
        self.make_rendezvous(turn);
        Ok(Ok(()))
    }

    /// A new device was closed while it waited.
    pub(super) fn resume_linking(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(stored) = db::meta::<Stored>(turn.db, META)? else { return Ok(()) };
        let (Ok(relay), Some(device)) = (stored.relay.parse(), NewDevice::from_json(&stored.device)) else {
            return Ok(db::remove_meta(turn.db, META)?);
        };
        if self.me.is_some() || stored.until <= turn.now.0 {
            return Ok(db::remove_meta(turn.db, META)?);
        }
        self.linking = Some(Linking {
            relay,
            secret: Secret(stored.secret),
            role: Side::New { device, made: false },
            commands: Vec::new(),
            until: UnixMillis(stored.until),
            cursor: Seq(0),
            ready: false,
        });
        self.make_rendezvous(turn);
        Ok(())
    }

    fn make_rendezvous(&mut self, turn: &mut Turn<'_>) {
        let Some(linking) = &self.linking else { return };
        let relay = linking.relay.clone();
        let request =
            Request::CreateRendezvous { log: linking.secret.log(&relay), next: linking.secret.key(&relay).public() };
        let route = self.errand(&relay);
        self.ask(turn, route, request, super::Ask::Link(Step::Make));
    }

    /// The certifying side looks at who waits behind a code.
    pub(super) fn inspect_link(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        text: &str,
        confirm: bool,
        with_history: bool,
    ) -> Done<Result<(), Problem>> {
        match &self.me {
            None => return Ok(Err(super::commands::not_registered())),
            Some(me) if !me.certifies() => {
                return Ok(Err(Problem::new(
                    Kind::Forbidden,
                    "This device can't let others in.",
                    "Only the device that certifies does.",
                    "Enter the code there (devices list says which one it is).",
                )));
            }
            Some(me) if me.hands_over().is_some() => return Ok(Err(super::role::on_its_way())),
            Some(_) => {}
        }
        let (relay, secret) = match parse_code(text) {
            Ok(parsed) => parsed,
            Err(problem) => return Ok(Err(problem)),
        };
        // The same code again, now confirmed: the connection and the candidate are there already.
        if let Some(linking) = &mut self.linking {
            let same = linking.relay == relay && linking.secret.0 == secret.0;
            if let (true, Side::Certifying { confirmed, history, .. }) = (same, &mut linking.role) {
                *confirmed |= confirm;
                *history = with_history;
                linking.commands.push(command);
                self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
                return self.candidate_seen(turn).map(Ok);
            }
        }
        self.drop_linking(turn)?;
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        let until = turn.now.plus(LIFE_MS);
        turn.wake_at(until);
        self.linking = Some(Linking {
            relay: relay.clone(),
            secret,
            role: Side::Certifying { candidate: None, confirmed: confirm, history: with_history, answering: false },
            commands: vec![command],
            until,
            cursor: Seq(0),
            ready: false,
        });
        self.want(turn, Route { relay, lane: Lane::Rendezvous }, true);
        Ok(Ok(()))
    }

    pub(super) fn drop_linking(&mut self, turn: &mut Turn<'_>) -> Done {
        if let Some(linking) = self.linking.take() {
            // What was asked for it is no answer to the next one, whose log may not be there yet.
            self.asked.retain(|_, ask| !matches!(ask, super::Ask::Link(_)));
            self.want(turn, Route { relay: linking.relay.clone(), lane: Lane::Rendezvous }, false);
            db::remove_meta(turn.db, META)?;
            for command in linking.commands {
                let problem = Problem::new(Kind::Conflict, "Linking was given up.", "", "Begin again with a new code.");
                self.fail(turn, command, problem);
            }
        }
        Ok(())
    }

    pub(super) fn drive_linking(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(linking) = &mut self.linking else { return Ok(()) };
        if turn.now >= linking.until {
            let commands = std::mem::take(&mut linking.commands);
            self.drop_linking(turn)?;
            for command in commands {
                let problem = Problem::new(
                    Kind::Conflict,
                    "The code has expired.",
                    "Codes are good for ten minutes.",
                    "Begin again with a new one.",
                );
                self.fail(turn, command, problem);
            }
            return Ok(());
        }
        turn.wake_at(linking.until);
        if self.asked.values().any(|ask| matches!(ask, super::Ask::Link(_))) {
            return Ok(());
        }
        // Nothing is under way: whatever was refused for a while is tried again from its beginning.
        match &self.linking {
            Some(Linking { role: Side::New { made: false, .. }, .. }) => self.make_rendezvous(turn),
            Some(Linking { ready: false, .. }) => return self.rendezvous_up(turn),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn rendezvous_up(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(linking) = &self.linking else { return Ok(()) };
        let route = Route { relay: linking.relay.clone(), lane: Lane::Rendezvous };
        let Some(link) = self.links.get(&route) else { return Ok(()) };
        let log = linking.secret.log(&linking.relay);
        let signature = linking.secret.key(&linking.relay).open(&link.hello.nonce, &linking.relay, log, Epoch(0));
        let request = Request::Open { logs: vec![OpenLog { log, epoch: Epoch(0), signature }] };
        self.ask(turn, route, request, super::Ask::Link(Step::Open));
        Ok(())
    }

    pub(super) fn on_link_step(
        &mut self,
        turn: &mut Turn<'_>,
        step: Step,
        result: Result<Response, Rejection>,
    ) -> Done {
        let Some(linking) = &mut self.linking else { return Ok(()) };
        let route = Route { relay: linking.relay.clone(), lane: Lane::Rendezvous };
        let log = linking.secret.log(&linking.relay);
        let error = match result {
            Ok(Response::Opened(states)) if states.first().is_some_and(|state| state.error.is_some()) => {
                return self.link_failed(
                    turn,
                    Problem::new(
                        Kind::NotFound,
                        "Nobody waits behind this code.",
                        "It is wrong, or it has expired.",
                        "Make a new one on the new device.",
                    ),
                );
            }
            Ok(_) => {
                match (step, &mut linking.role) {
                    (Step::Make, Side::New { .. }) => self.rendezvous_made(turn, route),
                    (Step::Open, _) => {
                        let from = linking.cursor.next();
                        let logs = vec![Subscription { log, epoch: Epoch(0), from }];
                        self.ask(turn, route, Request::Subscribe { logs }, super::Ask::Link(Step::Subscribe));
                    }
                    (Step::Subscribe, Side::Certifying { .. }) => {
                        linking.ready = true;
                        self.answer(turn)?;
                    }
                    (Step::Subscribe, Side::New { device, .. }) => {
                        let hello = LinkHello {
                            version: 1,
                            device: device.id().0.to_vec().into(),
                            signature_key: device.signature_key().to_vec().into(),
                            hpke_key: device.hpke_key().to_vec().into(),
                            inbox: device.inbox().0.to_vec().into(),
                            suites: mls::SUITES.to_vec(),
                        };
                        self.rendezvous_say(turn, &formats::encode(&hello), Step::Hello)?;
                    }
                    (Step::Hello, Side::New { .. }) => linking.ready = true,
                    (Step::Answer, Side::Certifying { .. }) => self.linked_another(turn)?,
                    _ => {}
                }
                return Ok(());
            }
            Err(Rejection::Lost) => {
                if step == Step::Make {
                    turn.wake_at(turn.now.plus(2_000));
                }
                return Ok(());
            }
            Err(Rejection::Refused(error)) => error,
        };
        if error.code == Code::NotOpened {
            // Said on a connection that had not opened the log yet, or not any more.
            self.rendezvous_down();
            return self.rendezvous_up(turn);
        }
        if step == Step::Make && error.code == Code::AlreadyExists {
            self.rendezvous_made(turn, route);
            return Ok(());
        }
        if error.code.is_transient() {
            // From the beginning, when the time has come: `drive_linking` opens the log again and says what was not taken.
            self.rendezvous_down();
            turn.wake_at(turn.now.plus(error.retry_after_ms.max(2_000)));
            return Ok(());
        }
        let problem = super::account::refusal("The relay did not help to link the device.", &error);
        self.link_failed(turn, problem)
    }

    /// The rendezvous log is there: only now is the code shown, since whoever types it at once must find the log.
    fn rendezvous_made(&mut self, turn: &mut Turn<'_>, route: Route) {
        if let Some(Linking { relay, secret, role: Side::New { made, .. }, commands, .. }) = &mut self.linking {
            *made = true;
            for command in commands.iter() {
                turn.event(Event::LinkCode { command: *command, code: code(relay, secret) });
            }
        }
        self.want(turn, route, true);
    }

    fn link_failed(&mut self, turn: &mut Turn<'_>, problem: Problem) -> Done {
        if let Some(linking) = &mut self.linking {
            for command in std::mem::take(&mut linking.commands) {
                self.fail(turn, command, problem.clone());
            }
        }
        self.drop_linking(turn)
    }

    /// Puts sealed bytes into the rendezvous log.
    fn rendezvous_say(&mut self, turn: &mut Turn<'_>, plain: &[u8], step: Step) -> Done {
        let Some(linking) = &self.linking else { return Ok(()) };
        let relay = linking.relay.clone();
        let key = linking.secret.sealing(&relay, step == Step::Hello);
        let log = linking.secret.log(&relay);
        let Ok(body) = formats::seal(&key, turn.random(), &log.0, plain) else { return Ok(()) };
        let request = Request::Append {
            log,
            epoch: Epoch(0),
            pipe: 0,
            id: EntryId(turn.random()),
            body: body.into(),
            commitment: [0; 32],
        };
        self.ask(turn, Route { relay, lane: Lane::Rendezvous }, request, super::Ask::Link(step));
        Ok(())
    }

    pub(super) fn rendezvous_entries(&mut self, turn: &mut Turn<'_>, log: LogId, entries: Vec<Entry>) -> Done {
        for entry in entries {
            let Some(linking) = &mut self.linking else { return Ok(()) };
            if linking.secret.log(&linking.relay) != log || entry.seq <= linking.cursor {
                continue;
            }
            linking.cursor = entry.seq;
            let from_new = matches!(linking.role, Side::Certifying { .. });
            let key = linking.secret.sealing(&linking.relay, from_new);
            // What was sealed the other way is our own; anything else is junk.
            let Ok(plain) = formats::open(&key, &log.0, &entry.body) else { continue };
            if from_new {
                if let (Ok(hello), Side::Certifying { candidate, .. }) =
                    (formats::decode::<LinkHello>(&plain), &mut linking.role)
                    && candidate.is_none()
                {
                    *candidate = candidate_of(&hello);
                }
                self.candidate_seen(turn)?;
            } else if let Ok(answer) = formats::decode::<LinkAnswer>(&plain) {
                self.answer_seen(turn, &answer)?;
            }
        }
        Ok(())
    }

    /// The certifying side knows who waits: shows it, or, once the person has agreed, certifies.
    fn candidate_seen(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(linking) = &self.linking else { return Ok(()) };
        let Side::Certifying { candidate: Some(candidate), confirmed, history, .. } = &linking.role else {
            return Ok(());
        };
        let (id, history) = (candidate.id, *history);
        let Some(me) = &mut self.me else { return Ok(()) };
        if !*confirmed {
            // Those that the person knows of.
            let mut count = 0;
            for conversation in conversations::all(turn.db)? {
                let is_seen = !crate::view::is_out_of_sight(turn.db, &conversation)?;
                count += u32::from(is_seen && conversation.standing == Standing::Active);
            }
            let preview = LinkPreview {
                code: code(&linking.relay, &linking.secret),
                fingerprint: fingerprint(&candidate.signature_key),
                conversations: count,
            };
            for command in linking.commands.clone() {
                turn.event(Event::LinkRequest { command, preview: Box::new(preview.clone()) });
                self.settle(command);
            }
            if let Some(linking) = &mut self.linking {
                linking.commands.clear();
            }
            return Ok(());
        }
        if me.record.device(candidate.id).is_none() && !me.published() {
            return self.link_failed(turn, super::commands::change_on_its_way());
        }
        // Certified before: a lost answer is given again.
        let is_new = me.record.device(candidate.id).is_none();
        if is_new && me.add_device(candidate, turn.now).is_none() {
            return self.link_failed(
                turn,
                Problem::new(
                    Kind::Forbidden,
                    "The device can't be added to your account.",
                    "",
                    "Begin again with a new code.",
                ),
            );
        }
        me.save(turn.db)?;
        let published = me.published();
        if is_new && history {
            self.begin_history(turn, id)?;
        }
        if published {
            self.answer(turn)
        } else {
            self.publish_record(turn);
            Ok(())
        }
    }

    /// The newest own record is at the relay: a device that waits for it is told, and conversations follow.
    pub(super) fn record_published(&mut self, turn: &mut Turn<'_>) -> Done {
        self.answer(turn)?;
        self.look_at_own_state();
        for conversation in conversations::all(turn.db)? {
            if matches!(conversation.standing, Standing::Active | Standing::Starting) {
                self.own_devices_follow(turn, conversation.id)?;
            }
        }
        Ok(())
    }

    /// Brings the own devices in a conversation in line with the own record: now, or, where nothing could be written when the record
    /// changed (an invitation that nobody had taken, a conversation that was held), once it can be.
    pub(super) fn own_devices_follow(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let account = me.account_key();
        let revoked: Vec<[u8; 16]> =
            me.record.devices.iter().filter(|d| d.revoked.is_some()).map(|d| d.certificate.device.0).collect();
        if self.lacks_own_devices(turn, id)? {
            // The new device has to offer key packages first; until then the attempt is repeated.
            self.intend(turn, id, &Intent::AddOwnDevices, 500)?;
        }
        let here: Vec<[u8; 16]> = self
            .with_group(turn, id, |_, _, group| {
                let own = |m: &mls::Member| m.certificate.account_key == account;
                Ok(group.members().iter().filter(|m| own(m)).map(|m| m.certificate.device.0).collect())
            })?
            .unwrap_or_default();
        if revoked.iter().any(|device| here.contains(device)) {
            self.intend(turn, id, &Intent::RemoveOwnDevices { devices: revoked }, 0)?;
            self.drive_intents(turn, id)?;
        }
        Ok(())
    }

    /// Tells the device behind the code that it is certified, once the relay has the record that says so.
    fn answer(&mut self, turn: &mut Turn<'_>) -> Done {
        let (Some(linking), Some(me)) = (&mut self.linking, &self.me) else { return Ok(()) };
        let Side::Certifying { candidate: Some(candidate), confirmed: true, history, answering } = &mut linking.role
        else {
            return Ok(());
        };
        if !linking.ready || *answering || !me.published() || me.record.device(candidate.id).is_none() {
            return Ok(());
        }
        *answering = true;
        let answer = LinkAnswer { version: 1, record: me.record.bytes().to_vec().into(), history: Some(*history) };
        self.rendezvous_say(turn, &formats::encode(&answer), Step::Answer)
    }

    /// The rendezvous connection is gone: what was not acknowledged on it is said again on the next one.
    pub(super) fn rendezvous_down(&mut self) {
        if let Some(linking) = &mut self.linking {
            linking.ready = false;
            if let Side::Certifying { answering, .. } = &mut linking.role {
                *answering = false;
            }
        }
    }

    /// The answer is in the rendezvous log. The command is done when the conversations have the device, too.
    fn linked_another(&mut self, turn: &mut Turn<'_>) -> Done {
        if let Some(linking) = &mut self.linking {
            for command in std::mem::take(&mut linking.commands) {
                let mut intents = Vec::new();
                for id in outbox::intending(turn.db)? {
                    let rows = outbox::intents(turn.db, id)?;
                    let adding = |row: &&outbox::IntentRow| {
                        matches!(serde_json::from_slice(&row.intent), Ok(Intent::AddOwnDevices))
                    };
                    intents.extend(rows.iter().filter(adding).map(|row| row.n));
                }
                self.wait(command, super::waits::WaitFor { intents, all_deposits: true, ..Default::default() });
            }
        }
        self.drop_linking(turn)
    }

    /// The new device has its answer: it belongs to the account now.
    fn answer_seen(&mut self, turn: &mut Turn<'_>, answer: &LinkAnswer) -> Done {
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&answer.record)) else { return Ok(()) };
        let Some(linking) = self.linking.take() else { return Ok(()) };
        let Linking { relay, secret, role, commands, until, cursor, ready } = linking;
        let Side::New { device, made } = role else {
            self.linking = Some(Linking { relay, secret, role, commands, until, cursor, ready });
            return Ok(());
        };
        let kept = NewDevice::from_json(&device.to_json());
        let Some(me) = device.join_account(record) else {
            // Not for us: go on waiting with the same keys.
            if let Some(device) = kept {
                self.linking =
                    Some(Linking { relay, secret, role: Side::New { device, made }, commands, until, cursor, ready });
            }
            return Ok(());
        };
        me.save(turn.db)?;
        db::remove_meta(turn.db, META)?;
        let address = me.address.to_string();
        self.me = Some(me);
        self.want(turn, Route { relay, lane: Lane::Rendezvous }, false);
        self.connect_all(turn)?;
        turn.event(Event::Linked { address, history: answer.history == Some(true) });
        for command in commands {
            self.settle(command);
        }
        Ok(())
    }
}

fn candidate_of(hello: &LinkHello) -> Option<Candidate> {
    Some(Candidate {
        id: DeviceId(formats::array(&hello.device).ok()?),
        signature_key: formats::array(&hello.signature_key).ok()?,
        hpke_key: (hello.hpke_key.len() == wire::HPKE_KEY_BYTES).then(|| Bytes::copy_from_slice(&hello.hpke_key))?,
        inbox: LogId(formats::array(&hello.inbox).ok()?),
        suites: hello.suites.iter().copied().take(16).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_however_they_are_typed() {
        let relay: RelayName = "localhost:8443".parse().unwrap();
        let text = code(&relay, &Secret([0xab; 20]));
        assert_eq!(text.len(), "localhost:8443/".len() + 32 + 7);
        for typed in
            [text.clone(), text.to_uppercase(), text.replace('-', ""), format!("  {} ", text.replace('-', " "))]
        {
            let (parsed, secret) = parse_code(&typed).unwrap();
            assert_eq!((parsed, secret.0), (relay.clone(), [0xab; 20]));
        }
        for wrong in ["", "localhost:8443", "localhost:8443/abcd", "/abcd-efgh"] {
            assert!(parse_code(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_derivation_of_a_code_is_another_one() {
        let (secret, a, b): (_, RelayName, RelayName) =
            (Secret([1; 20]), "a.example".parse().unwrap(), "b.example".parse().unwrap());
        assert_ne!(secret.log(&a), secret.log(&b));
        assert_ne!(secret.sealing(&a, true), secret.sealing(&a, false));
        assert_ne!(*secret.derive::<32>(&a, "key"), *secret.sealing(&a, true));
    }
}
