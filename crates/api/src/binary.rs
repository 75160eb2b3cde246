//! Bytes that a program keeps without reading them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes; in JSON they are a text in base64 (RFC 4648, section 4).
#[derive(Clone, PartialEq, Eq)]
pub struct Binary(pub Vec<u8>);

/// How many there are: they are no use to a reader, and too many.
impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        data_encoding::BASE64.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64_in_json_and_a_number_in_logs() {
        let json = serde_json::to_string(&Binary(vec![0, 255, 7])).unwrap();
        assert_eq!(json, "\"AP8H\"");
        assert_eq!(serde_json::from_str::<Binary>(&json).unwrap(), Binary(vec![0, 255, 7]));
        assert!(serde_json::from_str::<Binary>("\"AP8\"").is_err());
        assert_eq!(format!("{:?}", Binary(vec![1, 2])), "[2 bytes]");
    }
}
