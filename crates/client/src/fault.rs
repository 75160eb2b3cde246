//! Why a connection to a relay did not come about, or ended.

use api::{Kind, Problem};
use wire::RelayName;

/// Why there is no connection. Each says whose fault it is; [`Fault::problem`] says it to a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing answers under that name. The network's, or a typing error in the relay's name.
    #[error("can't be reached: {0}")]
    Unreachable(String),
    /// Something answers, but not in time. The network's or the relay's.
    #[error("does not answer in time")]
    Silent,
    /// The other side ended the connection. Nobody's fault; it is tried again.
    #[error("ended the connection")]
    Ended,
    /// What answers is not a relay.
    #[error("is not a Transom relay: {0}")]
    NotARelay(String),
    /// The certificate was not issued by anybody this machine trusts. The relay operator's, or somebody is in between.
    #[error("has a certificate that can't be trusted: {0}")]
    Untrusted(String),
    /// A development certificate was issued by another authority than the one that was pinned at first use.
    #[error("has another development certificate than before")]
    CertificateChanged,
    /// The relay speaks another version of the protocol.
    #[error("speaks version {theirs} of the protocol, this program speaks {ours}", ours = wire::PROTOCOL_VERSION)]
    Version {
        /// What it speaks.
        theirs: u32,
    },
    /// The relay goes by another name than the one that was dialled. All proofs are bound to the name, so none would verify.
    #[error("calls itself {says}")]
    Name {
        /// What it calls itself.
        says: RelayName,
    },
    /// The relay sent something that is not a frame of the protocol. The relay's fault.
    #[error("does not keep to the protocol")]
    Protocol,
}

impl Fault {
    /// True if trying again soon is pointless: somebody has to change something first.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::NotARelay(_)
                | Self::Untrusted(_)
                | Self::CertificateChanged
                | Self::Version { .. }
                | Self::Name { .. }
                | Self::Protocol
        )
    }

    /// What a person reads.
    pub fn problem(&self, relay: &RelayName) -> Problem {
        let tries = "It is tried again by itself; what you asked for is kept.";
        match self {
            Self::Unreachable(why) => Problem::new(
                Kind::Offline,
                format!("The relay {relay} can't be reached."),
                sentence(why),
                format!("{tries} Check that the relay runs and that its name is right."),
            ),
            Self::Silent => Problem::new(
                Kind::Offline,
                format!("The relay {relay} does not answer."),
                "Nothing came back in time.",
                tries,
            ),
            Self::Ended => Problem::new(Kind::Offline, format!("The relay {relay} ended the connection."), "", tries),
            Self::NotARelay(why) => Problem::new(
                Kind::Refused,
                format!("What answers at {relay} is not a Transom relay."),
                sentence(why),
                "Check the host and the port; ask the relay's operator for its address.",
            ),
            Self::Untrusted(why) => Problem::new(
                Kind::Trust,
                format!("The certificate of {relay} can't be trusted, so nothing was sent."),
                sentence(why),
                "If the relay uses a certificate authority of its own, get its ca.pem from the operator and pass it with --ca FILE.",
            ),
            Self::CertificateChanged => Problem::new(
                Kind::Trust,
                format!("{relay} shows another development certificate than before, so nothing was sent."),
                "The relay's data directory may be new, or another program answers on that port.",
                format!(
                    "If you have set the relay up anew, remove the file known-relays/{} from this profile.",
                    pin_file(relay)
                ),
            ),
            Self::Version { theirs } => Problem::new(
                Kind::Refused,
                format!("The relay {relay} speaks version {theirs} of the protocol."),
                format!("This program speaks version {}.", wire::PROTOCOL_VERSION),
                if *theirs > wire::PROTOCOL_VERSION {
                    "Update this program."
                } else {
                    "Ask the relay's operator to update it."
                },
            ),
            Self::Name { says } => Problem::new(
                Kind::Refused,
                format!("The relay at {relay} calls itself {says}."),
                "What this device proves is bound to a relay's own name.",
                format!("Use addresses that end in @{says}."),
            ),
            Self::Protocol => Problem::new(
                Kind::Bug,
                format!("The relay {relay} sent something that is not part of the protocol."),
                "",
                "The connection was closed and is tried again; tell the relay's operator.",
            ),
        }
    }
}

/// The name of the file that holds the development authority of a relay on this machine.
pub(crate) fn pin_file(relay: &RelayName) -> String {
    let name = relay.as_str().replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
    format!("{name}.pem")
}

/// The text of a library's error as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.trim().trim_end_matches('.').chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}
