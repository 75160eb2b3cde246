//! A commit that is not valid has ended a conversation's epoch (protocol rules 7 and 18): the evidence is kept, the device that has signed
//! it is named where that is certain, and nothing more is sent.
//!
//! What always holds: whoever is named has signed the very bytes that are kept, and every member who holds the same group finds the same.

use wire::Entry;

use super::{Done, State, Turn};
use crate::db::conversations::Conversation;
use crate::db::endings;
use crate::mls::Member;

impl State {
    /// This entry has ended the epoch and is no valid commit; `by` has signed it.
    pub(super) fn ended(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
        why: &str,
        by: Option<Member>,
    ) -> Done {
        let id = conversation.id;
        let context = self.with_group(turn, id, |_, _, group| Ok(group.context_hash()?))?.unwrap_or_default();
        endings::put(turn.db, id, entry, &context, why, by.as_ref())?;
        match by {
            Some(by) => {
                let device = by.certificate.device.to_string();
                let device = device.get(..8).unwrap_or(&device);
                let why = format!("{} did it, with the device {device}: {why}.", by.certificate.address);
                self.hold(turn, id, "A member has changed this conversation in a way that is not allowed.", &why)
            }
            None => {
                let why = format!(
                    "It was ended by something that is no valid change of it: {why}. Whose doing that is can't be told."
                );
                self.hold(turn, id, "This conversation can't go on as it is.", &why)
            }
        }
    }
}
