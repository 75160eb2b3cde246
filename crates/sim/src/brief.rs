//! Frames and events in a line of the trace: enough to follow a run, nothing of keys.

use wire::{Request, Response, ServerFrame};

/// A request in a line.
pub(crate) struct Brief<'a>(pub(crate) &'a Request);

impl std::fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Request::Append { log, epoch, pipe, id, .. } => {
                write!(f, "append {log:?} epoch {epoch} pipe {pipe} {id:?}")
            }
            Request::Commit { log, epoch, id, .. } => write!(f, "commit {log:?} epoch {epoch} {id:?}"),
            Request::Open { logs } => {
                write!(f, "open")?;
                logs.iter().try_for_each(|open| write!(f, " {:?} epoch {}", open.log, open.epoch))
            }
            Request::Subscribe { logs } => {
                write!(f, "subscribe")?;
                logs.iter().try_for_each(|one| write!(f, " {:?} epoch {} from {}", one.log, one.epoch, one.from))
            }
            Request::PutKeyPackages { packages, last_resort, replace } => {
                let last = if last_resort.is_some() { " and a last-resort one" } else { "" };
                let how = if *replace { " in place of all" } else { "" };
                write!(f, "PutKeyPackages {}{last}{how}", packages.len())
            }
            // The name alone: what a request carries would fill pages.
            other => write!(f, "{}", format!("{other:?}").split([' ', '(']).next().unwrap_or_default()),
        }
    }
}

/// A frame in a line.
pub(crate) struct BriefFrame<'a>(pub(crate) &'a ServerFrame);

impl std::fmt::Display for BriefFrame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            ServerFrame::Hello(_) => write!(f, "hello"),
            ServerFrame::Response { id, result: Ok(Response::Appended { seq, .. }) } => write!(f, "{id}: at {seq}"),
            ServerFrame::Response { id, result: Ok(Response::Opened(states)) } => {
                write!(f, "{id}: opened")?;
                states.iter().try_for_each(|state| {
                    write!(f, " {:?} epoch {} head {} {:?}", state.log, state.epoch, state.head, state.error)
                })
            }
            ServerFrame::Response { id, result: Ok(Response::KeyPackageCount { count, last_resort_used }) } => {
                write!(f, "{id}: {count} key packages, last resort used: {last_resort_used}")
            }
            ServerFrame::Response { id, result: Ok(_) } => write!(f, "{id}: ok"),
            ServerFrame::Response { id, result: Err(error) } => write!(f, "{id}: {:?} {}", error.code, error.current),
            ServerFrame::Push(wire::Push::Entries { log, entries, head }) => {
                write!(f, "entries of {log:?} to {head}:")?;
                entries.iter().try_for_each(|entry| write!(f, " {}({} {:?})", entry.seq, entry.epoch, entry.kind))
            }
            ServerFrame::Push(wire::Push::Lagged { log, seq }) => write!(f, "{log:?} lagged at {seq}"),
            ServerFrame::Push(wire::Push::EpochEnded { log, epoch }) => write!(f, "{log:?} epoch {epoch} ended"),
            ServerFrame::Push(_) => write!(f, "push"),
        }
    }
}

/// An event in a line.
pub(crate) struct BriefEvent<'a>(pub(crate) &'a api::Event);

impl std::fmt::Display for BriefEvent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use api::Event;
        match self.0 {
            Event::Message { message } | Event::MessageChanged { message } => {
                write!(f, "{:?} at {} {:?} from {}", message.kind, message.seq, message.status, message.from)
            }
            Event::Conversation { conversation } => write!(
                f,
                "conversation {} {:?} epoch {} members {}",
                conversation.id.get(..6).unwrap_or_default(),
                conversation.standing,
                conversation.epoch,
                conversation.members.len()
            ),
            other => write!(f, "{other:?}"),
        }
    }
}
