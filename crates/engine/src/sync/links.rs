//! Connections: which ones are wanted, and what happens when one comes up, goes down or says something on its own.

use std::collections::BTreeMap;

use wire::{
    Code, Epoch, EpochKey, Hello, LogId, LogState, OpenLog, PROTOCOL_VERSION, Push, RelayName, Request, Response, Seq,
    Subscription,
};

use super::{Ask, Done, Link, LogRun, State, Turn};
use crate::db::conversations;
use crate::identity::Me;
use crate::io::{Lane, Output, Rejection, Route};

/// Clocks further apart than this are off (protocol section 2).
const CLOCK_TOLERANCE_MS: u64 = 3_600_000;
/// Logs that one `Open` or `Subscribe` names.
const BATCH: usize = 100;
/// Bytes that one page brings, after a subscription that was too fast for this device.
pub(super) const READ_BYTES: u32 = 128 * 1024;

impl State {
    /// Wants a connection, or lets it go.
    pub(super) fn want(&mut self, turn: &mut Turn<'_>, route: Route, wanted: bool) {
        if self.wanted.get(&route).copied().unwrap_or(false) != wanted {
            self.wanted.insert(route.clone(), wanted);
            if !wanted {
                // Its greeting is for no other connection: wanted again, it is another one.
                self.links.remove(&route);
            }
            turn.output(Output::Connect { route, wanted });
        }
    }

    /// Wants all connections that the database has a use for.
    pub(super) fn connect_all(&mut self, turn: &mut Turn<'_>) -> Done {
        if let Some(me) = self.me.as_ref().filter(|me| !me.revoked()) {
            let route = Route { relay: me.address.relay().clone(), lane: Lane::Account };
            self.want(turn, route, true);
        }
        for conversation in conversations::all(turn.db)? {
            if conversation.is_followed() {
                self.want(turn, Self::logs_route(&conversation), true);
            }
        }
        Ok(())
    }

    pub(super) fn link_up(&mut self, turn: &mut Turn<'_>, route: Route, hello: Hello) -> Done {
        let clock_is_off =
            hello.time.since(turn.now) > CLOCK_TOLERANCE_MS || turn.now.since(hello.time) > CLOCK_TOLERANCE_MS;
        if hello.version != PROTOCOL_VERSION {
            // The shell refuses such a relay before it gets here.
            return Ok(());
        }
        // Said once until they agree again: they are compared anew every minute while something waits for it.
        if clock_is_off && !self.clock_told {
            self.clock_told = true;
            turn.event(api::Event::Notice {
                conversation: None,
                problem: api::Problem::new(
                    api::Kind::Local,
                    format!("This computer's clock and that of {} are more than an hour apart.", route.relay),
                    "Nobody can be added to a conversation until they agree.",
                    "Check the date, the time and the time zone of this computer.",
                ),
            });
        }
        self.clock_told &= clock_is_off;
        let lane = route.lane;
        let relay = route.relay.clone();
        if matches!(lane, Lane::Account | Lane::Logs) {
            self.see_incarnation(turn, &relay, &hello)?;
            self.invite_again(turn, &relay, &hello)?;
        }
        if matches!(lane, Lane::Account | Lane::Logs) {
            turn.event(api::Event::Connection { relay: relay.to_string(), up: true });
        }
        self.links.insert(route, Link { hello, clock_is_off });
        match lane {
            Lane::Account => {
                self.look_up_soon(turn);
                self.account_link_up(turn)
            }
            Lane::Logs => {
                let followed: Vec<LogId> = conversations::all(turn.db)?
                    .into_iter()
                    .filter(|c| c.relay == relay && c.is_followed())
                    .map(|c| c.id)
                    .collect();
                for id in &followed {
                    self.logs.insert(*id, LogRun::default());
                }
                if followed.is_empty() {
                    self.report_caught_up(turn)?;
                }
                self.open_logs(turn, &relay, &followed)
            }
            Lane::Rendezvous => self.rendezvous_up(turn),
            Lane::Errand(_) => Ok(()),
        }
    }

    /// Only a relay's greeting tells its time, and this device's clock may have been set right since, or have jumped while the
    /// greeting was on its way (a computer that slept): the connections whose clocks were apart are made anew.
    pub(super) fn compare_clocks_again(&mut self, turn: &mut Turn<'_>) -> Done {
        let off: Vec<Route> =
            self.links.iter().filter(|(_, link)| link.clock_is_off).map(|(route, _)| route.clone()).collect();
        for route in off {
            self.want(turn, route.clone(), false);
            self.link_down(turn, &route)?;
            self.want(turn, route, true);
        }
        Ok(())
    }

