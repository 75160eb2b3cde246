//! What members send one another beneath MLS application messages: the envelope of commits, invitations, requests to be added
//! again, and the state of a conversation. CBOR (RFC 8949), each with a version; unknown fields are passed over.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use wire::{EntryId, Epoch, EpochPublicKey, Label, LogId, RelayName, Seq, SigningKey, sign, signing_input, verify};

/// Bytes of another member's making can't be read. The peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what another member sent can't be read")]
pub(crate) struct FormatError;

/// What a commit entry's body holds once it is opened (protocol rule 7).
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct CommitEnvelope {
    #[n(0)]
    version: u8,
    /// The author's leaf.
    #[n(1)]
    pub leaf: u32,
    /// A [`CommitBody`], as its author wrote it.
    #[n(2)]
    pub body: ByteVec,
    /// The author's device signs (relay, header, hash of the body).
    #[n(3)]
    pub signature: ByteVec,
}

/// What the author of a commit says, all of it signed: nobody can seal a part of it anew and have the rest look like the author's.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct CommitBody {
    /// The MLS commit, a PrivateMessage.
    #[n(0)]
    pub commit: ByteVec,
    /// The author's clock.
    #[n(1)]
    pub sent: u64,
    /// The last entry that the author had processed (protocol rule 8).
    #[n(2)]
    pub head_seq: u64,
    #[n(3)]
    pub head: ByteVec,
    /// The account record that explains a change of devices.
    #[n(4)]
    pub record: Option<ByteVec>,
    /// What a device that is added again has asked for (a [`Rejoin`]), and the inbox that it had asked in.
    #[n(5)]
    pub asked: Option<ByteVec>,
    #[n(6)]
    pub asked_in: Option<ByteVec>,
}

impl CommitEnvelope {
    /// The version that this program writes and reads. In the first one only the commit was signed.
    const VERSION: u8 = 2;

    /// Puts a body into an envelope that the device of this leaf signs.
    pub(crate) fn sign(
        leaf: u32,
        body: &CommitBody,
        (relay, header): (&RelayName, &[u8]),
        signer: &SigningKey,
    ) -> Self {
        let body = encode(body);
        let signature = sign(signer, Label::CommitEnvelope, &commit_parts(relay, header, &hash(&body)));
        Self { version: Self::VERSION, leaf, body: body.into(), signature: signature.to_vec().into() }
    }

    /// The body, if the device of this key has signed it for this entry of this relay.
    pub(crate) fn open(&self, (relay, header): (&RelayName, &[u8]), key: &[u8; 32]) -> Result<CommitBody, FormatError> {
        let hash = hash(&self.body);
        let signed = verify(key, Label::CommitEnvelope, &commit_parts(relay, header, &hash), &self.signature);
        if self.version != Self::VERSION || signed.is_err() {
            return Err(FormatError);
        }
        decode(&self.body)
    }
}

/// The clear header of a commit entry; associated data of its envelope.
pub(crate) fn commit_header(log: LogId, epoch: Epoch, id: EntryId, next: &EpochPublicKey) -> Vec<u8> {
    signing_input("transom v1 commit header", &[&log.0, &epoch.0.to_be_bytes(), &id.0, &next.0])
}

