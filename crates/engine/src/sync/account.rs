//! The account lane: registration, authentication, the own record, the inbox.

use api::{Event, Kind, Problem};
use wire::{AccountRecord, Bytes, Code, Entry, Label, LogId, Request, Response, Seq, Signed, UnixMillis, sign};

use super::{Ask, Done, State, Turn};
use crate::db::{self, conversations};
use crate::formats::{self, Deposit};
use crate::identity::{META, Me, NewDevice};
use crate::io::{CommandId, Lane, Rejection, Route};
use crate::mls;

/// Where an invite is kept in the table `meta` until it has been used.
const INVITE: &str = "invite";
/// Before what was refused on the account lane is asked again, if the relay names no time.
const AGAIN_MS: u64 = 2_000;
/// Before a device that the relay does not accept asks again, at first and at most.
const SHUT_OUT_MS: u64 = 30_000;
const SHUT_OUT_MAX_MS: u64 = 3_600_000;

/// The account lane's connection as it is now.
#[derive(Default)]
pub(super) struct AccountRun {
    pub(super) authenticated: bool,
    pub(super) inbox_caught_up: bool,
    inbox_head: Seq,
    /// `api::Event::CaughtUp` was emitted on this connection.
    pub(super) reported_caught_up: bool,
    put_in_flight: bool,
    /// How many key packages the relay said last that it has.
    pub(super) key_packages: u32,
    /// The relay has lost this device, or does not accept it: it is not asked again before this time.
    pub(super) forgotten_until: UnixMillis,
    /// How long the pause before that was; 0 once it accepts the device.
    shut_out_ms: u64,
    /// The person was told that somebody else has the address.
    pub(super) is_taken: bool,
    /// What the relay did not do for now is asked again at this time.
    pub(super) inbox_again: Option<UnixMillis>,
    pub(super) count_again: Option<UnixMillis>,
    /// The command that registers.
    pub(super) registering: Option<CommandId>,
    /// The command that waits for the newest record to be published.
    pub(super) publishing: Vec<CommandId>,
}

impl AccountRun {
    /// What belonged to the connection is gone; who waits for it still does.
    pub(super) fn link_down(&mut self) {
        let Self { registering, publishing, is_taken, .. } = std::mem::take(self);
        *self = Self { registering, publishing, is_taken, ..Self::default() };
    }
}

impl State {
    pub(super) fn account_route(&self) -> Option<Route> {
        self.me.as_ref().map(|me| Route { relay: me.address.relay().clone(), lane: Lane::Account })
    }

