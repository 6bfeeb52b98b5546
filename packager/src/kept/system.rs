//! What a build finds on the machine besides its own sources.
//!
//! Nothing lists what `configure`, `sed` or `bison` read. So all that was installed counts: the database of
//! packages, and name, size and time of every file where programs, headers, libraries and settings are.

use crate::error::{Context, Result, StoreError};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use walkdir::WalkDir;

/// Databases of packages, by content.
const DATABASES: [&str; 5] = [
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
];
/// Folders with all that is below them. What else there is comes in packages.
const TREES: [&str; 13] = [
    "/etc",
    "/opt",
    "/usr/include",
    "/usr/lib/gcc",
    "/usr/lib/rpm",
    "/usr/lib/pkgconfig",
    "/usr/libexec/gcc",
    "/usr/local",
    "/usr/share/aclocal",
    "/usr/share/pkgconfig",
    "/usr/share/autoconf",
    "/usr/share/automake-1.16",
    "/usr/share/libtool",
];
/// Folders without those in them.
const FOLDERS: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/pkgconfig",
    "/usr/lib64/pkgconfig",
];
/// More files than this are not looked at for each build.
const MOST: usize = 200_000;

/// All of it as one text. Names in `search_path` count too.
///
/// # Errors
/// When there is too much of it.
pub(super) fn installed(search_path: &[PathBuf]) -> Result<String> {
    let mut text = String::new();
    for database in DATABASES.iter().map(Path::new).filter(|path| path.is_file()) {
        let bytes = std::fs::read(database).at(database)?;
        let _ = writeln!(text, "{} {}", database.display(), wrapper::sha256(&bytes));
    }
    let mut count = 0;
    let flat: BTreeSet<&Path> =
        FOLDERS.iter().map(Path::new).chain(search_path.iter().map(PathBuf::as_path)).collect();
    let trees = TREES.iter().map(|dir| (Path::new(*dir), usize::MAX));
    for (dir, depth) in trees.chain(flat.into_iter().map(|dir| (dir, 1))) {
        // What links lead to is what counts, as in `/usr/bin` of alternatives.
        for entry in WalkDir::new(dir).max_depth(depth).sort_by_file_name().into_iter().flatten() {
            let _ = writeln!(text, "{}", facts(entry.path()));
            count += 1;
            if count > MOST {
                return Err(StoreError::TooLarge.into());
            }
        }
    }
    Ok(text)
}

/// The device that `/proc` is.
fn kernels_own() -> Option<u64> {
    static DEVICE: OnceLock<Option<u64>> = OnceLock::new();
    *DEVICE.get_or_init(|| Path::new("/proc").metadata().ok().map(|meta| meta.dev()))
}

/// Name, size and time of a file; of a folder its name.
pub(super) fn facts(path: &Path) -> String {
    let name = path.display();
    match path.metadata() {
        Ok(meta) if meta.is_dir() => format!("{name}/"),
        // As `/etc/mtab`: its time is now.
        Ok(meta) if kernels_own().is_some_and(|own| own == meta.dev()) => format!("{name} of the kernel"),
        Ok(meta) => format!("{name} {} {}.{}", meta.len(), meta.mtime(), meta.mtime_nsec()),
        Err(_) => format!("{name} leads nowhere"),
    }
}