/// What the author of a commit signs.
fn commit_parts<'a>(relay: &'a RelayName, header: &'a [u8], body_hash: &'a [u8; 32]) -> [&'a [u8]; 3] {
    [relay.as_str().as_bytes(), header, body_hash]
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Seals under a key of an epoch with a random nonce, which goes in front.
pub(crate) fn seal(key: &[u8; 32], nonce: [u8; 24], associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, FormatError> {
    let sealed = XChaCha20Poly1305::new(&(*key).into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: associated })
        .map_err(|_| FormatError)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made.
pub(crate) fn open(key: &[u8; 32], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
    let (nonce, sealed) = sealed.split_first_chunk::<24>().ok_or(FormatError)?;
    XChaCha20Poly1305::new(&(*key).into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: associated })
        .map_err(|_| FormatError)
}

/// Names an entry that has ended an epoch and is no valid commit (protocol rule 18): its clear header, and SHA-256 of its body.
pub(crate) fn ending(log: LogId, entry: &wire::Entry) -> [u8; 32] {
    let next = entry.next.map(|next| next.0.to_vec()).unwrap_or_default();
    let body = hash(&entry.body);
    hash(&signing_input("transom v1 ending", &[&log.0, &entry.epoch.0.to_be_bytes(), &entry.id.0, &next, &body]))
}

/// The id of a line about the conversation itself.
pub(crate) fn note(log: LogId, seq: u64, text: &str) -> [u8; 32] {
    hash(&signing_input("transom v1 note", &[&log.0, &seq.to_be_bytes(), text.as_bytes()]))
}

/// What is left in a device's inbox, sealed to its HPKE key.
#[derive(Clone, Encode, Decode)]
pub(crate) enum Deposit {
    /// Come into this conversation.
    #[n(0)]
    Invitation(#[n(0)] Box<Invitation>),
    /// Add me again: I can't follow.
    #[n(1)]
    Rejoin(#[n(0)] Box<Rejoin>),
    /// Let me in: I was given a link.
    #[n(2)]
    AskToJoin(#[n(0)] Box<crate::invite_link::AskToJoin>),
    /// Here is what I know, for another device of the same account.
    #[n(3)]
    History(#[n(0)] Box<HistoryOffer>),
    /// Certify the others from now on, for another device of the same account.
    #[n(4)]
    HandOver(#[n(0)] Box<HandOver>),
    /// A list of the account's devices, for another device of the same account.
    #[n(5)]
    Record(#[n(0)] ByteVec),
    /// A part of what you sent me is gone, for another device of the same account.
    #[n(6)]
    HistoryGone(#[n(0)] Box<HistoryGone>),
    /// An ended conversation goes on there; ask to be added.
    #[n(7)]
    GoesOn(#[n(0)] Box<GoesOn>),
}

/// An invitation to one device.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Invitation {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub log: ByteVec,
    /// The commit that adds the device, and the hash head behind it.
    #[n(3)]
    pub seq: u64,
    #[n(4)]
    pub head: ByteVec,
    /// The device's own Welcome.
    #[n(5)]
    pub welcome: ByteVec,
    /// Where the ratchet tree is, and its key.
    #[n(6)]
    pub tree: ByteVec,
    #[n(7)]
    pub tree_key: ByteVec,
    /// Who invites: the signed account record and the device in it that signed this.
    #[n(8)]
    pub record: ByteVec,
    #[n(9)]
    pub device: ByteVec,
    #[n(10)]
    pub signature: ByteVec,
    /// The relay's incarnation in which the commit was read: in a later one `seq` and `head` are of before a restore (protocol rule 12).
    #[n(11)]
    pub incarnation: Option<ByteVec>,
    /// The conversation that this one goes on for, in the invitations of its first commit (protocol rule 18).
    #[n(12)]
    pub succeeds: Option<ByteVec>,
    /// With it: records of accounts, whose own signatures they bear, that revoke devices which are therefore not in it.
    #[n(13)]
    pub revoking: Option<Vec<ByteVec>>,
    /// Where the relay was restored in a way that the inviting device knows of: the place behind which what was in the log may stand
    /// anew (protocol section 10).
    #[n(14)]
    pub since: Option<u64>,
}

impl Invitation {
    /// What the inviting device signs: all of it, and whose inbox it is for.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        let seq = self.seq.to_be_bytes();
        let since = self.since.map(u64::to_be_bytes);
        let mut parts: Vec<&[u8]> = vec![
            &inbox.0,
            self.relay.as_bytes(),
            &self.log,
            &seq,
            &self.head,
            &self.welcome,
            &self.tree,
            &self.tree_key,
            &self.record,
            &self.device,
        ];
        parts.extend(self.incarnation.as_ref().map(|incarnation| incarnation.as_slice()));
        if let Some(succeeds) = &self.succeeds {
            parts.extend([b"succeeds".as_slice(), succeeds]);
        }
        if let Some(revoking) = &self.revoking {
            parts.push(b"revoking");
            parts.extend(revoking.iter().map(|record| record.as_slice()));
        }
        if let Some(since) = &since {
            parts.extend([b"since".as_slice(), since]);
        }
        signing_input("invitation", &parts)
    }
}

/// A member that alone can't process a commit, or was away too long, asks to be added again.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Rejoin {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub log: ByteVec,
    /// An MLS KeyPackage of the device.
    #[n(3)]
    pub package: ByteVec,
    #[n(4)]
    pub record: ByteVec,
    #[n(5)]
    pub device: ByteVec,
    #[n(6)]
    pub time: u64,
    #[n(7)]
    pub signature: ByteVec,
    /// SHA-256 of the encryption key of the leaf that it has in the conversation now, by which everybody sees that this request was not
    /// answered yet. None where it has none, or where a restored relay may have lost the commit that brought it.
    #[n(8)]
    pub leaf: Option<ByteVec>,
}

impl Rejoin {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        let (package, time) = (hash(&self.package), self.time.to_be_bytes());
        let mut parts: Vec<&[u8]> =
            vec![&inbox.0, self.relay.as_bytes(), &self.log, &package, &self.record, &self.device, &time];
        if let Some(leaf) = &self.leaf {
            parts.extend([b"leaf".as_slice(), leaf]);
        }
        signing_input("rejoin", &parts)
    }
}

/// A device sends history to another one of its account: from the secret come names and keys of all chunks (`crate::archive`).
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HistoryOffer {
    #[n(0)]
    pub version: u8,
    /// The relay that keeps the chunks.
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub secret: ByteVec,
    /// The device that sends.
    #[n(3)]
    pub device: ByteVec,
    #[n(4)]
    pub time: u64,
    #[n(5)]
    pub signature: ByteVec,
}

impl HistoryOffer {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        signing_input(
            "history",
            &[&inbox.0, self.relay.as_bytes(), &self.secret, &self.device, &self.time.to_be_bytes()],
        )
    }
}

/// A chunk of history that was offered does not come: where the relay has lost it, the device that sends begins anew.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HistoryGone {
    #[n(0)]
    pub version: u8,
    /// Which transfer: the SHA-256 of its secret (`crate::archive::Secret::id`).
    #[n(1)]
    pub transfer: ByteVec,
    /// The number of the chunk.
    #[n(2)]
    pub number: u64,
    /// The device that waits for it.
    #[n(3)]
    pub device: ByteVec,
    #[n(4)]
    pub time: u64,
    #[n(5)]
    pub signature: ByteVec,
}

impl HistoryGone {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        let (number, time) = (self.number.to_be_bytes(), self.time.to_be_bytes());
        signing_input("history gone", &[&inbox.0, &self.transfer, &number, &self.device, &time])
    }
}

/// Where an ended conversation goes on, for a device that may not have been invited (protocol rule 18).
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct GoesOn {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub relay: String,
    /// The conversation that has ended.
    #[n(2)]
    pub of: ByteVec,
    /// The one that goes on for it.
    #[n(3)]
    pub log: ByteVec,
    /// Who says so: the signed account record and the device in it that signed this.
    #[n(4)]
    pub record: ByteVec,
    #[n(5)]
    pub device: ByteVec,
    #[n(6)]
    pub time: u64,
    #[n(7)]
    pub signature: ByteVec,
}

impl GoesOn {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        let time = self.time.to_be_bytes();
        signing_input(
            "goes on",
            &[&inbox.0, self.relay.as_bytes(), &self.of, &self.log, &self.record, &self.device, &time],
        )
    }
}

/// The device that certifies hands that over: the account's key, with the list of devices that the next version goes on from.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandOver {
    #[n(0)]
    pub version: u8,
    /// The seed of the account's key (Ed25519, RFC 8032).
    #[n(1)]
    pub seed: ByteVec,
    #[n(2)]
    pub record: ByteVec,
    /// The device that hands over.
    #[n(3)]
    pub device: ByteVec,
    #[n(4)]
    pub time: u64,
    #[n(5)]
    pub signature: ByteVec,
}

