//! The clock by which the kernel stamps files.

#![expect(unsafe_code, reason = "the standard library does not offer this clock")]

use std::time::{Duration, SystemTime};

/// The time that a file gets which is written now: the real time at the last tick (`CLOCK_REALTIME_COARSE`,
/// clock_gettime(2)). Whatever was written before this call has no later time, and whatever is written after
/// it no earlier one. A file system on another machine goes by its own clock.
pub(crate) fn file_time() -> SystemTime {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` to where the pointer leads.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    match (result, u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec)) {
        (0, Ok(seconds), Ok(ns)) => SystemTime::UNIX_EPOCH + Duration::new(seconds, ns),
        // Too early rather than too late: ten milliseconds are the longest tick.
        _ => SystemTime::now() - Duration::from_millis(10),
    }
}
