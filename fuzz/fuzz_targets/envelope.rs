//! The plaintext of a message: one encoding for each, padding and all.
#![no_main]

use content::{Envelope, padding};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(envelope) = Envelope::decode(data) {
        assert_eq!(envelope.encode(), data);
        assert_eq!(padding::padme(data.len()), data.len());
    }
});
