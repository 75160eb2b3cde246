//! What a relay reads from anybody. The id that a refusal carries is the frame's own, and what decodes comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Bytes, ClientFrame};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let id = ClientFrame::decode_id(data);
    if let Ok(frame) = ClientFrame::decode(bytes) {
        assert_eq!(id, Some(frame.id));
        let _ = frame.request.lane();
        assert_eq!(ClientFrame::decode(frame.encode()), Ok(frame));
    }
});
