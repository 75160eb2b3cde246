//! The bytes of one frame of each kind, and of each signed thing, as they are committed in `snapshot.txt`.

use std::fmt::Write;
use std::path::Path;

use data_encoding::HEXLOWER;

use crate::{compare_or_renew, samples};

#[test]
fn the_format_has_not_changed() {
    let mut lines = String::from("# kind, and its bytes in hex; checked and renewed by snapshot.rs\n");
    for (name, frame) in samples::client_frames() {
        writeln!(lines, "client {name} {}", HEXLOWER.encode(&frame.encode())).unwrap();
    }
    for (name, frame) in samples::server_frames() {
        writeln!(lines, "server {name} {}", HEXLOWER.encode(&frame.encode())).unwrap();
    }
    for (name, bytes) in samples::signed() {
        writeln!(lines, "signed {name} {}", HEXLOWER.encode(&bytes)).unwrap();
    }
    compare_or_renew(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshot.txt"),
        &lines,
        "The bytes on the wire have changed: programs that are out there won't understand this one, and signatures that \
         exist may no longer verify. Fields are only ever added, under new numbers.",
    );
}
