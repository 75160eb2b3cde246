//! What people read: transcripts of real `transom` processes against a real relay on this machine, compared with committed files.
//!
//! Each file in `transcripts/` is a script and its expected output in one (format in [`script`]); a run with
//! `TRANSCRIPTS=overwrite` writes what was really printed, for a person to review in the diff. The relay's binary is the one that
//! lies beside the test's own (`cargo build --workspace` makes it), or the one that `TRANSOMD` names.

mod camera;
mod processes;
mod script;
mod terminal;

fn transcript(name: &str) {
    script::run(name);
}

/// One test for each file, so that they run side by side and fail by name.
macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { transcript(stringify!($name)); })*

        #[test]
        fn every_transcript_is_run() {
            let mut files: Vec<String> = std::fs::read_dir(script::directory())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let mut named = vec![$(concat!(stringify!($name), ".txt")),*];
            named.sort_unstable();
            assert_eq!(files, named);
        }
    };
}

transcripts! {
    accounts,
    arrangements,
    asked,
    backups,
    certify,
    content,
    conversation,
    devices,
    devices_given_up,
    groups,
    help,
    history,
    identity,
    invitations,
    invite_links,
    json,
    passphrase,
    people,
    pictures,
    polls,
    presence,
    refusals,
    refused,
    refused_backups,
    refused_devices,
    refused_links,
    refused_messages,
    refused_names,
    refused_profiles,
    refused_relay,
    relay_backup,
    relay_restarts,
    restore,
    restore_beside,
    scheduled,
    too_late,
    two_relays,
    typing,
    vanishing,
    who,
}
