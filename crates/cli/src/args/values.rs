//! What is typed where a number, a length of time or a place is wanted.

use std::time::Duration;

/// Decimal degrees, in 10^-7 degrees.
pub fn degrees(text: &str) -> Result<i64, String> {
    let degrees: f64 = text.parse().map_err(|_| "decimal degrees are wanted, for example 48.2010".to_owned())?;
    if degrees.abs() <= 180.0 { Ok((degrees * 1e7).round() as i64) } else { Err("that is not on Earth".to_owned()) }
}

/// A length of time, or zero for "off".
pub fn timer(text: &str) -> Result<Duration, String> {
    if text == "off" { Ok(Duration::ZERO) } else { length(text).map_err(|wanted| format!("{wanted}, or off")) }
}

/// A number of seconds, minutes, hours, days or weeks.
pub fn length(text: &str) -> Result<Duration, String> {
    let wanted = || "a number with s, m, h, d or w is wanted, for example 8h".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        Some('w') => 7 * 24 * 60 * 60,
        _ => return Err(wanted()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wanted())?;
    match number.checked_mul(unit) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wanted()),
    }
}

/// A number of seconds, with decimals.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "a number of seconds from 0 on is wanted".to_owned())
}