    pub(super) fn link_down(&mut self, turn: &mut Turn<'_>, route: &Route) -> Done {
        self.links.remove(route);
        match route.lane {
            Lane::Logs => {
                for conversation in conversations::all(turn.db)? {
                    if conversation.relay == route.relay {
                        self.logs.remove(&conversation.id);
                        self.presence.parted(&conversation.id);
                    }
                }
            }
            Lane::Account => self.account.link_down(),
            Lane::Rendezvous => self.rendezvous_down(),
            Lane::Errand(_) => {}
        }
        if matches!(route.lane, Lane::Account | Lane::Logs) {
            turn.event(api::Event::Connection { relay: route.relay.to_string(), up: false });
        }
        Ok(())
    }

    /// Proves the current epoch's key of these logs on the connection of `relay`.
    pub(super) fn open_logs(&mut self, turn: &mut Turn<'_>, relay: &RelayName, ids: &[LogId]) -> Done {
        let route = Route { relay: relay.clone(), lane: Lane::Logs };
        let Some(nonce) = self.links.get(&route).map(|link| link.hello.nonce) else { return Ok(()) };
        for batch in ids.chunks(BATCH) {
            let mut logs = Vec::with_capacity(batch.len());
            for id in batch {
                let opened = self.with_group(turn, *id, |_, turn, group| {
                    let epoch = Epoch(group.epoch());
                    let signature = Self::delivery_key(turn, group, relay)?.open(&nonce, relay, *id, epoch);
                    Ok(OpenLog { log: *id, epoch, signature })
                })?;
                if let Some(open) = opened {
                    self.logs.entry(*id).or_default().opening = Some(open.epoch);
                    logs.push(open);
                }
                if self.healing.contains_key(id) {
                    // The log may have gone back to an earlier epoch.
                    for (epoch, seed) in crate::db::held::seeds(turn.db, *id)? {
                        let signature = EpochKey::from_seed(&seed).open(&nonce, relay, *id, epoch);
                        logs.push(OpenLog { log: *id, epoch, signature });
                    }
                }
            }
            if !logs.is_empty() {
                let epochs = logs.iter().map(|open| (open.log, open.epoch)).collect();
                let ask = Ask::Open { epochs, relay: relay.clone() };
                self.ask(turn, route.clone(), Request::Open { logs }, ask);
            }
        }
        Ok(())
    }

    /// Opens a log whose epoch has changed, or that is new.
    pub(super) fn open_log(&mut self, turn: &mut Turn<'_>, id: LogId, relay: &RelayName) -> Done {
        self.want(turn, Route { relay: relay.clone(), lane: Lane::Logs }, true);
        self.open_logs(turn, relay, &[id])
    }

    pub(super) fn on_opened(
        &mut self,
        turn: &mut Turn<'_>,
        relay: &RelayName,
        epochs: Vec<(LogId, Epoch)>,
        result: Result<Response, Rejection>,
    ) -> Done {
        let states = match result {
            Ok(Response::Opened(states)) => states,
            // The connection is gone; the next one opens all of them again.
            Err(Rejection::Lost) => return Ok(()),
            Ok(_) => return Ok(()),
            Err(Rejection::Refused(error)) => {
                let pause = error.retry_after_ms.max(1_000);
                for (log, _) in epochs {
                    if let Some(run) = self.logs.get_mut(&log) {
                        run.opening = None;
                        run.pause_until = turn.now.plus(pause);
                    }
                }
                turn.wake_at(turn.now.plus(pause));
                return Ok(());
            }
        };
        let mut subscriptions = Vec::new();
        let mut healing: BTreeMap<LogId, Vec<(Epoch, LogState)>> = BTreeMap::new();
        for (state, (log, epoch)) in states.into_iter().zip(epochs) {
            if state.log != log {
                continue;
            }
            if self.healing.contains_key(&log) {
                healing.entry(log).or_default().push((epoch, state));
                continue;
            }
            if let Some(subscription) = self.log_opened(turn, &state, epoch)? {
                subscriptions.push(subscription);
            }
        }
        for (log, states) in healing {
            subscriptions.extend(self.heal_opened(turn, log, &states)?);
        }
        self.subscribe(turn, relay, subscriptions);
        Ok(())
    }

