//! Invite links: asking, being let in, and links that open nothing any more.

use api::{Command, MessageKind, Query, Standing, View};
use sim::world::Transition;

use crate::support::{Story, address};

fn makes(story: &mut Story, device: usize, id: &str, uses: u32, direct: bool) -> api::InviteLink {
    let before = links(story, device, id);
    let command = Command::MakeLink { conversation: id.into(), expires: 0, uses, direct };
    story.does(Transition::Do { device, command });
    story.settles();
    let new = links(story, device, id).into_iter().find(|link| before.iter().all(|old| old.id != link.id));
    new.expect("the link is listed where it was made")
}

fn links(story: &Story, device: usize, id: &str) -> Vec<api::InviteLink> {
    match story.world.view(device, &Query::InviteLinks { conversation: id.into() }) {
        Some(View::InviteLinks(links)) => links,
        other => panic!("device {device} shows {other:?} instead of links"),
    }
}

fn requests(story: &Story, device: usize) -> Vec<String> {
    match story.world.view(device, &Query::JoinRequests { conversation: None }) {
        Some(View::JoinRequests(requests)) => requests.into_iter().map(|request| request.address).collect(),
        other => panic!("device {device} shows {other:?} instead of requests"),
    }
}

fn joins(story: &mut Story, device: usize, link: &api::InviteLink) {
    let link = link.link.clone().expect("the device that made it shows its text");
    story.does(Transition::Do { device, command: Command::Join { link } });
    story.settles();
}

fn answers(story: &mut Story, device: usize, id: &str, who: usize, approve: bool) {
    let command = Command::AnswerJoin { conversation: id.into(), address: address(who), approve };
    story.does(Transition::Do { device, command });
    story.settles();
}

fn members(story: &Story, device: usize, name: &str) -> usize {
    story.conversation(device, name).members.len()
}

#[test]
fn whoever_has_a_link_asks_and_is_let_in() {
    let mut story = Story::new(1, 3, 3);
    let id = story.group(0, "walks", &[1]);
    let link = makes(&mut story, 0, &id, 0, false);
    // The others see that there is one, and not what it says.
    assert_eq!(links(&story, 1, &id).into_iter().map(|link| link.link).collect::<Vec<_>>(), [None]);
    joins(&mut story, 2, &link);
    assert!(story.conversations(2).is_empty(), "who asks knows nothing yet");
    assert_eq!(requests(&story, 0), [address(2)]);
    assert_eq!(requests(&story, 1), Vec::<String>::new());
    answers(&mut story, 0, &id, 2, true);
    assert_eq!(requests(&story, 0), Vec::<String>::new());
    // What one has asked for needs no second yes.
    assert_eq!(story.conversation(2, "walks").standing, Standing::Active);
    story.does(Transition::send(2, &id, "thank you"));
    story.settles();
    assert_eq!(story.texts(1, &id), ["thank you"]);
}

#[test]
fn a_direct_link_lets_in_as_many_as_it_is_for() {
    let mut story = Story::new(2, 4, 4);
    let id = story.group(0, "walks", &[1]);
    let link = makes(&mut story, 0, &id, 1, true);
    // Both follow it at once.
    for device in [2, 3] {
        let link = link.link.clone().unwrap();
        story.does(Transition::Do { device, command: Command::Join { link } });
    }
    story.settles();
    assert_eq!(members(&story, 0, "walks"), 3);
    assert_eq!(links(&story, 1, &id)[0].used, 1);
    assert_eq!(story.conversations(2).len() + story.conversations(3).len(), 1);
}

