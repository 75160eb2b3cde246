//! Members who write what no program of ours would: every receiver decides by itself, and bounds what it keeps.

use std::collections::BTreeMap;

use api::{ConversationKind, MessageKind, Role, Standing};
use content::mimi::{Disposition, NestedPart, Part, PartSemantics};
use content::{MessageId, MimiContent, message_id};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;
use wire::{ChainHash, Epoch, LogId, RelayName, Seq, UnixMillis};

use super::*;
use crate::Options;
use crate::db::arrangements::{self, Arrangement};
use crate::db::{Database, open};
use crate::sync::entries::{room_uri, sender_uri};

const ROOM: LogId = LogId([7; 16]);

/// A conversation as one device keeps it; what members write stands in its log one after the other.
struct Room {
    db: Connection,
    state: State,
    conversation: Conversation,
    seq: u64,
    salt: u64,
    /// Whose address everybody's is.
    account: [u8; 32],
}

impl Room {
    /// `ann` owns it, `bob` and `eve` are members; this is `me`'s device, who is a member too.
    fn new(name: &str, kind: ConversationKind) -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let db = open(&Database::Memory { name: format!("bodies-{name}") }, &mut rng).unwrap();
        let state = State::load(&db, Options::default()).unwrap();
        let conversation = Conversation {
            id: ROOM,
            relay: "relay.example".parse::<RelayName>().unwrap(),
            kind,
            name: "club".into(),
            peer: None,
            standing: Standing::Active,
            held: String::new(),
            inviter: String::new(),
            log_made: true,
            epoch: Epoch(1),
            cursor: Seq(0),
            chain: ChainHash([0; 32]),
            chain_known: true,
            created: 0,
            touched: 0,
            updated: 0,
            own_messages: 0,
            last_receipt: 0,
            timer: 0,
            line: Default::default(),
        };
        conversations::put(&db, &conversation).unwrap();
        let member = |name: &str, role| conversations::Member {
            address: format!("{name}@relay.example"),
            account_key: [0; 32],
            role,
            devices: 1,
        };
        let members: Vec<_> =
            [("ann", Role::Owner), ("bob", Role::Member), ("eve", Role::Member), ("me", Role::Member)]
                .map(|(name, role)| member(name, role))
                .into();
        conversations::set_members(&db, ROOM, &members).unwrap();
        Self { db, state, conversation, seq: 0, salt: 0, account: [1; 32] }
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut State, &mut Turn<'_>) -> Done<T>) -> T {
        let mut for_mls = ChaCha20Rng::from_seed([2; 32]);
        let mut turn = Turn::new(&self.db, &mut for_mls, ChaCha20Rng::from_seed([3; 32]), UnixMillis(1_000));
        work(&mut self.state, &mut turn).unwrap()
    }

    fn salt(&mut self) -> [u8; 16] {
        self.salt += 1;
        u128::from(self.salt).to_be_bytes()
    }

    /// `who` writes something; it has the next place in the log.
    fn says(&mut self, who: &str, content: &MimiContent) -> MessageId {
        self.seq += 1;
        let (seq, sender) = (self.seq, format!("{who}@relay.example"));
        let bytes = content.encode();
        let content = MimiContent::decode(&bytes).unwrap();
        let id = message_id(&sender_uri(&sender), &room_uri(&self.conversation), &content.salt, &bytes);
        let arrived = Arrived {
            id: id.0,
            sender: sender.parse().unwrap(),
            account: self.account,
            own: who == "me",
            sent: seq,
            time: UnixMillis(1_000 + seq),
            seq: Seq(seq),
            content: bytes,
            evidence: vec![1],
        };
        let conversation = self.conversation.clone();
        self.turn(|state, turn| state.arrived(turn, &conversation, arrived, &content));
        id
    }

    fn text(&mut self, who: &str, text: &str) -> MessageId {
        let content = content::text(self.salt(), text, None);
        self.says(who, &content)
    }

    fn edit(&mut self, who: &str, replaces: MessageId, text: &str) -> MessageId {
        let content = content::edit(self.salt(), replaces, text, None, None);
        self.says(who, &content)
    }

    fn delete(&mut self, who: &str, replaces: MessageId) -> MessageId {
        let content = content::delete(self.salt(), replaces, None);
        self.says(who, &content)
    }

    fn react(&mut self, who: &str, to: MessageId, emoji: &str) -> MessageId {
        let content = content::reaction(self.salt(), to, emoji);
        self.says(who, &content)
    }

    fn shown(&self, id: MessageId) -> api::Message {
        message_view(&self.db, &messages::get(&self.db, ROOM, &id.0).unwrap().unwrap()).unwrap()
    }

    fn words(&self, id: MessageId) -> String {
        match self.shown(id).kind {
            MessageKind::Text { text } => text,
            MessageKind::Unknown { fallback } => format!("unknown: {fallback}"),
            MessageKind::Deleted { by } => format!("deleted by {by}"),
            other => format!("{other:?}"),
        }
    }

    fn all(&self) -> Vec<Message> {
        messages::page(&self.db, ROOM, None, 100_000).unwrap()
    }

    fn acts(&self, of: MessageId) -> usize {
        acts::of_target(&self.db, ROOM, &of.0).unwrap().len()
    }
}

