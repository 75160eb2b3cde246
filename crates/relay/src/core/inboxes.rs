//! Inboxes: what others leave for a device, and how the device reads it.
//!
//! What always holds: a deposit goes only into the inbox of a device that an account lists and has not revoked; the relay does not
//! know who left it; and no address range can fill an inbox, or use up how often somebody may write to it, by itself.

use std::sync::Arc;

use bytes::Bytes;
use store::{NewEntry, Pipe, Store};
use wire::{Code, EntryId, EntryKind, Epoch, Error, LogId, Response, Seq, UnixMillis};

use super::connections::{Connection, at_most};
use super::rates::{Quota, kibibytes, limited};
use super::{Relay, keys, refusal};

/// Inboxes have one epoch only.
const EPOCH: Epoch = Epoch(0);

impl<S: Store> Relay<S> {
    pub(super) async fn deposit(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        inbox: LogId,
        id: EntryId,
        body: Bytes,
    ) -> Result<Response, Error> {
        self.spend_errand(now, conn)?;
        at_most(body.len(), self.config.limits.message_bytes, "a deposit")?;
        self.active_inbox(inbox).await?;
        self.spend_share(now, conn, inbox, body.len())?;
        let room = self.config.rates.bytes_per_inbox;
        if let Err(not) = self.live.admit(inbox, body.len(), room, &self.config.rates, now) {
            return Err(self.not_admitted(inbox, not).await);
        }
        let body = Bytes::copy_from_slice(&body);
        let entry =
            NewEntry { id: id.0, kind: EntryKind::Deposit as u8, body: body.clone(), commitment: [0; 32], time: now.0 };
        let placed = self.store.append(inbox.0, EPOCH.0, &Pipe::default(), entry).await.map_err(refusal)?;
        self.learn_bytes(inbox).await;
        Ok(self.appended(inbox, EPOCH, placed, id, &body, [0; 32]))
    }

    /// Pays out of what this address range may leave in this inbox.
    fn spend_share(&self, now: UnixMillis, conn: &Connection, inbox: LogId, bytes: usize) -> Result<(), Error> {
        let rates = &self.config.rates;
        let share = Quota::bytes(rates.inbox_bytes_per_range, self.config.limits.commit_retention_ms);
        let key = (inbox, conn.peer.range);
        self.deposits_from
            .spend(key, rates.deposits_per_range, now)
            .and_then(|()| self.deposited_from.spend_many(key, kibibytes(bytes), share, now))
            .map_err(|wait| limited("invitations of this device from this network", wait))
    }

    /// Refuses what is not the inbox of a device in use.
    async fn active_inbox(&self, inbox: LogId) -> Result<(), Error> {
        let record = self.store.record(&keys::inbox(inbox)).await.map_err(refusal)?;
        if let Some((address, device)) = record.and_then(|record| keys::read_owner(&record.value))
            && let Some(account) = self.account(&address).await?
            && account.active().any(|listed| listed.certificate.device == device && listed.inbox == inbox)
        {
            return Ok(());
        }
        Err(Error::new(Code::NotFound, "this is not the inbox of a device in use; look the account up again"))
    }

    pub(super) async fn read_inbox(&self, conn: &Connection, from: Seq, max_bytes: u32) -> Result<Response, Error> {
        let inbox = self.authenticated(conn).await?.device.inbox;
        self.page(inbox, EPOCH, None, from, max_bytes).await
    }

    pub(super) async fn subscribe_inbox(&self, conn: &Arc<Connection>, from: Seq) -> Result<Response, Error> {
        let inbox = self.authenticated(conn).await?.device.inbox;
        self.follow(conn, inbox, EPOCH, None, from).await?;
        Ok(Response::Done)
    }
}
