//! Signals (protocol rule 19): what a member tells those who are connected now, and nobody keeps.
//!
//! A signal is sealed under a key that all members have, so a relay learns nothing of it but that it was sent; that it is of the
//! device that it names its signature says. What is stale, repeated or not what it claims to be is void, without a word.
//! Deliberately absent: MLS messages, which would use up keys for what may get lost, and anything that outlives the process.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::{Address, Epoch, Label, LogId, RelayName, SigningKey, UnixMillis, sign, verify};
use zeroize::Zeroizing;

use crate::formats;

/// The version that this program writes and reads.
const VERSION: u8 = 1;
/// All signals have so many bytes before they are sealed, whatever they say and whoever sends them.
const LENGTH: usize = 128;
/// Bytes of a sealed one: nonce, ciphertext, tag.
const SEALED: usize = 24 + LENGTH + 16;
/// A signal counts for so many ms, by the clocks of both sides.
pub(crate) const FRESH_MS: u64 = 30_000;
/// More of one conversation than so many within [`WINDOW_MS`] are dropped unread: 32 people who type at once send some 100.
const HEARD: u32 = 128;
const WINDOW_MS: u64 = 10_000;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The person is writing.
    Typing,
    /// No longer.
    Stopped,
    /// The person is there.
    Here,
    /// No longer.
    Gone,
    /// A later version's.
    Unknown,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Typing => 1,
            Self::Stopped => 2,
            Self::Here => 3,
            Self::Gone => 4,
        }
    }

    const fn of(number: u8) -> Self {
        match number {
            1 => Self::Typing,
            2 => Self::Stopped,
            3 => Self::Here,
            4 => Self::Gone,
            _ => Self::Unknown,
        }
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Signal {
    #[n(0)]
    version: u8,
    /// The sender's leaf.
    #[n(1)]
    leaf: u32,
    /// Goes up with each signal of a device in an epoch.
    #[n(2)]
    counter: u64,
    /// The sender's clock.
    #[n(3)]
    time: u64,
    #[n(4)]
    kind: u8,
    /// The sender's device signs where it is and all of the above but the version.
    #[n(5)]
    signature: ByteVec,
}

/// Where a signal is sent.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub relay: &'a RelayName,
    pub log: LogId,
    pub epoch: Epoch,
}

/// Who says it, and when.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub leaf: u32,
    pub counter: u64,
    pub time: UnixMillis,
    pub kind: u8,
}

impl Said {
    fn input<T>(&self, place: Place<'_>, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        with(&[
            place.relay.as_str().as_bytes(),
            &place.log.0,
            &place.epoch.0.to_be_bytes(),
            &self.leaf.to_be_bytes(),
            &self.counter.to_be_bytes(),
            &self.time.0.to_be_bytes(),
            &[self.kind],
        ])
    }
}

/// Seals a signal under the key of an epoch.
pub(crate) fn seal(key: &[u8; 32], nonce: [u8; 24], place: Place<'_>, said: Said, signer: &SigningKey) -> Vec<u8> {
    let signature = said.input(place, |parts| sign(signer, Label::Signal, parts));
    let Said { leaf, counter, time, kind } = said;
    let signal = Signal { version: VERSION, leaf, counter, time: time.0, kind, signature: signature.to_vec().into() };
    let mut plain = formats::encode(&signal);
    plain.resize(LENGTH, 0);
    formats::seal(key, nonce, &[], &plain).unwrap_or_default()
}

/// Why a signal is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Void {
    /// One too many.
    Flood,
    /// Not sealed under the key of this epoch.
    Sealed,
    /// Sealed by a member, and nothing that can be read.
    Unreadable,
    /// Of nobody in the group.
    Stranger,
    /// Said too long ago, or by a clock that is far ahead.
    Stale,
    /// Heard before, or behind one that was heard.
    Repeated,
    /// Another device has said it than the one that it names.
    Forged,
}

/// A device that can be heard.
pub(crate) struct Speaker {
    pub address: Address,
    pub account_key: [u8; 32],
    pub signature_key: [u8; 32],
    /// The counter of the last signal that was heard.
    pub heard: u64,
}

/// What is needed to hear the signals of a conversation in one epoch.
pub(crate) struct Hearing {
    pub epoch: Epoch,
    pub key: Zeroizing<[u8; 32]>,
    pub own_leaf: u32,
    /// All devices but the own one, by leaf.
    pub speakers: BTreeMap<u32, Speaker>,
    /// How many signals have come since when.
    pub come: (UnixMillis, u32),
}

