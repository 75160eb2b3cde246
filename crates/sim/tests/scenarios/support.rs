//! People on devices, for scenarios: what they do, and what they see.

use api::{Conversation, Message, MessageKind, Query, Standing, View};
use sim::store::Faults;
use sim::trace::Trace;
use sim::world::{DeviceId, Transition, World};

/// The one relay of most scenarios.
pub const RELAY: &str = "a.example";

/// A world in which a scenario is told; every step must hold.
pub struct Story {
    pub world: World,
}

impl Drop for Story {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            crate::told::compare(&self.world);
        }
    }
}

impl Story {
    /// The same with several relays; person `n` is at the one that `homes` names.
    pub fn at(seed: u64, relays: &[&str], homes: &[usize]) -> Self {
        let world = World::new(seed, relays, homes.len(), Faults::default(), None, Trace::default());
        let mut story = Self { world: world.expect("a world can be made") };
        for (device, home) in homes.iter().enumerate() {
            story.does(Transition::register(device, &format!("p{device}@{}", relays[*home])));
        }
        story.settles();
        story
    }

    /// So many devices, of which the first `people` belong to accounts `p0@a.example` and so on.
    pub fn new(seed: u64, people: usize, devices: usize) -> Self {
        let world = World::new(seed, &[RELAY], devices, Faults::default(), None, Trace::default());
        Self::in_world(world.expect("a world can be made"), people)
    }

    /// The same in a world that is there.
    pub fn in_world(world: World, people: usize) -> Self {
        let mut story = Self { world };
        for device in 0..people {
            story.does(Transition::register(device, &address(device)));
        }
        story.settles();
        story
    }

    /// Something happens.
    #[track_caller]
    pub fn does(&mut self, transition: Transition) {
        if let Err(violation) = self.world.apply(&transition) {
            panic!("{transition:?}: {violation}");
        }
    }

    /// Everything comes to rest, and the invariants hold.
    #[track_caller]
    pub fn settles(&mut self) {
        self.does(Transition::Settle);
        if let Err(violation) = self.world.check() {
            panic!("{violation}");
        }
    }

    /// So many steps of the network.
    #[track_caller]
    pub fn steps(&mut self, steps: u32) {
        self.does(Transition::Network(steps));
    }

    /// What a device shows of its conversations.
    pub fn conversations(&self, device: DeviceId) -> Vec<Conversation> {
        match self.world.view(device, &Query::Conversations) {
            Some(View::Conversations(conversations)) => conversations,
            other => panic!("device {device} shows {other:?} instead of conversations"),
        }
    }

    /// The conversation of this name, which is another's address if it is not a group.
    #[track_caller]
    pub fn conversation(&self, device: DeviceId, name: &str) -> Conversation {
        let found = self.conversations(device).into_iter().find(|conversation| conversation.name == name);
        found.unwrap_or_else(|| panic!("device {device} shows no {name}: {:?}", self.conversations(device)))
    }

    /// The messages of a conversation.
    pub fn messages(&self, device: DeviceId, conversation: &str) -> Vec<Message> {
        let query = Query::Messages { conversation: conversation.into(), before: None, limit: 1_000 };
        match self.world.view(device, &query) {
            Some(View::Messages(messages)) => messages,
            other => panic!("device {device} shows {other:?} instead of messages"),
        }
    }

    /// The texts of a conversation.
    pub fn texts(&self, device: DeviceId, conversation: &str) -> Vec<String> {
        self.messages(device, conversation)
            .into_iter()
            .filter_map(|message| match message.kind {
                MessageKind::Text { text } => Some(text),
                _ => None,
            })
            .collect()
    }

    /// Takes every invitation that waits for a decision.
    pub fn accepts(&mut self, device: DeviceId) {
        let Some(View::Invitations(invitations)) = self.world.view(device, &Query::Invitations) else {
            panic!("device {device} shows no invitations");
        };
        for invitation in invitations {
            self.does(Transition::accept(device, &invitation.conversation));
        }
        self.settles();
    }

    /// A group of `creator` with the others, taken by all of them.
    pub fn group(&mut self, creator: DeviceId, name: &str, others: &[DeviceId]) -> String {
        let members: Vec<String> = others.iter().map(|device| address(*device)).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        self.does(Transition::create_group(creator, name, &members));
        self.settles();
        others.iter().for_each(|device| self.accepts(*device));
        self.conversation(creator, name).id
    }

    /// A 1:1 conversation between two, taken by the second.
    pub fn direct(&mut self, one: DeviceId, other: DeviceId) -> String {
        self.does(Transition::send(one, &address(other), "hello"));
        self.settles();
        self.accepts(other);
        self.conversation(one, &address(other)).id
    }
}

/// The account of a device.
pub fn address(device: DeviceId) -> String {
    format!("p{device}@{RELAY}")
}

/// What a device shows of the conversation of this name; it shows one.
#[track_caller]
pub fn shown(story: &Story, device: DeviceId, name: &str) -> Conversation {
    let mut found: Vec<Conversation> =
        story.conversations(device).into_iter().filter(|c| c.name == name && c.standing != Standing::Left).collect();
    assert_eq!(found.len(), 1, "device {device} shows {found:?}");
    found.remove(0)
}

/// Everybody goes on in one conversation with these accounts, and what each writes there all see, once and in the same order.
#[track_caller]
pub fn goes_on(story: &mut Story, devices: &[DeviceId], name: &str, members: &[(usize, u32)]) -> String {
    let id = shown(story, devices[0], name).id;
    for device in devices {
        let conversation = shown(story, *device, name);
        assert_eq!((&conversation.id, conversation.standing), (&id, Standing::Active), "device {device}");
        let mut inside: Vec<(String, u32)> =
            conversation.members.iter().map(|member| (member.address.clone(), member.devices)).collect();
        inside.sort();
        let wanted: Vec<(String, u32)> = members.iter().map(|(person, devices)| (address(*person), *devices)).collect();
        assert_eq!(inside, wanted, "device {device}");
    }
    for device in devices {
        story.does(Transition::send(*device, &id, &format!("on from {device} in {id}")));
    }
    story.does(Transition::Settle);
    let texts = story.texts(devices[0], &id);
    for device in devices {
        assert_eq!(story.texts(*device, &id), texts, "device {device}");
        assert_eq!(texts.iter().filter(|text| **text == format!("on from {device} in {id}")).count(), 1);
    }
    id
}

/// A group of four with something said; device 3 is a plain member.
pub fn band() -> (Story, String) {
    let mut story = Story::new(1, 4, 4);
    let id = story.group(0, "band", &[1, 2, 3]);
    for device in 0..4 {
        story.does(Transition::send(device, &id, &format!("before from {device}")));
        story.settles();
    }
    (story, id)
}
