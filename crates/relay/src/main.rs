//! `transomd`: reads the settings, takes the data directory, opens the store, listens, and stops in an orderly way.
//!
//! Start-up lines go to stdout, log lines to stderr. Exit codes are listed in `--help`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use relay::config::{Args, Settings};
use relay::core::{Config, Relay};
use relay::http::{Listener, Server, unix_now};
use relay::tls::{Certificate, Source};
use store::fjall::FjallStore;
use tokio::signal::unix::{SignalKind, signal};
use wire::RelayName;

mod data;
mod logs;

/// What one worker allocates another one frees: with the system's allocator they wait for one another's locks, which takes a quarter of the
/// processor where many come back at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The settings or the data directory need a look.
const LOOK: u8 = 2;
/// The store failed; EX_SOFTWARE of sysexits.h, and what a supervisor restarts on.
const STORE_FAILED: u8 = 70;
/// How often the store is asked whether it failed.
const ASK_STORE: Duration = Duration::from_millis(250);
/// How often a development certificate is looked at; it is renewed a month before its end.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(24 * 3600);

/// Why the relay ends with another code than 0.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Some errors print their source themselves.
            if !text.contains(&cause.to_string()) {
                let _ = write!(text, ": {cause}");
            }
            source = cause.source();
        }
        Self { code, text }
    }

    fn look(error: &dyn Error) -> Self {
        Self::new(LOOK, error)
    }
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            let _ = writeln!(io::stderr(), "transomd: {text}");
            ExitCode::from(code)
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let check = args.check;
    let settings = Settings::resolve(args).map_err(|error| Failure::look(&error))?;
    if check {
        return say(&settings.to_string());
    }
    logs::start(settings.log_format, settings.log_level);
    raise_open_files();
    // The store's files are opened before anything listens: nobody connects to a relay that can't start.
    let store_dir = settings.store_dir();
    let dir = data::DataDir::take(&settings.data).map_err(|error| Failure::look(&error))?;
    let secrets = dir
        .secrets(&settings.name, &store_dir, settings.restored, unix_now(), &mut UnwrapErr(SysRng))
        .map_err(|error| Failure::look(&error))?;
    let store = FjallStore::open(&store_dir).map_err(|error| Failure::look(&error))?;
    let certificate = match settings.https {
        None => None,
        Some(_) => {
            Some(Certificate::load(settings.tls.clone(), SystemTime::now()).map_err(|error| Failure::look(&error))?)
        }
    };
    if secrets.restoring_until.is_some() {
        tracing::warn!("restored from a backup: for now only commits that clients re-post are taken");
    }
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(1, &error))?;
    let served = runtime.block_on(serve(&settings, secrets, Arc::new(store), certificate));
    // Connections that did not end in time are dropped here, and with the last of them the store is closed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(dir);
    served
}

async fn serve(
    settings: &Settings,
    secrets: data::Secrets,
    store: Arc<FjallStore>,
    certificate: Option<Arc<Certificate>>,
) -> Result<(), Failure> {
    let mut listeners = Vec::new();
    let mut lines = format!("transomd {}\n", env!("CARGO_PKG_VERSION"));
    let mut aliases = settings.aliases.clone();
    let _ = writeln!(lines, "relay name    {}", settings.name);
    let _ = writeln!(lines, "data          {}", settings.data.display());
    for (scheme, address) in [("http", settings.http), ("https", settings.https)] {
        let Some(address) = address else { continue };
        let listener = match &certificate {
            Some(certificate) if scheme == "https" => Listener::tls(address, certificate),
            _ => Listener::plain(address),
        };
        let bound = listener.and_then(|listener| Ok((listener.address()?, listener)));
        let (address, listener) = bound.map_err(|error| Failure {
            code: 1,
            text: format!("can't listen on {address} for {scheme}: {error}; is another program there?"),
        })?;
        listeners.push(listener);
        aliases.extend(local_names(address));
        let _ = writeln!(lines, "listening on  {scheme}://{address}");
    }
    if let (Source::Development { dir, .. }, Some(_)) = (&settings.tls, &certificate) {
        let _ = writeln!(lines, "certificate   development; clients trust it by {}", dir.join("ca.pem").display());
    }
    // Handlers before the first line: whoever reads it may send a signal at once.
    let failed = |error: io::Error| Failure::new(1, &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    aliases.retain(|alias| *alias != settings.name);
    aliases.sort();
    aliases.dedup();
    let relay = Relay::new(
        store.clone(),
        Config {
            name: settings.name.clone(),
            aliases,
            limits: settings.limits,
            incarnation: secrets.incarnation,
            stamp_key: secrets.stamp_key,
            registration: settings.registration.clone(),
            rates: settings.rates,
            restoring_until: secrets.restoring_until,
        },
    );
    let server = Server::new(relay, settings.limits, settings.connections.clone(), certificate.clone());
    say(&lines)?;

    let mut has_failed = false;
    let stop = async {
        let mut ask = tokio::time::interval(ASK_STORE);
        let mut look = tokio::time::interval(LOOK_AT_CERTIFICATE);
        look.reset();
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hang_up.recv() => reload(certificate.as_deref()),
                _ = look.tick() => reload(certificate.as_deref()),
                _ = ask.tick() => if store.failed() {
                    has_failed = true;
                    return;
                },
            }
        }
    };
    server.run(listeners, stop).await;
    if has_failed || store.failed() {
        let text = "the store failed and accepts nothing more; what was acknowledged is safe. Look at the disk, then start again";
        return Err(Failure { code: STORE_FAILED, text: text.into() });
    }
    tracing::info!("stopped as asked");
    Ok(())
}

fn reload(certificate: Option<&Certificate>) {
    let Some(certificate) = certificate else { return };
    match certificate.reload(SystemTime::now()) {
        Ok(()) => tracing::info!("the certificate was read again"),
        Err(error) => tracing::error!(%error, "the certificate was not read again; the one that is served stays"),
    }
}

/// Names under which a client on this machine dials a loopback listener. Proofs that name them are good: nobody else can be there.
fn local_names(address: SocketAddr) -> Vec<RelayName> {
    if !address.ip().is_loopback() {
        return Vec::new();
    }
    let texts = [format!("localhost:{}", address.port()), address.to_string()];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Each connection is an open file; the usual soft limit of 1,024 is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_err() {
        tracing::warn!(
            "the limit of open files could not be raised: fewer connections than configured may be possible"
        );
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::new(1, &error))
}
