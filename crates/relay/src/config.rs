//! What the operator decides: flags override the environment, the environment overrides the file, the file overrides the defaults.
//!
//! What always holds: an unknown key in the file is an error that names it, and [`Settings`] are complete and checked: whoever holds
//! them asks no further questions. Deliberately absent: secrets. They are made by the relay and live in its data directory.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use wire::{Limits, RelayName};

use crate::core::{Quota, Rates, Registration, default_limits};
use crate::http::Network;
use crate::tls;

/// The relay of Transom: a blind log server.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(name = "transomd", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Read settings from this TOML file (see transomd.example.toml).
    #[arg(long, value_name = "FILE", env = "TRANSOM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Keep everything in this directory; it is made if it is missing [default: ./data].
    #[arg(long, value_name = "DIR", env = "TRANSOM_DATA")]
    pub data: Option<PathBuf>,
    /// The relay's name, which every address on it ends with [default: localhost:8443].
    #[arg(long, value_name = "HOST[:PORT]", env = "TRANSOM_NAME")]
    pub name: Option<RelayName>,
    /// Serve plain HTTP here, on a loopback address only; "off" for not at all [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", env = "TRANSOM_HTTP")]
    pub http: Option<Listen>,
    /// Serve HTTPS here; "off" for not at all [default: 0.0.0.0:8443].
    #[arg(long, value_name = "ADDRESS", env = "TRANSOM_HTTPS")]
    pub https: Option<Listen>,
    /// The certificate chain, PEM; without it a development authority is made in DIR/tls.
    #[arg(long, value_name = "FILE", env = "TRANSOM_CERT")]
    pub cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", env = "TRANSOM_KEY")]
    pub key: Option<PathBuf>,
    /// Believe these reverse proxies where a request comes from (X-Forwarded-For, Forwarded), which they must set [default: nobody].
    #[arg(long, value_name = "ADDRESS[/BITS],...", env = "TRANSOM_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<Network>>,
    /// How log lines are written [default: text].
    #[arg(long, value_name = "text|json", env = "TRANSOM_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which log lines are written [default: info].
    #[arg(long, value_name = "error|warn|info|debug|trace|off", env = "TRANSOM_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
    /// The data directory was put back from a backup: tell clients, and for an hour take only what they re-post. Use it once.
    #[arg(long)]
    pub restored: bool,
    /// Print the settings that would hold, then exit.
    #[arg(long)]
    pub check: bool,
}

const AFTER_HELP: &str = "\
Signals: TERM and INT stop it in an orderly way, HUP reads the certificate again.
Exit codes: 0 stopped as asked, 1 it could not serve, 2 the settings or the data directory need a look, \
70 the store failed (start it again; what was acknowledged is safe).";

/// Where a listener listens, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Not at all.
    Off,
    /// On this address.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| "expected IP:PORT, for example 127.0.0.1:8080, or \"off\"".into())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are those of every other program")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How many connections there may be and how long they may be silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// At the same time, in all.
    pub total: usize,
    /// At the same time from one IPv4 /24 or one IPv6 /56. Not applied to loopback, where proxies and load tests come from.
    pub per_range: usize,
    /// For the TLS handshake, and again for each HTTP request's head.
    pub handshake: Duration,
    /// A peer that has been silent for this long is pinged; after three pings without a sign of life it is cut off.
    pub ping: Duration,
    /// How long connections may take to end when the relay stops.
    pub drain: Duration,
    /// Reverse proxies whose word on where a request comes from is taken.
    pub trusted_proxies: Vec<Network>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            total: 20_000,
            per_range: 1_000,
            handshake: Duration::from_secs(10),
            ping: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            trusted_proxies: Vec::new(),
        }
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Everything that was decided.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The relay's name.
    pub name: RelayName,
    /// Other names that it answers to.
    pub aliases: Vec<RelayName>,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Plain HTTP; a loopback address.
    pub http: Option<SocketAddr>,
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// Where the certificate comes from.
    pub tls: tls::Source,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: LogLevel,
    /// Who may register.
    pub registration: Registration,
    /// How often what may be done.
    pub rates: Rates,
    /// What the relay takes.
    pub limits: Limits,
    /// How many connections, and how silent they may be.
    pub connections: Connections,
    /// The data directory was put back from a backup.
    pub restored: bool,
}