fn part(disposition: Disposition, content_type: &str, content: &[u8]) -> NestedPart {
    let part = Part::Single { content_type: content_type.into(), content: content.to_vec() };
    NestedPart { disposition, language: String::new(), part }
}

fn raw(salt: [u8; 16], in_reply_to: Option<MessageId>, part: NestedPart) -> MimiContent {
    MimiContent {
        salt,
        replaces: None,
        topic_id: Vec::new(),
        expires: None,
        in_reply_to,
        extensions: BTreeMap::new(),
        part,
    }
}

#[test]
fn rule_13_nobody_edits_or_deletes_for_somebody_else() {
    let mut room = Room::new("others", ConversationKind::Group);
    let text = room.text("bob", "mine");
    let edit = room.edit("bob", text, "still mine");
    room.edit("eve", text, "forged");
    room.edit("eve", edit, "forged by naming the edit");
    room.delete("eve", text);
    room.delete("eve", edit);
    room.edit("ann", text, "not even an owner edits");
    assert_eq!(room.words(text), "still mine");
    assert_eq!(room.acts(text), 1, "what is void is not kept");
    // In a pair nobody moderates.
    let mut pair = Room::new("pair", ConversationKind::Direct);
    let text = pair.text("bob", "mine");
    pair.delete("ann", text);
    assert_eq!(pair.words(text), "mine");
}

#[test]
fn rule_13_another_account_under_the_address_has_no_say() {
    let mut room = Room::new("remade", ConversationKind::Group);
    let bob: Address = "bob@relay.example".parse().unwrap();
    contacts::see(&room.db, &bob, &room.account, 1).unwrap();
    let text = room.text("bob", "mine");
    let poll = content::Poll::new("when?", &["now".into(), "later".into()], false).unwrap();
    let poll = content::poll(room.salt(), &poll);
    let poll = room.says("bob", &poll);
    // Somebody has made an account for that address anew, and an admin has let it in.
    room.account = [2; 32];
    room.edit("bob", text, "never said");
    room.delete("bob", text);
    let closed = content::poll_closed(room.salt(), poll);
    room.says("bob", &closed);
    assert_eq!(room.words(text), "mine");
    assert!(matches!(room.shown(poll).kind, MessageKind::Poll { poll } if !poll.closed));
    // The person takes that it is the same somebody.
    let known = contacts::get(&room.db, &bob).unwrap().unwrap();
    contacts::put(&room.db, &contacts::Contact { account_key: [2; 32], ..known }).unwrap();
    room.edit("bob", text, "mine still");
    assert_eq!(room.words(text), "mine still");
}

