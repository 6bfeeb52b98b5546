//! Environment variables that can change what a compiler makes, and the recorder's own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use records::OsBytes;

/// Directory of the session; a short cut, the wrapper also finds it by its own place.
pub(crate) const SESSION: &str = "UPATCH_CC_SESSION";

/// Set for the children of a recorded compilation: what they run is part of it and not recorded again.
pub(crate) const ACTIVE: &str = "UPATCH_CC_ACTIVE";

/// The linker that our link by that name stands for, where the command line has named one.
pub(crate) const LINKER: &str = "UPATCH_CC_LINKER";

/// Where the assembler of a recorded compilation lists what it reads.
pub(crate) const ASSEMBLED: &str = "UPATCH_CC_ASSEMBLED";

/// Variables under which a result may depend on what their values do not say: on programs in a folder, on
/// added options, on what another compilation made. Nothing is stored then.
pub(crate) const NO_STORE: &[&str] =
    &["CCC_OVERRIDE_OPTIONS", "QA_OVERRIDE_GCC3_OPTIONS", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG"];

/// Variables that change the object or the messages of gcc and clang (from their manuals' "Environment"
/// chapters).
pub(crate) const RELEVANT: &[&str] = &[
    "SOURCE_DATE_EPOCH",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "OBJCPLUS_INCLUDE_PATH",
    "COMPILER_PATH",
    "LIBRARY_PATH",
    "CCC_OVERRIDE_OPTIONS",
    "QA_OVERRIDE_GCC3_OPTIONS",
    "CLANG_CONFIG_FILE_SYSTEM_DIR",
    "CLANG_CONFIG_FILE_USER_DIR",
    "LANG",
    "LANGUAGE",
];

/// Prefixes of names of such variables.
pub(crate) const RELEVANT_PREFIXES: &[&str] = &["GCC_", "LC_"];

/// Variables that make the compiler write more files; a recompilation runs without them.
pub(crate) const DEPENDENCY_OUTPUT: &[&str] =
    &["SUNPRO_DEPENDENCIES", "DEPENDENCIES_OUTPUT", "CC_PRINT_HEADERS", "CC_PRINT_HEADERS_FILE"];

/// Whether the variable belongs into a unit's record.
#[must_use]
pub(crate) fn is_relevant(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        RELEVANT.contains(&name) || RELEVANT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// `$COMPILER_PATH` without the session's own directory; `None` if nothing is left.
pub(crate) fn compiler_path(own_bin: &Path) -> Option<OsString> {
    let value = std::env::var_os("COMPILER_PATH")?;
    let left = std::env::split_paths(&value).filter(|dir| dir != own_bin);
    std::env::join_paths(left).ok().filter(|left| !left.is_empty())
}

/// Whether the environment forbids the store.
pub(crate) fn forbids_store(own_bin: &Path) -> bool {
    NO_STORE.iter().any(|name| std::env::var_os(name).is_some()) || compiler_path(own_bin).is_some()
}

/// The relevant part of this process's environment, sorted. The session's own directory in `COMPILER_PATH` is
/// left out.
#[must_use]
pub(crate) fn relevant(own_bin: &Path) -> Vec<(OsBytes, OsBytes)> {
    let mut found: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| is_relevant(name) && name != "COMPILER_PATH")
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    found.extend(compiler_path(own_bin).map(|path| ("COMPILER_PATH".into(), path.into())));
    found.sort();
    found
}

/// The working directory as the compilers see it: they write `$PWD` into debug information if it names the
/// current directory, and the kernel's answer otherwise.
///
/// # Errors
/// If the kernel does not know it (it was removed).
pub(crate) fn working_directory() -> std::io::Result<PathBuf> {
    let here = fs::metadata(".")?;
    match std::env::var_os("PWD").map(PathBuf::from) {
        Some(pwd)
            if pwd.is_absolute()
                && fs::metadata(&pwd).is_ok_and(|it| (it.dev(), it.ino()) == (here.dev(), here.ino())) =>
        {
            Ok(pwd)
        }
        _ => std::env::current_dir(),
    }
}
