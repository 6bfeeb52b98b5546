//! Numbers and names of this machine.

use patchfile::{Arch, arch::Facts};

/// The machine.
pub(crate) const ARCH: Arch = Arch::X86_64;
/// What patches for it depend on.
pub(crate) const FACTS: &Facts = ARCH.facts();
/// Bytes below the stack pointer that belong to the function that runs (psABI §3.2.2).
pub(crate) const RED_ZONE: u64 = 128;
/// `R_X86_64_RELATIVE` (psABI §4.4.1): the relocation of a word that depends on nothing but where the module
/// is mapped.
pub(crate) const RELATIVE: u64 = 8;
/// The line of `/proc/PID/status`, and the word in it, that tells of a user shadow stack (Intel CET).
pub(crate) const SHADOW_STACK: (&str, &str) = ("x86_Thread_features", "shstk");
