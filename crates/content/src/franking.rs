//! Message franking: the commitment that lets a receiver prove later, to a moderator of his choice, what was written to him
//! (protocol section 5).
//!
//! The commitment travels in the open beside the ciphertext and says nothing without its key, which travels inside.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

fn mac(key: &[u8; 32], content: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(content);
    mac
}

/// HMAC-SHA256 of the content's bytes under a key that is fresh for each message.
pub fn commit(key: &[u8; 32], content: &[u8]) -> [u8; 32] {
    mac(key, content).finalize().into_bytes().into()
}

/// True if `commitment` was made from this content with this key. Takes the same time wherever the two differ.
pub fn verify(key: &[u8; 32], content: &[u8], commitment: &[u8; 32]) -> bool {
    mac(key, content).verify_slice(commitment).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 1, with its key of 20 bytes filled up to 32 by zeros (HMAC pads short keys that way itself).
    #[test]
    fn the_commitment_is_hmac_sha256() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        let hex: String = commit(&key, b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn another_key_content_or_commitment_does_not_verify() {
        let commitment = commit(&[1; 32], b"content");
        assert!(verify(&[1; 32], b"content", &commitment));
        assert!(!verify(&[2; 32], b"content", &commitment));
        assert!(!verify(&[1; 32], b"contenT", &commitment));
        for at in 0..32 {
            let mut wrong = commitment;
            wrong[at] ^= 1;
            assert!(!verify(&[1; 32], b"content", &wrong));
        }
    }
}
