//! What the relay writes to its log, and what it never does (invariant I10).
//!
//! What always holds: only this project's own targets are heard, whatever the level; dependencies' lines (hyper, rustls and others
//! print headers, bodies and keys at TRACE) have no way into the log. A panic is told by its place in the source, never by its
//! message, which may hold data.

use std::io;

use relay::config::{LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose lines were written with I10 in mind.
const OURS: [&str; 3] = ["transomd", "relay", "store"];

/// Log lines go to stderr from here on.
pub fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let registry = tracing_subscriber::registry().with(Targets::new().with_targets(OURS.map(|ours| (ours, level))));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    // Only a second start in one process could fail, and then the first one's log goes on.
    drop(started);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "transomd", place, "a defect: please report this line");
    }));
}
