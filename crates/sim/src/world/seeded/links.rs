//! Invite links in seeded runs: made, followed by whoever has one, taken back, and answered.

use api::{Command, Conversation, Query, View};

use super::{DeviceId, Run, Transition, World};

impl Run {
    /// Something around a link; `None` if what was drawn is not possible now.
    pub(super) fn links(&mut self, world: &World, device: DeviceId, groups: &[&Conversation]) -> Option<Transition> {
        let command = match self.chance.weighted([30, 40, 20, 10])? {
            0 => {
                let conversation = self.chance.pick(groups)?.id.clone();
                let expires =
                    if self.chance.per_mille(100) { world.devices[device].clock(world.now).0 + 60_000 } else { 0 };
                let (uses, direct) = (self.chance.below(2) as u32, self.chance.per_mille(600));
                Command::MakeLink { conversation, expires, uses, direct }
            }
            1 => {
                // Often one that nobody lists any more: whoever has it may not know.
                let listed = self.see_links(world);
                let mut links = self.links.clone();
                if self.chance.per_mille(500) {
                    links.retain(|link| !listed.contains(link));
                }
                Command::Join { link: self.chance.pick(&links)?.clone() }
            }
            2 => {
                self.see_links(world);
                let conversation = self.chance.pick(groups)?.id.clone();
                let link = self.chance.pick(&shown(world, device, &conversation))?.clone();
                // Somebody outside had it.
                let outside = |other: &DeviceId| {
                    world.model.accounts.contains_key(other)
                        && super::conversations(world, *other).iter().all(|c| c.id != conversation)
                };
                let outsiders: Vec<DeviceId> = (0..world.devices.len()).filter(outside).collect();
                if let (Some(outsider), Some(text)) = (self.chance.pick(&outsiders), Self::text_of(world, &link)) {
                    let command = Command::Join { link: text };
                    self.queued.push(Transition::Do { device: *outsider, command });
                    self.queued.push(Transition::Network(300));
                }
                Command::RevokeLink { conversation, link: link.id }
            }
            _ => {
                let View::JoinRequests(requests) = world.view(device, &Query::JoinRequests { conversation: None })?
                else {
                    return None;
                };
                let request = self.chance.pick(&requests)?.clone();
                let approve = self.chance.per_mille(800);
                Command::AnswerJoin { conversation: request.conversation, address: request.address, approve }
            }
        };
        Some(Transition::Do { device, command })
    }

    /// What its maker has passed on.
    fn text_of(world: &World, link: &api::InviteLink) -> Option<String> {
        (0..world.devices.len()).find_map(|device| {
            let conversations = super::conversations(world, device).into_iter();
            let mut links = conversations.flat_map(|conversation| shown(world, device, &conversation.id));
            links.find(|other| other.id == link.id && other.link.is_some())?.link
        })
    }

    /// Notes the links that people were shown and may have passed on; those that are listed now.
    fn see_links(&mut self, world: &World) -> Vec<String> {
        let mut listed = Vec::new();
        for device in 0..world.devices.len() {
            for conversation in super::conversations(world, device) {
                for link in shown(world, device, &conversation.id) {
                    let Some(text) = link.link else { continue };
                    if !self.links.contains(&text) {
                        self.links.push(text.clone());
                    }
                    listed.push(text);
                }
            }
        }
        listed
    }
}

fn shown(world: &World, device: DeviceId, conversation: &str) -> Vec<api::InviteLink> {
    match world.view(device, &Query::InviteLinks { conversation: conversation.to_owned() }) {
        Some(View::InviteLinks(links)) => links,
        _ => Vec::new(),
    }
}