impl HandOver {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        signing_input("hand over", &[&inbox.0, &self.seed, &self.record, &self.device, &self.time.to_be_bytes()])
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut *self.seed);
    }
}

/// What a new device gets once the commit that adds it has won; kept beside the pending commit.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PendingInvite {
    /// The account's record, and the device in it.
    #[n(0)]
    pub record: ByteVec,
    #[n(1)]
    pub device: ByteVec,
    #[n(2)]
    pub welcome: ByteVec,
    /// It asked to be added again.
    #[n(3)]
    pub readd: bool,
}

/// The first thing that a device which wants to be linked says in the rendezvous log.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct LinkHello {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub device: ByteVec,
    #[n(2)]
    pub signature_key: ByteVec,
    #[n(3)]
    pub hpke_key: ByteVec,
    #[n(4)]
    pub inbox: ByteVec,
    #[n(5)]
    pub suites: Vec<u16>,
}

/// The certifying device's answer.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct LinkAnswer {
    #[n(0)]
    pub version: u8,
    /// The new account record, which lists the new device.
    #[n(1)]
    pub record: ByteVec,
    /// History follows.
    #[n(2)]
    pub history: Option<bool>,
}

/// CBOR bytes of any of these.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into memory can't fail")
}

/// Reads any of these; the whole input must be used.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, FormatError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|_| FormatError)?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err(FormatError) }
}

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], FormatError> {
    bytes.try_into().map_err(|_| FormatError)
}

