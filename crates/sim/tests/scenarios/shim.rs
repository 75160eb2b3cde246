//! Libraries that a test loads before the C library's own calls.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `shim/<name>.c` into `directory`. A machine that could build this test has a C compiler: SQLCipher takes one.
pub fn build(name: &str, directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/shim/{name}.c"));
    let library = directory.join(format!("{name}.so"));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let made = Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(made.expect("a C compiler, as scripts/setup.sh installs it").success(), "{name}.c does not compile");
    library
}
