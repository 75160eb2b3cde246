//! What a client reads from a relay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Bytes, ServerFrame};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = ServerFrame::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(ServerFrame::decode(frame.encode()), Ok(frame));
    }
});
