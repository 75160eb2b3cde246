//! What a message looks like once everything that was done to it is taken in log order. Pure: the same acts give the same on every
//! device, whatever order they came in.
//!
//! Protocol rule 13: an act counts only behind its message in the log; nothing
//! counts behind a deletion; edits are the author's; deletions the author's or, in a group, an admin's; the last vote of an account
//! counts, and none behind the end of its poll.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::acts::{Act, ActKind};
use crate::db::messages::Message;

/// How often a message can be edited.
pub(crate) const MAX_EDITS: usize = 100;
/// How many different emoji of one account count on one message at a time.
pub(crate) const MAX_EMOJI_OF_ONE: usize = 16;
/// How many messages of a conversation are pinned at most: the ones pinned last.
pub(crate) const MAX_PINS: usize = 32;

/// What has become of a message.
#[derive(Debug, Default)]
pub(crate) struct Folded<'a> {
    /// The edits that count, the last one last.
    pub edits: Vec<&'a Act>,
    /// The deletion that counts.
    pub deletion: Option<&'a Act>,
}

/// True if the act stands behind the message in the log. What is on its way comes behind all that is there.
pub(crate) fn is_behind(act: &Act, message: &Message) -> bool {
    act.seq == 0 || (message.seq != 0 && act.seq > message.seq)
}

fn may_delete(act: &Act, message: &Message) -> bool {
    act.sender == message.sender || act.power
}

/// Edits and the deletion. `acts` are in log order.
pub(crate) fn fold<'a>(message: &Message, acts: &'a [Act]) -> Folded<'a> {
    let mut folded = Folded::default();
    for act in acts.iter().filter(|act| is_behind(act, message)) {
        match act.kind {
            ActKind::Delete if may_delete(act, message) => {
                folded.deletion = Some(act);
                if !planted!(EditAfterDelete) {
                    break;
                }
            }
            ActKind::Edit if act.sender == message.sender && folded.edits.len() < MAX_EDITS => {
                folded.edits.push(act);
                if planted!(EditAfterDelete) {
                    folded.deletion = None;
                }
            }
            _ => {}
        }
    }
    folded
}

/// An emoji and who has reacted with it: accounts in the order in which they did, and whether each is the own one.
pub(crate) type Reacted<'a> = (&'a str, Vec<(&'a str, bool)>);

/// Reactions, in the order in which they were given. The last word of an account on an emoji counts.
pub(crate) fn reactions<'a>(message: &Message, acts: &'a [Act]) -> Vec<Reacted<'a>> {
    let mut last: BTreeMap<(&str, &str), (usize, &Act)> = BTreeMap::new();
    for (at, act) in acts.iter().enumerate().filter(|(_, act)| is_behind(act, message)) {
        let key = (act.sender.as_str(), act.value.as_str());
        if matches!(act.kind, ActKind::Reaction | ActKind::Unreaction) {
            last.insert(key, (at, act));
        }
    }
    let mut given: Vec<(usize, &Act)> = last.into_values().filter(|(_, act)| act.kind == ActKind::Reaction).collect();
    given.sort_by_key(|(at, _)| *at);
    let mut of_one: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reacted: Vec<Reacted<'_>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, act) in given {
        let count = of_one.entry(&act.sender).or_default();
        *count += 1;
        if *count > MAX_EMOJI_OF_ONE {
            continue;
        }
        let place = *places.entry(&act.value).or_insert_with(|| {
            reacted.push((&act.value, Vec::new()));
            reacted.len() - 1
        });
        if let Some((_, by)) = reacted.get_mut(place) {
            by.push((&act.sender, act.own));
        }
    }
    reacted
}

/// The votes of a poll, and whether it is closed.
#[derive(Debug, Default)]
pub(crate) struct Votes<'a> {
    /// The choices that count, by account.
    pub choices: BTreeMap<&'a str, (Vec<usize>, bool)>,
    pub closed: bool,
}

