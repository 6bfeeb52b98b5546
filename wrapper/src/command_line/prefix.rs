//! A linker that the command line names a place for (`-B`): drivers look there before they look on `PATH`.
//!
//! Source: GCC manual, "Options for Directory Search"; clang follows it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The linker that a link by these arguments (without the driver's name) runs because of a `-B`; `None` if it
/// runs another one.
pub(crate) fn linker(args: &[Vec<u8>], cwd: &Path) -> Option<PathBuf> {
    // Questions have no input.
    let is_input = |word: &Vec<u8>| !word.starts_with(b"-") && cwd.join(OsStr::from_bytes(word)).is_file();
    if !args.iter().any(is_input) {
        return None;
    }
    let kind = args.iter().rev().find_map(|word| word.strip_prefix(b"-fuse-ld="));
    let name = kind.map_or_else(|| b"ld".to_vec(), |kind| [b"ld.", kind].concat());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(joined) = word.strip_prefix(b"-B") else { continue };
        let prefix = if joined.is_empty() { words.next()?.as_slice() } else { joined };
        let inside = cwd.join(OsStr::from_bytes(prefix)).join(OsStr::from_bytes(&name));
        let behind = cwd.join(OsStr::from_bytes(&[prefix, &name].concat()));
        if let Some(found) = [inside, behind].into_iter().find(|path| is_program(path)) {
            return Some(found);
        }
    }
    None
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_driver_looks() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path
        };
        let (plain, gold, behind) = (place("tools/ld"), place("tools/ld.gold"), place("cross-ld"));
        std::fs::write(dir.path().join("a.o"), "").unwrap();
        let found = |line: &str| {
            let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
            linker(&words, dir.path())
        };
        assert_eq!(found("-Btools a.o"), Some(plain.clone()));
        assert_eq!(found("-B elsewhere -B tools/ a.o"), Some(plain));
        assert_eq!(found("-fuse-ld=gold -Btools a.o"), Some(gold));
        assert_eq!(found("-Bcross- a.o"), Some(behind));
        assert_eq!(found("-fuse-ld=lld -Btools a.o"), None);
        assert_eq!(found("-Btools -print-prog-name=ld"), None);
        assert_eq!(found("-Bsymbolic a.o -B"), None);
    }
}
