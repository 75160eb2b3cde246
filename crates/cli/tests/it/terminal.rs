//! What only a terminal shows.

use crate::camera;
use crate::processes::{Relay, Transom};

/// Begins to link a device on a terminal of so many columns; answers with what is printed before the code of the device, and behind it.
fn link(columns: u16, more: &[&str], environment: &[(&str, &str)], is_drawn: bool) -> (String, Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let mut relay = Relay::new(&home.path().join("relay"));
    relay.start();
    let mut words = vec!["devices", "link", "--new"];
    let name = relay.name();
    words.push(&name);
    words.extend(more);
    let mut transom = Transom::on_terminal(&home.path().join("people"), "laptop", &words, environment, columns);
    let printed = transom.until("transom devices link ");
    let code = printed.last().unwrap().trim().strip_prefix("transom devices link ").unwrap().to_owned();
    let mut behind = Vec::new();
    if is_drawn {
        // It is as high as it is wide, two modules a character.
        behind.push(transom.next());
        let width = camera::drawn(&behind[0]).expect("a picture follows").chars().count();
        behind.extend((1..width.div_ceil(2)).map(|_| transom.next()));
    }
    transom.signal("INT");
    let ended = transom.end();
    behind.extend(ended.out);
    (code, behind)
}

#[test]
fn the_code_of_a_new_device_can_be_read_by_a_camera() {
    let (code, behind) = link(80, &[], &[("TERM", "xterm-256color")], true);
    let picture: Vec<&str> = behind.iter().filter_map(|line| camera::drawn(line)).collect();
    assert_eq!(camera::read(&picture), code);
}

#[test]
fn no_picture_where_it_could_not_be_read() {
    for (columns, more, environment) in [
        (30, &[][..], ("TERM", "xterm-256color")),
        (80, &[][..], ("TERM", "dumb")),
        (80, &[][..], ("NO_COLOR", "1")),
        (80, &["--color", "never"][..], ("TERM", "xterm-256color")),
    ] {
        let (_, behind) = link(columns, more, &[environment], false);
        assert!(
            behind.iter().all(|line| !line.contains(['█', '▀', '▄'])),
            "{columns} {more:?} {environment:?}: {behind:#?}"
        );
    }
}
