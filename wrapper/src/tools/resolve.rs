//! Finding the real tool behind the wrapper's link.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::tools::names::{self, Tool};
use records::OsBytes;

/// Every tool on a search path that is worth a link, with the file that a build would run now.
pub(crate) fn scan_path(search_path: &OsStr, own_bin: &Path) -> BTreeMap<String, OsBytes> {
    let mut tools = BTreeMap::new();
    for dir in std::env::split_paths(search_path) {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if names::classify(&name).is_some()
                && !tools.contains_key(&name)
                && let Some(real) = real_tool(&name, search_path, own_bin)
            {
                tools.insert(name, real.into());
            }
        }
    }
    tools
}

/// Every program on a search path that lies beside compilers, by its name.
pub(crate) fn companions(search_path: &OsStr, own_bin: &Path) -> BTreeMap<OsString, PathBuf> {
    let mut found = BTreeMap::new();
    for dir in std::env::split_paths(search_path).filter(|dir| dir.is_absolute() && dir != own_bin) {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(names::is_companion) {
                found.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    found
}

/// The first file of that name on the search path which is neither our own link nor a compiler cache in
/// disguise. A script is no compiler (Debian's `c99` is one): `None`, it calls the compiler itself and is
/// recorded there.
pub(crate) fn real_tool(name: &str, search_path: &OsStr, own_bin: &Path) -> Option<PathBuf> {
    let own = fs::metadata(own_bin.join("upatch-cc")).ok().map(|meta| (meta.dev(), meta.ino()));
    let found = std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|candidate| is_real(candidate, own))?;
    (!is_script(&found)).then_some(found)
}

/// As [`real_tool`] over this process's `PATH`, scripts included, for running under whatever name we were
/// called.
pub(crate) fn next_on_path(name: &OsStr, own_bin: Option<&Path>) -> Option<PathBuf> {
    let exe = fs::metadata("/proc/self/exe").ok().map(|meta| (meta.dev(), meta.ino()));
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .filter(|dir| Some(dir.as_path()) != own_bin)
        .map(|dir| dir.join(name))
        .find(|candidate| is_real(candidate, exe))
}

fn is_real(candidate: &Path, own: Option<(u64, u64)>) -> bool {
    let Ok(meta) = fs::metadata(candidate) else { return false };
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 || own == Some((meta.dev(), meta.ino())) {
        return false;
    }
    let target = fs::canonicalize(candidate).unwrap_or_else(|_| candidate.to_path_buf());
    let base = target.file_name().and_then(OsStr::to_str).unwrap_or_default();
    base != "upatch-cc" && !names::MASQUERADERS.contains(&base)
}

fn is_script(path: &Path) -> bool {
    let mut magic = [0_u8; 2];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"#!"
}

/// gcc or clang behind a driver's name: `cc` may be either.
pub(crate) fn driver_family(real: &Path) -> Tool {
    let target = fs::canonicalize(real).unwrap_or_else(|_| real.to_path_buf());
    let name = target.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    if name.contains("clang") { Tool::Clang } else { Tool::Gcc }
}
