//! Pictures of groups: made of a file, taken off, saved.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use api::{Command, Kind, Problem, Query, View};
use client::picture::{MAX_FILE, PictureError, prepare};

use super::groups::finish;
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{clean, short};

/// `group picture GROUP FILE`
pub fn set(session: &mut Session<'_>, group: &str, path: &Path) -> Result<(), Problem> {
    let file = prepare(&read(path)?).map_err(|error| no_picture(path, error))?;
    let command = Command::SetPicture { conversation: group.to_owned(), picture: Some(api::Binary(file)) };
    let made = session.run("Sending the picture", command)?;
    finish(session, made, &format!("\"{}\" has a new picture; all members see it.", short(group, 60)));
    Ok(())
}

/// `group picture GROUP --remove`
pub fn remove(session: &mut Session<'_>, group: &str) -> Result<(), Problem> {
    let made = session.run("Taking it off", Command::SetPicture { conversation: group.to_owned(), picture: None })?;
    finish(session, made, &format!("\"{}\" has no picture any more.", short(group, 60)));
    Ok(())
}

/// `group picture GROUP [--save FILE]`
pub fn look(session: &mut Session<'_>, group: &str, save: Option<&Path>) -> Result<(), Problem> {
    let picture = match session.query(Query::Picture { conversation: group.to_owned() })? {
        View::Picture(picture) => picture,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    let Some(path) = save else {
        if terminal.json {
            terminal.object(&picture);
        } else {
            let bytes = picture.file.0.len();
            terminal
                .line(format!("\"{}\" has a picture of {bytes} bytes. Save it with --save FILE.", short(group, 60)));
        }
        return Ok(());
    };
    write(path, &picture.file.0).map_err(|error| {
        Problem::new(
            Kind::Local,
            format!("The file {} can't be written.", shown(path)),
            format!("{error}."),
            "Take another name, or remove what is there.",
        )
    })?;
    if terminal.json {
        terminal.object(&serde_json::json!({ "saved": path.display().to_string(), "kind": picture.kind }));
    } else {
        terminal.line(format!("Saved the picture in {}.", shown(path)));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: io::Error| {
        Problem::new(
            Kind::Local,
            format!("The file {} can't be read.", shown(path)),
            format!("{error}."),
            "Check its name, and whether you may read it.",
        )
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(no_picture(path, PictureError::Kind));
    }
    if metadata.len() > MAX_FILE {
        return Err(no_picture(path, PictureError::TooLarge));
    }
    fs::read(path).map_err(unreadable)
}

fn no_picture(path: &Path, error: PictureError) -> Problem {
    let next = match error {
        PictureError::Kind => "Convert it to one of these first.",
        PictureError::Damaged => "Open it in a picture program, and save it again.",
        PictureError::TooLarge => "Make it smaller first.",
    };
    Problem::new(
        Kind::Usage,
        format!("The file {} can't be a group's picture.", shown(path)),
        format!("{error}."),
        next,
    )
}

/// Nothing that is there is written over.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn shown(path: &Path) -> String {
    clean(&path.display().to_string()).into_owned()
}
