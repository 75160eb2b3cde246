//! Groups: what members see of changes, races and removals.

use api::{MessageKind, Role, Standing};
use sim::world::Transition;

use crate::support::{Story, address};

#[test]
fn a_group_is_made_named_and_one_is_removed() {
    let mut story = Story::new(1, 3, 3);
    let id = story.group(0, "walks", &[1, 2]);
    story.does(Transition::rename(0, &id, "long walks"));
    story.does(Transition::send(1, &id, "who comes?"));
    story.settles();
    for device in 0..3 {
        assert_eq!(story.conversation(device, "long walks").members.len(), 3);
        assert_eq!(story.texts(device, &id), ["who comes?"]);
    }
    story.does(Transition::remove(0, &id, &address(2)));
    story.settles();
    story.does(Transition::send(1, &id, "only we two"));
    story.settles();
    assert_eq!(story.texts(0, &id), ["who comes?", "only we two"]);
    assert_eq!(story.texts(2, &id), ["who comes?"]);
    assert_eq!(story.conversation(2, "long walks").standing, Standing::Left);
}

#[test]
fn i3_twenty_members_change_the_group_at_once() {
    const MEMBERS: usize = 20;
    let mut story = Story::new(2, MEMBERS, MEMBERS);
    let others: Vec<usize> = (1..MEMBERS).collect();
    let id = story.group(0, "crowd", &others);
    for other in &others {
        story.does(Transition::role(0, &id, &address(*other), Role::Admin));
    }
    story.settles();
    for device in 0..MEMBERS {
        story.does(Transition::rename(device, &id, &format!("named by {device}")));
        story.does(Transition::send(device, &id, &format!("text of {device}")));
    }
    story.steps(500);
    // At rest nobody waits for an answer, all are in one epoch, and every text is shown once: the invariants say so.
    story.settles();
    let name = story.conversations(0)[0].name.clone();
    for device in 0..MEMBERS {
        assert_eq!(story.conversation(device, &name).members.len(), MEMBERS);
        assert_eq!(story.texts(device, &id).len(), MEMBERS);
        let named = story.messages(device, &id).into_iter().filter(
            |message| matches!(&message.kind, MessageKind::System { text } if text.contains("named the group “named by")),
        );
        assert_eq!(named.count(), MEMBERS, "each name was in force once, on device {device}");
    }
}

#[test]
fn i4_a_member_removed_while_it_writes_reads_nothing_more() {
    for seed in 0..20 {
        let mut story = Story::new(seed, 3, 3);
        let id = story.group(0, "trio", &[1, 2]);
        story.does(Transition::remove(0, &id, &address(2)));
        story.does(Transition::send(2, &id, "am I still here?"));
        story.does(Transition::rename(2, &id, "mine"));
        story.steps(seed as u32 * 8);
        story.settles();
        story.does(Transition::send(0, &id, "now we are two"));
        story.settles();
        assert_eq!(story.conversation(2, "trio").standing, Standing::Left);
        assert!(!story.texts(2, &id).contains(&"now we are two".to_owned()), "seed {seed}");
        assert!(story.texts(1, &id).contains(&"now we are two".to_owned()), "seed {seed}");
    }
}
