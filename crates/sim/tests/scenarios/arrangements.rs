//! How a person keeps conversations: muted, archived, at the top, marked unread, with a draft.

use api::{Command, Conversation, FOREVER};
use sim::world::{DeviceId, Transition};

use crate::support::Story;

fn does(story: &mut Story, device: DeviceId, command: Command) {
    story.does(Transition::Do { device, command });
    story.settles();
}

fn kept(story: &Story, device: DeviceId, id: &str) -> Conversation {
    story.conversations(device).into_iter().find(|conversation| conversation.id == id).expect("it is in the list")
}

#[test]
fn what_is_archived_comes_back_with_a_message_unless_it_is_muted() {
    let mut story = Story::new(1, 2, 2);
    let id = story.group(0, "Team", &[1]);
    let archive = Command::Archive { conversation: id.clone(), archived: true };
    does(&mut story, 1, archive.clone());
    assert!(kept(&story, 1, &id).archived);
    story.does(Transition::send(0, &id, "are you there?"));
    story.settles();
    assert!(!kept(&story, 1, &id).archived);
    // Nobody else is told.
    assert!(!kept(&story, 0, &id).archived);

    does(&mut story, 1, archive);
    does(&mut story, 1, Command::Mute { conversation: id.clone(), until: FOREVER });
    story.does(Transition::send(0, &id, "hello?"));
    story.settles();
    assert!(kept(&story, 1, &id).archived);
}

#[test]
fn how_conversations_are_kept_survives_a_crash_and_marks_end_by_reading_and_writing() {
    let mut story = Story::new(2, 2, 2);
    let (first, second) = (story.group(0, "first", &[1]), story.group(0, "second", &[1]));
    does(&mut story, 1, Command::PinToTop { conversation: first.clone(), pinned: true });
    does(&mut story, 1, Command::MarkUnread { conversation: first.clone() });
    does(&mut story, 1, Command::Draft { conversation: first.clone(), text: "I think".into() });
    story.does(Transition::send(0, &second, "newer"));
    story.settles();
    story.does(Transition::CrashDevice(1));
    story.does(Transition::OpenDevice(1));
    story.settles();
    let list: Vec<String> = story.conversations(1).into_iter().map(|conversation| conversation.id).collect();
    assert_eq!(list, [first.clone(), second]);
    let conversation = kept(&story, 1, &first);
    assert!(conversation.pinned_to_top && conversation.marked_unread);
    assert_eq!(conversation.draft, "I think");
    story.does(Transition::send(1, &first, "I think so"));
    story.settles();
    let conversation = kept(&story, 1, &first);
    assert!(conversation.pinned_to_top && !conversation.marked_unread);
    assert_eq!(conversation.draft, "");
}