/// A place in a log with the hash head there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub seq: Seq,
    pub hash: wire::ChainHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> CommitBody {
        CommitBody {
            commit: vec![1; 4].into(),
            sent: 5,
            head_seq: 6,
            head: vec![2; 32].into(),
            record: Some(vec![3].into()),
            asked: Some(vec![4].into()),
            asked_in: Some(vec![5; 16].into()),
        }
    }

    #[test]
    fn what_hands_the_role_over_has_these_bytes() {
        let hex = |deposit: &Deposit| data_encoding::HEXLOWER.encode(&encode(deposit));
        let offer = HandOver {
            version: 1,
            seed: vec![2; 4].into(),
            record: vec![3; 2].into(),
            device: vec![4; 2].into(),
            time: 5,
            signature: vec![6; 2].into(),
        };
        let bytes = "820481a6000101440202020202420303034204040405054206 06".replace(' ', "");
        assert_eq!(hex(&Deposit::HandOver(Box::new(offer))), bytes);
        assert_eq!(hex(&Deposit::Record(vec![7; 2].into())), "820581420707");
    }

    #[test]
    fn a_commit_envelope_has_these_bytes() {
        let (relay, signer) = ("a.example".parse().unwrap(), SigningKey::from_bytes(&[7; 32]));
        let envelope = CommitEnvelope::sign(3, &body(), (&relay, b"header"), &signer);
        let (head, inbox) = ("02".repeat(32), "05".repeat(16));
        let expected = format!("a7004401010101010502060358 20{head}04410305410406 50{inbox}").replace(' ', "");
        assert_eq!(data_encoding::HEXLOWER.encode(&envelope.body), expected);
        let signature = data_encoding::HEXLOWER.encode(&envelope.signature);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&encode(&envelope)),
            format!("a400020103025846{expected}035840{signature}")
        );
        assert_eq!(signature, SIGNATURE);
    }

    const SIGNATURE: &str = "6bb3784b871b8281ece7f623f9a740af8f3db81b47e37a7b4db2e5bec2d6c07f64bfb8c041d9b00697940ba4e1db7ac8a756c8e9a9ce96479427faae1bf1140c";

    /// Whoever can seal for the epoch, with the relay's help, can put no word into an author's mouth and take none out.
    #[test]
    fn rule_7_no_part_of_what_an_author_says_can_be_altered_or_left_out() {
        let (relay, signer) = ("a.example".parse().unwrap(), SigningKey::from_bytes(&[7; 32]));
        let key = signer.verifying_key().to_bytes();
        let envelope = CommitEnvelope::sign(3, &body(), (&relay, b"header"), &signer);
        assert!(envelope.open((&relay, b"header"), &key).is_ok());
        let altered = [
            CommitBody { record: None, ..body() },
            CommitBody { asked: None, asked_in: None, ..body() },
            CommitBody { asked_in: Some(vec![6; 16].into()), ..body() },
            CommitBody { head: vec![9; 32].into(), ..body() },
            CommitBody { head_seq: 7, ..body() },
            CommitBody { sent: 6, ..body() },
            CommitBody { commit: vec![1; 5].into(), ..body() },
        ];
        for body in altered {
            let forged = CommitEnvelope { body: encode(&body).into(), ..envelope.clone() };
            assert!(forged.open((&relay, b"header"), &key).is_err());
        }
        // For another entry, another relay, by another device, as another version.
        assert!(envelope.open((&relay, b"other"), &key).is_err());
        assert!(envelope.open((&"b.example".parse().unwrap(), b"header"), &key).is_err());
        let mallory = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        assert!(envelope.open((&relay, b"header"), &mallory).is_err());
        assert!(CommitEnvelope { version: 1, ..envelope }.open((&relay, b"header"), &key).is_err());
    }

    #[test]
    fn rule_7_a_relay_that_alters_a_header_frames_nobody() {
        let (relay, signer) = ("a.example".parse().unwrap(), SigningKey::from_bytes(&[7; 32]));
        let header = |log, epoch, id, next| {
            commit_header(LogId([log; 16]), Epoch(epoch), EntryId([id; 16]), &EpochPublicKey([next; 32]))
        };
        let (secret, true_one) = ([5; 32], header(1, 2, 3, 4));
        let envelope = CommitEnvelope::sign(3, &body(), (&relay, &true_one), &signer);
        let sealed = seal(&secret, [0; 24], &true_one, &encode(&envelope)).unwrap();
        assert!(open(&secret, &true_one, &sealed).is_ok());
        for altered in [header(9, 2, 3, 4), header(1, 9, 3, 4), header(1, 2, 9, 4), header(1, 2, 3, 9)] {
            // The relay alone makes junk of it; a member who seals it for the altered header has no signature for that.
            assert!(open(&secret, &altered, &sealed).is_err());
            assert!(envelope.open((&relay, &altered), &signer.verifying_key().to_bytes()).is_err());
        }
    }
}