/// Why the settings can't be used. Always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the settings file {path} can't be read: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, holds an unknown key, or a value of the wrong kind.
    #[error("the settings file {path} can't be used:\n{source}")]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: toml::de::Error,
    },
    /// Plain HTTP was asked for on an address that others can reach.
    #[error(
        "plain HTTP is served on loopback addresses only, and {0} is none: \
         use --http 127.0.0.1:{port}, or --https {0} for others to connect", port = .0.port()
    )]
    PlainHttp(SocketAddr),
    /// One of certificate and key was given.
    #[error("a certificate needs its key and the other way round: give both --cert and --key, or neither")]
    HalfCertificate,
    /// Both listeners are off.
    #[error("both --http and --https are off: there is nothing to serve")]
    NothingToServe,
    /// A number has a value that nothing works with.
    #[error("the setting `{0}` must be {1}")]
    Value(&'static str, &'static str),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    name: Option<String>,
    aliases: Vec<String>,
    data: Option<PathBuf>,
    http: Option<String>,
    https: Option<String>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    registration: Option<Who>,
    invites: Vec<String>,
    log: LogSection,
    limits: LimitsSection,
    rates: RatesSection,
    connections: ConnectionsSection,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Open,
    Closed,
    Invite,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    format: Option<LogFormat>,
    level: Option<LogLevel>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    message_bytes: Option<u32>,
    commit_bytes: Option<u32>,
    subscriptions: Option<u32>,
    in_flight: Option<u32>,
    key_packages: Option<u32>,
    blob_bytes: Option<u64>,
    message_retention_days: Option<u64>,
    commit_retention_days: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RatesSection {
    unlimited: bool,
    appends_per_connection: Option<Rate>,
    appends_per_log: Option<Rate>,
    commits_per_connection: Option<Rate>,
    signals_per_connection: Option<Rate>,
    signals_per_log: Option<Rate>,
    errands_per_connection: Option<Rate>,
    errands_per_range: Option<Rate>,
    claims_per_device: Option<Rate>,
    claims_per_range: Option<Rate>,
    deposits_per_range: Option<Rate>,
    account_per_connection: Option<Rate>,
    registrations_per_range: Option<Rate>,
    blob_writes_per_range: Option<Rate>,
    blob_bytes_per_range: Option<u64>,
    rendezvous_per_range: Option<Rate>,
    failed_proofs_per_connection: Option<Rate>,
    failed_proofs_per_range: Option<Rate>,
    account_proofs_per_range: Option<Rate>,
    account_proofs_per_account: Option<Rate>,
    bytes_per_log: Option<u64>,
    commit_bytes_per_log: Option<u64>,
    bytes_per_inbox: Option<u64>,
    inbox_bytes_per_range: Option<u64>,
}

/// `{ burst = 10, per_hour = 60 }`: so many at once, so many in the long run.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    burst: u32,
    per_hour: u32,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConnectionsSection {
    total: Option<usize>,
    per_range: Option<usize>,
    handshake_seconds: Option<u64>,
    ping_seconds: Option<u64>,
    drain_seconds: Option<u64>,
    trusted_proxies: Vec<String>,
}

