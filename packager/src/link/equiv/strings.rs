//! Strings, and the paths of the build in them.

/// Where the rebuild took place: what stands in strings in place of the path of the target's own build.
#[derive(Clone, Debug, Default)]
pub(in crate::link) struct Paths(pub(in crate::link) Vec<Vec<u8>>);

/// Compares two zero-terminated strings; `Ok(true)` if they differ in the path of the build alone.
pub(super) fn same_string(ours: &[u8], theirs: &[u8], paths: &Paths) -> Result<bool, String> {
    let (ours, theirs) = (until_zero(ours), until_zero(theirs));
    if ours == theirs {
        return Ok(false);
    }
    if paths.0.iter().any(|path| differs_in_path(ours, theirs, path)) {
        return Ok(true);
    }
    Err(format!("the string \"{}\" here, \"{}\" there", shown(ours), shown(theirs)))
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text.chars().take(40).collect();
    short.escape_debug().to_string()
}

/// Does `ours` become `theirs` if `path` in it becomes another absolute path, one that ends in the same place?
fn differs_in_path(ours: &[u8], theirs: &[u8], path: &[u8]) -> bool {
    let Some(at) = ours.windows(path.len().max(1)).position(|w| w == path) else { return false };
    let (before, after) = (&ours[..at], &ours[at + path.len()..]);
    // A name goes on after the path only with the next folder.
    let whole = after.first().is_none_or(|b| *b == b'/' || !b.is_ascii_alphanumeric());
    let middle = theirs.strip_prefix(before).and_then(|t| t.strip_suffix(after));
    whole && middle.is_some_and(|m| m.starts_with(b"/") && !m.iter().any(u8::is_ascii_whitespace))
}

/// Does a difference of two strings, as [`same_string`] tells it, look like the time or the number of a build: are they equal but for
/// digits and the names of days and months?
pub(super) fn is_stamp(detail: &str) -> bool {
    let Some((ours, theirs)) = detail.strip_prefix("the string \"").and_then(|d| d.split_once("\" here, \""))
    else {
        return false;
    };
    let theirs = theirs.strip_suffix("\" there").unwrap_or(theirs);
    without_times(ours) == without_times(theirs)
}

fn without_times(text: &str) -> String {
    const NAMES: [&str; 19] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon", "Tue",
        "Wed", "Thu", "Fri", "Sat", "Sun",
    ];
    let mut text: String = text.to_owned();
    for name in NAMES {
        text = text.replace(name, "0");
    }
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('0') => {}
            '0'..='9' => out.push('0'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_may_differ() {
        let paths = Paths(vec![b"/tmp/w/BUILD/p-1".to_vec()]);
        let same = |a: &str, b: &str| same_string(a.as_bytes(), b.as_bytes(), &paths);
        assert_eq!(same("x\0y", "x\0z"), Ok(false));
        assert_eq!(same("/tmp/w/BUILD/p-1/a.c", "/build/p-1/a.c"), Ok(true));
        assert!(same("/tmp/w/BUILD/p-1/a.c", "/build/p-1/b.c").is_err());
        assert!(same("/tmp/w/BUILD/p-10/a.c", "/build/p-10/a.c").is_err());
        assert!(same("on", "off").is_err());
    }
}
