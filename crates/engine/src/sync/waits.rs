//! Commands whose effect is not known yet. Lost when the engine closes: what they asked for goes on, their answer does not.

use std::collections::{BTreeSet, HashMap, HashSet};

use api::{Event, Problem};
use wire::LogId;

use super::{Done, State, Turn};
use crate::db::outbox;
use crate::io::CommandId;

#[derive(Default)]
pub(super) struct Waits {
    open: HashMap<CommandId, Wait>,
    by_message: HashMap<[u8; 32], CommandId>,
    /// Several may wait for one: devices that are linked one after the other come in together.
    by_intent: HashMap<i64, BTreeSet<CommandId>>,
    /// Commands that may be complete now.
    progressed: HashSet<CommandId>,
}

/// What must have happened for a command to be done.
#[derive(Default)]
struct Wait {
    conversation: Option<LogId>,
    message: Option<[u8; 32]>,
    message_pending: bool,
    intents: HashSet<i64>,
    /// All deposits of the conversation must be out: the invited have been told.
    deposits: bool,
    /// All deposits of all conversations.
    all_deposits: bool,
    /// Whoever invites into this conversation must have been asked.
    join: Option<LogId>,
    /// Something that is reported by hand: registration, a record, a link.
    by_hand: bool,
}

/// What a command waits for, told when it begins.
#[derive(Default)]
pub(super) struct WaitFor {
    pub conversation: Option<LogId>,
    pub message: Option<[u8; 32]>,
    pub intents: Vec<i64>,
    pub deposits: bool,
    pub all_deposits: bool,
    pub join: Option<LogId>,
    pub by_hand: bool,
}

impl State {
    /// Answers `command` once all of this has happened.
    pub(super) fn wait(&mut self, command: CommandId, what: WaitFor) {
        for intent in &what.intents {
            self.waits.by_intent.entry(*intent).or_default().insert(command);
        }
        if let Some(message) = what.message {
            self.waits.by_message.insert(message, command);
        }
        self.waits.open.insert(
            command,
            Wait {
                conversation: what.conversation,
                message: what.message,
                message_pending: what.message.is_some(),
                intents: what.intents.into_iter().collect(),
                deposits: what.deposits,
                all_deposits: what.all_deposits,
                join: what.join,
                by_hand: what.by_hand,
            },
        );
        self.waits.progressed.insert(command);
    }

    /// A message is in its log.
    pub(super) fn message_settled(&mut self, message: &[u8; 32]) {
        if let Some(command) = self.waits.by_message.remove(message)
            && let Some(wait) = self.waits.open.get_mut(&command)
        {
            wait.message_pending = false;
            self.waits.progressed.insert(command);
        }
    }

    /// An intent was carried out. `follow_up` goes on for it.
    pub(super) fn intent_settled(&mut self, intent: i64, follow_up: Option<i64>) {
        for command in self.waits.by_intent.remove(&intent).unwrap_or_default() {
            let Some(wait) = self.waits.open.get_mut(&command) else { continue };
            wait.intents.remove(&intent);
            if let Some(next) = follow_up {
                wait.intents.insert(next);
                self.waits.by_intent.entry(next).or_default().insert(command);
            }
            self.waits.progressed.insert(command);
        }
    }

    /// A deposit of a conversation is out, or was given up.
    pub(super) fn deposit_settled(&mut self, conversation: LogId) {
        let waiting = self
            .waits
            .open
            .iter()
            .filter(|(_, wait)| wait.all_deposits || (wait.deposits && wait.conversation == Some(conversation)));
        self.waits.progressed.extend(waiting.map(|(command, _)| *command));
    }

    /// Whoever invites into this conversation is asked.
    pub(super) fn join_settled(&mut self, conversation: LogId) {
        for (command, wait) in &mut self.waits.open {
            if wait.join == Some(conversation) {
                wait.join = None;
                self.waits.progressed.insert(*command);
            }
        }
    }

    /// Whoever invites into this conversation can't be asked. False if nobody waits for that.
    pub(super) fn fail_join(&mut self, turn: &mut Turn<'_>, conversation: LogId, problem: &Problem) -> bool {
        let waiting = self.waits.open.iter().filter(|(_, wait)| wait.join == Some(conversation));
        let mut waiting: Vec<CommandId> = waiting.map(|(command, _)| *command).collect();
        waiting.sort_unstable();
        waiting.iter().for_each(|command| self.fail(turn, *command, problem.clone()));
        !waiting.is_empty()
    }

    /// Something that is reported by hand has happened.
    pub(super) fn settle(&mut self, command: CommandId) {
        if let Some(wait) = self.waits.open.get_mut(&command) {
            wait.by_hand = false;
            self.waits.progressed.insert(command);
        }
    }

    /// Somebody waits to hear that this message is in its log.
    pub(super) fn is_waited_for(&self, message: &[u8; 32]) -> bool {
        self.waits.by_message.contains_key(message)
    }

    /// A message will not be delivered.
    pub(super) fn message_failed(&mut self, turn: &mut Turn<'_>, message: &[u8; 32], problem: &Problem) {
        if let Some(command) = self.waits.by_message.remove(message) {
            self.fail(turn, command, problem.clone());
        }
    }

    /// An intent no longer applies. False if nobody waits for it.
    pub(super) fn intent_failed(&mut self, turn: &mut Turn<'_>, intent: i64, problem: &Problem) -> bool {
        let commands = self.waits.by_intent.remove(&intent).unwrap_or_default();
        for command in &commands {
            self.fail(turn, *command, problem.clone());
        }
        !commands.is_empty()
    }

    /// Somebody waits for this intent.
    pub(super) fn progress(&self, turn: &mut Turn<'_>, intent: i64, what: &str) {
        for command in self.waits.by_intent.get(&intent).into_iter().flatten() {
            turn.event(Event::Progress { command: *command, what: what.to_owned() });
        }
    }

    /// The command has failed.
    pub(super) fn fail(&mut self, turn: &mut Turn<'_>, command: CommandId, problem: Problem) {
        self.waits.open.remove(&command);
        self.waits.progressed.remove(&command);
        self.waits.by_message.retain(|_, other| *other != command);
        self.waits.by_intent.retain(|_, waiting| {
            waiting.remove(&command);
            !waiting.is_empty()
        });
        turn.event(Event::Failed { command, problem });
    }

    /// Answers those whose effect is complete.
    pub(super) fn answer_waits(&mut self, turn: &mut Turn<'_>) -> Done {
        let mut progressed: Vec<CommandId> = self.waits.progressed.drain().collect();
        progressed.sort_unstable();
        for command in progressed {
            let Some(wait) = self.waits.open.get(&command) else { continue };
            if wait.message_pending || !wait.intents.is_empty() || wait.by_hand || wait.join.is_some() {
                continue;
            }
            if let (true, Some(conversation)) = (wait.deposits, wait.conversation)
                && outbox::deposits_left(turn.db, conversation)? > 0
            {
                continue;
            }
            if wait.all_deposits && outbox::all_deposits_left(turn.db)? > 0 {
                continue;
            }
            if let Some(wait) = self.waits.open.remove(&command) {
                turn.event(Event::Done {
                    command,
                    conversation: wait.conversation.map(|id| id.to_string()),
                    message: wait.message.map(|id| data_encoding::HEXLOWER.encode(&id)),
                });
            }
        }
        Ok(())
    }
}
