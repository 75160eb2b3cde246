//! Invite links: what stands in the address that people pass on, and the request that it leads to.
//!
//! A link names who invites and which log, and holds a secret. The group's state knows the secret's hash, who made the link, until when
//! and how often it is good. So whoever knows the state can't use a link that he was not given, and whoever has a link can ask, and
//! nothing else: neither the group's name nor anybody in it but the inviter is in it.

use data_encoding::BASE64URL_NOPAD;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::{
    AccountRecord, Address, DeviceId, Label, LogId, RelayName, Signed, SigningKey, sign, signing_input, verify,
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

#[cfg(test)]
mod tests {
    use super::*;

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
