//! The own account, its devices, and whether others are who they seem to be.

use api::{Command, Confirmation, Device, Event, Kind, LinkPreview, Problem, Query, View};
use wire::{Address, RelayName};

use crate::lines::{self, short_id};
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, clean, isolate, short};

/// Before anything is made: is that an address at all?
pub fn check_address(address: &str) -> Result<(), Problem> {
    address.parse::<Address>().map(drop).map_err(|error| {
        let next = match error {
            wire::AddressError::NoRelay => {
                format!("Add the relay that the account shall live on: transom register {}@RELAY", clean(address))
            }
            _ => "Write it as name@relay, for example alice@relay.example.".into(),
        };
        Problem::new(
            Kind::Usage,
            format!("'{}' is not an address.", clean(address)),
            format!("It should read: {error}."),
            next,
        )
    })
}

pub fn register(session: &mut Session<'_>, address: &str, invite: &str) -> Result<(), Problem> {
    let pending = session.account().ok().filter(|account| !account.registered);
    if pending.is_some_and(|account| address.parse().is_ok_and(|wanted: Address| wanted.as_str() == account.address)) {
        // An earlier run was not answered in time; this one only has to wait for what goes on by itself.
        session.catch_up(|_| ())?;
    } else {
        let command = Command::Register { address: address.to_owned(), invite: invite.to_owned() };
        session.run("Making the account", command)?;
    }
    let account = session.account()?;
    let terminal = session.terminal;
    if terminal.json {
        terminal.object(&account);
        return Ok(());
    }
    terminal.line(format!("{} You are {}.", terminal.paint(Paint::Good, "Registered."), clean(&account.address)));
    terminal.line(format!(
        "This device certifies your others. Its account key has the fingerprint {}.",
        account.fingerprint
    ));
    Ok(())
}

pub fn whoami(session: &mut Session<'_>) -> Result<(), Problem> {
    let mut account = session.account()?;
    if !account.registered {
        session.freshen();
        account = session.account()?;
    }
    let terminal = session.terminal;
    if terminal.json {
        terminal.object(&account);
        return Ok(());
    }
    let state = if account.registered { "" } else { "  (not registered yet; that goes on by itself)" };
    terminal.line(format!("{}{state}", terminal.paint(Paint::Strong, clean(&account.address))));
    terminal.line(format!("  fingerprint  {}", account.fingerprint));
    let role = if account.certifies { "  certifies the others" } else { "" };
    terminal.line(format!("  device       {}{role}", short_id(&account.device)));
    terminal.line(format!("  profile      {}", session.profile.name));
    Ok(())
}

pub fn devices(session: &mut Session<'_>) -> Result<(), Problem> {
    let account = session.account()?;
    let terminal = session.terminal;
    let devices = own_devices(session)?;
    if terminal.json {
        devices.iter().for_each(|device| terminal.object(device));
        return Ok(());
    }
    let lines = session.lines(&account.address);
    for device in devices {
        let mut what = Vec::new();
        what.extend((!device.name.is_empty()).then(|| isolate(&short(&device.name, 60)).into_owned()));
        what.push(format!("added {}", lines.time(device.added)));
        what.extend(device.this.then(|| "this one".into()));
        what.extend(device.certifies.then(|| "certifies the others".into()));
        what.extend(device.takes_over.then(|| "is to certify the others".into()));
        what.extend(device.revoked.map(|time| format!("revoked {}", lines.time(time))));
        terminal.line(format!("{}  {}", terminal.paint(Paint::Strong, short_id(&device.id)), what.join(" · ")));
    }
    Ok(())
}