#[test]
fn an_edit_of_an_edit_is_an_edit() {
    let mut room = Room::new("edits", ConversationKind::Group);
    let text = room.text("bob", "one");
    let two = room.edit("bob", text, "two");
    let three = room.edit("bob", two, "three");
    room.edit("bob", three, "four");
    assert_eq!(room.words(text), "four");
    let said: Vec<String> = revisions(&room.db, &room.all()[0]).unwrap().into_iter().map(|r| r.text).collect();
    assert_eq!(said, ["one", "two", "three", "four"]);
    room.delete("bob", three);
    assert_eq!(room.words(text), "deleted by bob@relay.example");
    assert_eq!(room.all().len(), 1);
}

#[test]
fn rule_13_nothing_counts_that_came_before_its_message() {
    let mut room = Room::new("early", ConversationKind::Group);
    let content = content::text([9; 16], "later", None);
    let id = message_id(&sender_uri("bob@relay.example"), &room_uri(&room.conversation), &[9; 16], &content.encode());
    room.edit("bob", id, "earlier");
    room.react("eve", id, "👍");
    room.delete("bob", id);
    assert_eq!(room.says("bob", &content), id);
    assert_eq!(room.words(id), "later");
    assert!(room.shown(id).reactions.is_empty());
}

#[test]
fn what_was_done_counts_when_its_message_comes_with_the_history() {
    let mut room = Room::new("history", ConversationKind::Group);
    let old = |room: &mut Room, text: &str| {
        let content = content::text(room.salt(), text, None);
        let bytes = content.encode();
        let id = message_id(&sender_uri("bob@relay.example"), &room_uri(&room.conversation), &content.salt, &bytes);
        let kind = MessageKind::Text { text: text.into() };
        room.seq += 1;
        let (sender, seq) = ("bob@relay.example".into(), room.seq);
        (id, Message { sender, seq, content: bytes, ..Message::new(ROOM, id.0, kind) })
    };
    let (first, first_row) = old(&mut room, "frist");
    let (second, second_row) = old(&mut room, "secret");
    let reaction_id = MessageId([1; 32]);
    room.seq += 1;
    let reacted = Act {
        id: reaction_id.0,
        part: 0,
        target: first.0,
        kind: ActKind::Reaction,
        sender: "eve@relay.example".into(),
        own: false,
        power: false,
        sent: 0,
        time: 0,
        seq: room.seq,
        value: "👍".into(),
        content: Vec::new(),
        evidence: Vec::new(),
    };
    // Only what follows is in this device's part of the log.
    room.edit("bob", first, "first");
    room.edit("eve", first, "forged");
    room.delete("eve", second);
    room.delete("ann", second);
    let unreact = content::unreaction(room.salt(), reaction_id, first);
    room.says("eve", &unreact);
    for row in [&first_row, &second_row] {
        assert!(messages::insert(&room.db, row).unwrap());
    }
    acts::insert(&room.db, ROOM, &reacted, false).unwrap();
    room.turn(|state, turn| state.show_all_again(turn, ROOM));
    assert_eq!(room.words(first), "first");
    assert_eq!(room.words(second), "deleted by ann@relay.example");
    assert!(room.shown(first).reactions.is_empty());
    let kept = messages::get(&room.db, ROOM, &second.0).unwrap().unwrap();
    assert!(kept.content.is_empty() && kept.evidence.is_empty(), "the words are overwritten");
    assert!(messages::search(&room.db, "secret", 10).unwrap().is_empty());
}