impl Settings {
    /// From flags and environment (both are in `args`) and the file that they name.
    pub fn resolve(args: Args) -> Result<Self, ConfigError> {
        let file = match &args.config {
            None => File::default(),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.clone(), source })?;
                toml::from_str(&text).map_err(|source| ConfigError::Toml { path: path.clone(), source })?
            }
        };
        Self::merge(args, file)
    }

    fn merge(args: Args, file: File) -> Result<Self, ConfigError> {
        let name = match (args.name, file.name) {
            (Some(name), _) => name,
            (None, name) => named("name", name.as_deref().unwrap_or("localhost:8443"))?,
        };
        let aliases = file.aliases.iter().map(|alias| named("aliases", alias)).collect::<Result<_, _>>()?;
        let data = args.data.or(file.data).unwrap_or_else(|| "data".into());
        let http = listen(args.http, file.http, "http", "127.0.0.1:8080")?;
        let https = listen(args.https, file.https, "https", "0.0.0.0:8443")?;
        if let Some(address) = http.filter(|address| !tls::is_plain_allowed(address.ip())) {
            return Err(ConfigError::PlainHttp(address));
        }
        if http.is_none() && https.is_none() {
            return Err(ConfigError::NothingToServe);
        }
        // A pair from one place: a flag's certificate never meets the file's key.
        let (cert, key) = match (args.cert, args.key) {
            (None, None) => (file.cert, file.key),
            pair => pair,
        };
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => tls::Source::Files { cert, key },
            (None, None) => tls::Source::development(data.join("tls"), name.host()),
            _ => return Err(ConfigError::HalfCertificate),
        };
        Ok(Self {
            name,
            aliases,
            data,
            http,
            https,
            tls,
            log_format: args.log_format.or(file.log.format).unwrap_or_default(),
            log_level: args.log_level.or(file.log.level).unwrap_or_default(),
            registration: registration(file.registration, file.invites)?,
            rates: rates(file.rates)?,
            limits: limits(file.limits)?,
            connections: connections(args.trusted_proxies, file.connections)?,
            restored: args.restored,
        })
    }

    /// Where the store keeps its files.
    pub fn store_dir(&self) -> PathBuf {
        self.data.join("store")
    }
}

fn named(key: &'static str, text: &str) -> Result<RelayName, ConfigError> {
    text.parse().map_err(|_| ConfigError::Value(key, "a host name, with a port if it needs one"))
}

fn listen(
    given: Option<Listen>,
    file: Option<String>,
    key: &'static str,
    default: &str,
) -> Result<Option<SocketAddr>, ConfigError> {
    let listen = match given {
        Some(listen) => listen,
        None => file
            .as_deref()
            .unwrap_or(default)
            .parse()
            .map_err(|_| ConfigError::Value(key, "IP:PORT, for example \"127.0.0.1:8080\", or \"off\""))?,
    };
    Ok(match listen {
        Listen::Off => None,
        Listen::At(address) => Some(address),
    })
}

fn registration(who: Option<Who>, invites: Vec<String>) -> Result<Registration, ConfigError> {
    match (who, invites.is_empty()) {
        (None | Some(Who::Open), true) => Ok(Registration::Open),
        (Some(Who::Closed), true) => Ok(Registration::Closed),
        (Some(Who::Invite), _) => Ok(Registration::Invite(invites)),
        (_, false) => Err(ConfigError::Value("registration", "\"invite\" if `invites` are given")),
    }
}