/// On the new device.
pub fn begin_link(session: &mut Session<'_>, relay: &str, name: Option<&str>) -> Result<(), Problem> {
    let relay: RelayName = relay.rsplit('@').next().unwrap_or_default().parse().map_err(|_| {
        Problem::new(
            Kind::Usage,
            format!("'{}' is not a relay.", clean(relay)),
            "",
            "Give the part of your address after the @, for example: transom devices link --new relay.example",
        )
    })?;
    let terminal = session.terminal;
    let (mut address, mut follows) = (None, false);
    let mut is_shown = false;
    let command = Command::BeginLink { relay: relay.to_string() };
    session.run_link("Waiting for the other device", command, |event| match event {
        Event::LinkCode { code, .. } if !is_shown => {
            is_shown = true;
            if terminal.json {
                return terminal.event(event.clone());
            }
            terminal.line(format!("The code of this device: {}", terminal.paint(Paint::Strong, code)));
            terminal.line("On the device that you have, type:");
            terminal.line(format!("  transom devices link {code}"));
            terminal.qr(code);
        }
        Event::Linked { address: linked, history } => {
            address = Some(linked.clone());
            follows = *history;
        }
        _ => {}
    })?;
    if let Some(name) = name {
        let device = session.account()?.device;
        session.run("Giving the device its name", Command::NameDevice { device, name: name.to_owned() })?;
    }
    let address = match address {
        Some(address) => address,
        None => session.account()?.address,
    };
    if terminal.json {
        terminal.event(Event::Linked { address, history: follows });
    } else {
        let done = terminal.paint(Paint::Good, "Linked.");
        terminal.line(format!("{done} This device is part of {} now.", clean(&address)));
    }
    if follows {
        super::history::come(session)?;
    }
    if !terminal.json {
        terminal.line("Your conversations come over as your other devices add it: transom receive");
    }
    Ok(())
}

/// On the device that certifies.
pub fn confirm_link(session: &mut Session<'_>, code: &str, yes: bool, no_history: bool) -> Result<(), Problem> {
    session.account()?;
    let terminal = session.terminal;
    let mut preview: Option<LinkPreview> = None;
    session.run_link("Looking at the new device", Command::InspectLink { code: code.to_owned() }, |event| {
        if let Event::LinkRequest { preview: found, .. } = event {
            preview = Some((**found).clone());
        }
    })?;
    let preview = preview.ok_or_else(|| {
        Problem::new(Kind::NotFound, "No device waits behind that code.", "", "Check the code on the new device.")
    })?;
    if !terminal.json {
        terminal.line("A new device asks to become part of your account.");
        terminal.line(format!("  its key   {}", preview.fingerprint));
        terminal.line(match preview.conversations {
            1 => "  it reads  your 1 conversation from now on, and writes as you".to_owned(),
            n => format!("  it reads  your {n} conversations from now on, and writes as you"),
        });
    }
    if !terminal.json && !no_history {
        terminal.line("  it gets   what was said before, too (not with --no-history)");
    }
    consent(session, yes, "Let it in?")?;
    session.run("Letting the device in", Command::ConfirmLink { code: code.to_owned(), no_history })?;
    if terminal.json {
        terminal.event(Event::Done { command: 0, conversation: None, message: None });
    } else {
        terminal.line(format!("{} The device is part of your account now.", terminal.paint(Paint::Good, "Linked.")));
    }
    if !no_history {
        super::history::go(session)?;
    }
    Ok(())
}

/// Says what the own devices call one of them.
pub fn name_device(session: &mut Session<'_>, device: &str, name: &str) -> Result<(), Problem> {
    session.account()?;
    let device = named_device(session, device)?.id;
    let short = short_id(&device).to_owned();
    session.run("Remembering", Command::NameDevice { device, name: name.to_owned() })?;
    let name = clean(name.trim()).into_owned();
    let text = if name.is_empty() {
        format!("The device {short} has no name.")
    } else {
        format!("The device {short} is called {name}.")
    };
    done(session, &text);
    Ok(())
}

pub fn revoke(session: &mut Session<'_>, device: &str, yes: bool) -> Result<(), Problem> {
    session.account()?;
    let device = named_device(session, device)?;
    if device.this {
        return Err(Problem::new(
            Kind::Usage,
            "That is this device.",
            "A device is revoked from another one.",
            "Run this on another device of yours.",
        ));
    }
    consent(session, yes, &format!("Take the device {} out of your account for good?", short_id(&device.id)))?;
    let (id, short) = (device.id.clone(), short_id(&device.id).to_owned());
    session.run("Revoking the device", Command::RevokeDevice { device: id })?;
    done(session, &format!("Revoked. The device {short} reads nothing from now on."));
    Ok(())
}

