//! The rules of ARCHITECTURE.md and deny.toml that a compiler does not check: which crate may use which, where runtimes, clocks and
//! HTTP may not be, how long a file may get, which licences and which crates may come in.
//!
//! The allowed arrows are read from ARCHITECTURE.md and the licences and bans from deny.toml, so that rule and document are one. What
//! this test enforces holds on machines without `cargo-deny` too.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Files near this length want a noun of their own split off.
const MAX_LINES: usize = 800;

/// Crates that decide; they do no input or output, and neither does anything that they use.
const PURE: [&str; 6] = ["wire", "content", "api", "transparency", "escrow", "engine"];

/// Nothing of these may be below a pure crate: a runtime, or the browser's programming interface.
const RUNTIMES: [&str; 5] = ["tokio", "async-std", "smol", "web-sys", "gloo-timers"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the crate lies in the workspace")
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--locked").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).unwrap()
}

/// A crate of this workspace without the prefix that it is published under.
fn short(name: &str) -> &str {
    name.strip_prefix("transom-").unwrap_or(name)
}

fn str_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("cargo metadata has a `{field}`"))
}

fn members(metadata: &Value) -> Vec<&Value> {
    let ids: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    metadata["packages"].as_array().unwrap().iter().filter(|package| ids.contains(str_of(package, "id"))).collect()
}

/// Every file under `directory` that ends with `.rs`, in a fixed order.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// Lines of code that hold one of `words`, as `file:line: text`. Comments are not counted, nor are tests, which come last in a file or
/// in a file `tests.rs`.
fn lines_with(files: impl IntoIterator<Item = PathBuf>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.into_iter().filter(|file| !file.ends_with("tests.rs")) {
        let source = std::fs::read_to_string(&file).unwrap();
        for (at, line) in source.lines().enumerate().take_while(|(_, line)| *line != "mod tests {") {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", shown(&file), at + 1, line.trim()));
            }
        }
    }
    found
}

fn assert_none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// The lines `a, b -> c, d` of the code block under "Arrows" in ARCHITECTURE.md.
fn allowed_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let document = text("ARCHITECTURE.md");
    let section = document.split("\n## Arrows\n").nth(1).expect("ARCHITECTURE.md has a section `## Arrows`");
    let block = section.split("```").nth(1).expect("the section `## Arrows` has a code block");
    let names = |list: &str| -> Vec<String> {
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "nothing").collect()
    };
    let mut arrows = BTreeMap::new();
    for (from, to) in block.lines().filter_map(|line| line.split_once("->")) {
        for name in names(from) {
            arrows.insert(name, names(to).into_iter().collect());
        }
    }
    arrows
}

#[test]
fn crates_use_only_what_architecture_md_allows() {
    let (metadata, allowed) = (metadata(), allowed_arrows());
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let from = short(str_of(package, "name"));
        let Some(to) = allowed.get(from) else {
            wrong.push(format!("{from} has no line in ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = short(str_of(dependency, "name"));
            if dependency["path"].is_string() && name != from && !to.contains(name) {
                wrong.push(format!("{from} -> {name} ({})", dependency["kind"].as_str().unwrap_or("normal")));
            }
        }
    }
    assert_none("arrows that ARCHITECTURE.md does not allow", wrong);
}

#[test]
fn no_runtime_is_below_the_crates_that_decide() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let name = str_of(package, "name");
        if !PURE.contains(&short(name)) {
            continue;
        }
        let tree = cargo(&["tree", "-p", name, "-e", "normal", "--target", "all", "--prefix", "none", "-f", "{p}"]);
        let below: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        wrong.extend(RUNTIMES.iter().filter(|runtime| below.contains(*runtime)).map(|it| format!("{it} under {name}")));
    }
    assert_none("runtimes below a crate that must do no input or output", wrong);
}

#[test]
fn in_client_only_the_native_shell_names_tokio() {
    let client = root().join("crates/client/src");
    let shell = |file: &PathBuf| file.starts_with(client.join("io/native")) || *file == client.join("io/native.rs");
    let files: Vec<PathBuf> = sources(&client).into_iter().filter(|file| !shell(file)).collect();
    assert_none("tokio outside io/native.rs", lines_with(files, &["tokio::", "tokio_"]));
}

#[test]
fn relay_core_and_the_reference_store_name_no_runtime_clock_or_http() {
    let store = root().join("crates/store/src");
    let mut files = sources(&root().join("crates/relay/src/core"));
    files.extend(sources(&store.join("memory")));
    files.extend([store.join("lib.rs"), store.join("memory.rs")].into_iter().filter(|file| file.exists()));
    let runtimes = ["tokio", "async_std", "smol::", "std::thread", "std::net", "std::fs"];
    let clocks = ["SystemTime", "Instant"];
    let http = ["axum", "hyper", "http::", "rustls"];
    let words = [&runtimes[..], &clocks, &http].concat();
    assert_none("runtimes, clocks or HTTP where only decisions belong", lines_with(files, &words));
}

