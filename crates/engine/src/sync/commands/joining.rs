//! Invite links: made, taken back and followed, and answers to who asks.

use api::{ConversationKind, Kind, Problem, Standing};

use super::{State, Tried, Turn, blocked, unsendable};
use crate::db::conversations;
use crate::db::joins::{self, Join};
use crate::invite_link::{self, link_id};
use crate::io::CommandId;
use crate::sync::intents::Intent;
use crate::sync::waits::WaitFor;

impl State {
    pub(super) fn make_link(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        (expires, uses, direct): (u64, u32, bool),
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        if expires != 0 && expires <= turn.now.0 {
            return Ok(Err(Problem::new(Kind::Usage, "That link would have ended already.", "", "Give a later time.")));
        }
        let secret = turn.random();
        let id = link_id(conversation.id, &secret);
        joins::keep_secret(turn.db, conversation.id, &id, &secret)?;
        self.change(turn, command, &conversation.id.to_string(), Intent::MakeLink { id, expires, uses, direct }, false)
    }

    pub(super) fn revoke_link(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, link: &str) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let wanted = link.trim().to_lowercase();
        let named = |id: &[u8; 16]| {
            let text = data_encoding::HEXLOWER.encode(id);
            wanted.len() >= 4 && text.starts_with(&wanted)
        };
        let by_text = invite_link::read(link).ok().map(|link| link_id(link.log, &link.secret));
        let links = joins::links(turn.db, conversation.id)?;
        let mut fitting = links.iter().map(|row| row.link.id).filter(|id| named(id) || by_text == Some(*id));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => {
                self.change(turn, command, &conversation.id.to_string(), Intent::RevokeLink { id }, false)
            }
            (None, _) => Ok(Err(Problem::new(
                Kind::NotFound,
                format!("“{}” has no such link.", conversation.name),
                "",
                "Take the first characters of its id from the list of links.",
            ))),
            _ => Ok(Err(Problem::new(Kind::Usage, "More than one link begins with that.", "", "Give more of its id."))),
        }
    }

    /// Follows a link: the request is out when the command is done; whether one is let in is for the other side to say.
    pub(super) fn join_by_link(&mut self, turn: &mut Turn<'_>, command: CommandId, text: &str) -> Tried {
        let Ok(link) = invite_link::read(text) else {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not an invite link.",
                "A part of it may be missing.",
                "Copy the whole link, from https to its last character.",
            )));
        };
        if link.expires != 0 && link.expires <= turn.now.0 {
            let what = "This link has ended.";
            return Ok(Err(Problem::new(Kind::Forbidden, what, "", format!("Ask {} for a new one.", link.inviter))));
        }
        if self.me_ref()?.address == link.inviter {
            return Ok(Err(Problem::new(Kind::Usage, "That is a link of your own.", "", "Give it to somebody else.")));
        }
        if let Some(problem) = blocked(turn, &link.inviter)? {
            return Ok(Err(problem));
        }
        if let Some(there) = conversations::get(turn.db, link.log)? {
            let inside = matches!(there.standing, Standing::Active | Standing::Held | Standing::Starting);
            if there.relay != link.relay || there.kind != ConversationKind::Group {
                return Ok(Err(Problem::new(Kind::Trust, "That link is not genuine.", "", "Ask for a new one.")));
            }
            if inside {
                let what = format!("You are in “{}” already.", there.name);
                return Ok(Err(Problem::new(Kind::Conflict, what, "", "")));
            }
            if there.standing == Standing::Requested {
                let what = format!("You are invited to “{}” already.", there.name);
                return Ok(Err(Problem::new(Kind::Conflict, what, "", "Accept that invitation.")));
            }
        }
        let join = Join {
            conversation: link.log,
            relay: link.relay.to_string(),
            inviter: link.inviter.to_string(),
            link: link.to_bytes(),
            asked: false,
        };
        joins::put_join(turn.db, &join)?;
        self.wait(
            command,
            WaitFor { conversation: Some(link.log), join: Some(link.log), deposits: true, ..Default::default() },
        );
        self.drive_joins(turn)?;
        Ok(Ok(()))
    }

    /// Lets somebody in who has asked, or not; he is not told of a refusal.
    pub(super) fn answer_join(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        (who, approve): (&str, bool),
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let id = conversation.id;
        let fits = |address: &str| address == who || address.split('@').next() == Some(who);
        let mut fitting = joins::requests(turn.db, Some(id))?.into_iter().filter(|request| fits(&request.address));
        let request = match (fitting.next(), fitting.next()) {
            (Some(request), None) => request,
            (None, _) => {
                let what = format!("{who} has not asked to join “{}”, or is answered.", conversation.name);
                return Ok(Err(Problem::new(Kind::NotFound, what, "", "See the list of requests.")));
            }
            _ => {
                let what = format!("“{who}” could be more than one account.");
                return Ok(Err(Problem::new(Kind::Usage, what, "", "Use the whole address, name@relay.")));
            }
        };
        if !approve {
            joins::remove_request(turn.db, id, &request.address)?;
            self.done(turn, command, Some(id));
            return Ok(Ok(()));
        }
        if let Some(problem) = unsendable(&conversation) {
            return Ok(Err(problem));
        }
        let row = self.admit(turn, &request)?;
        self.wait(
            command,
            WaitFor { conversation: Some(id), intents: vec![row], deposits: true, ..Default::default() },
        );
        self.drive_intents(turn, id)?;
        Ok(Ok(()))
    }
}
