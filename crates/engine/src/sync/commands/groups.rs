//! Conversations: making and changing them.

use api::{ConversationKind, Kind, Problem, Standing};
use wire::{Address, ChainHash, Epoch, LogId, Seq};

use super::{State, Tried, Turn, unsendable};
use crate::db::conversations::{self, Conversation};
use crate::io::CommandId;
use crate::mls::Group;
use crate::state::{ConversationState, GroupKind, MAX_DESCRIPTION, MAX_NAME};
use crate::sync::Done;
use crate::sync::intents::Intent;
use crate::sync::waits::WaitFor;

impl State {
    /// A 1:1 conversation with an account, or the notes to oneself; its intent.
    pub(in crate::sync) fn start_direct(&mut self, turn: &mut Turn<'_>, address: &Address) -> Done<(LogId, i64)> {
        let own = self.me_ref()?.address == *address;
        let state = ConversationState::new(GroupKind::Direct, "", Vec::new());
        let id = self.new_conversation(turn, &state, |conversation| {
            if own {
                conversation.kind = ConversationKind::Note;
                conversation.name = "Note to self".into();
            } else {
                conversation.kind = ConversationKind::Direct;
                conversation.name = address.to_string();
                conversation.peer = Some(address.to_string());
            }
        })?;
        let members = if own { Vec::new() } else { vec![address.to_string()] };
        let intent = self.intend(turn, id, &Intent::Create { members }, 0)?;
        Ok((id, intent))
    }

    pub(super) fn create_group(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        name: &str,
        members: &[String],
    ) -> Tried {
        let name = match group_name(name) {
            Ok(name) => name,
            Err(problem) => return Ok(Err(problem)),
        };
        let members = match self.addresses(turn, members)? {
            Ok(members) => members,
            Err(problem) => return Ok(Err(problem)),
        };
        let owner = self.me_ref()?.account_key();
        let state = ConversationState::new(GroupKind::Group, &name, vec![owner]);
        let id = self.new_conversation(turn, &state, |conversation| {
            conversation.kind = ConversationKind::Group;
            conversation.name.clone_from(&name);
        })?;
        let intent = self.intend(turn, id, &Intent::Create { members }, 0)?;
        self.wait(
            command,
            WaitFor { conversation: Some(id), intents: vec![intent], deposits: true, ..Default::default() },
        );
        self.drive_intents(turn, id)?;
        Ok(Ok(()))
    }

    pub(in crate::sync) fn new_conversation(
        &mut self,
        turn: &mut Turn<'_>,
        state: &ConversationState,
        fill: impl FnOnce(&mut Conversation),
    ) -> Done<LogId> {
        let me = self.me_ref()?;
        let (signer, relay) = (me.signer.clone(), me.address.relay().clone());
        let Some(certificate) = me.certificate().cloned() else {
            return Err(crate::EngineError::Inconsistent("no certificate"));
        };
        let id = LogId(turn.random());
        let suite = self.options.suite;
        let group = Group::create(&turn.mls, &signer, &certificate, id, suite, &state.encode(), turn.now)?;
        let mut conversation = Conversation {
            id,
            relay,
            kind: ConversationKind::Group,
            name: String::new(),
            peer: None,
            standing: Standing::Starting,
            held: String::new(),
            inviter: String::new(),
            log_made: false,
            epoch: Epoch(group.epoch()),
            cursor: Seq(0),
            chain: ChainHash::default(),
            chain_known: true,
            created: turn.now.0,
            touched: turn.now.0,
            updated: turn.now.0,
            own_messages: 0,
            last_receipt: 0,
            timer: 0,
            line: Default::default(),
        };
        fill(&mut conversation);
        conversations::put(turn.db, &conversation)?;
        crate::db::held::begin(turn.db, id, Seq(0))?;
        turn.touch(id);
        self.groups.insert(id, group);
        self.refresh(turn, id)?;
        Ok(id)
    }

    /// A change of a group: an intent, answered when it is in the log.
    pub(in crate::sync) fn change(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        intent: Intent,
        deposits: bool,
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(problem) = unsendable(&conversation) {
            return Ok(Err(problem));
        }
        if conversation.kind != ConversationKind::Group && !matches!(intent, Intent::SetTimer { .. }) {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not a group.",
                "A conversation of two stays one of two.",
                "Make a group with the people that you want in it.",
            )));
        }
        let id = conversation.id;
        let row = self.intend(turn, id, &intent, 0)?;
        self.wait(command, WaitFor { conversation: Some(id), intents: vec![row], deposits, ..Default::default() });
        self.drive_intents(turn, id)?;
        self.pump(turn, id)?;
        Ok(Ok(()))
    }
}

/// A description as it is kept: lines, without what would move the text around it. Empty takes it off.
pub(super) fn description(text: &str) -> Result<String, Problem> {
    let text: String = text.trim().chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    if text.len() > MAX_DESCRIPTION {
        return Err(Problem::new(
            Kind::Usage,
            "That description is too long.",
            format!("A description has at most {MAX_DESCRIPTION} bytes; this one has {}.", text.len()),
            "Say the rest in a message, and pin that.",
        ));
    }
    Ok(text)
}

pub(super) fn group_name(name: &str) -> Result<String, Problem> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Problem::new(
            Kind::Usage,
            "That can't be a group's name.",
            format!("A name has 1 to {MAX_NAME} bytes."),
            "Choose another one.",
        ));
    }
    Ok(name)
}
