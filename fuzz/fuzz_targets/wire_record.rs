//! What is signed about accounts and devices. A fuzzer makes no signatures, so that most of this sees the way to the check of
//! the signature; the corpus holds what is signed well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{AccountRecord, Bytes, DeviceCertificate, OfferedKeyPackage, Signed, SigningKey};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(record) = Signed::<AccountRecord>::parse(bytes.clone()) {
        assert_eq!(record.bytes(), &bytes);
    }
    if let Ok(certificate) = Signed::<DeviceCertificate>::parse(bytes.clone()) {
        assert_eq!(certificate.bytes(), &bytes);
    }
    // The device key of the corpus (crates/wire/tests/it/samples.rs).
    let device = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
    let _ = Signed::<OfferedKeyPackage>::parse(bytes, &device);
});
