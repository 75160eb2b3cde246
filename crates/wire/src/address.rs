//! Addresses: `alice@relay.example`, `alice@localhost:8443`.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

/// Why a text is not an address. The caller's fault; the text says what to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`.
    #[error("an address looks like alice@relay.example: the @ is missing")]
    NoRelay,
    /// The name before the `@` has a wrong length.
    #[error("the name before the @ must have 1 to 64 characters")]
    NameLength,
    /// The name before the `@` has a character that is not allowed.
    #[error("the name before the @ may hold letters, digits, '.', '_' and '-' only")]
    NameCharacter,
    /// The relay's name is not `host` or `host:port`.
    #[error("the relay after the @ must be a host name, with a port if it needs one (relay.example, localhost:8443)")]
    Relay,
}

/// The name of a relay, `host` or `host:port`, in lower case. It is part of addresses, of the context of every key
/// derivation and of what a connection signs; the port is left out when it is 443.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayName(String);

impl RelayName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port; without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.split().0;
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, 443 if the name has none.
    pub fn port(&self) -> u16 {
        self.split().1.unwrap_or(443)
    }

    /// True for `localhost`, 127.0.0.0/8 and `::1`: names that never leave the machine.
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn split(&self) -> (&str, Option<u16>) {
        match self.0.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
            _ => (&self.0, None),
        }
    }
}

impl FromStr for RelayName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix(":443").map(str::to_owned).unwrap_or(text);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text.as_str(), None),
        };
        if let Some(port) = port {
            let number = port.parse::<u16>().map_err(|_| AddressError::Relay)?;
            if number == 0 || number == 443 || port.starts_with(['0', '+']) {
                return Err(AddressError::Relay);
            }
        }
        let is_ipv6 = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            });
        if !is_ipv6 && !is_name {
            return Err(AddressError::Relay);
        }
        Ok(Self(text))
    }
}

impl fmt::Display for RelayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayName({})", self.0)
    }
}

/// An account's address, `name@relay`: NFC and lower case, so that two spellings of one address are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: String,
    at: usize,
    relay: RelayName,
}

impl Address {
    /// The part before the `@`.
    pub fn name(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The relay that the account is registered at.
    pub fn relay(&self) -> &RelayName {
        &self.relay
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (name, relay) = text.trim().rsplit_once('@').ok_or(AddressError::NoRelay)?;
        // Bounded before it is normalised: NFC of hostile input would otherwise cost what its sender likes.
        if name.len() > 64 * 4 {
            return Err(AddressError::NameLength);
        }
        let name: String = name.nfc().flat_map(char::to_lowercase).nfc().collect();
        if !(1..=64).contains(&name.chars().count()) {
            return Err(AddressError::NameLength);
        }
        if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-')) {
            return Err(AddressError::NameCharacter);
        }
        let relay: RelayName = relay.parse()?;
        Ok(Self { at: name.len(), text: format!("{name}@{relay}"), relay })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Never the address itself: a derived `Debug` somewhere must not carry it into a log (I10).
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_are_one_address() {
        let a: Address = "Ali\u{0301}ce@Localhost:8443".parse().unwrap();
        let b: Address = "al\u{00ed}ce@localhost:8443".parse().unwrap();
        assert_eq!(a, b);
        assert_eq!(a.name(), "al\u{ed}ce");
        assert_eq!(a.relay().host(), "localhost");
        assert_eq!(a.relay().port(), 8443);
    }

    #[test]
    fn port_443_is_left_out() {
        assert_eq!("a@relay.example:443".parse::<Address>().unwrap().as_str(), "a@relay.example");
        assert_eq!("relay.example".parse::<RelayName>().unwrap().port(), 443);
    }

    #[test]
    fn loopback_names() {
        for name in ["localhost", "localhost:1", "127.0.0.1:8080", "[::1]:8443"] {
            assert!(name.parse::<RelayName>().unwrap().is_loopback(), "{name}");
        }
        for name in ["localhost.example", "10.0.0.1", "[2001:db8::1]:1"] {
            assert!(!name.parse::<RelayName>().unwrap().is_loopback(), "{name}");
        }
    }

    #[test]
    fn what_is_not_an_address_says_why() {
        for (text, error) in [
            ("alice", AddressError::NoRelay),
            ("@relay", AddressError::NameLength),
            ("a b@relay", AddressError::NameCharacter),
            ("a@", AddressError::Relay),
            ("a@re lay", AddressError::Relay),
            ("a@relay:0", AddressError::Relay),
            ("a@relay:99999", AddressError::Relay),
            ("a@relay:080", AddressError::Relay),
            ("a@-relay", AddressError::Relay),
            ("a@[::1", AddressError::Relay),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
        assert_eq!(format!("{}@r", "x".repeat(65)).parse::<Address>(), Err(AddressError::NameLength));
        assert_eq!(format!("{}@r", "x".repeat(9999)).parse::<Address>(), Err(AddressError::NameLength));
    }

    #[test]
    fn debug_hides_the_address() {
        assert_eq!(format!("{:?}", "a@b".parse::<Address>().unwrap()), "Address(..)");
    }
}