#[test]
fn what_is_taken_back_leaves_no_words() {
    let mut room = Room::new("words", ConversationKind::Group);
    let text = room.text("bob", "password hunter2");
    assert_eq!(messages::search(&room.db, "hunter2", 10).unwrap().len(), 1, "the index has it from here on");
    room.edit("bob", text, "password hunter3");
    room.react("eve", text, "👍");
    room.delete("bob", text);
    room.edit("bob", text, "hunter4");
    room.react("eve", text, "👎");
    assert_eq!(room.words(text), "deleted by bob@relay.example");
    assert_eq!(room.acts(text), 1, "only the deletion is kept");
    // Nor does the search index keep them.
    for table in ["messages", "acts", "messages_text_data"] {
        let mut rows = room.db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                let value = match row.get_ref(column).unwrap() {
                    rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => bytes.to_vec(),
                    _ => Vec::new(),
                };
                let text = String::from_utf8_lossy(&value).into_owned();
                assert!(!text.contains("hunter") && !text.contains("password"), "{table} keeps {text:?}");
            }
        }
    }
}

#[test]
fn floods_are_bounded() {
    let mut room = Room::new("floods", ConversationKind::Group);
    let text = room.text("bob", "original");
    for n in 0..300 {
        room.edit("bob", text, &format!("edit {n}"));
        room.react("eve", text, &format!("r{n}"));
        room.react("me", text, "👍");
    }
    assert_eq!(room.words(text), format!("edit {}", MAX_EDITS - 1));
    assert_eq!(room.acts(text), MAX_EDITS + MAX_REACTIONS_OF_ONE as usize + 1);
    let shown = room.shown(text).reactions;
    assert_eq!(shown.len(), MAX_EMOJI_OF_ONE + 1);
    // The same vote, pin and reaction again and again keep one row.
    let poll = content::poll(room.salt(), &content::Poll::new("q", &["a".into(), "b".into()], false).unwrap());
    let poll = room.says("bob", &poll);
    for n in 0..200u32 {
        let vote = content::vote(room.salt(), poll, &[n % 2], "");
        room.says("eve", &vote);
        let pin = content::pin(room.salt(), poll, n % 2 == 0);
        room.says("ann", &pin);
    }
    assert_eq!(room.acts(poll), 2);
    // To messages that are not there.
    for n in 0..5_000u64 {
        let mut id = [1; 32];
        id[1..9].copy_from_slice(&n.to_be_bytes());
        room.react("eve", MessageId(id), "👍");
    }
    let kept: u32 = room.db.query_row("SELECT count(*) FROM acts WHERE orphan = 1", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2_000);
}

#[test]
fn thousands_of_accounts_react_and_each_is_counted() {
    let mut room = Room::new("thousands", ConversationKind::Group);
    let text = room.text("bob", "original");
    for n in 0..5_000 {
        room.react(&format!("u{n}"), text, "👍");
    }
    let reactions = room.shown(text).reactions;
    assert_eq!(reactions.len(), 1);
    assert_eq!((reactions[0].count, reactions[0].by.len()), (MAX_REACTIONS, 20));
}

#[test]
fn reactions_are_their_givers() {
    let mut room = Room::new("reactions", ConversationKind::Group);
    let text = room.text("bob", "original");
    let given = room.react("eve", text, "👍");
    room.delete("bob", given);
    room.delete("ann", given);
    assert_eq!(room.shown(text).reactions.len(), 1);
    room.edit("eve", given, "a reaction is no text");
    let several = NestedPart {
        disposition: Disposition::REACTION,
        language: String::new(),
        part: Part::Multi {
            semantics: PartSemantics::ProcessAll,
            parts: ["❤", "🎉"].map(|e| part(Disposition::REACTION, "text/plain", e.as_bytes())).into(),
        },
    };
    let content = raw(room.salt(), Some(text), several);
    let both = room.says("ann", &content);
    assert_eq!(room.shown(text).reactions.len(), 3);
    room.delete("ann", both);
    room.delete("eve", given);
    assert_eq!(room.shown(text).reactions, []);
    // Of a reaction that a later one has replaced nothing is left to take back.
    let first = room.react("eve", text, "👍");
    room.react("eve", text, "👍");
    room.delete("eve", first);
    assert_eq!(room.shown(text).reactions.len(), 1);
}