#[test]
fn a_link_that_was_taken_back_opens_nothing() {
    for seed in 0..20 {
        let mut story = Story::new(seed, 4, 4);
        let id = story.group(0, "walks", &[1]);
        story.does(Transition::role(0, &id, &address(1), api::Role::Admin));
        story.settles();
        let (asked, direct) = (makes(&mut story, 0, &id, 0, false), makes(&mut story, 0, &id, 0, true));
        // Asked before, answered behind.
        joins(&mut story, 2, &asked);
        for link in [&asked, &direct] {
            let command = Command::RevokeLink { conversation: id.clone(), link: link.id.clone() };
            story.does(Transition::Do { device: 1, command });
        }
        story.steps(seed as u32);
        answers(&mut story, 0, &id, 2, true);
        let before = members(&story, 0, "walks");
        assert!(before == 2 || before == 3, "seed {seed}");
        joins(&mut story, 3, &direct);
        joins(&mut story, 3, &asked);
        assert_eq!(members(&story, 0, "walks"), before, "seed {seed}");
        assert_eq!(requests(&story, 0), Vec::<String>::new(), "seed {seed}");
        assert!(story.conversations(3).is_empty());
    }
}

#[test]
fn a_link_ends_with_its_makers_role_and_with_its_time() {
    let mut story = Story::new(3, 3, 3);
    let id = story.group(0, "walks", &[1]);
    story.does(Transition::role(0, &id, &address(1), api::Role::Admin));
    story.settles();
    let link = makes(&mut story, 1, &id, 0, true);
    story.does(Transition::role(0, &id, &address(1), api::Role::Member));
    story.settles();
    assert!(links(&story, 0, &id).is_empty());
    joins(&mut story, 2, &link);
    assert_eq!(members(&story, 0, "walks"), 2);
    // Members make none.
    let command = Command::MakeLink { conversation: id.clone(), expires: 0, uses: 0, direct: true };
    story.does(Transition::Do { device: 1, command });
    story.settles();
    assert!(links(&story, 0, &id).is_empty());
}

#[test]
fn declined_and_blocked_people_stay_outside() {
    let mut story = Story::new(4, 4, 4);
    let id = story.group(0, "walks", &[1]);
    let link = makes(&mut story, 0, &id, 0, false);
    joins(&mut story, 2, &link);
    answers(&mut story, 0, &id, 2, false);
    assert_eq!((requests(&story, 0).len(), members(&story, 0, "walks")), (0, 2));
    // Again, as often as he likes; until he is blocked.
    joins(&mut story, 2, &link);
    assert_eq!(requests(&story, 0), [address(2)]);
    answers(&mut story, 0, &id, 2, false);
    story.does(Transition::send(0, &address(2), "please don't"));
    story.settles();
    story.does(Transition::block(0, &address(2)));
    story.settles();
    joins(&mut story, 2, &link);
    assert_eq!(requests(&story, 0), Vec::<String>::new());
}

#[test]
fn a_device_that_dies_while_it_asks_asks_again() {
    for step in 0..40 {
        let mut story = Story::new(step, 3, 3);
        let id = story.group(0, "walks", &[1]);
        let link = makes(&mut story, 0, &id, 0, true).link.unwrap();
        story.does(Transition::Do { device: 2, command: Command::Join { link } });
        story.steps(step as u32);
        story.does(Transition::CrashDevice(2));
        story.does(Transition::OpenDevice(2));
        story.settles();
        assert_eq!(story.conversation(2, "walks").standing, Standing::Active, "step {step}");
        assert_eq!(members(&story, 0, "walks"), 3, "step {step}");
        let _ = id;
    }
}

#[test]
fn a_link_that_ran_out_lets_nobody_in_whoever_asked_before() {
    const DAY: u64 = 86_400_000;
    let mut story = Story::new(5, 5, 5);
    let id = story.group(0, "walks", &[1]);
    let expires = story.world.now.0 + DAY;
    for direct in [false, true] {
        let command = Command::MakeLink { conversation: id.clone(), expires, uses: 0, direct };
        story.does(Transition::Do { device: 0, command });
        story.settles();
    }
    let (asks, lets_in) = (links(&story, 0, &id)[0].clone(), links(&story, 0, &id)[1].clone());
    // In time: one who asks, one who comes in, and one whose request waits until its maker is there again.
    joins(&mut story, 2, &asks);
    joins(&mut story, 3, &lets_in);
    assert_eq!(members(&story, 0, "walks"), 3);
    let link = lets_in.link.clone().unwrap();
    story.does(Transition::Do { device: 4, command: Command::Join { link } });
    for _ in 0..400 {
        story.does(Transition::CrashDevice(0));
        story.steps(1);
    }
    story.does(Transition::Advance(2 * DAY));
    story.settles();
    answers(&mut story, 0, &id, 2, true);
    joins(&mut story, 4, &asks);
    assert_eq!(members(&story, 0, "walks"), 3);
    assert!(story.conversations(2).is_empty() && story.conversations(4).is_empty());
}

