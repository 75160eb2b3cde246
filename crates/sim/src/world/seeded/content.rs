//! What people do to messages.

use api::{Command, Conversation, Message, MessageKind, Query, Standing, View};

use super::Run;
use crate::world::{DeviceId, Transition, World};

const EMOJI: [&str; 4] = ["👍", "❤", "🎉", "-1"];

impl Run {
    /// Something done to one of the last messages of a conversation, or a message that is more than text.
    pub(super) fn content(
        &mut self,
        world: &World,
        device: DeviceId,
        conversations: &[Conversation],
    ) -> Option<Transition> {
        let active: Vec<&Conversation> = conversations.iter().filter(|c| c.standing == Standing::Active).collect();
        let conversation = self.chance.pick(&active)?.id.clone();
        let query = Query::Messages { conversation: conversation.clone(), before: None, limit: 4 };
        let Some(View::Messages(messages)) = world.view(device, &query) else { return None };
        let written: Vec<&Message> =
            messages.iter().filter(|message| !matches!(message.kind, MessageKind::System { .. })).collect();
        let polls: Vec<&Message> =
            written.iter().copied().filter(|message| matches!(message.kind, MessageKind::Poll { .. })).collect();
        let own: Vec<&Message> = written.iter().copied().filter(|message| message.own).collect();
        let id = |message: &Message| message.id.clone();
        let command = match self.chance.weighted([
            10,
            4,
            2,
            10,
            3,
            3,
            6,
            2,
            1,
            if self.timers { 2 } else { 0 },
            if self.timers { 3 } else { 0 },
            1,
        ])? {
            0 => {
                let message = id(self.chance.pick(&own)?);
                let text = self.text(device);
                Command::Edit { conversation, message, text: format!("edit, {text}"), preview: None }
            }
            1 => Command::Delete { conversation, message: id(self.chance.pick(&written)?), for_everyone: true },
            2 => Command::Delete { conversation, message: id(self.chance.pick(&written)?), for_everyone: false },
            3 => Command::React {
                conversation,
                message: id(self.chance.pick(&written)?),
                emoji: (*self.chance.pick(&EMOJI)?).to_owned(),
                remove: self.chance.per_mille(300),
            },
            4 => {
                let (message, pinned) = (id(self.chance.pick(&written)?), self.chance.per_mille(700));
                Command::Pin { conversation, message, pinned }
            }
            5 => {
                let question = self.text(device);
                let options = ["yes", "no", "never"].map(str::to_owned).to_vec();
                Command::CreatePoll { conversation, question, options, multiple: self.chance.per_mille(500) }
            }
            6 => {
                let options = (0..3).filter(|_| self.chance.per_mille(400)).collect();
                Command::Vote { conversation, poll: id(self.chance.pick(&polls)?), options }
            }
            7 => Command::ClosePoll { conversation, poll: id(self.chance.pick(&polls)?) },
            8 => {
                let to = self.chance.pick(&active)?.id.clone();
                Command::Forward { conversation, message: id(self.chance.pick(&written)?), to }
            }
            9 => {
                let timer = *self.chance.pick(&[0, 1_000, 60_000, 3_600_000])?;
                Command::SetTimer { conversation, timer }
            }
            10 => {
                let once = messages.iter().filter(|message| matches!(message.kind, MessageKind::ViewOnce { .. }));
                let once: Vec<&Message> = once.collect();
                Command::Open { conversation, message: id(self.chance.pick(&once)?) }
            }
            _ => Command::Send {
                conversation,
                text: self.text(device),
                reply_to: Some(id(self.chance.pick(&written)?)),
                preview: None,
                stays: if self.timers { *self.chance.pick(&[0, 0, 1_000, 60_000])? } else { 0 },
                view_once: self.timers && self.chance.per_mille(200),
            },
        };
        if self.chance.per_mille(500) {
            self.answer(world, device, &command);
        }
        Some(Transition::Do { device, command })
    }

    /// Another device does something to the same message before it has heard of it: where they meet in the log is what the rules are
    /// about.
    fn answer(&mut self, world: &World, device: DeviceId, command: &Command) {
        let account = world.model.accounts.get(&device);
        let others: Vec<(DeviceId, bool)> = world
            .model
            .accounts
            .iter()
            .filter(|(other, _)| **other != device)
            .map(|(other, of)| (*other, Some(of) == account))
            .collect();
        let Some((other, same)) = self.chance.pick(&others).copied() else { return };
        let command = match command.clone() {
            Command::Edit { conversation, message, .. }
            | Command::Delete { conversation, message, for_everyone: true }
                if same =>
            {
                Command::Edit { conversation, message, text: format!("edit, {}", self.text(other)), preview: None }
            }
            Command::React { conversation, message, emoji, remove } => {
                let other_emoji = EMOJI.iter().find(|other| **other != emoji).copied().unwrap_or_default();
                let emoji = if same { emoji } else { other_emoji.to_owned() };
                Command::React { conversation, message, emoji, remove: same && !remove }
            }
            Command::Vote { conversation, poll, options } => {
                let options = if options.is_empty() { vec![0] } else { Vec::new() };
                Command::Vote { conversation, poll, options }
            }
            Command::ClosePoll { conversation, poll } => Command::Vote { conversation, poll, options: vec![1] },
            _ => return,
        };
        self.queued.push(Transition::Do { device: other, command });
    }
}
