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

/// What a device says happened in a conversation.
fn happened(story: &Story, device: usize, id: &str) -> Vec<String> {
    let system = |message: api::Message| match message.kind {
        MessageKind::System { text } => Some(text),
        _ => None,
    };
    story.messages(device, id).into_iter().filter_map(system).collect()
}

fn roles(story: &Story, device: usize, name: &str) -> Vec<(String, Role)> {
    let mut roles: Vec<_> =
        story.conversation(device, name).members.into_iter().map(|member| (member.address, member.role)).collect();
    roles.sort();
    roles
}

#[test]
fn a_group_says_what_it_is_for() {
    let mut story = Story::new(6, 3, 3);
    let id = story.group(0, "walks", &[1, 2]);
    story.does(Transition::describe(0, &id, "Sundays at ten, at the fountain"));
    story.does(Transition::describe(1, &id, "mine now"));
    story.settles();
    for device in 0..3 {
        assert_eq!(story.conversation(device, "walks").description, "Sundays at ten, at the fountain");
    }
    let told = "p0@a.example described the group: “Sundays at ten, at the fountain”.";
    assert_eq!(happened(&story, 2, &id).last().map(String::as_str), Some(told));
    story.does(Transition::describe(0, &id, ""));
    story.settles();
    assert_eq!(story.conversation(2, "walks").description, "");
}

#[test]
fn rule_6_a_group_is_handed_over_by_its_owner_alone() {
    let mut story = Story::new(7, 3, 3);
    let id = story.group(0, "walks", &[1, 2]);
    story.does(Transition::role(0, &id, &address(1), Role::Admin));
    story.settles();
    // Neither an admin nor a member can take it.
    story.does(Transition::transfer(1, &id, &address(2)));
    story.does(Transition::transfer(2, &id, &address(1)));
    story.settles();
    assert_eq!(roles(&story, 2, "walks")[0], (address(0), Role::Owner));
    story.does(Transition::transfer(0, &id, &address(2)));
    story.settles();
    for device in 0..3 {
        let expected = [(address(0), Role::Admin), (address(1), Role::Admin), (address(2), Role::Owner)];
        assert_eq!(roles(&story, device, "walks"), expected);
    }
    assert_eq!(happened(&story, 1, &id).last().unwrap(), "p0@a.example handed the group over to p2@a.example.");
    assert_eq!(happened(&story, 0, &id).last().unwrap(), "You handed the group over to p2@a.example.");
}

#[test]
fn i3_a_group_that_its_owners_leave_at_once_has_one_heir() {
    for seed in 0..20 {
        let mut story = Story::new(seed, 4, 4);
        let id = story.group(0, "walks", &[1, 2, 3]);
        story.does(Transition::role(0, &id, &address(1), Role::Owner));
        story.does(Transition::role(0, &id, &address(3), Role::Admin));
        story.settles();
        story.does(Transition::leave(0, &id));
        story.steps(seed as u32 * 6);
        story.does(Transition::leave(1, &id));
        story.settles();
        for device in [2, 3] {
            let expected = [(address(2), Role::Member), (address(3), Role::Owner)];
            assert_eq!(roles(&story, device, "walks"), expected, "seed {seed}, device {device}");
        }
        // Whoever comes back comes as a member.
        story.does(Transition::add(3, &id, &address(0)));
        story.settles();
        story.accepts(0);
        assert_eq!(roles(&story, 2, "walks")[0], (address(0), Role::Member), "seed {seed}");
    }
}
