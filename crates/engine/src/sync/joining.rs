//! Coming into a group by a link: making links, asking, and answering who asks.
//!
//! The maker's devices answer, by what the group's state says of the link when they do: one that was taken back, has ended or is used
//! up opens nothing, whatever was asked before.

use api::{ConversationKind, Event, Kind, Problem, Role, Standing};
use wire::{AccountRecord, Code, EntryId, Label, LogId, Request, Response, Signed, UnixMillis, sign};

use super::intents::Intent;
use super::{Ask, Done, State, Turn};
use crate::db::joins::{self, Join, JoinRequest};
use crate::db::outbox::{self, NewDeposit};
use crate::db::{contacts, conversations};
use crate::formats::{self, Deposit};
use crate::identity::seal_deposit;
use crate::invite_link::{self, AskToJoin, Asked, ReadLink, link_id};
use crate::io::Rejection;
use crate::state::{ConversationState, InviteLink};

/// Requests of one group that wait at most: whoever has a link can make accounts and ask.
const MAX_WAITING: usize = 256;
/// A request is good for this time.
const LIFE_MS: u64 = 7 * 86_400_000;
/// Clocks are apart by so much at most, else nobody is added.
const APART_MS: u64 = 3_600_000;

/// What a link says now for who comes by it.
pub(super) fn open_link<'s>(
    state: &'s ConversationState,
    id: &[u8; 16],
    maker: &[u8; 32],
    now: UnixMillis,
) -> Result<&'s InviteLink, &'static str> {
    let link = state.links.iter().find(|link| link.id == *id).ok_or("The link was taken back.")?;
    if link.by != *maker || state.role(maker) < Role::Admin {
        return Err("Whoever made the link is no admin.");
    }
    if link.expires != 0 && link.expires <= now.0 {
        return Err("The link has ended.");
    }
    if link.uses != 0 && link.used >= link.uses {
        return Err("The link is used up.");
    }
    Ok(link)
}

pub(super) fn link_is_closed(why: &str) -> Problem {
    Problem::new(
        Kind::Forbidden,
        "Nobody comes in by that link any more.",
        why,
        "Make another one, or add them yourself.",
    )
}

impl State {
    /// Asks the maker of a link to be let in. Where that is left off in a crash it begins anew.
    pub(super) fn drive_joins(&mut self, turn: &mut Turn<'_>) -> Done {
        for join in joins::unasked(turn.db)? {
            let id = join.conversation;
            if self.asked.values().any(|ask| matches!(ask, Ask::JoinLookUp { log } if *log == id)) {
                continue;
            }
            let Ok(address) = super::resolve::address(&join.inviter) else {
                joins::remove_join(turn.db, id)?;
                continue;
            };
            let route = self.errand(address.relay());
            self.ask(turn, route, Request::LookUp { address }, Ask::JoinLookUp { log: id });
        }
        Ok(())
    }

    /// What is known of who invites.
    pub(super) fn on_join_looked_up(
        &mut self,
        turn: &mut Turn<'_>,
        log: LogId,
        result: Result<Response, Rejection>,
    ) -> Done {
        let Some(join) = joins::join(turn.db, log)?.filter(|join| !join.asked) else { return Ok(()) };
        let Ok(link) = invite_link::read_bytes(&join.link) else {
            return joins::remove_join(turn.db, log).map_err(Into::into);
        };
        let record = match result {
            Ok(Response::Record(bytes)) => Signed::<AccountRecord>::parse(bytes).ok(),
            Ok(_) => None,
            Err(Rejection::Refused(error)) if error.code == Code::NotFound => {
                let problem = Problem::new(Kind::NotFound, format!("There is no account {}.", join.inviter), "", "");
                return self.join_failed(turn, log, &problem);
            }
            Err(Rejection::Refused(error)) if !error.code.is_transient() => {
                let problem = super::account::refusal(&format!("{} can't be looked up.", join.inviter), &error);
                return self.join_failed(turn, log, &problem);
            }
            Err(rejection) => {
                turn.wake_at(turn.now.plus(super::intents::retry_after(&rejection, 2_000)));
                return Ok(());
            }
        };
        let Some(record) = record.filter(|record| link.is_of(record)) else {
            let why = "No device that its maker has today has signed it.";
            let problem = Problem::new(Kind::Trust, "That link is not genuine.", why, "Ask for a new one.");
            return self.join_failed(turn, log, &problem);
        };
        if let contacts::Seen::Conflict { .. } = contacts::see_record(turn.db, &record, true, turn.now.0)? {
            self.conflict_notice(turn, record.address.as_str());
            let what = format!("{} has another identity now than the one that this device knows.", record.address);
            let problem = Problem::new(Kind::Trust, what, "", "Compare safety numbers first.");
            return self.join_failed(turn, log, &problem);
        }
        self.ask_to_join(turn, &link, &record)?;
        joins::put_join(turn.db, &Join { asked: true, ..join })?;
        self.join_settled(log);
        self.drive_deposits(turn)
    }