/// Hands the role of certifying over, or takes back what is on its way.
pub fn certify(session: &mut Session<'_>, device: &str, yes: bool) -> Result<(), Problem> {
    session.account()?;
    session.freshen();
    let device = named_device(session, device)?;
    let (id, short) = (device.id.clone(), short_id(&device.id).to_owned());
    if !device.this {
        let question = "Hand it over? From then on that device alone lets others in and revokes them, this one too.";
        consent(session, yes, question)?;
    }
    session.run("Handing over", Command::CertifyBy { device: id })?;
    let text = match device.this {
        true => "Taken back. This device certifies your others.".to_owned(),
        false => format!("On its way: the device {short} certifies your others as soon as it is on and has taken it."),
    };
    done(session, &text);
    Ok(())
}

pub fn verify(session: &mut Session<'_>, address: &str, confirm: bool, accept_new: bool) -> Result<(), Problem> {
    let own = session.account()?;
    session.freshen();
    let address = session.address(address)?;
    if accept_new {
        session.run("Going on", Command::AcceptIdentity { address: address.clone() })?;
    }
    if confirm {
        session.run("Remembering", Command::Verify { address: address.clone() })?;
    }
    let number = match session.query(Query::SafetyNumber { address: address.clone() })? {
        View::SafetyNumber(number) => number,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    if terminal.json {
        terminal.object(&number);
        return Ok(());
    }
    let lines = session.lines(&own.address);
    let (name, address) = (lines.name(&number.address), lines.address(&number.address));
    let show = |digits: &str| {
        let digits: Vec<char> = digits.chars().filter(char::is_ascii_digit).collect();
        let groups: Vec<String> = digits.chunks(5).map(|group| group.iter().collect()).collect();
        for row in groups.chunks(4) {
            terminal.line(format!("  {}", row.join(" ")));
        }
    };
    let painted = terminal.paint(Paint::Strong, &name);
    let (meaning, sure) = lines::sure(number.confirmation);
    let state = format!("State: {}.", terminal.paint(meaning, sure));
    if let Some(other) = &number.other {
        terminal.line(format!("Safety number of you and {painted} as this device has known {name} so far:"));
        show(&number.digits);
        terminal.line("With the identity that has appeared now:");
        show(other);
        terminal.line(state);
        terminal.line(format!(
            "If {name} sees the second one (compare in person or on a call): transom verify {address} --accept-new"
        ));
        return Ok(());
    }
    terminal.line(format!("Safety number of you and {painted}:"));
    show(&number.digits);
    terminal.line(state);
    if number.confirmation != Confirmation::Verified {
        terminal.line(format!(
            "If {name} sees the same digits (compare them in person or on a call): transom verify {address} --confirm"
        ));
    }
    Ok(())
}

fn own_devices(session: &Session<'_>) -> Result<Vec<Device>, Problem> {
    match session.query(Query::Devices)? {
        View::Devices(devices) => Ok(devices),
        other => Err(unexpected(&other)),
    }
}

fn named_device(session: &Session<'_>, device: &str) -> Result<Device, Problem> {
    let devices = own_devices(session)?;
    let wanted = device.to_lowercase();
    let fits: Vec<&Device> =
        devices.iter().filter(|d| d.revoked.is_none() && wanted.len() >= 4 && d.id.starts_with(&wanted)).collect();
    match fits[..] {
        [device] => Ok(device.clone()),
        [] => Err(Problem::new(
            Kind::NotFound,
            format!("You have no device '{}'.", clean(device)),
            if wanted.len() < 4 { "At least four characters of its id are needed." } else { "" },
            "List them with `transom devices list`.",
        )),
        _ => Err(Problem::new(
            Kind::Usage,
            format!("'{}' fits more than one device.", clean(device)),
            "",
            "Write more of its id.",
        )),
    }
}

/// The person agrees, or nothing is done.
pub fn consent(session: &Session<'_>, yes: bool, question: &str) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    match session.terminal.confirm(question) {
        Some(true) => Ok(()),
        Some(false) => Err(Problem::new(Kind::Forbidden, "You said no, so nothing was done.", "", "")),
        None => Err(Problem::new(
            Kind::Usage,
            "This needs your consent, and there is no terminal to ask on.",
            "",
            "Say so with --yes.",
        )),
    }
}

/// Says that something is done.
pub fn done(session: &Session<'_>, text: &str) {
    if session.terminal.json {
        session.terminal.event(Event::Done { command: 0, conversation: None, message: None });
    } else {
        session.terminal.line(text);
    }
}
