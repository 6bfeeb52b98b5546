//! Programs and libraries that the build made by no linker that the recorder saw: another `PATH`, a sandbox,
//! a change of root, another user. What the fix does to them is not known.

use crate::error::Failure;
use patchfile::exit::BuildExit;

/// No link was recorded; `made` are ELF files that the build made all the same.
pub(super) fn nothing_linked(made: &[String]) -> Failure {
    if made.is_empty() {
        return Failure::failed(
            "nothing was linked in the original build",
            "no program or library to patch was made",
        )
        .hint("the tree may be built already: clean it, or add a clean-up with --prepare");
    }
    not_recorded(made)
}

/// These files were made, and how is not known.
pub(super) fn not_recorded(made: &[String]) -> Failure {
    let made = made.join(", ");
    Failure::new(
        BuildExit::Refused,
        "the change cannot be live-patched safely",
        format!("link not recorded: {made}"),
    )
    .hint(format!(
        "link not recorded ({made}): the build made it, but by no linker that the recorder could see: one with PATH set to something \
         else, in a sandbox, after a change of root, or as another user; let the build find its tools on the PATH that it is given, and see \
         that the scratch directory (--workdir) can be written from there"
    ))
}