impl Hearing {
    /// Opens a signal. What costs least is asked first: nobody outside of the group can have a signature checked, and nobody in it more
    /// than some.
    pub(crate) fn open(
        &mut self,
        relay: &RelayName,
        log: LogId,
        sealed: &[u8],
        now: UnixMillis,
    ) -> Result<(&Speaker, Kind), Void> {
        if now.since(self.come.0) >= WINDOW_MS || now < self.come.0 {
            self.come = (now, 0);
        }
        self.come.1 = self.come.1.saturating_add(1);
        if self.come.1 > HEARD {
            return Err(Void::Flood);
        }
        if sealed.len() != SEALED {
            return Err(Void::Sealed);
        }
        let plain = formats::open(&self.key, &[], sealed).map_err(|_| Void::Sealed)?;
        let mut decoder = minicbor::Decoder::new(&plain);
        let signal: Signal = decoder.decode().map_err(|_| Void::Unreadable)?;
        let padding = plain.get(decoder.position()..).unwrap_or_default();
        if signal.version != VERSION || padding.iter().any(|byte| *byte != 0) {
            return Err(Void::Unreadable);
        }
        let speaker = self.speakers.get_mut(&signal.leaf).ok_or(Void::Stranger)?;
        let time = UnixMillis(signal.time);
        if now.0.abs_diff(signal.time) > FRESH_MS && !planted!(StaleSignals) {
            return Err(Void::Stale);
        }
        if signal.counter <= speaker.heard {
            return Err(Void::Repeated);
        }
        let said = Said { leaf: signal.leaf, counter: signal.counter, time, kind: signal.kind };
        let place = Place { relay, log, epoch: self.epoch };
        said.input(place, |parts| verify(&speaker.signature_key, Label::Signal, parts, &signal.signature))
            .map_err(|_| Void::Forged)?;
        speaker.heard = signal.counter;
        Ok((speaker, Kind::of(signal.kind)))
    }
}

impl Kind {
    /// As it is sent.
    pub(crate) const fn said(self) -> u8 {
        self.number()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_305_600_000);
    const LOG: LogId = LogId([4; 16]);
    const KEY: [u8; 32] = [9; 32];

    fn relay() -> RelayName {
        "a.example".parse().unwrap()
    }

    fn device(leaf: u32) -> SigningKey {
        SigningKey::from_bytes(&[leaf as u8 + 1; 32])
    }

    /// What device 0 hears of 1 and 2.
    fn hearing() -> Hearing {
        let speaker = |leaf: u32| {
            let address = format!("p{leaf}@a.example").parse().unwrap();
            (
                leaf,
                Speaker {
                    address,
                    account_key: [7; 32],
                    signature_key: device(leaf).verifying_key().to_bytes(),
                    heard: 0,
                },
            )
        };
        let speakers = [1, 2].map(speaker).into();
        Hearing { epoch: Epoch(3), key: Zeroizing::new(KEY), own_leaf: 0, speakers, come: (NOW, 0) }
    }

