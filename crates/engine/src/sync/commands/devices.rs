//! Own devices.

use api::{Kind, Problem};
use wire::DeviceId;

use super::{State, Tried, Turn};
use crate::io::CommandId;
use crate::sync::waits::WaitFor;

impl State {
    pub(super) fn revoke(&mut self, turn: &mut Turn<'_>, command: CommandId, prefix: &str) -> Tried {
        let now = turn.now;
        let me = self.me.as_mut().ok_or(crate::EngineError::Inconsistent("no account"))?;
        let fitting: Vec<DeviceId> = me
            .record
            .active()
            .map(|device| device.certificate.device)
            .filter(|device| prefix.len() >= 4 && device.to_string().starts_with(prefix))
            .collect();
        if !me.published() {
            return Ok(Err(change_on_its_way()));
        }
        let [device] = fitting.as_slice() else {
            return Ok(Err(Problem::new(
                Kind::NotFound,
                format!("“{}” names no single device of yours.", prefix.chars().take(40).collect::<String>()),
                "",
                "Take its id from the list of devices.",
            )));
        };
        if *device == me.device() {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "A device can't revoke itself.",
                "",
                "Do it on another device of yours.",
            )));
        }
        if me.revoke_device(*device, now).is_none() {
            return Ok(Err(Problem::new(
                Kind::Forbidden,
                "This device can't revoke others.",
                "Only the device that made the account does.",
                "Do it there.",
            )));
        }
        me.save(turn.db)?;
        self.account.publishing.push(command);
        self.wait(command, WaitFor { by_hand: true, ..Default::default() });
        self.publish_record(turn);
        Ok(Ok(()))
    }
}

/// The relay takes one version of the own record after the other: the next one is not made before it has the last one.
pub(crate) fn change_on_its_way() -> Problem {
    Problem::new(
        Kind::Conflict,
        "The last change of your devices has not reached your relay yet.",
        "",
        "Try again once this device is connected.",
    )
}
