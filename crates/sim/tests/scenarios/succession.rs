//! An insider ends an epoch with a commit that is not valid: what the others see of it, and how they go on.

use api::{Query, Standing, View};
use engine::mutants::{Mutant, plant};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address, band, goes_on, shown};

/// A device does what it may not do.
fn wrongs(story: &mut Story, wrong: Transition) {
    plant(Some(Mutant::Lawless));
    story.does(wrong);
    plant(None);
}

/// Goes on until all these devices hold the conversation.
#[track_caller]
pub(crate) fn all_hold(story: &mut Story, devices: &[DeviceId], name: &str) {
    for _ in 0..20_000 {
        let holds = |device: &DeviceId| shown(story, *device, name).standing == Standing::Held;
        if devices.iter().all(holds) {
            return;
        }
        story.steps(1);
    }
    panic!("not all devices hold {name}");
}

#[test]
fn rule_7_an_insider_who_removes_without_grounds_is_named() {
    let (mut story, id) = band();
    wrongs(&mut story, Transition::remove(3, &id, &address(0)));
    all_hold(&mut story, &[0, 1, 2], "band");
    let Some(View::WhoAmI(Some(account))) = story.world.view(3, &Query::WhoAmI) else { panic!("no account") };
    // It is the same for all, whoever was to be removed included.
    for device in [0, 1, 2] {
        let ended = shown(&story, device, "band").ended.unwrap();
        assert!(ended.why.contains("a member was removed, without"), "{}", ended.why);
        let by = ended.by.unwrap();
        assert_eq!((by.address, by.device), (account.address.clone(), account.device.clone()));
        let Some(View::Who(who)) = story.world.view(device, &Query::Who { conversation: id.clone() }) else {
            panic!("no panel")
        };
        assert_eq!(who.ended.unwrap().by.unwrap().device, account.device);
        let alarms = story.world.model.alarms().filter(|(at, _)| *at == device);
        assert_eq!(alarms.filter(|(_, problem)| problem.to_string().contains("p3@a.example did it")).count(), 1);
    }
}

#[test]
fn rule_18_the_others_go_on_with_all_that_was_said_and_chosen() {
    let (mut story, id) = band();
    let mute = api::Command::Mute { conversation: id.clone(), until: api::FOREVER };
    story.does(Transition::Do { device: 1, command: mute });
    story.settles();
    let unread = shown(&story, 2, "band").unread;
    wrongs(&mut story, Transition::remove(3, &id, &address(0)));
    // Written before anybody has heard of it: it is not in the log when the epoch ends, or it is; it is shown once.
    story.does(Transition::send(1, &id, "meanwhile"));
    story.does(Transition::send(0, &id, "me too"));
    story.does(Transition::Settle);
    let next = goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
    assert_ne!(next, id);
    let texts = story.texts(2, &next);
    let before: Vec<String> = (0..4).map(|device| format!("before from {device}")).collect();
    assert_eq!(texts[..4], before);
    for text in ["meanwhile", "me too"] {
        assert_eq!(texts.iter().filter(|shown| *shown == text).count(), 1, "{texts:?}");
    }
    assert_eq!(shown(&story, 1, "band").muted_until, api::FOREVER);
    assert!(shown(&story, 2, "band").unread >= unread + 2);
    // Roles are what they were, whatever the insider wanted.
    let owner = shown(&story, 1, "band").members.into_iter().find(|member| member.role == api::Role::Owner);
    assert_eq!(owner.unwrap().address, address(0));
    // Under its old id it is found, too, and what was said before can be answered and edited.
    assert_eq!(story.texts(1, &id), story.texts(1, &next));
    let message = story.messages(1, &next).into_iter().find(|m| m.own).unwrap().id;
    let command =
        api::Command::Edit { conversation: next.clone(), message, text: "edited since".into(), preview: None };
    story.does(Transition::Do { device: 1, command });
    story.does(Transition::Settle);
    for device in [0, 1, 2] {
        assert!(story.texts(device, &next).contains(&"edited since".into()), "device {device}");
    }
    // The insider is alone.
    assert!(!story.texts(3, &id).contains(&format!("on from 0 in {next}")));
}

#[test]
fn rule_18_several_who_make_a_successor_at_once_end_in_one() {
    let (mut story, id) = band();
    wrongs(&mut story, Transition::remove(3, &id, &address(0)));
    all_hold(&mut story, &[0, 1, 2], "band");
    story.does(Transition::Advance(600_000));
    story.does(Transition::Settle);
    goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn rule_18_one_device_is_convicted_and_its_account_goes_on_with_the_other() {
    let mut story = Story::new(1, 3, 4);
    let id = story.group(0, "band", &[1, 2]);
    story.does(Transition::Link { device: 3, by: 2 });
    story.settles();
    wrongs(&mut story, Transition::remove(2, &id, &address(0)));
    story.does(Transition::Settle);
    story.does(Transition::Advance(3_600_000));
    story.does(Transition::Settle);
    goes_on(&mut story, &[0, 1, 3], "band", &[(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn rule_18_a_successor_can_have_a_successor() {
    let (mut story, id) = band();
    wrongs(&mut story, Transition::remove(3, &id, &address(0)));
    story.does(Transition::Settle);
    let next = goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
    wrongs(&mut story, Transition::role(2, &next, &address(2), api::Role::Owner));
    story.does(Transition::Settle);
    let last = goes_on(&mut story, &[0, 1], "band", &[(0, 1), (1, 1)]);
    let texts = story.texts(0, &last);
    assert_eq!(texts.iter().filter(|text| *text == "before from 3").count(), 1, "{texts:?}");
    assert_eq!(texts.iter().filter(|text| **text == format!("on from 2 in {next}")).count(), 1, "{texts:?}");
}