#[test]
fn a_reaction_that_is_a_speech_is_no_reaction() {
    let mut room = Room::new("speech", ConversationKind::Group);
    let text = room.text("bob", "original");
    for speech in [
        "you owe me money",
        "a\u{202e}b",
        "\u{301}\u{301}",
        &"x".repeat(65),
        "",
        "👍\n👍",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    ] {
        let content = raw(room.salt(), Some(text), part(Disposition::REACTION, "text/plain", speech.as_bytes()));
        room.says("eve", &content);
    }
    assert!(room.shown(text).reactions.is_empty());
}

#[test]
fn rule_13_polls_count_what_their_rules_allow() {
    let mut room = Room::new("polls", ConversationKind::Group);
    let asked = content::poll(room.salt(), &content::Poll::new("q", &["a".into(), "b".into()], false).unwrap());
    let poll = room.says("bob", &asked);
    let text = room.text("bob", "no poll");
    let vote = |room: &mut Room, who: &str, on: MessageId, choices: &[u32]| {
        let vote = content::vote(room.salt(), on, choices, "");
        room.says(who, &vote);
    };
    vote(&mut room, "eve", poll, &[0]);
    vote(&mut room, "eve", poll, &[0, 1]);
    vote(&mut room, "eve", poll, &[2]);
    vote(&mut room, "ann", poll, &[u32::MAX]);
    vote(&mut room, "ann", text, &[0]);
    let by_another = content::poll_closed(room.salt(), poll);
    room.says("eve", &by_another);
    vote(&mut room, "ann", poll, &[1]);
    let closed = content::poll_closed(room.salt(), poll);
    room.says("bob", &closed);
    vote(&mut room, "me", poll, &[1]);
    room.edit("bob", poll, "another question, after the votes");
    let MessageKind::Poll { poll } = room.shown(poll).kind else { panic!("not a poll any more") };
    assert_eq!((poll.closed, poll.voters, poll.question.as_str()), (true, 2, "q"));
    assert_eq!(poll.options.iter().map(|option| option.votes).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(room.acts(text), 0);
}

#[test]
fn rule_13_only_moderators_pin_in_groups() {
    let mut room = Room::new("pins", ConversationKind::Group);
    let text = room.text("bob", "rules");
    for (who, pinned) in [("bob", false), ("ann", true)] {
        let pin = content::pin(room.salt(), text, true);
        room.says(who, &pin);
        assert_eq!(room.shown(text).pinned, pinned, "{who}");
    }
    let unpin = content::pin(room.salt(), text, false);
    room.says("bob", &unpin);
    assert_eq!(pins(&room.db, ROOM).unwrap().len(), 1);
    room.delete("bob", text);
    assert_eq!(pins(&room.db, ROOM).unwrap().len(), 0);
}

#[test]
fn answers_in_a_circle_cost_one_look_each() {
    let mut room = Room::new("loops", ConversationKind::Group);
    // No member can name an id before there is one; a damaged or imported history can.
    for (id, to) in [([1; 32], [2; 32]), ([2; 32], [1; 32]), ([3; 32], [3; 32])] {
        let kind = MessageKind::Text { text: "round".into() };
        let message = Message { reply_to: Some(to), seq: 1, ..Message::new(ROOM, id, kind) };
        assert!(messages::insert(&room.db, &message).unwrap());
    }
    for id in [[1; 32], [2; 32], [3; 32]] {
        assert_eq!(room.shown(MessageId(id)).quote.map(|quote| quote.excerpt), Some("round".into()));
    }
    let mut before = MessageId([1; 32]);
    for n in 0..2_000 {
        let content = content::text(room.salt(), &format!("chain {n}"), Some(before));
        before = room.says("bob", &content);
    }
    assert_eq!(room.shown(before).quote.map(|quote| quote.excerpt), Some("chain 1998".into()));
    let mut unknown = [0x77; 32];
    unknown[0] = 1;
    let nowhere = content::text(room.salt(), "what?", Some(MessageId(unknown)));
    let nowhere = room.says("bob", &nowhere);
    assert_eq!(room.shown(nowhere).quote.map(|quote| quote.known), Some(false));
}

#[test]
fn towers_and_turned_letters_are_cut_down_everywhere() {
    let mut room = Room::new("towers", ConversationKind::Group);
    let tower = format!("e{}", "\u{301}".repeat(30_000));
    let text = room.text("bob", &tower);
    assert!(room.words(text).chars().count() <= 31);
    let answer = content::text(room.salt(), "re", Some(text));
    let answer = room.says("eve", &answer);
    assert!(room.shown(answer).quote.is_some_and(|quote| quote.excerpt.chars().count() <= 120));
    room.edit("bob", text, &tower);
    assert!(room.words(text).chars().count() <= 31);
    // A poll or card whose bytes hold what its maker would have cleaned is shown as the text beside it.
    let turned = [&[0x83, 0x01, 0x68][..], "Bo\u{202e}b!!".as_bytes(), &[0x71], b"bob@relay.example"].concat();
    let card = part(Disposition::RENDER, "application/vnd.transom.contact+cbor", &turned);
    let beside = part(Disposition::RENDER, "text/plain", b"Contact: Bob");
    let both = NestedPart {
        disposition: Disposition::RENDER,
        language: String::new(),
        part: Part::Multi { semantics: PartSemantics::ChooseOne, parts: vec![card.clone(), beside] },
    };
    let content = raw(room.salt(), None, both);
    let id = room.says("eve", &content);
    assert_eq!(room.words(id), "Contact: Bob");
    let content = raw(room.salt(), None, card);
    let id = room.says("eve", &content);
    assert_eq!(room.words(id), format!("unknown: {}", content::UNKNOWN_CONTENT));
    // A card with an address that is none.
    let nobody = content::contact(room.salt(), &content::Contact::new("Bob", "Bob the builder").unwrap());
    let id = room.says("eve", &nobody);
    assert_eq!(room.words(id), "unknown: Contact: Bob (Bob the builder)");
}

#[test]
fn previews_are_of_links_that_somebody_wrote() {
    let mut room = Room::new("previews", ConversationKind::Group);
    let preview = content::Preview::new("https://bank.example/", "Your bank", "").unwrap();
    let content = content::text_with_preview(room.salt(), "see https://evil.example/", &preview, None);
    let id = room.says("eve", &content);
    assert_eq!(room.shown(id).preview, None);
    let content = content::text_with_preview(room.salt(), "see https://bank.example/", &preview, None);
    let id = room.says("eve", &content);
    assert!(room.shown(id).preview.is_some());
    room.edit("eve", id, "see https://evil.example/");
    assert_eq!(room.shown(id).preview, None, "an edit takes the preview along");
}

#[test]
fn what_says_only_what_happened_can_not_be_touched() {
    let mut room = Room::new("system", ConversationKind::Group);
    // Ids of these are this device's own secret; even a member who guessed one can do nothing.
    let id = MessageId([1; 32]);
    let kind = MessageKind::System { text: "ann added bob.".into() };
    assert!(messages::insert(&room.db, &Message { seq: 1, ..Message::new(ROOM, id.0, kind) }).unwrap());
    room.seq = 10;
    room.edit("ann", id, "bob left.");
    room.delete("ann", id);
    room.react("ann", id, "👍");
    assert!(matches!(room.shown(id).kind, MessageKind::System { .. }));
    assert_eq!(room.acts(id), 0);
}

#[test]
fn out_of_sight_stays_out_of_sight() {
    let mut room = Room::new("sight", ConversationKind::Group);
    let text = room.text("bob", "unwanted");
    assert!(room.turn(|state, turn| state.hide_message(turn, ROOM, &text.0)));
    assert!(!room.turn(|state, turn| state.hide_message(turn, ROOM, &text.0)));
    room.edit("bob", text, "still unwanted");
    room.react("eve", text, "👍");
    assert!(room.all().is_empty());
    assert_eq!(room.acts(text), 0);
    assert_eq!(messages::unread(&room.db, ROOM).unwrap(), 0);
    // Also what another own device has put out of sight before it arrives here.
    let content = content::text([5; 16], "not yet here", None);
    let id = message_id(&sender_uri("bob@relay.example"), &room_uri(&room.conversation), &[5; 16], &content.encode());
    assert!(room.turn(|state, turn| state.hide_message(turn, ROOM, &id.0)));
    assert_eq!(room.says("bob", &content), id);
    assert!(room.all().is_empty());
    assert!(messages::get(&room.db, ROOM, &id.0).unwrap().is_some_and(|kept| kept.content.is_empty()));
}

/// What is archived comes back when somebody else writes there, unless it is muted; own messages bring nothing back.
#[test]
fn a_message_brings_back_what_is_archived_but_not_what_is_muted() {
    let mut room = Room::new("archive", ConversationKind::Group);
    let archive = |room: &Room, muted_until| {
        let kept = Arrangement { archived: true, muted_until, ..Arrangement::default() };
        arrangements::put(&room.db, ROOM, &kept).unwrap();
    };
    let is_archived = |room: &Room| arrangements::get(&room.db, ROOM).unwrap().archived;

    archive(&room, 0);
    room.text("me", "mine");
    assert!(is_archived(&room));
    room.text("bob", "yours");
    assert!(!is_archived(&room));

    // The room's clock stands at 1,000.
    archive(&room, 1_001);
    room.text("bob", "hush");
    assert!(is_archived(&room));
    archive(&room, 1_000);
    room.text("bob", "no longer muted");
    assert!(!is_archived(&room));
}

/// Reading ends the mark and leaves the draft; sending ends both. Nothing is kept of a conversation that is forgotten.
#[test]
fn being_there_ends_the_mark_and_sending_ends_the_draft() {
    let mut room = Room::new("draft", ConversationKind::Group);
    let begun = Arrangement { unread: true, draft: "begun".into(), pinned: 5, ..Arrangement::default() };
    arrangements::put(&room.db, ROOM, &begun).unwrap();
    room.turn(|state, turn| state.mark_read(turn, ROOM, 0));
    let kept = arrangements::get(&room.db, ROOM).unwrap();
    assert!(!kept.unread && kept.draft == "begun" && kept.pinned == 5);
    room.turn(|state, turn| state.looked_at(turn, ROOM, true));
    assert!(arrangements::get(&room.db, ROOM).unwrap().draft.is_empty());
    conversations::forget(&room.db, ROOM).unwrap();
    assert!(arrangements::get(&room.db, ROOM).unwrap() == Arrangement::default());
    assert_eq!(arrangements::pinned(&room.db).unwrap(), 0);
}

/// What `who` tells in a conversation of this kind, as words on the room's drafts.
fn tells(room: &mut Room, who: &str, words: &[(u64, &str)]) {
    use crate::own_state::{Change, OwnState, Word};
    let word = |(time, text): &(u64, &str)| {
        let change = Change::Draft(ROOM.0.to_vec().into(), (*text).to_owned());
        Word { time: *time, change: change.word().into() }
    };
    let state = OwnState::new(words.iter().map(word).collect(), Vec::new());
    let content = content::own_state(room.salt(), &state.encode());
    room.says(who, &content);
}

fn drafted(room: &Room) -> String {
    arrangements::get(&room.db, ROOM).unwrap().draft
}

#[test]
fn rule_17_nobody_else_says_how_this_account_keeps_its_conversations() {
    // Another member of a group that passes itself off as the notes can't be; in a group nothing is believed of anybody.
    for (name, kind, who) in [
        ("others-note", ConversationKind::Note, "bob"),
        ("own-group", ConversationKind::Group, "me"),
        ("own-direct", ConversationKind::Direct, "me"),
    ] {
        let mut room = Room::new(name, kind);
        tells(&mut room, who, &[(5, "put there")]);
        assert_eq!(drafted(&room), "", "{name}");
        assert!(room.all().is_empty(), "{name}");
    }
    let mut room = Room::new("own-note", ConversationKind::Note);
    tells(&mut room, "me", &[(5, "begun")]);
    assert_eq!(drafted(&room), "begun");
    assert!(room.all().is_empty());
}

#[test]
fn rule_17_the_last_word_counts_in_whatever_order_words_come() {
    let mut ends = Vec::new();
    for (name, order) in [("forth", [0, 1, 2, 3]), ("back", [3, 2, 1, 0]), ("mixed", [2, 0, 3, 1])] {
        let mut room = Room::new(name, ConversationKind::Note);
        let words = [(5, "first"), (9, "last a"), (9, "last b"), (7, "middle")];
        for at in order {
            tells(&mut room, "me", &[words[at]]);
        }
        // Repeated, it changes nothing.
        tells(&mut room, "me", &words);
        ends.push(drafted(&room));
    }
    assert_eq!(ends, ["last b", "last b", "last b"]);
    // Whoever chooses here, knowing of a word of another clock's future, overrides it.
    let mut room = Room::new("future", ConversationKind::Note);
    tells(&mut room, "me", &[((1 << 52) - 2, "from the future")]);
    let change = crate::own_state::Change::Draft(ROOM.0.to_vec().into(), "now".into());
    room.turn(|state, turn| state.chose(turn, &change));
    tells(&mut room, "me", &[((1 << 52) - 2, "from the future again")]);
    let kept = crate::db::own_state::get(&room.db, 4, &ROOM.0).unwrap().unwrap();
    assert_eq!((kept.time, kept.word), ((1 << 52) - 1, change.word()));
    // Beyond that nothing is heard.
    tells(&mut room, "me", &[(1 << 52, "never"), (u64::MAX, "never")]);
    assert_eq!(crate::db::own_state::get(&room.db, 4, &ROOM.0).unwrap().unwrap().time, (1 << 52) - 1);
}

#[test]
fn rule_17_hostile_words_change_nothing_and_those_beside_them_count() {
    use crate::own_state::{Change, Head, OwnState, Word};
    let mut room = Room::new("hostile", ConversationKind::Note);
    let word = |change: Change| Word { time: 5, change: change.word().into() };
    let long = "x".repeat(101);
    let words = vec![
        word(Change::Muted(vec![7; 15].into(), 9)),
        word(Change::Named("not an address".into(), "Bob".into())),
        word(Change::Named("bob@relay.example".into(), "eve@relay.example".into())),
        word(Change::Named("bob@relay.example".into(), long)),
        word(Change::Read(ROOM.0.to_vec().into(), vec![1; 32].into(), u64::MAX)),
        word(Change::Hidden(ROOM.0.to_vec().into(), vec![1; 31].into())),
        Word { time: 5, change: vec![0x82, 0x18, 0x63, 0x80].into() },
        Word { time: 5, change: vec![0xff; 40].into() },
        word(Change::Pinned(ROOM.0.to_vec().into(), 6)),
    ];
    let heads = vec![
        Head { conversation: vec![1; 3].into(), seq: 1, hash: vec![2; 32].into() },
        Head { conversation: ROOM.0.to_vec().into(), seq: u64::MAX, hash: vec![].into() },
    ];
    let bob = "bob@relay.example".parse().unwrap();
    contacts::see(&room.db, &bob, &[1; 32], 0).unwrap();
    let content = content::own_state(room.salt(), &OwnState::new(words, heads).encode());
    room.says("me", &content);
    let kept = arrangements::get(&room.db, ROOM).unwrap();
    assert!(kept == Arrangement { pinned: 6, ..Arrangement::default() });
    assert_eq!(contacts::get(&room.db, &bob).unwrap().unwrap().name, "");
    let junk = content::own_state(room.salt(), &[0xa1, 0xff]);
    room.says("me", &junk);
    assert_eq!(conversations::notes(&room.db).unwrap(), [ROOM]);
}