    fn place(relay: &RelayName) -> Place<'_> {
        Place { relay, log: LOG, epoch: Epoch(3) }
    }

    fn typing(leaf: u32, counter: u64, time: UnixMillis) -> Said {
        Said { leaf, counter, time, kind: Kind::Typing.said() }
    }

    fn sealed(said: Said, signer: &SigningKey) -> Vec<u8> {
        seal(&KEY, [said.counter as u8; 24], place(&relay()), said, signer)
    }

    fn hear(hearing: &mut Hearing, sealed: &[u8], now: UnixMillis) -> Result<(String, Kind), Void> {
        hearing.open(&relay(), LOG, sealed, now).map(|(speaker, kind)| (speaker.address.to_string(), kind))
    }

    #[test]
    fn rule_19_a_signal_is_heard_once() {
        let mut hearing = hearing();
        let first = sealed(typing(1, 7, NOW), &device(1));
        assert_eq!(hear(&mut hearing, &first, NOW), Ok(("p1@a.example".into(), Kind::Typing)));
        assert_eq!(hear(&mut hearing, &first, NOW), Err(Void::Repeated));
        assert_eq!(hear(&mut hearing, &sealed(typing(1, 6, NOW), &device(1)), NOW), Err(Void::Repeated));
        let stopped = Said { kind: Kind::Stopped.said(), ..typing(1, 8, NOW) };
        assert_eq!(hear(&mut hearing, &sealed(stopped, &device(1)), NOW), Ok(("p1@a.example".into(), Kind::Stopped)));
        for (counter, kind) in [(9, Kind::Here), (10, Kind::Gone)] {
            let said = Said { kind: kind.said(), ..typing(1, counter, NOW) };
            assert_eq!(hear(&mut hearing, &sealed(said, &device(1)), NOW), Ok(("p1@a.example".into(), kind)));
        }
        // Counters are each device's own.
        assert!(hear(&mut hearing, &sealed(typing(2, 1, NOW), &device(2)), NOW).is_ok());
    }

    #[test]
    fn rule_19_what_is_old_or_of_the_future_is_void() {
        for (time, now, void) in [
            (NOW, NOW.plus(FRESH_MS), false),
            (NOW, NOW.plus(FRESH_MS + 1), true),
            (NOW.plus(FRESH_MS), NOW, false),
            (NOW.plus(FRESH_MS + 1), NOW, true),
            (UnixMillis(0), NOW, true),
            (UnixMillis(u64::MAX), NOW, true),
        ] {
            let heard = hear(&mut hearing(), &sealed(typing(1, 1, time), &device(1)), now);
            assert_eq!(heard.err(), void.then_some(Void::Stale), "{time:?} at {now:?}");
        }
    }

    /// All members have the key: the signature alone says who it was.
    #[test]
    fn rule_19_nobody_types_for_somebody_else() {
        let mut hearing = hearing();
        assert_eq!(hear(&mut hearing, &sealed(typing(1, 1, NOW), &device(2)), NOW), Err(Void::Forged));
        // A forgery leaves no trace: the true one counts.
        assert!(hear(&mut hearing, &sealed(typing(1, 1, NOW), &device(1)), NOW).is_ok());
        // The own leaf, and one that nobody has.
        assert_eq!(hear(&mut hearing, &sealed(typing(0, 1, NOW), &device(0)), NOW), Err(Void::Stranger));
        assert_eq!(hear(&mut hearing, &sealed(typing(9, 1, NOW), &device(9)), NOW), Err(Void::Stranger));
    }

    #[test]
    fn rule_19_a_signal_is_bound_to_its_relay_log_and_epoch() {
        let other: RelayName = "b.example".parse().unwrap();
        let here = relay();
        for elsewhere in [
            Place { relay: &other, ..place(&here) },
            Place { log: LogId([5; 16]), ..place(&here) },
            Place { epoch: Epoch(4), ..place(&here) },
        ] {
            // The key itself is another one there; a member can seal anew what it has opened, and not sign it.
            let sealed = seal(&KEY, [1; 24], elsewhere, typing(1, 1, NOW), &device(1));
            assert_eq!(hear(&mut hearing(), &sealed, NOW), Err(Void::Forged));
        }
        let of_another_epoch = seal(&[8; 32], [1; 24], place(&here), typing(1, 1, NOW), &device(1));
        assert_eq!(hear(&mut hearing(), &of_another_epoch, NOW), Err(Void::Sealed));
    }

    #[test]
    fn rule_19_what_members_seal_is_read_or_void() {
        let plain = |bytes: &[u8]| {
            let mut plain = bytes.to_vec();
            plain.resize(LENGTH, 0);
            formats::seal(&KEY, [1; 24], &[], &plain).unwrap()
        };
        assert_eq!(hear(&mut hearing(), &plain(&[]), NOW), Err(Void::Unreadable));
        assert_eq!(hear(&mut hearing(), &plain(&[0xff; LENGTH]), NOW), Err(Void::Unreadable));
        let good = formats::open(&KEY, &[], &sealed(typing(1, 1, NOW), &device(1))).unwrap();
        // Another version; something behind it.
        let (mut newer, mut longer) = (good.clone(), good.clone());
        assert_eq!(newer[2], VERSION);
        newer[2] = VERSION + 1;
        longer[LENGTH - 1] = 1;
        for bytes in [newer, longer] {
            assert_eq!(hear(&mut hearing(), &plain(&bytes), NOW), Err(Void::Unreadable));
        }
        // A kind of a later version is heard and passed over.
        let later = Said { kind: 77, ..typing(1, 1, NOW) };
        assert_eq!(hear(&mut hearing(), &sealed(later, &device(1)), NOW).map(|(_, kind)| kind), Ok(Kind::Unknown));
    }

    #[test]
    fn rule_19_of_a_flood_so_much_is_looked_at_and_no_more() {
        let mut hearing = hearing();
        let forged = sealed(typing(1, 1, NOW), &device(2));
        let looked_at = (0..1_000).filter(|_| hear(&mut hearing, &forged, NOW) == Err(Void::Forged)).count();
        assert_eq!(looked_at, HEARD as usize);
        let later = NOW.plus(WINDOW_MS);
        assert!(hear(&mut hearing, &sealed(typing(1, 1, later), &device(1)), later).is_ok());
    }

    /// A changed snapshot is a changed format.
    #[test]
    fn rule_19_the_bytes_of_a_signal() {
        let plain = formats::open(&KEY, &[], &sealed(typing(1, 7, NOW), &device(1))).unwrap();
        assert_eq!(plain.len(), LENGTH);
        let before_signature = HEXLOWER.encode(plain.get(..22).unwrap());
        assert_eq!(before_signature, "a6000101010207031b000001a2008d74000401055840");
        let sizes = [typing(1, 1, UnixMillis(0)), typing(u32::MAX, u64::MAX, UnixMillis(u64::MAX))];
        assert_eq!(sizes.map(|said| sealed(said, &device(1)).len()), [SEALED; 2]);
    }

    proptest! {
        #[test]
        fn i9_hostile_bytes_are_void(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0..SEALED, with in 1..=255_u8) {
            prop_assert!(hear(&mut hearing(), &bytes, NOW).is_err());
            bytes.resize(LENGTH, 0);
            let inside = formats::seal(&KEY, [1; 24], &[], &bytes).unwrap();
            prop_assert!(hear(&mut hearing(), &inside, NOW).is_err());
            let mut changed = sealed(typing(1, 1, NOW), &device(1));
            changed[at] ^= with;
            prop_assert!(hear(&mut hearing(), &changed, NOW).is_err());
        }
    }
}
