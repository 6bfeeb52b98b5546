//! Places both programs agree on, relative to a file-system root.

/// Patches installed from RPMs: `<name>-<version>-<release>/<PATCH>/`.
pub const PATCHES: &str = "usr/lib/upatch/patches";
/// State that survives a reboot.
pub const STATE: &str = "var/lib/upatch";
/// Socket and lock.
pub const RUN: &str = "run/upatch";
/// Optional settings.
pub const SETTINGS: &str = "etc/upatch/upatch.yaml";
/// The manifest inside a patch directory.
pub const MANIFEST: &str = "manifest.yaml";
/// Extension of patch ELF files inside a patch directory.
pub const EXTENSION: &str = "upatch";
/// What the name of the file with a patch ELF's debug information has besides that of the patch ELF.
pub const DEBUG_EXTENSION: &str = "debug";
