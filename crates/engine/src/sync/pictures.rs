//! Pictures of groups: set by an admin's commit once the relay has the sealed bytes, fetched by everybody who reads the
//! commit, and put there again for those who come later.
//!
//! What always holds: nothing is shown that is not byte for byte what the state names and a picture by its markers; what is not to be had
//! is asked for ever more seldom, and nothing else waits for it.

use api::{Kind, Problem, Role};
use wire::{BlobId, LogId};

use super::intents::Intent;
use super::{Done, Moving, State, Turn};
use crate::db::conversations;
use crate::db::outbox::{self, Upload};
use crate::db::pictures;
use crate::io::{CommandId, Job, TransferFailure, TransferState};
use crate::picture::{PERIODS, Picture, period};

/// Before a picture that was not to be had is asked for again; doubled each time, up to a day.
const AGAIN_MS: u64 = 30_000;
const LONGEST_MS: u64 = 86_400_000;
/// Before a relay that is out of reach is asked again.
const UNREACHED_MS: u64 = 2_000;
/// Whoever adds a device puts the picture there if it has not done so for this time.
const FRESH_MS: u64 = 7 * 86_400_000;

impl State {
    /// A person gives a group this picture, or takes it off.
    pub(super) fn set_picture(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        file: Option<&[u8]>,
    ) -> Done<Result<(), Problem>> {
        let Some(file) = file else {
            return self.change(turn, command, target, Intent::SetPicture { picture: None }, false);
        };
        if let Err(error) = content::picture::check(file) {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That can't be a group's picture.",
                super::resolve::capitalised(&format!("{error}.")),
                "A program makes one of a JPEG, PNG or WebP file: a square JPEG of at most 640 pixels and 256 KiB, without anything else in it.",
            )));
        }
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let id = conversation.id;
        let (picture, sealed) = Picture::seal(turn.random(), file);
        // Who may not, or can't, does not send anything first.
        if conversation.kind != api::ConversationKind::Group || super::commands::unsendable(&conversation).is_some() {
            return self.change(turn, command, target, Intent::SetPicture { picture: None }, false);
        }
        if !self.looks_after(turn, id)? {
            return Ok(Err(super::outline::forbidden("change the picture of this group", "admins")));
        }
        // In this order: the commit waits for what is on its way.
        pictures::insert(turn.db, id, &picture, file, turn.now.0)?;
        self.put_up(turn, &conversation.relay, &picture, sealed)?;
        self.change(turn, command, target, Intent::SetPicture { picture: Some(picture) }, false)
    }

    /// The own account is an admin or owner there.
    fn looks_after(&self, turn: &Turn<'_>, id: LogId) -> Done<bool> {
        let Some(own) = self.me.as_ref().map(|me| me.account_key()) else { return Ok(false) };
        let members = conversations::members(turn.db, id)?;
        Ok(members.iter().any(|member| member.account_key == own && member.role >= Role::Admin))
    }

    fn put_up(&mut self, turn: &mut Turn<'_>, relay: &wire::RelayName, picture: &Picture, sealed: Vec<u8>) -> Done {
        let now = period(turn.now.0);
        let upload =
            Upload { blob: picture.blob(now), relay: relay.to_string(), secret: picture.upload(now), body: sealed };
        if !outbox::has_upload(turn.db, &upload.blob)? {
            outbox::push_upload(turn.db, &upload)?;
        }
        self.drive_uploads(turn)
    }

    /// This device's own picture, by a name that it may have begun to use in an earlier period, is not at the relay yet.
    pub(super) fn is_going_up(turn: &Turn<'_>, picture: &Picture) -> Done<bool> {
        let now = period(turn.now.0);
        for period in now.saturating_sub(PERIODS - 1)..=now {
            if outbox::has_upload(turn.db, &picture.blob(period))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A blob is at the relay (or will never be): commits that wait for it are made, or not.
    pub(super) fn picture_is_up(&mut self, turn: &mut Turn<'_>, blob: &BlobId, is_up: bool) -> Done {
        let now = period(turn.now.0);
        for id in outbox::intending(turn.db)? {
            for row in outbox::intents(turn.db, id)? {
                let Ok(Intent::SetPicture { picture: Some(picture) }) = serde_json::from_slice(&row.intent) else {
                    continue;
                };
                if !(now.saturating_sub(PERIODS - 1)..=now).any(|period| picture.blob(period) == *blob) {
                    continue;
                }
                if is_up {
                    outbox::delay_intent(turn.db, row.n, 0)?;
                    self.drive_intents(turn, id)?;
                } else if let Some(conversation) = conversations::get(turn.db, id)? {
                    let problem = Problem::new(
                        Kind::Forbidden,
                        format!("The relay {} did not take the picture.", conversation.relay),
                        "",
                        "Try again later; if it stays so, ask whoever runs that relay.",
                    );
                    self.intent_impossible(turn, &conversation, row.n, &problem)?;
                }
            }
        }
        Ok(())
    }

    /// Others come into a group: its picture is to be there for them, however long ago it was set.
    pub(super) fn picture_for_new(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some(kept) = pictures::current(turn.db, id)? else { return Ok(()) };
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        if kept.file.is_empty() || kept.uploaded.saturating_add(FRESH_MS) > turn.now.0 {
            return Ok(());
        }
        pictures::set_uploaded(turn.db, &kept, turn.now.0)?;
        let sealed = kept.picture.sealed(&kept.file);
        self.put_up(turn, &conversation.relay, &kept.picture, sealed)
    }

    /// The clock was set: under names of times that are none nobody looks for what this device has put at relays.
    pub(super) fn pictures_by_the_clock(&mut self, turn: &mut Turn<'_>) -> Done {
        let now = period(turn.now.0);
        for kept in pictures::uploaded(turn.db)? {
            let at = period(kept.uploaded);
            let Some(conversation) = conversations::get(turn.db, kept.conversation)? else { continue };
            if (now.saturating_sub(PERIODS - 1)..=now).contains(&at) {
                continue;
            }
            pictures::set_uploaded(turn.db, &kept, turn.now.0)?;
            self.put_up(turn, &conversation.relay, &kept.picture, kept.picture.sealed(&kept.file))?;
        }
        Ok(())
    }

    /// Fetches pictures that are due.
    pub(super) fn drive_pictures(&mut self, turn: &mut Turn<'_>) -> Done {
        if !std::mem::take(&mut self.pictures_due) {
            return Ok(());
        }
        let newest = period(turn.now.0);
        for kept in pictures::due(turn.db, turn.now.0)?.iter().filter(|kept| kept.picture.is_known()) {
            self.fetch_picture(turn, kept, newest)?;
        }
        if let Some(next) = pictures::next(turn.db, turn.now.0)? {
            turn.wake_at(wire::UnixMillis(next));
        }
        Ok(())
    }

    fn fetch_picture(&mut self, turn: &mut Turn<'_>, kept: &pictures::Kept, period: u64) -> Done {
        let id = kept.conversation;
        let is_moving = |moving: &Moving| matches!(moving, Moving::Picture { conversation, .. } if *conversation == id);
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        if self.moving.values().any(is_moving) {
            return Ok(());
        }
        let job = Job::Download { blob: kept.picture.blob(period), max_bytes: u64::from(kept.picture.size) };
        self.move_blob(
            turn,
            conversation.relay,
            job,
            Moving::Picture { conversation: id, hash: kept.picture.hash, period },
        );
        Ok(())
    }

    /// A blob has come, or has not. A wrong one says nothing of anybody: it is as if there were none.
    pub(super) fn on_picture(
        &mut self,
        turn: &mut Turn<'_>,
        (id, hash, at): (LogId, [u8; 32], u64),
        state: TransferState,
    ) -> Done {
        self.pictures_due = true;
        let Some(kept) = pictures::current(turn.db, id)?.filter(|kept| kept.picture.hash == hash) else {
            return Ok(());
        };
        if !kept.file.is_empty() {
            return Ok(());
        }
        let file = match &state {
            TransferState::Done(sealed) => kept.picture.open(sealed),
            TransferState::Failed(TransferFailure::Unreachable) => {
                pictures::put_off(turn.db, &kept, turn.now.plus(UNREACHED_MS << kept.tries.min(10)).0)?;
                return Ok(());
            }
            _ => None,
        };
        if let Some(file) = file {
            pictures::set_file(turn.db, &kept, &file)?;
            return self.conversation_changed(turn, id);
        }
        let first = period(turn.now.0).saturating_sub(PERIODS - 1);
        if at > first {
            return self.fetch_picture(turn, &kept, at - 1);
        }
        let after = (AGAIN_MS << kept.tries.min(12)).min(LONGEST_MS);
        Ok(pictures::put_off(turn.db, &kept, turn.now.plus(after).0)?)
    }
}