#[test]
fn crates_that_decide_read_no_clock_and_no_system_randomness() {
    let files = PURE.iter().flat_map(|name| sources(&root().join("crates").join(name).join("src")));
    let words = ["SystemTime", "Instant::now", "getrandom::", "OsRng", "SysRng", "thread_rng"];
    assert_none("time and chance are arguments", lines_with(files, &words));
}

#[test]
fn no_file_is_longer_than_it_should_be() {
    let files = ["crates", "fuzz"].iter().flat_map(|directory| sources(&root().join(directory)));
    let lengths = files.map(|file| (std::fs::read_to_string(&file).unwrap().lines().count(), file));
    let too_long = lengths.filter(|(lines, _)| *lines > MAX_LINES);
    assert_none("files over 800 lines", too_long.map(|(lines, file)| format!("{}: {lines}", shown(&file))).collect());
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let metadata = metadata();
    let without = members(&metadata).into_iter().filter_map(|package| {
        let manifest = std::fs::read_to_string(str_of(package, "manifest_path")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        let takes = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        (takes != Some(true)).then(|| str_of(package, "name").to_owned())
    });
    assert_none("crates without `[lints] workspace = true`", without.collect());
}

/// Numbers that no test can carry yet, and why. Taken out with the feature that brings the test.
const UNTESTED: [(&str, &str); 0] = [];

/// `rule_N` for each numbered rule of docs/protocol.md and `iN` for each invariant of ARCHITECTURE.md.
fn numbers() -> BTreeSet<String> {
    let protocol = text("docs/protocol.md");
    let rules = protocol.lines().filter_map(|line| line.split_once(". **")).map(|(number, _)| ("rule_", number));
    let document = text("ARCHITECTURE.md");
    let invariants = document.lines().filter_map(|line| line.strip_prefix("| I")?.split_once(" |"));
    let all = rules.chain(invariants.map(|(number, _)| ("i", number)));
    let numbers = all.filter(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.map(|(kind, number)| format!("{kind}{number}")).collect()
}

/// The number that a test's name begins with, if it begins with one.
fn number(name: &str) -> Option<String> {
    let mut words = name.split('_');
    let first = words.next()?;
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match first {
        "rule" => words.next().filter(|word| is_number(word)).map(|word| format!("rule_{word}")),
        _ => first.strip_prefix('i').filter(|digits| is_number(digits)).map(|_| first.to_owned()),
    }
}

#[test]
fn every_rule_and_every_invariant_has_a_test_that_carries_its_number() {
    let mut tested = BTreeSet::new();
    for file in sources(&root().join("crates")) {
        let source = std::fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in source.lines().map(str::trim_start) {
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                tested.extend(number(rest.split('(').next().unwrap_or_default()));
                is_test = false;
            }
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        }
    }
    let numbers = numbers();
    assert!(numbers.len() > 25, "docs/protocol.md or ARCHITECTURE.md has changed its format: {numbers:?}");
    let excused = |number: &String| UNTESTED.iter().any(|(untested, _)| untested == number);
    let without = numbers.difference(&tested).filter(|number| !excused(number)).cloned().collect();
    assert_none("rules and invariants whose number no test carries", without);
    assert_none("numbers in names of tests that stand in no document", tested.difference(&numbers).cloned().collect());
}

fn deny() -> toml::Table {
    toml::from_str(&text("deny.toml")).unwrap()
}

/// Name, version and licence of everything that is compiled for some target, tests and build scripts included. `cargo tree` and not
/// `cargo metadata`: the latter also lists what only a disabled feature would bring.
fn everything() -> BTreeMap<(String, String), String> {
    let tree = cargo(&["tree", "--workspace", "--target", "all", "--prefix", "none", "-f", "{p}|{l}"]);
    let mut crates = BTreeMap::new();
    for (package, licence) in tree.lines().filter_map(|line| line.split_once('|')) {
        let mut words = package.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            crates.insert((name.to_owned(), version.to_owned()), licence.trim_end_matches(" (*)").to_owned());
        }
    }
    assert!(crates.len() > 100, "cargo tree has changed its format: {tree}");
    crates
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let deny = deny();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let wrong = everything().into_iter().filter(|(_, licence)| !satisfied(licence, &allowed));
    assert_none("licences", wrong.map(|((name, version), licence)| format!("{name} {version}: {licence:?}")).collect());
}

