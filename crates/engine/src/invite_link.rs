//! Invite links: what stands in the address that people pass on, and the request that it leads to.
//!
//! A link names who invites and which log, and holds a secret. The group's state knows the secret's hash, who made the link, until when
//! and how often it is good. So whoever knows the state can't use a link that he was not given, and whoever has a link can ask, and
//! nothing else: neither the group's name nor anybody in it but the inviter is in it.

use data_encoding::BASE64URL_NOPAD;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::{
    AccountRecord, Address, Bytes, DeviceId, Label, LogId, RelayName, Signed, SigningKey, UnixMillis, sign,
    signing_input, verify,
};

use crate::formats::{self, FormatError};

/// Longest link that is read, in bytes of text.
const MAX_TEXT: usize = 2_048;

/// What a link holds. CBOR in the fragment of an address, so that it never reaches a server that somebody opens it at.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct LinkBody {
    #[n(0)]
    version: u8,
    /// Who invites.
    #[n(1)]
    inviter: String,
    /// The conversation and the relay that keeps it.
    #[n(2)]
    relay: String,
    #[n(3)]
    log: ByteVec,
    #[n(4)]
    secret: ByteVec,
    /// Until when it is good, 0 for good.
    #[n(5)]
    expires: u64,
    /// The inviter's device that has signed this.
    #[n(6)]
    device: ByteVec,
    #[n(7)]
    signature: ByteVec,
}

/// A link that can be read; nobody has checked its signature yet.
pub(crate) struct ReadLink {
    pub inviter: Address,
    pub relay: RelayName,
    pub log: LogId,
    pub secret: [u8; 16],
    pub expires: u64,
    body: LinkBody,
}

/// What a link is made of.
pub(crate) struct LinkParts<'a> {
    pub inviter: &'a Address,
    pub relay: &'a RelayName,
    pub log: LogId,
    pub secret: [u8; 16],
    pub expires: u64,
}

/// What the group's state knows of a link: half of its secret's hash.
pub(crate) fn link_id(log: LogId, secret: &[u8; 16]) -> [u8; 16] {
    let hash = formats::hash(&signing_input("transom v1 invite link id", &[&log.0, secret]));
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

impl LinkBody {
    fn parts(&self) -> Vec<u8> {
        signing_input(
            "invite link",
            &[
                self.inviter.as_bytes(),
                self.relay.as_bytes(),
                &self.log,
                &self.secret,
                &self.expires.to_be_bytes(),
                &self.device,
            ],
        )
    }
}

/// The text of a link. The same parts give the same text.
pub(crate) fn write(parts: &LinkParts<'_>, device: DeviceId, signer: &SigningKey) -> String {
    let mut body = LinkBody {
        version: 1,
        inviter: parts.inviter.to_string(),
        relay: parts.relay.to_string(),
        log: parts.log.0.to_vec().into(),
        secret: parts.secret.to_vec().into(),
        expires: parts.expires,
        device: device.0.to_vec().into(),
        signature: Vec::new().into(),
    };
    body.signature = sign(signer, Label::InviteLink, &[&body.parts()]).to_vec().into();
    format!("https://{}/join#{}", parts.inviter.relay(), BASE64URL_NOPAD.encode(&formats::encode(&body)))
}

/// Reads a link: the whole address, or what stands behind its `#`.
pub(crate) fn read(text: &str) -> Result<ReadLink, FormatError> {
    let text = text.trim();
    if text.len() > MAX_TEXT {
        return Err(FormatError);
    }
    let code = text.rsplit_once('#').map_or(text, |(_, code)| code);
    read_bytes(&BASE64URL_NOPAD.decode(code.as_bytes()).map_err(|_| FormatError)?)
}

/// The same from the bytes behind the text.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<ReadLink, FormatError> {
    let body: LinkBody = formats::decode(bytes)?;
    if body.version != 1 {
        return Err(FormatError);
    }
    Ok(ReadLink {
        inviter: body.inviter.parse().map_err(|_| FormatError)?,
        relay: body.relay.parse().map_err(|_| FormatError)?,
        log: LogId(formats::array(&body.log)?),
        secret: formats::array(&body.secret)?,
        expires: body.expires,
        body,
    })
}

impl ReadLink {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        formats::encode(&self.body)
    }

    /// True if a device of this account has made the link, and is one still.
    pub(crate) fn is_of(&self, record: &Signed<AccountRecord>) -> bool {
        let Ok(device) = formats::array(&self.body.device).map(DeviceId) else { return false };
        let device = record.active().find(|d| d.certificate.device == device);
        record.address == self.inviter
            && device.is_some_and(|device| {
                let key = &device.certificate.signature_key;
                verify(key, Label::InviteLink, &[&self.body.parts()], &self.body.signature).is_ok()
            })
    }
}

/// Whoever has a link asks its maker to let him in. Left in the inboxes of the maker's devices.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AskToJoin {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub log: ByteVec,
    #[n(2)]
    pub secret: ByteVec,
    #[n(3)]
    pub record: ByteVec,
    #[n(4)]
    pub device: ByteVec,
    #[n(5)]
    pub time: u64,
    #[n(6)]
    pub signature: ByteVec,
}

impl AskToJoin {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        signing_input(
            "ask to join",
            &[&inbox.0, &self.log, &self.secret, &self.record, &self.device, &self.time.to_be_bytes()],
        )
    }
}

/// A request that the account it names has made, for this inbox.
pub(crate) struct Asked {
    pub record: Signed<AccountRecord>,
    pub log: LogId,
    pub secret: [u8; 16],
    pub time: UnixMillis,
}