    /// Leaves a request with every device of who invites.
    fn ask_to_join(&mut self, turn: &mut Turn<'_>, link: &ReadLink, to: &Signed<AccountRecord>) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        // Whoever was in it asks behind what they have seen of it, else their having left goes before (their clock may be behind).
        let last = conversations::get(turn.db, link.log)?.map_or(0, |conversation| conversation.touched);
        let time = turn.now.0.max(last.saturating_add(1).min(turn.now.0.saturating_add(APART_MS)));
        for device in to.active() {
            let mut ask = AskToJoin {
                version: 1,
                log: link.log.0.to_vec().into(),
                secret: link.secret.to_vec().into(),
                record: me.record.bytes().to_vec().into(),
                device: me.device().0.to_vec().into(),
                time,
                signature: Vec::new().into(),
            };
            ask.signature = sign(&me.signer, Label::AskToJoin, &[&ask.parts(device.inbox)]).to_vec().into();
            let plain = formats::encode(&Deposit::AskToJoin(Box::new(ask)));
            let Ok(body) = seal_deposit(device, &plain, &mut turn.rng) else { continue };
            let deposit = NewDeposit {
                conversation: link.log,
                relay: to.address.relay().as_str(),
                inbox: device.inbox,
                entry: EntryId(turn.random()),
                body: &body,
                blob: None,
                not_before: turn.now.0,
            };
            outbox::push_deposit(turn.db, &deposit)?;
        }
        Ok(())
    }

    fn join_failed(&mut self, turn: &mut Turn<'_>, log: LogId, problem: &Problem) -> Done {
        joins::remove_join(turn.db, log)?;
        if !self.fail_join(turn, log, problem) {
            turn.event(Event::Notice { conversation: None, problem: problem.clone() });
        }
        Ok(())
    }

    /// Somebody asks to come in by a link. What does not fit is passed over: nobody is told what is behind a link.
    pub(super) fn on_ask_to_join(&mut self, turn: &mut Turn<'_>, ask: &AskToJoin) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let (inbox, own) = (me.inbox(), me.account_key());
        let Some(Asked { record, log, secret, time }) = ask.verified(inbox) else { return Ok(()) };
        let age = turn.now.since(time).max(time.since(turn.now));
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        let fits = conversation.standing == Standing::Active && conversation.kind == ConversationKind::Group;
        if !fits || age > LIFE_MS {
            return Ok(());
        }
        let id = link_id(log, &secret);
        let state = self.with_group(turn, log, |_, _, group| Ok(group.state()))?;
        let Some(Ok(state)) = state.as_deref().map(ConversationState::decode) else { return Ok(()) };
        let direct = match open_link(&state, &id, &own, turn.now) {
            Ok(link) => link.direct,
            Err(_) if planted!(RevokedLinkWorks) => true,
            Err(_) => return Ok(()),
        };
        // Whoever has left is not brought back by what they asked for before, however often the relay leaves that here.
        joins::forget_spent(turn.db, UnixMillis(turn.now.0.saturating_sub(LIFE_MS)))?;
        if !joins::spend(turn.db, log, &record.account_key, time)? {
            return Ok(());
        }
        let member = conversations::members(turn.db, log)?.iter().any(|m| m.address == record.address.as_str());
        let contact = contacts::get(turn.db, &record.address)?;
        if member || contact.is_some_and(|contact| contact.blocked || contact.account_key != record.account_key) {
            return Ok(());
        }
        let waiting = joins::requests(turn.db, Some(log))?;
        let known = waiting.iter().any(|request| request.address == record.address.as_str());
        if !known && waiting.len() >= MAX_WAITING {
            return Ok(());
        }
        let request = JoinRequest {
            conversation: log,
            address: record.address.to_string(),
            account_key: record.account_key,
            link: id,
            time: time.min(turn.now).0,
        };
        joins::put_request(turn.db, &request)?;
        if direct {
            self.admit(turn, &request)?;
            return self.drive_intents(turn, log);
        }
        if !known {
            let request = crate::view::join_request(&request, &conversation.name);
            turn.event(Event::JoinRequest { request: Box::new(request) });
        }
        Ok(())
    }

    /// What accounts that are no members any more have asked for until they left is void, on whichever device of a link's maker it comes in.
    ///
    /// When they left the author of the commit says and the relay says: the later of the two counts, so that neither alone can set it back.
    pub(super) fn spend_requests_of_gone(&self, turn: &mut Turn<'_>, id: LogId, now: &[conversations::Member]) -> Done {
        let latest = turn.now.plus(APART_MS);
        let left = turn.entry_time.max(Some(turn.commit_time.unwrap_or(turn.now))).unwrap_or(turn.now).min(latest);
        for member in conversations::members(turn.db, id)? {
            if now.iter().all(|staying| staying.account_key != member.account_key) {
                joins::has_left(turn.db, id, &member.account_key, left)?;
            }
        }
        Ok(())
    }

    /// Notes that somebody who has asked is to be added; the intent, if there was none for him.
    pub(super) fn admit(&mut self, turn: &mut Turn<'_>, request: &JoinRequest) -> Done<i64> {
        let id = request.conversation;
        for row in outbox::intents(turn.db, id)? {
            if let Ok(Intent::Admit { member, asked, .. }) = serde_json::from_slice(&row.intent)
                && member == request.address
                && asked >= request.time
            {
                return Ok(row.n);
            }
        }
        let (member, account, link) = (request.address.clone(), request.account_key, request.link);
        self.intend(turn, id, &Intent::Admit { member, account, link, asked: request.time }, 0)
    }
}