    pub(super) fn register(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        address: &str,
        invite: &str,
    ) -> Done<Result<(), Problem>> {
        let address = match super::resolve::address(address) {
            Ok(address) => address,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(me) = &self.me {
            // No relay has confirmed it, and nothing was begun with it: whoever has mistyped an address tries the right one.
            let is_given_up = !me.registered() && me.address != address && conversations::all(turn.db)?.is_empty();
            if !is_given_up {
                return Ok(Err(Problem::new(
                    Kind::Conflict,
                    format!("This profile already belongs to {}.", me.address),
                    "",
                    "Use another profile for another account.",
                )));
            }
            if let Some(before) = self.give_up_registration(turn)? {
                self.fail(turn, before, Problem::new(Kind::Conflict, "This was begun anew.", "", ""));
            }
        }
        if let Some(problem) = self.unfinished_recovery(turn)? {
            return Ok(Err(problem));
        }
        let device = NewDevice::generate(&mut turn.rng);
        let me = device.found_account(address, &mls::SUITES, turn.now, &mut turn.rng);
        me.save(turn.db)?;
        if !invite.is_empty() {
            db::set_meta(turn.db, INVITE, &invite)?;
        }
        let relay = me.address.relay().clone();
        self.me = Some(me);
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        self.account.registering = Some(command);
        self.want(turn, Route { relay, lane: Lane::Account }, true);
        Ok(Ok(()))
    }

    pub(super) fn account_link_up(&mut self, turn: &mut Turn<'_>) -> Done {
        let (forgotten_until, shut_out_ms) = (self.account.forgotten_until, self.account.shut_out_ms);
        self.account.link_down();
        (self.account.forgotten_until, self.account.shut_out_ms) = (forgotten_until, shut_out_ms);
        let Some(me) = &self.me else { return self.recovery_link_up(turn) };
        if me.revoked() {
            // For good: nothing of this lane is for it any more.
            if let Some(route) = self.account_route() {
                self.want(turn, route, false);
            }
            return Ok(());
        }
        if me.registered() {
            self.authenticate(turn);
        } else if let Some(route) = self.account_route() {
            let invite = db::meta::<String>(turn.db, INVITE)?.unwrap_or_default();
            let request = Request::Register { record: me.record.bytes().clone(), invite };
            self.ask(turn, route, request, Ask::Register);
        }
        Ok(())
    }

    pub(super) fn on_registered(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        let Some(me) = &mut self.me else { return Ok(()) };
        let error = match result {
            Ok(_) => {
                me.set_registered();
                me.save(turn.db)?;
                db::remove_meta(turn.db, INVITE)?;
                self.authenticate(turn);
                return Ok(());
            }
            // The next connection tries again.
            Err(Rejection::Lost) => return Ok(()),
            Err(Rejection::Refused(error)) => error,
        };
        if error.code.is_transient() {
            turn.wake_at(turn.now.plus(error.retry_after_ms.max(1_000)));
            return Ok(());
        }
        if me.registered() {
            // The relay was restored and has another version of the account, or takes nobody: a device that has the account brings
            // the rest, and this one keeps what it is.
            turn.wake_at(self.account.forgotten_until);
            if error.code == Code::AlreadyExists && !self.account.is_taken {
                self.look_up_self(turn);
            }
            return Ok(());
        }
        let address = me.address.clone();
        let problem = match error.code {
            Code::AlreadyExists => Problem::new(
                Kind::Conflict,
                format!("The address {address} is taken."),
                "",
                "Choose another name, or link this device to the account if it is yours.",
            ),
            _ => refusal(&format!("The relay did not register {address}."), &error),
        };
        match self.give_up_registration(turn)? {
            Some(command) => self.fail(turn, command, problem),
            None => turn.event(Event::Notice { conversation: None, problem }),
        }
        Ok(())
    }

    /// There is no account here any more. Answers with the command that was to make it.
    fn give_up_registration(&mut self, turn: &mut Turn<'_>) -> Done<Option<CommandId>> {
        if let Some(route) = self.account_route() {
            self.want(turn, route, false);
        }
        self.asked.retain(|_, ask| !matches!(ask, Ask::Register));
        self.me = None;
        db::remove_meta(turn.db, META)?;
        db::remove_meta(turn.db, INVITE)?;
        Ok(self.account.registering.take())
    }

    pub(super) fn authenticate(&mut self, turn: &mut Turn<'_>) {
        let Some(route) = self.account_route() else { return };
        let (Some(me), Some(link)) = (&self.me, self.links.get(&route)) else { return };
        let device = me.device();
        let signature = sign(
            &me.signer,
            Label::Authenticate,
            &[&link.hello.nonce.0, route.relay.as_str().as_bytes(), me.address.as_str().as_bytes(), &device.0],
        );
        let request = Request::Authenticate { address: me.address.clone(), device, signature };
        self.ask(turn, route, request, Ask::Authenticate);
    }

    pub(super) fn on_authenticated(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        match result {
            Ok(_) => {
                self.account.authenticated = true;
                self.account.shut_out_ms = 0;
                self.subscribe_inbox(turn)?;
                self.publish_record(turn);
                self.count_key_packages(turn);
                self.look_at_role(turn)
            }
            Err(Rejection::Lost) => Ok(()),
            Err(Rejection::Refused(error)) if error.code.is_transient() => {
                turn.wake_at(turn.now.plus(error.retry_after_ms.max(AGAIN_MS)));
                Ok(())
            }
            Err(Rejection::Refused(error)) if self.relay_forgot_us(turn, error.code)? => Ok(()),
            Err(Rejection::Refused(error)) => {
                self.shut_out(turn, &error);
                Ok(())
            }
        }
    }

    /// The relay does not accept this device, or not any more. The account's record says whether it was revoked; else another device may
    /// still bring a relay that was restored the record that lists this one.
    pub(super) fn shut_out(&mut self, turn: &mut Turn<'_>, error: &wire::Error) {
        self.account.authenticated = false;
        if self.account.forgotten_until > turn.now {
            return;
        }
        if self.account.shut_out_ms == 0 {
            let problem = refusal("The relay does not accept this device.", error);
            turn.event(Event::Notice { conversation: None, problem });
        }
        self.account.shut_out_ms = (self.account.shut_out_ms * 2).clamp(SHUT_OUT_MS, SHUT_OUT_MAX_MS);
        self.account.forgotten_until = turn.now.plus(self.account.shut_out_ms);
        turn.wake_at(self.account.forgotten_until);
        self.look_up_self(turn);
    }

    pub(super) fn look_up_self(&mut self, turn: &mut Turn<'_>) {
        let Some(address) = self.me.as_ref().map(|me| me.address.clone()) else { return };
        let route = self.errand(address.relay());
        self.ask(turn, route, Request::LookUp { address }, Ask::LookUpSelf);
    }

    /// The refusal, if it is about the device and not about what it asked.
    pub(super) fn is_about_device(rejection: &Rejection) -> Option<&wire::Error> {
        match rejection {
            Rejection::Refused(error) if matches!(error.code, Code::Refused | Code::NotAuthenticated) => Some(error),
            Rejection::Refused(_) | Rejection::Lost => None,
        }
    }

    /// Brings the newest own record to the relay, if it is not there.
    pub(super) fn publish_record(&mut self, turn: &mut Turn<'_>) {
        let (Some(me), Some(route)) = (&self.me, self.account_route()) else { return };
        if self.account.authenticated && !me.published() && !self.account.put_in_flight {
            self.account.put_in_flight = true;
            let version = me.record.version;
            let request = Request::PutRecord { record: me.record.bytes().clone(), account_proof: None };
            self.ask(turn, route, request, Ask::PutRecord { version });
        }
    }

    pub(super) fn on_record_put(
        &mut self,
        turn: &mut Turn<'_>,
        version: u64,
        result: Result<Response, Rejection>,
    ) -> Done {
        self.account.put_in_flight = false;
        let Some(me) = &mut self.me else { return Ok(()) };
        match result {
            Ok(_) => {
                if me.record.version != version {
                    // Another change was made meanwhile, or the relay had lost several; whoever waits, waits for the newest one.
                    self.publish_record(turn);
                    return Ok(());
                }
                me.set_published();
                me.save(turn.db)?;
                for command in std::mem::take(&mut self.account.publishing) {
                    self.settle(command);
                }
                turn.event(Event::Devices);
                self.record_published(turn)
            }
            Err(Rejection::Lost) => Ok(()),
            Err(Rejection::Refused(error)) if error.code.is_transient() => {
                turn.wake_at(turn.now.plus(error.retry_after_ms.max(1_000)));
                Ok(())
            }
            // It is further than this device: another one of the account has told it.
            Err(Rejection::Refused(error)) if error.code == Code::Conflict && error.current > me.record.version => {
                me.set_published();
                Ok(me.save(turn.db)?)
            }
            Err(Rejection::Refused(error))
                if error.code == Code::Conflict
                    && error.current.saturating_add(1) != version
                    && self.next_record_for(turn, error.current)? =>
            {
                self.account.put_in_flight = true;
                Ok(())
            }
            Err(Rejection::Refused(error)) => {
                let problem = refusal("The relay did not take the new list of your devices.", &error);
                for command in std::mem::take(&mut self.account.publishing) {
                    self.fail(turn, command, problem.clone());
                }
                turn.event(Event::Notice { conversation: None, problem });
                Ok(())
            }
        }
    }

    /// What time alone may have made possible.
    pub(super) fn drive_account(&mut self, turn: &mut Turn<'_>) -> Done {
        let up = self.account_route().is_some_and(|route| self.links.contains_key(&route));
        let registering = self.asked.values().any(|ask| matches!(ask, Ask::Register | Ask::Authenticate));
        if up && !self.account.authenticated && !registering {
            if self.account.forgotten_until > turn.now {
                turn.wake_at(self.account.forgotten_until);
                return Ok(());
            }
            return self.account_link_up(turn);
        }
        if !self.account.authenticated {
            return Ok(());
        }
        self.publish_record(turn);
        self.drive_role(turn)?;
        if let Some(at) = self.account.inbox_again {
            if at <= turn.now {
                self.account.inbox_again = None;
                self.subscribe_inbox(turn)?;
            } else {
                turn.wake_at(at);
            }
        }
        if let Some(at) = self.account.count_again {
            if at <= turn.now {
                self.account.count_again = None;
                if self.clock_is_off() {
                    return self.compare_clocks_again(turn);
                }
                self.count_key_packages(turn);
            } else {
                turn.wake_at(at);
            }
        }
        Ok(())
    }

    /// After registering, the device looks itself up as others would, before it says that it is done.
    pub(super) fn registration_complete(&mut self, turn: &mut Turn<'_>) -> Done {
        if self.account.registering.is_some()
            && !self.asked.values().any(|ask| matches!(ask, Ask::LookUpSelf))
            && let Some(me) = &self.me
        {
            let address = me.address.clone();
            let route = self.errand(address.relay());
            self.ask(turn, route, Request::LookUp { address }, Ask::LookUpSelf);
        }
        Ok(())
    }

    pub(super) fn on_self_looked_up(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let Some(command) = self.account.registering else {
            let account_key = me.account_key();
            if let Ok(Response::Record(record)) = result {
                let record = self.see_record(turn, &record, true)?;
                if record.is_some_and(|record| record.account_key != account_key) {
                    self.name_is_taken(turn);
                }
            }
            return self.report_caught_up(turn);
        };
        match result {
            Ok(Response::Record(record)) if record == *me.record.bytes() => {
                self.account.registering = None;
                self.settle(command);
            }
            Ok(_) => {
                self.account.registering = None;
                let problem = Problem::new(
                    Kind::Trust,
                    "The relay shows others another account under your address.",
                    "It answered a look-up of your address with a record that this device did not make.",
                    "Do not use this relay; tell whoever runs it.",
                );
                self.fail(turn, command, problem);
            }
            Err(_) => {
                self.account.count_again = Some(turn.now.plus(1_000));
                turn.wake_at(turn.now.plus(1_000));
            }
        }
        Ok(())
    }

    /// The relay, which has lost this account, has another one under its address.
    fn name_is_taken(&mut self, turn: &mut Turn<'_>) {
        let Some(address) = self.me.as_ref().map(|me| me.address.clone()) else { return };
        if std::mem::replace(&mut self.account.is_taken, true) {
            return;
        }
        let problem = Problem::new(
            Kind::Trust,
            format!("{} has another account under your address {address}.", address.relay()),
            "It has lost yours, or pretends to, and somebody else took the name. Who knows you is warned of the other one.",
            "Tell whoever runs that relay, and those you write with. Conversations that are there go on; nobody new can reach you.",
        );
        turn.event(Event::Notice { conversation: None, problem });
    }

    pub(super) fn subscribe_inbox(&mut self, turn: &mut Turn<'_>) -> Done {
        let (Some(me), Some(route)) = (&self.me, self.account_route()) else { return Ok(()) };
        let from = Seq(me.inbox_cursor()).next();
        // A small read first: it says where the inbox ends, which a subscription without entries would not.
        self.ask(turn, route.clone(), Request::ReadInbox { from, max_bytes: 0 }, Ask::SubscribeInbox);
        self.ask(turn, route, Request::SubscribeInbox { from }, Ask::FollowInbox);
        Ok(())
    }

    pub(super) fn on_inbox_subscribed(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        match result {
            Ok(Response::Page { entries, head, more }) => {
                self.account.inbox_head = self.account.inbox_head.max(head);
                // There is no entry any more: what there was in the meantime the relay no longer keeps.
                if let Some(me) =
                    self.me.as_mut().filter(|me| entries.is_empty() && !more && head.0 > me.inbox_cursor())
                {
                    me.set_inbox_cursor(head.0);
                    me.save(turn.db)?;
                }
                self.check_inbox(turn)
            }
            Ok(_) => Ok(()),
            Err(rejection) => {
                self.inbox_refused(turn, &rejection);
                Ok(())
            }
        }
    }

    /// The answer to a subscription. Without one nothing would ever arrive on this connection.
    pub(super) fn on_inbox_followed(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        if let Err(rejection) = result {
            self.inbox_refused(turn, &rejection);
        }
        Ok(())
    }

    fn inbox_refused(&mut self, turn: &mut Turn<'_>, rejection: &Rejection) {
        if let Some(error) = Self::is_about_device(rejection) {
            return self.shut_out(turn, error);
        }
        if let Rejection::Refused(_) = rejection {
            let at = turn.now.plus(super::intents::retry_after(rejection, AGAIN_MS));
            self.account.inbox_again = Some(at);
            turn.wake_at(at);
        }
    }

    /// This device was too slow for the subscription: page by page, then subscribe again.
    pub(super) fn read_inbox(&mut self, turn: &mut Turn<'_>) -> Done {
        let (Some(me), Some(route)) = (&self.me, self.account_route()) else { return Ok(()) };
        let from = Seq(me.inbox_cursor()).next();
        self.ask(turn, route, Request::ReadInbox { from, max_bytes: super::links::READ_BYTES }, Ask::ReadInbox);
        Ok(())
    }

    pub(super) fn on_inbox_read(&mut self, turn: &mut Turn<'_>, result: Result<Response, Rejection>) -> Done {
        let (entries, head, more) = match result {
            Ok(Response::Page { entries, head, more }) => (entries, head, more),
            Ok(_) => return Ok(()),
            Err(rejection) => {
                self.inbox_refused(turn, &rejection);
                return Ok(());
            }
        };
        let before = self.me.as_ref().map_or(0, Me::inbox_cursor);
        if let Some(inbox) = self.me.as_ref().map(Me::inbox) {
            self.inbox_entries(turn, inbox, entries, head)?;
        }
        if more && self.me.as_ref().map_or(0, Me::inbox_cursor) > before {
            self.read_inbox(turn)
        } else {
            self.subscribe_inbox(turn)
        }
    }

    fn check_inbox(&mut self, turn: &mut Turn<'_>) -> Done {
        let cursor = self.me.as_ref().map_or(0, Me::inbox_cursor);
        if cursor >= self.account.inbox_head.0 {
            self.account.inbox_caught_up = true;
            self.report_caught_up(turn)?;
        }
        Ok(())
    }

    pub(super) fn inbox_entries(&mut self, turn: &mut Turn<'_>, log: LogId, entries: Vec<Entry>, head: Seq) -> Done {
        if self.me.as_ref().is_none_or(|me| me.inbox() != log) {
            return Ok(());
        }
        self.account.inbox_head = self.account.inbox_head.max(head);
        for entry in entries {
            let Some(me) = &mut self.me else { return Ok(()) };
            if entry.seq.0 <= me.inbox_cursor() {
                continue;
            }
            me.set_inbox_cursor(entry.seq.0);
            // A deposit that was sent again because its answer was lost counts once.
            let inbox = me.inbox();
            if !conversations::count_entry(turn.db, inbox, &entry.id.0)? {
                continue;
            }
            let Some(me) = &self.me else { return Ok(()) };
            // Anybody may leave anything in an inbox: what can't be opened or read is passed over.
            let Ok(plain) = me.open_deposit(&entry.body) else { continue };
            match formats::decode::<Deposit>(&plain) {
                Ok(Deposit::Invitation(invitation)) => self.on_invitation(turn, *invitation, entry.time)?,
                Ok(Deposit::Rejoin(rejoin)) => self.on_rejoin(turn, *rejoin)?,
                Ok(Deposit::AskToJoin(ask)) => self.on_ask_to_join(turn, &ask)?,
                Ok(Deposit::History(offer)) => self.on_history_offer(turn, &offer)?,
                Ok(Deposit::HistoryGone(gone)) => self.on_history_gone(turn, &gone, entry.time)?,
                Ok(Deposit::HandOver(offer)) => self.on_hand_over(turn, &offer)?,
                Ok(Deposit::GoesOn(note)) => self.on_goes_on(turn, &note)?,
                Ok(Deposit::Record(record)) => self.on_own_record(turn, &record)?,
                Err(_) => {}
            }
        }
        if let Some(me) = &self.me {
            me.save(turn.db)?;
        }
        self.check_inbox(turn)
    }

    /// A record that travelled with a commit or an invitation.
    pub(super) fn see_record(
        &mut self,
        turn: &mut Turn<'_>,
        bytes: &[u8],
        confirmed: bool,
    ) -> Done<Option<Signed<AccountRecord>>> {
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(bytes)) else { return Ok(None) };
        if let Some(me) = &mut self.me
            && record.address == me.address
        {
            if me.update_record(record.clone()) {
                me.save(turn.db)?;
                turn.event(Event::Devices);
                if me.revoked() {
                    turn.event(Event::Notice { conversation: None, problem: super::commands::revoked() });
                }
            }
            return Ok(Some(record));
        }
        let before = db::contacts::get(turn.db, &record.address)?.map(|contact| contact.version);
        match db::contacts::see_record(turn.db, &record, confirmed, turn.now.0)? {
            db::contacts::Seen::Conflict { new: true } => self.conflict_notice(turn, record.address.as_str()),
            db::contacts::Seen::Expected if before.is_some_and(|before| before < record.version) => {
                self.renew_later(turn, &record)?;
            }
            _ => {}
        }
        Ok(Some(record))
    }

    pub(super) fn conflict_notice(&mut self, turn: &mut Turn<'_>, address: &str) {
        turn.event(Event::Notice {
            conversation: None,
            problem: Problem::new(
                Kind::Trust,
                format!("{address} appears with another identity than the one that this device knows."),
                "Either the account was made anew, or somebody pretends to be it. Nothing is sent where the other one is.",
                "Compare safety numbers with its owner, then accept the new identity or block it.",
            ),
        });
    }
}

/// A relay's refusal in words: what we wanted, then what the relay says.
pub(super) fn refusal(what: &str, error: &wire::Error) -> Problem {
    let next = match error.retry_after_ms {
        0 => String::new(),
        millis => format!("Try again in {} seconds.", millis.div_ceil(1000)),
    };
    Problem::new(Kind::Refused, what, format!("It says: {}.", error.detail.trim_end_matches('.')), next)
}