/// Votes. `poll` is what the message asks.
pub(crate) fn votes<'a>(message: &Message, poll: &api::Poll, acts: &'a [Act]) -> Votes<'a> {
    let mut votes = Votes::default();
    for act in acts.iter().filter(|act| is_behind(act, message)) {
        match act.kind {
            ActKind::PollClosed if act.sender == message.sender => {
                votes.closed = true;
                break;
            }
            ActKind::Vote => {
                if let Some(chosen) = chosen(poll, &act.value) {
                    votes.choices.insert(&act.sender, (chosen, act.own));
                }
            }
            _ => {}
        }
    }
    votes.choices.retain(|_, (chosen, _)| !chosen.is_empty());
    votes
}

/// What a vote chooses, if the poll has such options.
pub(crate) fn chosen(poll: &api::Poll, value: &str) -> Option<Vec<usize>> {
    let chosen: Vec<usize> =
        value.split(',').filter(|place| !place.is_empty()).map(|place| place.parse().ok()).collect::<Option<_>>()?;
    let allowed = poll.multiple || chosen.len() <= 1;
    (allowed && chosen.iter().all(|place| *place < poll.options.len())).then_some(chosen)
}

/// The messages that are pinned, the last one pinned first. `acts` are pins and ends of pins in log order.
pub(crate) fn pinned(acts: &[Act]) -> Vec<[u8; 32]> {
    let mut seen = BTreeSet::new();
    let last = acts.iter().rev().filter(|act| seen.insert(act.target));
    last.filter(|act| act.kind == ActKind::Pin).take(MAX_PINS).map(|act| act.target).collect()
}

#[cfg(test)]
mod tests {
    use api::MessageKind;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use wire::LogId;

    use super::*;

    fn message(seq: u64) -> Message {
        let kind = MessageKind::Text { text: "said".into() };
        Message { sender: "a".into(), seq, ..Message::new(LogId([1; 16]), [9; 32], kind) }
    }

    fn act(kind: ActKind, sender: &str, seq: u64, value: &str) -> Act {
        Act {
            id: [seq as u8; 32],
            part: 0,
            target: [9; 32],
            kind,
            sender: sender.into(),
            own: sender == "a",
            power: false,
            sent: 0,
            time: seq,
            seq,
            value: value.into(),
            content: Vec::new(),
            evidence: Vec::new(),
        }
    }

    fn poll(multiple: bool) -> api::Poll {
        let option = |text: &str| api::PollOption { text: text.into(), votes: 0, own: false, by: Vec::new() };
        api::Poll { question: "?".into(), options: vec![option("x"), option("y")], multiple, closed: false, voters: 0 }
    }

    #[test]
    fn only_the_author_edits_and_nothing_counts_behind_a_deletion() {
        use ActKind::{Delete, Edit};
        let acts = [
            act(Edit, "a", 2, ""), // before the message
            act(Edit, "a", 4, ""),
            act(Edit, "b", 5, ""),
            act(Delete, "b", 6, ""),
            act(Edit, "a", 7, ""),
            act(Delete, "a", 8, ""),
            act(Edit, "a", 9, ""),
        ];
        let original = message(3);
        let folded = fold(&original, &acts);
        assert_eq!(folded.edits.iter().map(|edit| edit.seq).collect::<Vec<_>>(), [4, 7]);
        assert_eq!(folded.deletion.map(|deletion| deletion.seq), Some(8));
        let admin = [Act { power: true, ..act(Delete, "b", 6, "") }];
        assert_eq!(fold(&original, &admin).deletion.map(|deletion| deletion.seq), Some(6));
        let many: Vec<Act> = (4..1000).map(|seq| act(Edit, "a", seq, "")).collect();
        assert_eq!(fold(&original, &many).edits.len(), MAX_EDITS);
        // An own message on its way: what others claim to have done to it they can't have seen.
        assert_eq!(fold(&message(0), &acts).edits.len(), 0);
        assert_eq!(fold(&message(0), &[act(Edit, "a", 0, "")]).edits.len(), 1);
    }