    fn log_opened(&mut self, turn: &mut Turn<'_>, state: &LogState, epoch: Epoch) -> Done<Option<Subscription>> {
        let Some(conversation) = conversations::get(turn.db, state.log)? else { return Ok(None) };
        let Some(run) = self.logs.get_mut(&state.log) else { return Ok(None) };
        if run.opening == Some(epoch) {
            run.opening = None;
        }
        match state.error {
            // An answer for an epoch that has passed meanwhile.
            _ if epoch != conversation.epoch => Ok(None),
            None => {
                run.opened = Some(epoch);
                run.subscribed = false;
                run.hole_at = None;
                run.head = run.head.max(state.head);
                Ok(Some(Subscription { log: state.log, epoch, from: conversation.cursor.next() }))
            }
            Some(Code::NotFound | Code::BadProof) => {
                self.hold(
                    turn,
                    state.log,
                    "The relay no longer knows this conversation as this device does.",
                    "It may have been restored from an old backup, or has deleted the conversation.",
                )?;
                Ok(None)
            }
            Some(_) => {
                run.pause_until = turn.now.plus(1_000);
                turn.wake_at(turn.now.plus(1_000));
                Ok(None)
            }
        }
    }

    fn subscribe(&mut self, turn: &mut Turn<'_>, relay: &RelayName, subscriptions: Vec<Subscription>) {
        if !subscriptions.is_empty() {
            let route = Route { relay: relay.clone(), lane: Lane::Logs };
            let logs = subscriptions.iter().map(|subscription| subscription.log).collect();
            self.ask(turn, route, Request::Subscribe { logs: subscriptions }, Ask::Subscribe { logs });
        }
    }

    /// Subscribes to one log again from the own cursor on.
    pub(super) fn resubscribe(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let Some(run) = self.logs.get_mut(&id) else { return Ok(()) };
        let Some(epoch) = run.opened.filter(|epoch| *epoch == conversation.epoch || self.healing.contains_key(&id))
        else {
            return Ok(());
        };
        run.subscribed = false;
        let subscription = Subscription { log: id, epoch, from: conversation.cursor.next() };
        let relay = conversation.relay.clone();
        self.subscribe(turn, &relay, vec![subscription]);
        Ok(())
    }

    /// This device was too slow for a subscription: it reads page by page, at its own pace, and then subscribes again.
    pub(super) fn read_on(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let Some(run) = self.logs.get_mut(&id) else { return Ok(()) };
        let Some(epoch) = run.opened.filter(|epoch| *epoch == conversation.epoch || self.healing.contains_key(&id))
        else {
            return Ok(());
        };
        run.subscribed = false;
        let from = conversation.cursor.next();
        let request = Request::Read { log: id, epoch, from, max_bytes: READ_BYTES };
        self.ask(turn, Self::logs_route(&conversation), request, Ask::Read { log: id, epoch, from });
        Ok(())
    }

    pub(super) fn on_read(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        epoch: Epoch,
        from: Seq,
        result: Result<Response, Rejection>,
    ) -> Done {
        if let Some(run) = self.logs.get_mut(&id) {
            run.hole_at = None;
        }
        let healing = self.healing.contains_key(&id);
        let fits = |conversation: &conversations::Conversation| conversation.epoch == epoch || healing;
        let Some(before) = conversations::get(turn.db, id)?.filter(fits) else {
            return Ok(());
        };
        match result {
            Ok(Response::Page { entries, head, more }) => {
                let relay = before.relay.clone();
                self.log_entries(turn, &relay, id, (entries, head), Some(from))?;
                // A page that ended the epoch has had the next one opened; one that brought nothing is not asked for again.
                let now = conversations::get(turn.db, id)?.filter(|now| fits(now) && now.is_followed());
                let sought = self.logs.get_mut(&id).is_some_and(|run| run.end_sought && !more);
                match now {
                    // Too long ago: whoever is still in it has gone on by changes that nobody can show this device any more.
                    Some(now) if sought && now.epoch == epoch && !healing => self.fell_asleep(turn, &now, 0),
                    Some(now) if more && now.cursor > before.cursor => self.read_on(turn, id),
                    Some(_) => self.resubscribe(turn, id),
                    None => Ok(()),
                }
            }
            Ok(_) | Err(Rejection::Lost) => Ok(()),
            Err(Rejection::Refused(error)) => {
                let pause = error.retry_after_ms.max(1_000);
                if let Some(run) = self.logs.get_mut(&id) {
                    run.opened = None;
                    run.pause_until = turn.now.plus(pause);
                }
                turn.wake_at(turn.now.plus(pause));
                Ok(())
            }
        }
    }

    pub(super) fn on_subscribed(
        &mut self,
        turn: &mut Turn<'_>,
        logs: Vec<LogId>,
        result: Result<Response, Rejection>,
    ) -> Done {
        match result {
            Ok(_) => {
                for log in logs {
                    if let Some(run) = self.logs.get_mut(&log) {
                        run.subscribed = true;
                    }
                    self.presence.joined(log, turn.now);
                    self.pump(turn, log)?;
                    self.drive_intents(turn, log)?;
                }
                self.drive_receipts(turn)?;
                self.report_caught_up(turn)
            }
            Err(Rejection::Lost) => Ok(()),
            Err(Rejection::Refused(error)) => {
                let pause = error.retry_after_ms.max(1_000);
                for log in logs {
                    if let Some(run) = self.logs.get_mut(&log) {
                        run.opened = None;
                        run.pause_until = turn.now.plus(pause);
                    }
                }
                turn.wake_at(turn.now.plus(pause));
                Ok(())
            }
        }
    }

