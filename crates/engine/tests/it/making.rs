//! The first commit of a group: it adds everybody at once, and only its author is there to read it.

use api::Command;
use wire::EntryKind;

use crate::person::{BOB, Person};

/// More than a body holds beside an MLS commit.
const ENVELOPE: usize = 400;
/// Less than any key package of the post-quantum suite takes.
const KEY_PACKAGE: usize = 1_200;

fn commits(person: &Person) -> Vec<usize> {
    let commits = person.entries.iter().filter(|entry| entry.kind == EntryKind::Commit);
    commits.map(|commit| commit.body.len()).collect()
}

#[test]
fn rule_7_who_is_alone_writes_no_commit_that_nobody_can_process() {
    let mut alice = Person::beside_bob("making");
    alice.registers();
    alice.command(Command::CreateGroup { name: "Team".into(), members: vec![BOB.into()] });
    while commits(&alice).is_empty() {
        let at = alice.wake.take().expect("the group is still to be made");
        alice.wakes(at);
    }
    assert!(commits(&alice).iter().all(|length| *length < ENVELOPE), "{:?}", commits(&alice));
    // Bob is in: what comes behind he has to process.
    let conversations = alice.conversations();
    let group = conversations.iter().find(|conversation| conversation.name == "Team").expect("the group is shown");
    assert!(group.members.iter().any(|member| member.address == BOB), "{:?}", group.members);
    alice.command(Command::RemoveMember { conversation: group.id.clone(), member: BOB.into() });
    assert!(commits(&alice).last().is_some_and(|length| *length > KEY_PACKAGE), "{:?}", commits(&alice));
}
