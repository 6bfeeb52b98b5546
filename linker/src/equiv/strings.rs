//! Strings, and the paths of the build in them.

/// Where the rebuild took place: what stands in strings in place of the path of the target's own build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths(pub(crate) Vec<Vec<u8>>);

/// Compares two zero-terminated strings; `Ok(true)` if they differ in the path of the build alone.
pub(super) fn same_string(ours: &[u8], theirs: &[u8], paths: &Paths) -> Result<bool, String> {
    let (ours, theirs) = (until_zero(ours, 1), until_zero(theirs, 1));
    if ours == theirs {
        return Ok(false);
    }
    if paths.0.iter().any(|path| differs_in_path(ours, theirs, path)) {
        return Ok(true);
    }
    Err(format!("the string \"{}\" here, \"{}\" there", shown(ours), shown(theirs)))
}

/// The characters, of `width` bytes each, before the first that is zero.
pub(super) fn until_zero(bytes: &[u8], width: u64) -> &[u8] {
    let width = usize::try_from(width.max(1)).unwrap_or(1);
    let end = bytes.chunks(width).position(|c| c.iter().all(|b| *b == 0));
    end.and_then(|count| bytes.get(..count * width)).unwrap_or(bytes)
}

/// Characters of a string that are told.
const SHOWN: usize = 200;

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text.chars().take(SHOWN).collect();
    short.escape_debug().to_string()
}

/// Does `ours` become `theirs` if `path` in it becomes another absolute path, one that ends in the same
/// place?
fn differs_in_path(ours: &[u8], theirs: &[u8], path: &[u8]) -> bool {
    let Some(at) = ours.windows(path.len().max(1)).position(|w| w == path) else { return false };
    let (before, after) = (&ours[..at], &ours[at + path.len()..]);
    // A name goes on after the path only with the next folder.
    let whole = after.first().is_none_or(|b| *b == b'/' || !b.is_ascii_alphanumeric());
    let middle = theirs.strip_prefix(before).and_then(|t| t.strip_suffix(after));
    whole && middle.is_some_and(|m| m.starts_with(b"/") && !m.iter().any(u8::is_ascii_whitespace))
}

/// Are these bytes one text, and then at most zeros? What is too short to be told from a number is none.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    const SHORTEST: usize = 4;
    let text = until_zero(bytes, 1);
    text.len() >= SHORTEST
        && text.iter().all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t'))
        && bytes[text.len()..].iter().all(|b| *b == 0)
}

/// Does what a patch brings use the words in which two strings differ, as [`same_string`] tells it? They may
/// come from one name that both sources have in common, and then the patch has been built with the wrong one.
pub(super) fn uses_words(detail: &str, brought: &[&[u8]]) -> bool {
    let Some((ours, theirs)) = sides(detail) else { return true };
    let (ours, theirs) = (words(ours), words(theirs));
    let before = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let most = ours.len().min(theirs.len()) - before;
    let after = ours.iter().rev().zip(theirs.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let differing = ours[before..ours.len() - after].concat();
    if differing.is_empty() {
        return false;
    }
    let edge = |b: Option<&u8>| b.is_none_or(|b| !is_word(*b));
    brought.iter().any(|data| {
        memchr::memmem::find_iter(data, differing.as_bytes()).any(|at| {
            edge(at.checked_sub(1).and_then(|i| data.get(i))) && edge(data.get(at + differing.len()))
        })
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Words, and what is between them.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.bytes().take_while(|b| is_word(*b)).count().max(first.len_utf8());
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after;
    }
    words
}

fn sides(detail: &str) -> Option<(&str, &str)> {
    let (ours, theirs) = detail.strip_prefix("the string \"")?.split_once("\" here, \"")?;
    Some((ours, theirs.strip_suffix("\" there").unwrap_or(theirs)))
}

/// Does a difference of two strings, as [`same_string`] tells it, look like the time or the number of a
/// build: are they equal but for digits and the names of days and months?
pub(super) fn is_stamp(detail: &str) -> bool {
    sides(detail).is_some_and(|(ours, theirs)| without_times(ours) == without_times(theirs))
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

    #[test]
    fn wide_characters_end_at_a_wide_zero() {
        assert_eq!(until_zero(b"a\0\0\0b\0\0\0\0\0\0\0c", 4), b"a\0\0\0b\0\0\0");
        assert_eq!(until_zero(b"ab\0c", 1), b"ab");
    }

    #[test]
    fn numbers_are_no_texts() {
        assert!(is_text(b"Nov 30 2026\0") && is_text(b"abcd\0\0\0\0"));
        assert!(!is_text(&100u64.to_le_bytes()) && !is_text(b"abcd\0\0x\0"));
    }

    #[test]
    fn a_name_in_two_strings_may_be_one_macro() {
        let differs =
            |a: &str, b: &str| same_string(a.as_bytes(), b.as_bytes(), &Paths::default()).unwrap_err();
        let of = differs("server: ready", "sender: ready");
        assert!(uses_words(&of, &[b"\0server: lost\0"]));
        assert!(!uses_words(&of, &[b"\0servers are lost\0", b"ready"]));
        assert!(!uses_words(&differs("on", "on and on"), &[b"on"]));
    }
}