fn rates(file: RatesSection) -> Result<Rates, ConfigError> {
    let mut rates = if file.unlimited { Rates::UNLIMITED } else { Rates::default() };
    for (key, quota, rate) in [
        ("rates.appends_per_connection", &mut rates.appends_per_connection, file.appends_per_connection),
        ("rates.appends_per_log", &mut rates.appends_per_log, file.appends_per_log),
        ("rates.commits_per_connection", &mut rates.commits_per_connection, file.commits_per_connection),
        ("rates.signals_per_connection", &mut rates.signals_per_connection, file.signals_per_connection),
        ("rates.signals_per_log", &mut rates.signals_per_log, file.signals_per_log),
        ("rates.errands_per_connection", &mut rates.errands_per_connection, file.errands_per_connection),
        ("rates.errands_per_range", &mut rates.errands_per_range, file.errands_per_range),
        ("rates.claims_per_device", &mut rates.claims_per_device, file.claims_per_device),
        ("rates.claims_per_range", &mut rates.claims_per_range, file.claims_per_range),
        ("rates.deposits_per_range", &mut rates.deposits_per_range, file.deposits_per_range),
        ("rates.account_per_connection", &mut rates.account_per_connection, file.account_per_connection),
        ("rates.registrations_per_range", &mut rates.registrations_per_range, file.registrations_per_range),
        ("rates.blob_writes_per_range", &mut rates.blob_writes_per_range, file.blob_writes_per_range),
        ("rates.rendezvous_per_range", &mut rates.rendezvous_per_range, file.rendezvous_per_range),
        (
            "rates.failed_proofs_per_connection",
            &mut rates.failed_proofs_per_connection,
            file.failed_proofs_per_connection,
        ),
        ("rates.failed_proofs_per_range", &mut rates.failed_proofs_per_range, file.failed_proofs_per_range),
        ("rates.account_proofs_per_range", &mut rates.account_proofs_per_range, file.account_proofs_per_range),
        ("rates.account_proofs_per_account", &mut rates.account_proofs_per_account, file.account_proofs_per_account),
    ] {
        match rate {
            None => {}
            Some(Rate { burst: 0, .. } | Rate { per_hour: 0, .. }) => {
                return Err(ConfigError::Value(key, "greater than 0 in `burst` and `per_hour`"));
            }
            Some(Rate { burst, per_hour }) => *quota = Quota::per_hour(burst, per_hour),
        }
    }
    rates.bytes_per_log = file.bytes_per_log.unwrap_or(rates.bytes_per_log);
    rates.commit_bytes_per_log = file.commit_bytes_per_log.unwrap_or(rates.commit_bytes_per_log);
    rates.blob_bytes_per_range = file.blob_bytes_per_range.unwrap_or(rates.blob_bytes_per_range);
    rates.bytes_per_inbox = file.bytes_per_inbox.unwrap_or(rates.bytes_per_inbox);
    rates.inbox_bytes_per_range = file.inbox_bytes_per_range.unwrap_or(rates.inbox_bytes_per_range);
    Ok(rates)
}

fn limits(file: LimitsSection) -> Result<Limits, ConfigError> {
    let default = default_limits();
    let days = |days: Option<u64>, default: u64| days.map_or(default, |days| days.saturating_mul(DAY_MS));
    let limits = Limits {
        message_bytes: file.message_bytes.unwrap_or(default.message_bytes),
        commit_bytes: file.commit_bytes.unwrap_or(default.commit_bytes),
        subscriptions: file.subscriptions.unwrap_or(default.subscriptions),
        in_flight: file.in_flight.unwrap_or(default.in_flight),
        key_packages: file.key_packages.unwrap_or(default.key_packages),
        blob_bytes: file.blob_bytes.unwrap_or(default.blob_bytes),
        message_retention_ms: days(file.message_retention_days, default.message_retention_ms),
        commit_retention_ms: days(file.commit_retention_days, default.commit_retention_ms),
    };
    if limits.message_bytes < 4 << 10 {
        return Err(ConfigError::Value("limits.message_bytes", "at least 4096"));
    }
    if limits.commit_bytes < limits.message_bytes || limits.commit_bytes > 64 << 20 {
        return Err(ConfigError::Value("limits.commit_bytes", "between `limits.message_bytes` and 67108864"));
    }
    if limits.subscriptions == 0 || limits.in_flight == 0 || limits.key_packages == 0 {
        return Err(ConfigError::Value("limits", "greater than 0 in `subscriptions`, `in_flight` and `key_packages`"));
    }
    if limits.message_retention_ms == 0 || limits.commit_retention_ms < limits.message_retention_ms {
        return Err(ConfigError::Value(
            "limits.message_retention_days",
            "at least 1 and at most `limits.commit_retention_days`",
        ));
    }
    Ok(limits)
}

fn connections(proxies: Option<Vec<Network>>, file: ConnectionsSection) -> Result<Connections, ConfigError> {
    let trusted_proxies = match proxies {
        Some(proxies) => proxies,
        None => file.trusted_proxies.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(|_| {
            ConfigError::Value("connections.trusted_proxies", "IP addresses, with /BITS for networks: [\"127.0.0.1\"]")
        })?,
    };
    let default = Connections::default();
    let seconds = |seconds: Option<u64>, default: Duration| seconds.map_or(default, Duration::from_secs);
    let connections = Connections {
        total: file.total.unwrap_or(default.total),
        per_range: file.per_range.unwrap_or(default.per_range),
        handshake: seconds(file.handshake_seconds, default.handshake),
        ping: seconds(file.ping_seconds, default.ping),
        drain: seconds(file.drain_seconds, default.drain),
        trusted_proxies,
    };
    if connections.total == 0 || connections.per_range == 0 {
        return Err(ConfigError::Value("connections", "greater than 0 in `total` and `per_range`"));
    }
    if connections.handshake.is_zero() || connections.ping.is_zero() {
        return Err(ConfigError::Value("connections", "greater than 0 in `handshake_seconds` and `ping_seconds`"));
    }
    Ok(connections)
}