    pub(super) fn push(&mut self, turn: &mut Turn<'_>, route: &Route, push: Push) -> Done {
        match push {
            Push::Entries { log, entries, head } => match route.lane {
                Lane::Logs => self.log_entries(turn, &route.relay, log, (entries, head), None),
                Lane::Account => self.inbox_entries(turn, log, entries, head),
                Lane::Rendezvous => self.rendezvous_entries(turn, log, entries),
                Lane::Errand(_) => Ok(()),
            },
            Push::Lagged { log, .. } => match route.lane {
                Lane::Account => self.read_inbox(turn),
                _ => self.read_on(turn, log),
            },
            // The own inbox has one epoch: it ends when this device was revoked, which the answer will say.
            Push::EpochEnded { .. } if route.lane == Lane::Account => self.subscribe_inbox(turn),
            Push::EpochEnded { log, epoch } if route.lane == Lane::Logs => {
                self.epoch_ended(turn, &route.relay, log, epoch)
            }
            Push::EpochEnded { .. } | Push::GoingAway { .. } => Ok(()),
            Push::Signal { log, epoch, body } => self.on_signal(turn, route, (log, epoch), &body),
        }
    }

    /// The commit that ended an epoch was the last entry pushed and has been processed, unless the relay no longer keeps it: a page that has
    /// nothing of it tells.
    fn epoch_ended(&mut self, turn: &mut Turn<'_>, relay: &RelayName, log: LogId, epoch: Epoch) -> Done {
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        let is_behind = conversation.relay == *relay && conversation.epoch == epoch && conversation.is_followed();
        let Some(run) = self.logs.get_mut(&log).filter(|run| is_behind && run.hole_at.is_none()) else { return Ok(()) };
        if self.healing.contains_key(&log) {
            return Ok(());
        }
        run.end_sought = true;
        self.read_on(turn, log)
    }

    /// True if all that is known to be in the log has been processed, on a connection that may send.
    pub(super) fn is_caught_up(&self, conversation: &conversations::Conversation) -> bool {
        self.logs.get(&conversation.id).is_some_and(|run| {
            run.opened == Some(conversation.epoch) && run.subscribed && conversation.cursor >= run.head
        }) && !self.healing.contains_key(&conversation.id)
    }

    /// Says once that nothing more is waiting anywhere, as far as relays are in reach.
    pub(super) fn report_caught_up(&mut self, turn: &mut Turn<'_>) -> Done {
        self.drive_pictures(turn)?;
        // What goes out is nothing that waits to be fetched.
        let fetching = self.moving.values().any(|moving| !matches!(moving, super::Moving::Upload { .. }));
        // Who certifies, and who is who, is settled before one says that all is known.
        let is_open = |ask: &Ask| matches!(ask, Ask::TakeRole { .. } | Ask::LookUpSelf | Ask::LookUpOther(_));
        let asking = self.asked.values().any(is_open);
        // Where somebody else has the address there is no inbox any more, nor for a device that was taken out.
        let is_out = self.account.is_taken || self.me.as_ref().is_some_and(Me::revoked);
        let inbox = self.account.inbox_caught_up || is_out;
        if self.account.reported_caught_up || !inbox || fetching || asking {
            return Ok(());
        }
        for conversation in conversations::all(turn.db)? {
            let route = Self::logs_route(&conversation);
            let reachable = self.links.contains_key(&route) || self.wanted.get(&route) == Some(&true);
            if conversation.is_followed() && reachable && !self.is_caught_up(&conversation) {
                return Ok(());
            }
        }
        self.account.reported_caught_up = true;
        // Some of them depend on what the inbox has brought, or not.
        self.drive_successions(turn)?;
        turn.event(api::Event::CaughtUp);
        Ok(())
    }

    /// Drops what is known of a log and of the connection's use for it.
    pub(super) fn unfollow(&mut self, turn: &mut Turn<'_>, id: LogId, relay: &RelayName) -> Done {
        self.presence.parted(&id);
        self.stop_healing(turn, id)?;
        if self.logs.remove(&id).is_some() {
            let route = Route { relay: relay.clone(), lane: Lane::Logs };
            if self.links.contains_key(&route) {
                self.ask(turn, route, Request::Unsubscribe { logs: vec![id] }, Ask::Ignored);
            }
        }
        Ok(())
    }
}