/// A relay keeps what was left in inboxes, and can leave it there again.
#[test]
fn rule_6_whoever_has_left_is_not_brought_back_by_a_request_of_before() {
    let mut story = Story::new(7, 4, 5);
    let id = story.group(0, "walks", &[1]);
    let (lets_in, asks) = (makes(&mut story, 0, &id, 0, true), makes(&mut story, 0, &id, 0, false));
    story.does(Transition::Link { device: 4, by: 0 });
    story.settles();
    joins(&mut story, 2, &lets_in);
    joins(&mut story, 3, &lets_in);
    assert_eq!(members(&story, 1, "walks"), 4);
    story.does(Transition::leave(2, &id));
    story.settles();
    story.does(Transition::remove(0, &id, &address(3)));
    story.settles();
    assert_eq!(members(&story, 1, "walks"), 2);
    joins(&mut story, 2, &asks);
    assert_eq!(requests(&story, 0), [address(2)]);
    answers(&mut story, 0, &id, 2, false);
    for _ in 0..3 {
        story.world.deposits_again();
        // That their invitations of then come again they hear of.
        story.does(Transition::Settle);
        assert_eq!(members(&story, 1, "walks"), 2, "a link is good, and nobody has asked again");
        assert_eq!(requests(&story, 0), Vec::<String>::new());
    }
    // Who asks again comes in.
    let link = lets_in.link.unwrap();
    story.does(Transition::Do { device: 2, command: Command::Join { link } });
    story.does(Transition::Settle);
    assert_eq!(members(&story, 1, "walks"), 3);
}

/// The maker's other device was off when somebody asked, came and left.
#[test]
fn rule_6_a_request_that_comes_late_brings_back_nobody_who_has_left_since() {
    let mut story = Story::new(8, 3, 4);
    let id = story.group(0, "walks", &[1]);
    story.does(Transition::Link { device: 3, by: 0 });
    story.settles();
    let link = makes(&mut story, 0, &id, 0, true).link.unwrap();
    let away = |story: &mut Story, steps: u32| {
        for _ in 0..steps {
            story.does(Transition::CrashDevice(3));
            story.steps(1);
        }
    };
    away(&mut story, 1);
    story.does(Transition::Do { device: 2, command: Command::Join { link } });
    away(&mut story, 1_500);
    assert_eq!(members(&story, 0, "walks"), 3);
    story.does(Transition::Advance(60_000));
    story.does(Transition::leave(2, &id));
    away(&mut story, 1_500);
    assert_eq!(members(&story, 0, "walks"), 2);
    story.settles();
    assert_eq!((members(&story, 0, "walks"), members(&story, 3, "walks")), (2, 2));
}

#[test]
fn who_came_by_a_link_is_said_to_the_members() {
    let mut story = Story::new(6, 4, 4);
    let id = story.group(0, "walks", &[1]);
    let link = makes(&mut story, 0, &id, 0, true);
    joins(&mut story, 2, &link);
    story.does(Transition::add(0, &id, &address(3)));
    story.settles();
    let said: Vec<String> = (story.messages(1, &id).into_iter())
        .filter_map(|message| match message.kind {
            MessageKind::System { text } => Some(text),
            _ => None,
        })
        .collect();
    let (came, added) =
        (format!("{} came by a link of {}.", address(2), address(0)), format!("{} added {}.", address(0), address(3)));
    assert!(said.contains(&came) && said.contains(&added), "{said:?}");
}