impl fmt::Display for Settings {
    /// The settings as the file would hold them; what `--check` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |address: Option<SocketAddr>| address.map_or(Listen::Off, Listen::At);
        let path = |path: &Path| path.display().to_string();
        let lower = |value: &dyn fmt::Debug| format!("{value:?}").to_ascii_lowercase();
        writeln!(f, "name = {:?}", self.name.as_str())?;
        writeln!(f, "aliases = {:?}", self.aliases.iter().map(RelayName::as_str).collect::<Vec<_>>())?;
        writeln!(f, "data = {:?}", path(&self.data))?;
        writeln!(f, "http = \"{}\"", address(self.http))?;
        writeln!(f, "https = \"{}\"", address(self.https))?;
        if let tls::Source::Files { cert, key } = &self.tls {
            writeln!(f, "cert = {:?}", path(cert))?;
            writeln!(f, "key = {:?}", path(key))?;
        }
        match &self.registration {
            Registration::Open => writeln!(f, "registration = \"open\"\n")?,
            Registration::Closed => writeln!(f, "registration = \"closed\"\n")?,
            // The codes admit people: whoever reads over the operator's shoulder learns how many there are.
            Registration::Invite(codes) => writeln!(f, "registration = \"invite\" # {} codes\n", codes.len())?,
        }
        writeln!(f, "[log]\nformat = \"{}\"\nlevel = \"{}\"\n", lower(&self.log_format), lower(&self.log_level))?;
        let limits = &self.limits;
        writeln!(f, "[limits]\nmessage_bytes = {}", limits.message_bytes)?;
        writeln!(f, "commit_bytes = {}", limits.commit_bytes)?;
        writeln!(f, "subscriptions = {}", limits.subscriptions)?;
        writeln!(f, "in_flight = {}", limits.in_flight)?;
        writeln!(f, "key_packages = {}", limits.key_packages)?;
        writeln!(f, "blob_bytes = {}", limits.blob_bytes)?;
        writeln!(f, "message_retention_days = {}", limits.message_retention_ms / DAY_MS)?;
        writeln!(f, "commit_retention_days = {}\n", limits.commit_retention_ms / DAY_MS)?;
        let rate = |quota: &Quota| {
            let per_hour = 3_600_000_000 / quota.interval_us.max(1);
            format!("{{ burst = {}, per_hour = {} }}", quota.burst, per_hour.min(u64::from(u32::MAX)))
        };
        let rates = &self.rates;
        writeln!(f, "[rates]")?;
        if *rates == Rates::UNLIMITED {
            writeln!(f, "unlimited = true\n")?;
        } else {
            writeln!(f, "appends_per_connection = {}", rate(&rates.appends_per_connection))?;
            writeln!(f, "appends_per_log = {}", rate(&rates.appends_per_log))?;
            writeln!(f, "commits_per_connection = {}", rate(&rates.commits_per_connection))?;
            writeln!(f, "signals_per_connection = {}", rate(&rates.signals_per_connection))?;
            writeln!(f, "signals_per_log = {}", rate(&rates.signals_per_log))?;
            writeln!(f, "errands_per_connection = {}", rate(&rates.errands_per_connection))?;
            writeln!(f, "errands_per_range = {}", rate(&rates.errands_per_range))?;
            writeln!(f, "claims_per_device = {}", rate(&rates.claims_per_device))?;
            writeln!(f, "claims_per_range = {}", rate(&rates.claims_per_range))?;
            writeln!(f, "deposits_per_range = {}", rate(&rates.deposits_per_range))?;
            writeln!(f, "account_per_connection = {}", rate(&rates.account_per_connection))?;
            writeln!(f, "registrations_per_range = {}", rate(&rates.registrations_per_range))?;
            writeln!(f, "blob_writes_per_range = {}", rate(&rates.blob_writes_per_range))?;
            writeln!(f, "blob_bytes_per_range = {}", rates.blob_bytes_per_range)?;
            writeln!(f, "rendezvous_per_range = {}", rate(&rates.rendezvous_per_range))?;
            writeln!(f, "failed_proofs_per_connection = {}", rate(&rates.failed_proofs_per_connection))?;
            writeln!(f, "failed_proofs_per_range = {}", rate(&rates.failed_proofs_per_range))?;
            writeln!(f, "account_proofs_per_range = {}", rate(&rates.account_proofs_per_range))?;
            writeln!(f, "account_proofs_per_account = {}", rate(&rates.account_proofs_per_account))?;
            writeln!(f, "bytes_per_log = {}", rates.bytes_per_log)?;
            writeln!(f, "commit_bytes_per_log = {}", rates.commit_bytes_per_log)?;
            writeln!(f, "bytes_per_inbox = {}", rates.bytes_per_inbox)?;
            writeln!(f, "inbox_bytes_per_range = {}\n", rates.inbox_bytes_per_range)?;
        }
        let connections = &self.connections;
        writeln!(f, "[connections]\ntotal = {}", connections.total)?;
        writeln!(f, "per_range = {}", connections.per_range)?;
        writeln!(f, "handshake_seconds = {}", connections.handshake.as_secs())?;
        writeln!(f, "ping_seconds = {}", connections.ping.as_secs())?;
        writeln!(f, "drain_seconds = {}", connections.drain.as_secs())?;
        let proxies: Vec<String> = connections.trusted_proxies.iter().map(Network::to_string).collect();
        writeln!(f, "trusted_proxies = {proxies:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<File, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_file_holds_the_defaults() {
        let example = file(include_str!("../transomd.example.toml")).unwrap();
        let defaults = Settings::merge(Args::default(), File::default()).unwrap();
        let example = Settings::merge(Args::default(), example).unwrap();
        assert!(example == defaults, "{example}\n{defaults}");
    }

