//! When was an object compiled, as far as it holds `__DATE__` and `__TIME__`?
//!
//! A unit that is compiled again has to see the same date as when it was compiled for the package: then its
//! strings are those that the program has, and no difference hides behind them.

/// The date to compile with again, in seconds since the epoch: the one that the object holds, with what it
/// lacks taken from `start`.
///
/// `start` is when the build began and `end` when it was done; a clock time that is not within is not a
/// stamp. The compiler writes local time into an object, but UTC where it is told the date
/// (`SOURCE_DATE_EPOCH`), so the strings are read as UTC.
pub(super) fn compiled_at(object: &[u8], start: u64, end: u64) -> u64 {
    let date = (0..object.len()).find_map(|at| day(&object[at..]).filter(|d| d.abs_diff(start / DAY) <= 1));
    let time = (0..object.len()).find_map(|at| {
        let apart = at == 0 || !object[at - 1].is_ascii_digit();
        clock(&object[at..]).filter(|seconds| apart && within(*seconds, start, end))
    });
    match (date, time) {
        (None, None) => start,
        (date, time) => date.unwrap_or(start / DAY) * DAY + time.unwrap_or(start % DAY),
    }
}

/// Does an object hold what may be `__DATE__` or `__TIME__`?
pub(super) fn holds_date(object: &[u8]) -> bool {
    let apart = |at: usize| at == 0 || !object[at - 1].is_ascii_digit();
    (0..object.len()).any(|at| day(&object[at..]).is_some() || apart(at) && clock(&object[at..]).is_some())
}

const DAY: u64 = 24 * 3600;
const QUARTER: u64 = 900;
const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Is a time of day within the build, in some time zone? Those differ by whole quarters of an hour.
fn within(seconds: u64, start: u64, end: u64) -> bool {
    let since = (seconds % QUARTER + QUARTER - start % QUARTER) % QUARTER;
    since <= end.saturating_sub(start)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// `__TIME__`: seconds of the day.
fn clock(text: &[u8]) -> Option<u64> {
    let time = text.get(..8)?;
    if time[2] != b':' || time[5] != b':' || text.get(8).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let (hours, minutes, seconds) = (number(&time[..2])?, number(&time[3..5])?, number(&time[6..])?);
    (hours < 24 && minutes < 60 && seconds < 61).then_some(hours * 3600 + minutes * 60 + seconds)
}

/// `__DATE__`, as in `Nov  3 2026`: days since the epoch.
fn day(text: &[u8]) -> Option<u64> {
    let date = text.get(..11)?;
    let month = MONTHS.iter().position(|name| date.starts_with(name))? as u64 + 1;
    if date[3] != b' ' || date[6] != b' ' || text.get(11).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let day = number(if date[4] == b' ' { &date[5..6] } else { &date[4..6] })?;
    days(number(&date[7..])?, month, day)
}

/// Days since the epoch.
pub(super) fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Years that begin in March have the leap day at their end; 719468 days lie between March 1st of the year
    // 0 and the epoch.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:20 UTC.
    const START: u64 = 1_700_000_000;

    #[test]
    fn what_an_object_holds_is_found() {
        let at = |text: &str| compiled_at(text.as_bytes(), START, START + 100);
        assert_eq!(at("\0compiled Nov 14 2023 22:14:10\0"), START + 50);
        assert_eq!(at("\x0022:14:10\0more\0Nov 14 2023\0"), START + 50);
        assert_eq!(at("22:14:10"), START + 50);
        // Local time, two hours further, the next day.
        assert_eq!(at("Nov 15 2023 00:14:10"), START + 50 + 7200);
        assert_eq!(at("Nov 14 2023"), START);
    }

    #[test]
    fn other_dates_and_times_are_not_meant() {
        for text in ["", "nothing", "Nov 14 1999 12:05:00", "22:25:00", "122:14:10", "22:14:100", "Nov 31"] {
            assert_eq!(compiled_at(text.as_bytes(), START, START + 100), START, "{text}");
        }
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(day(b"Jan  1 1970"), Some(0));
        assert_eq!(day(b"Feb 29 2024"), Some(19_782));
        assert_eq!(day(b"Mar  1 2024"), Some(19_783));
        assert_eq!(day(b"Dec 31 1999"), Some(10_956));
    }
}
