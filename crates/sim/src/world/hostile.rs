//! Somebody who is no member of anything sends people and relays what they never asked for (I9).

use wire::{Bytes, ClientFrame, EntryId, Request};

use super::World;

/// Things that are sent in one go.
const AT_ONCE: usize = 4;
/// Bytes of what is made up, at most.
const MADE_UP: usize = 2_000;

impl World {
    /// Leaves in inboxes what is nothing, or part of something, or was altered, or was for somebody else; and sends relays what is no frame.
    pub(super) fn hostile(&mut self) {
        for number in 0..AT_ONCE {
            let Some((relay, inbox, body)) = self.chance.pick(&self.deposits).cloned() else { return };
            let Some(link) = self.net.connect(relay, self.now) else { continue };
            let mut body = body.to_vec();
            match self.chance.below(5) {
                0 => body = self.made_up(),
                1 => body.truncate(self.chance.below(body.len().max(1))),
                2 => {
                    let at = self.chance.below(body.len().max(1));
                    if let Some(byte) = body.get_mut(at) {
                        *byte ^= 1 << self.chance.below(8);
                    }
                }
                3 => {
                    if let Some((.., other)) = self.chance.pick(&self.deposits) {
                        body = other.to_vec();
                    }
                }
                _ => {
                    let bytes = self.made_up();
                    self.net.send_bytes(link, bytes.into());
                    continue;
                }
            }
            let request = Request::Deposit { inbox, id: EntryId(self.chance.bytes()), body: Bytes::from(body) };
            self.net.send(link, &ClientFrame { id: number as u64, request });
        }
    }

    fn made_up(&mut self) -> Vec<u8> {
        let length = self.chance.below(MADE_UP);
        (0..length.div_ceil(16)).flat_map(|_| self.chance.bytes::<16>()).take(length).collect()
    }
}