    #[test]
    fn the_last_word_on_an_emoji_counts() {
        use ActKind::{Reaction, Unreaction};
        let acts = [
            act(Reaction, "a", 4, "+"),
            act(Reaction, "b", 5, "-"),
            act(Reaction, "b", 6, "+"),
            act(Unreaction, "a", 7, "+"),
            act(Reaction, "b", 8, "+"),
            act(Unreaction, "c", 9, "-"),
            act(Reaction, "a", 10, "-"),
        ];
        let shown = reactions(&message(3), &acts);
        assert_eq!(shown, [("-", vec![("b", false), ("a", true)]), ("+", vec![("b", false)])]);
        let many: Vec<Act> = (4..100).map(|seq| act(Reaction, "b", seq, &seq.to_string())).collect();
        assert_eq!(reactions(&message(3), &many).len(), MAX_EMOJI_OF_ONE);
    }

    #[test]
    fn the_last_vote_counts_and_none_after_the_end() {
        use ActKind::{PollClosed, Vote};
        let acts = [
            act(Vote, "b", 4, "0"),
            act(Vote, "c", 5, "1"),
            act(Vote, "b", 6, "1"),
            act(Vote, "b", 7, "7"),   // no such option
            act(Vote, "c", 8, "0,1"), // not with a single choice
            act(Vote, "a", 9, "0"),
            act(Vote, "a", 10, ""),
            act(PollClosed, "b", 11, ""),
            act(PollClosed, "a", 12, ""),
            act(Vote, "b", 13, "0"),
        ];
        let counted = votes(&message(3), &poll(false), &acts);
        assert!(counted.closed);
        assert_eq!(counted.choices.into_iter().collect::<Vec<_>>(), [("b", (vec![1], false)), ("c", (vec![1], false))]);
        let both = votes(&message(3), &poll(true), &acts[..5]);
        assert_eq!(both.choices.get("c").map(|(chosen, _)| chosen.len()), Some(2));
        assert!(!both.closed);
    }

    #[test]
    fn the_last_pins_are_pinned() {
        use ActKind::{Pin, Unpin};
        let on = |target: u8, kind: ActKind, seq: u64| Act { target: [target; 32], ..act(kind, "a", seq, "") };
        let acts = [on(1, Pin, 1), on(2, Pin, 2), on(3, Pin, 3), on(2, Unpin, 4), on(1, Pin, 5)];
        assert_eq!(pinned(&acts), [[1; 32], [3; 32]]);
        let many: Vec<Act> = (0..200u8).map(|n| on(n, Pin, u64::from(n) + 1)).collect();
        assert_eq!(pinned(&many).len(), MAX_PINS);
        assert_eq!(pinned(&many).first(), Some(&[199; 32]));
    }

    fn any_act() -> impl Strategy<Value = Act> {
        let kind = prop::sample::select(vec![
            ActKind::Edit,
            ActKind::Delete,
            ActKind::Reaction,
            ActKind::Unreaction,
            ActKind::Vote,
            ActKind::PollClosed,
        ]);
        (
            kind,
            prop::sample::select(vec!["a", "b", "c"]),
            0u64..60,
            prop::sample::select(vec!["", "0", "1", "0,1", "x"]),
        )
            .prop_map(|(kind, sender, seq, value)| act(kind, sender, seq, value))
    }

    proptest! {
        /// Whatever came in whatever order: sorted by place it is the same, and what is void changes nothing.
        #[test]
        fn void_acts_change_nothing(mut acts in vec(any_act(), 0..30), poll_is_multiple: bool) {
            acts.sort_by_key(|act| if act.seq == 0 { u64::MAX } else { act.seq });
            let original = message(20);
            let counting: Vec<Act> = acts.iter().filter(|act| is_behind(act, &original)).cloned().collect();
            let (all, some) = (fold(&original, &acts), fold(&original, &counting));
            prop_assert_eq!(all.edits.len(), some.edits.len());
            prop_assert!(all.edits.iter().all(|edit| edit.sender == "a"));
            prop_assert!(all.deletion.is_none_or(|deletion| deletion.sender == "a"));
            prop_assert_eq!(reactions(&original, &acts), reactions(&original, &counting));
            let poll = poll(poll_is_multiple);
            let (all, some) = (votes(&original, &poll, &acts), votes(&original, &poll, &counting));
            prop_assert!(all.choices.values().all(|(chosen, _)| poll_is_multiple || chosen.len() == 1));
            prop_assert_eq!(all.choices, some.choices);
        }
    }
}
