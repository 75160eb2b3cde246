//! Own devices.

use api::{Event, Kind, Problem};
use wire::DeviceId;

use super::{State, Tried, Turn};
use crate::db::{contacts, own_state};
use crate::identity::Me;
use crate::io::CommandId;
use crate::own_state::Change;
use crate::sync::waits::WaitFor;

impl State {
    pub(super) fn revoke(&mut self, turn: &mut Turn<'_>, command: CommandId, prefix: &str) -> Tried {
        let now = turn.now;
        let me = self.me.as_mut().ok_or(crate::EngineError::Inconsistent("no account"))?;
        if !me.published() {
            return Ok(Err(change_on_its_way()));
        }
        let device = match own_device(me, prefix) {
            Ok(device) => device,
            Err(problem) => return Ok(Err(problem)),
        };
        if device == me.device() {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "A device can't revoke itself.",
                "",
                "Do it on another device of yours.",
            )));
        }
        if me.hands_over().is_some() {
            return Ok(Err(crate::sync::role::on_its_way()));
        }
        if me.revoke_device(device, now).is_none() {
            return Ok(Err(Problem::new(
                Kind::Forbidden,
                "This device can't revoke others.",
                "Only the device that certifies does.",
                "Do it there (devices list says which one it is).",
            )));
        }
        me.save(turn.db)?;
        self.account.publishing.push(command);
        self.wait(command, WaitFor { by_hand: true, ..Default::default() });
        self.publish_record(turn);
        Ok(Ok(()))
    }

    pub(super) fn certify(&mut self, turn: &mut Turn<'_>, command: CommandId, prefix: &str) -> Tried {
        match own_device(self.me_ref()?, prefix) {
            Ok(device) => self.hand_over(turn, command, device),
            Err(problem) => Ok(Err(problem)),
        }
    }

    pub(super) fn name_device(&mut self, turn: &mut Turn<'_>, command: CommandId, prefix: &str, name: &str) -> Tried {
        let device = match own_device(self.me_ref()?, prefix) {
            Ok(device) => device,
            Err(problem) => return Ok(Err(problem)),
        };
        let name = content::line(name, usize::MAX);
        if !contacts::is_name(&name) {
            let what = "That can't be what a device is called.";
            let why = format!("Names have at most {} bytes and no @.", contacts::MAX_NAME);
            return Ok(Err(Problem::new(Kind::Usage, what, why, "Choose another one.")));
        }
        if own_state::name_of_device(turn.db, device)? != name {
            self.chose(turn, &Change::DeviceName(device.0.to_vec().into(), name))?;
            self.drive_own_state(turn)?;
            turn.event(Event::Devices);
        }
        self.done(turn, command, None);
        Ok(Ok(()))
    }
}

/// The device that is meant by a part of its id.
fn own_device(me: &Me, prefix: &str) -> Result<DeviceId, Problem> {
    let all = me.record.active().map(|device| device.certificate.device);
    let fitting: Vec<DeviceId> =
        all.filter(|device| prefix.len() >= 4 && device.to_string().starts_with(prefix)).collect();
    match fitting.as_slice() {
        [device] => Ok(*device),
        _ => Err(Problem::new(
            Kind::NotFound,
            format!("“{}” names no single device of yours.", prefix.chars().take(40).collect::<String>()),
            "",
            "Take its id from the list of devices.",
        )),
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
