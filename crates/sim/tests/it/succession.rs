//! An insider ends an epoch with a commit that is not valid: what the others see of it, and how they go on.

use api::{Query, Standing, View};
use engine::mutants::{Mutant, plant};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

/// A group of three. Device 2, a plain member, does what it may not do, and all have heard of it.
fn wronged(wrong: impl Fn(&str) -> Transition) -> (Story, String) {
    let mut story = Story::new(1, 3, 3);
    let id = story.group(0, "band", &[1, 2]);
    plant(Some(Mutant::Lawless));
    story.does(wrong(&id));
    plant(None);
    story.does(Transition::Settle);
    (story, id)
}

/// What a device was told of it.
fn told(story: &Story, device: DeviceId) -> Vec<String> {
    story.world.model.alarms().filter(|(at, _)| *at == device).map(|(_, problem)| problem.to_string()).collect()
}

#[test]
fn rule_7_an_insider_who_removes_without_grounds_is_named() {
    let (story, id) = wronged(|id| Transition::remove(2, id, &address(0)));
    let group = story.conversations(1).into_iter().find(|conversation| conversation.id == id).unwrap();
    assert_eq!(group.standing, Standing::Held);
    let told = told(&story, 1);
    let [why] = told.as_slice() else { panic!("{told:?}") };
    assert!(why.contains(&format!("{} did it", address(2))), "{why}");
    let ended = group.ended.unwrap();
    assert!(ended.why.contains("a member was removed, without"), "{}", ended.why);
    let by = ended.by.unwrap();
    let Some(View::WhoAmI(Some(account))) = story.world.view(2, &Query::WhoAmI) else { panic!("no account") };
    assert_eq!((by.address, by.device), (account.address, account.device));
    // It is the same for all, and the device that did it is told of its own doing by the same words.
    for device in [0, 1] {
        let Some(View::Who(who)) = story.world.view(device, &Query::Who { conversation: id.clone() }) else {
            panic!("no panel")
        };
        assert_eq!(who.ended.unwrap().by.unwrap().address, address(2));
    }
}
