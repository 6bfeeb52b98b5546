//! Kernels that load nothing without a signature that they trust: which do so and why, and what a module has.

use crate::{kernel::Kernel, manage::Error};
use patchfile::exit::ManageExit;

/// What a signed module ends with (`include/linux/module_signature.h`).
const MARK: &[u8] = b"~Module signature appended~\n";

/// How to get one.
pub(super) const SIGN: &str =
    "sign it (upatch-build --sign-key --sign-cert) with a key that the kernel or its owner (MOK) trusts";

/// Why this kernel loads no module without a good signature; `None` if it does, or does not tell.
pub(super) fn demanded(kernel: &Kernel<'_>) -> Option<String> {
    // The level in force stands in brackets: none [integrity] confidentiality.
    let lockdown = kernel.line("sys/kernel/security/lockdown").unwrap_or_default();
    let level = lockdown.split_once('[').and_then(|(_, rest)| rest.split(']').next());
    if let Some(level) = level.filter(|level| *level != "none") {
        return Some(format!("the kernel is locked down ({level})"));
    }
    let enforced = kernel.line("sys/module/module/parameters/sig_enforce");
    enforced.filter(|value| value == "Y").map(|_| "module.sig_enforce is set".to_owned())
}

/// Has the module a signature, good or bad?
pub(super) fn is_signed(image: &[u8]) -> bool {
    image.ends_with(MARK)
}

/// Refuses a module without a signature where one is demanded. Whether a signature is good only the kernel
/// can tell.
///
/// # Errors
/// [`ManageExit::NotPermitted`].
pub(super) fn suffices(kernel: &Kernel<'_>, id: &str, image: &[u8]) -> Result<(), Error> {
    match demanded(kernel) {
        Some(who) if !is_signed(image) => {
            Err(Error::new(ManageExit::NotPermitted, id, format_args!("{who}, and the module is not signed"))
                .hint(SIGN))
        }
        _ => Ok(()),
    }
}
