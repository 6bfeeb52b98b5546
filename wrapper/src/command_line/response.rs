//! `@file` on a command line, expanded as GCC does (libiberty's `expandargv`): words are split at white
//! space; single and double quotes group; a backslash takes the next byte as it is, also inside quotes; a
//! file that cannot be read leaves the word as it is; files may name files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::streams;

/// More expansions than this are taken for a file that names itself.
const LIMIT: usize = 2000;

/// Expands relative to `cwd`.
pub(crate) fn expand(args: &[Vec<u8>], cwd: &Path) -> Vec<Vec<u8>> {
    let mut done = Vec::with_capacity(args.len());
    let mut left: Vec<Vec<u8>> = args.iter().rev().cloned().collect();
    let mut budget = LIMIT;
    while let Some(word) = left.pop() {
        let file = word.strip_prefix(b"@").filter(|name| !name.is_empty() && budget > 0);
        match file.and_then(|name| text_of(&cwd.join(OsStr::from_bytes(name)))) {
            Some(text) => {
                budget -= 1;
                left.extend(split(&text).into_iter().rev());
            }
            None => done.push(word),
        }
    }
    done
}

/// GNU's tools leave the name of a pipe as it is. Other tools read the pipe, which nobody else may do then.
fn text_of(file: &Path) -> Option<Vec<u8>> {
    if streams::is_stream(file) { None } else { std::fs::read(file).ok() }
}

fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => word.get_or_insert_default().extend(bytes.next()),
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (_, Some(open)) if byte == open => quote = None,
            (_, None) if byte.is_ascii_whitespace() || byte == 0x0b => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        let words = split(b"-c 'a b.c' \"c\\\"d\" e\\ f ''\n\t-DX='\"s\"'");
        let text: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(text, ["-c", "a b.c", "c\"d", "e f", "", "-DX=\"s\""]);
    }

    #[test]
    fn nesting_and_missing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one"), "-a @two -b").unwrap();
        std::fs::write(dir.path().join("two"), "-x @two").unwrap();
        let args = [b"@one".to_vec(), b"@none".to_vec()];
        let all = expand(&args, dir.path());
        assert_eq!(all.first().unwrap(), b"-a");
        assert_eq!(all.last().unwrap(), b"@none");
        assert!(all.len() >= LIMIT - 1, "a file that names itself ends");
    }
}