    #[test]
    fn what_check_prints_reads_back_as_the_same_settings() {
        let args = Args { cert: Some("a b\".pem".into()), key: Some("k.pem".into()), ..Args::default() };
        let settings = Settings::merge(args, file("http = \"off\"\naliases = [\"one.example\"]\n[connections]\ntrusted_proxies = [\"::1\", \"10.0.0.0/8\"]").unwrap()).unwrap();
        let again = Settings::merge(Args::default(), file(&settings.to_string()).unwrap()).unwrap();
        assert!(again == settings, "{again}\n{settings}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = file("[limits]\nmesage_bytes = 3").err().unwrap();
        assert!(error.contains("mesage_bytes") && error.contains("message_bytes"), "{error}");
    }

    #[test]
    fn what_can_not_work_is_refused_with_what_to_do() {
        let refusal = |args: Args, text: &str| match Settings::merge(args, file(text).unwrap()) {
            Ok(_) => panic!("taken: {text}"),
            Err(error) => error.to_string(),
        };
        let public = Args { http: Some("0.0.0.0:80".parse().unwrap()), ..Args::default() };
        let text = refusal(public, "");
        assert!(text.contains("loopback") && text.contains("127.0.0.1:80") && text.contains("--https"), "{text}");
        assert!(refusal(Args { cert: Some("c".into()), ..Args::default() }, "key = \"k\"").contains("--key"));
        assert!(refusal(Args::default(), "http = \"off\"\nhttps = \"off\"").contains("nothing to serve"));
        assert!(refusal(Args::default(), "http = \"localhost\"").contains("`http`"));
        assert!(refusal(Args::default(), "name = \"a b\"").contains("`name`"));
        assert!(refusal(Args::default(), "[limits]\ncommit_bytes = 5").contains("commit_bytes"));
        assert!(refusal(Args::default(), "[connections]\ntotal = 0").contains("total"));
        assert!(refusal(Args::default(), "[connections]\ntrusted_proxies = [\"me\"]").contains("trusted_proxies"));
    }

    #[test]
    fn args_are_well_formed() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