impl AskToJoin {
    /// Checks who asks; whether they may come in is another question. `None`: it is nobody's request, or not for this inbox.
    pub(crate) fn verified(&self, inbox: LogId) -> Option<Asked> {
        let record = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&self.record)).ok()?;
        let id = DeviceId(formats::array(&self.device).ok()?);
        let device = record.active().find(|device| device.certificate.device == id)?;
        let key = device.certificate.signature_key;
        verify(&key, Label::AskToJoin, &[&self.parts(inbox)], &self.signature).ok()?;
        let (log, secret) = (LogId(formats::array(&self.log).ok()?), formats::array(&self.secret).ok()?);
        Some(Asked { record, log, secret, time: UnixMillis(self.time) })
    }
}

#[cfg(test)]
mod tests {
    use wire::{Device, DeviceCertificate};

    use super::*;

    const INBOX: LogId = LogId([6; 16]);

    /// An account with one device, whose key is another one.
    fn account(name: &str, seed: u8) -> (Signed<AccountRecord>, SigningKey) {
        let (account, signer) = (SigningKey::from_bytes(&[seed; 32]), SigningKey::from_bytes(&[seed + 1; 32]));
        let address: Address = format!("{name}@relay.example").parse().unwrap();
        let certificate = DeviceCertificate {
            account_key: account.verifying_key().to_bytes(),
            address: address.clone(),
            device: DeviceId([seed; 16]),
            signature_key: signer.verifying_key().to_bytes(),
            suites: vec![1],
            versions: vec![1],
            created: UnixMillis(1),
        };
        let device = Device {
            certificate: certificate.sign(&account),
            inbox: INBOX,
            hpke_key: vec![1; wire::HPKE_KEY_BYTES].into(),
            added: UnixMillis(1),
            revoked: None,
        };
        let record = AccountRecord {
            account_key: account.verifying_key().to_bytes(),
            address,
            version: 1,
            predecessor: wire::RecordHash([0; 32]),
            devices: vec![device],
            certifier: None,
        };
        (record.sign(&account), signer)
    }

    fn ask(record: &Signed<AccountRecord>, device: DeviceId, signer: &SigningKey) -> AskToJoin {
        let mut ask = AskToJoin {
            version: 1,
            log: vec![7; 16].into(),
            secret: vec![9; 16].into(),
            record: record.bytes().to_vec().into(),
            device: device.0.to_vec().into(),
            time: 5,
            signature: Vec::new().into(),
        };
        ask.signature = sign(signer, Label::AskToJoin, &[&ask.parts(INBOX)]).to_vec().into();
        ask
    }

    #[test]
    fn nobody_asks_in_anothers_name_or_at_another_door() {
        let ((mallory, key), (victim, _)) = (account("mallory", 1), account("victim", 3));
        let (own, theirs) = (DeviceId([1; 16]), DeviceId([3; 16]));
        let good = ask(&mallory, own, &key);
        let asked = good.verified(INBOX).unwrap();
        assert_eq!((asked.record.address.as_str(), asked.log), ("mallory@relay.example", LogId([7; 16])));
        // With somebody else's record: its device has not signed, and it has no device of this id.
        assert!(ask(&victim, theirs, &key).verified(INBOX).is_none());
        assert!(ask(&victim, own, &key).verified(INBOX).is_none());
        // Put on from another inbox, where it was left with somebody else who invites.
        assert!(good.verified(LogId([8; 16])).is_none());
        // Another group, another link, a later time.
        for change in [
            |ask: &mut AskToJoin| ask.log = vec![8; 16].into(),
            |ask: &mut AskToJoin| ask.secret = vec![8; 16].into(),
            |ask: &mut AskToJoin| ask.time += 1,
            |ask: &mut AskToJoin| ask.signature = vec![0; 64].into(),
            |ask: &mut AskToJoin| ask.record = vec![0; 10].into(),
            |ask: &mut AskToJoin| ask.device = Vec::new().into(),
        ] {
            let mut forged = good.clone();
            change(&mut forged);
            assert!(forged.verified(INBOX).is_none());
        }
    }

    fn link(signer: &SigningKey) -> String {
        let inviter: Address = "alice@relay.example".parse().unwrap();
        let parts =
            LinkParts { inviter: &inviter, relay: inviter.relay(), log: LogId([7; 16]), secret: [9; 16], expires: 5 };
        write(&parts, DeviceId([3; 16]), signer)
    }

    #[test]
    fn a_link_comes_back_whole_or_not_at_all() {
        let signer = SigningKey::from_bytes(&[1; 32]);
        let text = link(&signer);
        assert!(text.starts_with("https://relay.example/join#"));
        let read_back = read(&text).ok().unwrap();
        assert_eq!((read_back.log, read_back.secret, read_back.expires), (LogId([7; 16]), [9; 16], 5));
        assert_eq!(read(text.rsplit_once('#').unwrap().1).ok().unwrap().to_bytes(), read_back.to_bytes());
        for at in 0..text.len() {
            assert!(read(&text[..at]).is_err(), "{at}");
        }
        assert!(read(&"A".repeat(MAX_TEXT + 1)).is_err());
        assert!(read("https://relay.example/join#").is_err());
    }

    #[test]
    fn what_the_state_knows_of_a_link_is_of_one_log() {
        assert_ne!(link_id(LogId([7; 16]), &[9; 16]), link_id(LogId([8; 16]), &[9; 16]));
        assert_ne!(link_id(LogId([7; 16]), &[9; 16]), [9; 16]);
    }
}