#[test]
fn no_crate_is_one_that_deny_toml_bans() {
    let deny = deny();
    let crates: BTreeSet<String> = everything().into_keys().map(|(name, _)| name).collect();
    let bans = deny["bans"]["deny"].as_array().unwrap().iter();
    let bans = bans.map(|ban| (ban["name"].as_str().unwrap(), ban["reason"].as_str().unwrap()));
    let banned = bans.filter(|(name, _)| crates.contains(*name));
    assert_none("banned crates", banned.map(|(name, reason)| format!("{name}: {reason}")).collect());
}

#[test]
fn everything_comes_from_crates_io_or_from_here() {
    let (deny, metadata) = (deny(), metadata());
    let registries = deny["sources"]["allow-registry"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    let registries: Vec<String> = registries.map(|url| format!("registry+{url}")).collect();
    let foreign = metadata["packages"].as_array().unwrap().iter().filter(|package| {
        package["source"].as_str().is_some_and(|source| registries.iter().all(|registry| registry != source))
    });
    assert_none("sources", foreign.map(|package| format!("{}: {}", package["name"], package["source"])).collect());
}

/// A version `*` takes whatever comes; the workspace's own crates are named by path.
#[test]
fn no_dependency_takes_any_version_as_deny_toml_wants_it() {
    let (deny, metadata) = (deny(), metadata());
    assert_eq!(deny["bans"]["wildcards"].as_str(), Some("deny"));
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let wildcards = package["dependencies"].as_array().unwrap().iter();
        let wildcards = wildcards.filter(|it| it["req"] == "*" && !it["path"].is_string());
        wrong.extend(wildcards.map(|it| format!("{}: {}", str_of(package, "name"), it["name"])));
    }
    assert_none("dependencies of any version", wrong);
}

/// The fuzz targets lie outside of the workspace, with a lock file of their own: what they pull in comes from the same places, and
/// what is banned is banned there, too. (Their licences bind nobody: they are not shipped.)
#[test]
fn the_lock_file_of_the_fuzz_targets_keeps_to_deny_toml() {
    let (deny, lock): (_, toml::Table) = (deny(), toml::from_str(&text("fuzz/Cargo.lock")).unwrap());
    let manifest: toml::Table = toml::from_str(&text("fuzz/Cargo.toml")).unwrap();
    let registries = deny["sources"]["allow-registry"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    let registries: Vec<String> = registries.map(|url| format!("registry+{url}")).collect();
    let banned = deny["bans"]["deny"].as_array().unwrap().iter().filter_map(|ban| ban["name"].as_str());
    let banned: BTreeSet<&str> = banned.collect();
    let mut wrong = Vec::new();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let source = package.get("source").and_then(toml::Value::as_str);
        if source.is_some_and(|source| registries.iter().all(|registry| registry != source)) {
            wrong.push(format!("{name} comes from {}", source.unwrap_or_default()));
        }
        if banned.contains(name) {
            wrong.push(format!("{name} is banned"));
        }
    }
    for (name, dependency) in manifest["dependencies"].as_table().unwrap() {
        let version = dependency.as_str().or_else(|| dependency.get("version").and_then(toml::Value::as_str));
        if version.map_or(dependency.get("path").is_none(), |version| version == "*") {
            wrong.push(format!("{name} is of any version"));
        }
    }
    assert_none("fuzz", wrong);
}

#[test]
fn the_budgets_of_the_stages_add_up_to_their_total() {
    let document = text("CONTRIBUTING.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: Vec<(&str, u32)> =
        rows.filter_map(|(stage, rest)| Some((stage, rest.split(" |").next()?.parse().ok()?))).collect();
    let (total, stages): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(stage, _)| *stage == "total");
    assert!(stages.len() > 5, "CONTRIBUTING.md has changed its format: {stages:?}");
    assert_eq!(total[0].1, stages.iter().map(|(_, seconds)| seconds).sum::<u32>());
}

/// Whether an SPDX expression can be satisfied by `allowed` licences alone. An old-style `/` is an `OR`; what can't be read is refused.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+WITH+");
    let words: Vec<String> = spaced.split_whitespace().map(|word| word.replace("+WITH+", " WITH ")).collect();
    let mut words = words.iter().map(String::as_str).peekable();
    any_of(&mut words, allowed) == Some(true) && words.next().is_none()
}

fn any_of<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    let mut outcome = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        outcome |= all_of(words, allowed)?;
    }
    Some(outcome)
}

fn all_of<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    let mut outcome = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        outcome &= one(words, allowed)?;
    }
    Some(outcome)
}

fn one<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    match words.next()? {
        "(" => {
            let outcome = any_of(words, allowed)?;
            words.next_if_eq(&")").map(|_| outcome)
        }
        ")" | "AND" | "OR" => None,
        licence => Some(allowed.contains(&licence)),
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Apache-2.0", "X WITH Y"];
    for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR GPL-3.0) AND Apache-2.0", "X WITH Y"] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT GPL-3.0", "(MIT", "MIT)", "MIT OR", "MIT WITH Y", "X"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
