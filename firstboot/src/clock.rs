//! What time it is, and how long this machine has been on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970; zero for a clock that stands before that.
pub fn since_epoch() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |duration| duration.as_secs())
}

/// The time since power-on, as `/proc/uptime` tells it; zero where there is no such file.
pub fn since_power_on() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.0))
}

/// Whole milliseconds, for files and fields.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
