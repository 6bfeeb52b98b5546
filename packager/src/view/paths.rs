//! Absolute paths in what a file holds.

use crate::files::plain;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longer ones are no path of a build.
const LONGEST: usize = 1024;

/// The absolute paths in `data`, also those in the middle of a text (`-ffile-prefix-map=/build/x=.`), without
/// `.` and `..`.
pub(super) fn absolute(data: &[u8], found: &mut BTreeSet<PathBuf>) {
    for at in memchr::memchr_iter(b'/', data) {
        if at.checked_sub(1).and_then(|before| data.get(before)).is_some_and(|b| in_path(*b)) {
            continue;
        }
        let rest = data.get(at..).unwrap_or_default();
        let length = rest.iter().take(LONGEST).take_while(|b| in_path(**b)).count();
        let path = Path::new(OsStr::from_bytes(&rest[..length]));
        if length > 2 && !found.contains(path) {
            found.insert(plain(path));
        }
    }
}

/// What paths of builds are made of; `=`, `:` and quotes end one.
fn in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._+~@,%-".contains(&byte) || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let mut found = BTreeSet::new();
        let data = b"\0/build/x-1.0/a.c\0 -ffile-prefix-map=/build/x-1.0=. sub/dir\0and/or \
         /w/obj/../src//b.c: %s\0/\0";
        absolute(data, &mut found);
        let found: Vec<_> = found.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(found, ["/build/x-1.0", "/build/x-1.0/a.c", "/w/src/b.c"]);
    }
}
