//! Why the kernel does not take a module: one number stands for many reasons, so more is looked at.

use crate::{
    kernel::{Kernel, KernelMessages},
    manage::Error,
};
use nix::errno::Errno;
use patchfile::exit::ManageExit;
use std::io;

/// The error of a load that failed with `error`. `messages`: what the kernel has logged meanwhile.
pub(super) fn not_loaded(
    kernel: &Kernel<'_>,
    id: &str,
    module: &str,
    error: &io::Error,
    messages: &mut KernelMessages,
) -> Error {
    use ManageExit::{Conflict, DoesNotFit, Failed, NotPermitted};
    let is = |path: &str, value: &str| kernel.line(path).is_some_and(|line| line == value);
    let lockdown = kernel.line("sys/kernel/security/lockdown").unwrap_or_default();
    let locked = lockdown.contains('[') && !lockdown.contains("[none]");
    let unsigned = "the module has no signature that this kernel trusts";
    let sign =
        "sign it (upatch-build --sign-key --sign-cert) with a key that the kernel or its owner (MOK) trusts";
    let (exit, why, hint) = match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EPERM if is("proc/sys/kernel/modules_disabled", "1") => (
            NotPermitted,
            "kernel.modules_disabled is 1: no module can be loaded until the next boot".to_owned(),
            "boot without that setting (sysctl.d(5))",
        ),
        Errno::EPERM if locked => (NotPermitted, format!("the kernel is locked down, and {unsigned}"), sign),
        Errno::EPERM => (
            NotPermitted,
            "this process may load no module (CAP_SYS_MODULE)".into(),
            "run it as root, outside of containers",
        ),
        Errno::EACCES => (
            NotPermitted,
            "a security module forbids it (EACCES)".into(),
            "see its log: IMA, SELinux, LoadPin",
        ),
        Errno::EKEYREJECTED | Errno::ENOKEY | Errno::EBADMSG | Errno::ENOPKG | Errno::ENODATA => {
            let who = if locked { "the kernel is locked down" } else { "module.sig_enforce is set" };
            (NotPermitted, format!("{who}, and {unsigned}"), sign)
        }
        Errno::EBUSY => {
            let busy = kernel.live().into_iter().find(|live| live.moving && live.module != module);
            let busy = busy.map_or("another live patch".into(), |live| live.module);
            (
                Conflict,
                format!("{busy} is in transition, and the kernel does one at a time"),
                "`upatch status` names the tasks that hold it up; try again when it is over",
            )
        }
        Errno::EEXIST => (Conflict, format!("a module {module} is loaded already"), "see: upatch list"),
        Errno::ENODEV => (
            Failed,
            "the kernel has switched ftrace off after a fault: it can take no live patch any more".into(),
            "boot again; dmesg shows the fault (look for ftrace)",
        ),
        Errno::ENOEXEC | Errno::EINVAL | Errno::ENOENT => (
            DoesNotFit,
            format!("the kernel does not take the module: {error}"),
            "it was made for another build, or names what this kernel does not have",
        ),
        _ => (Failed, format!("the kernel does not take the module: {error}"), "dmesg may tell more"),
    };
    let lines = messages.about(module);
    let from = lines.len().saturating_sub(MOST);
    let told = lines[from..].iter().map(|line| format!("the kernel says: {line}"));
    told.fold(Error::new(exit, id, why), Error::hint).hint(hint)
}

/// So many of the kernel's lines are shown.
const MOST: usize = 5;
