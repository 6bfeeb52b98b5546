//! Why the kernel does not take a module: one number stands for many reasons, so more is looked at.

use super::signature::{SIGN, demanded, is_signed};
use crate::{
    kernel::{Kernel, KernelMessages},
    manage::Error,
};
use nix::errno::Errno;
use patchfile::exit::ManageExit;
use std::{fs, io};

/// The number of this capability (capabilities(7)), without which no process loads modules.
const CAP_SYS_MODULE: u32 = 16;

/// A module that cannot be loaded.
#[derive(Clone, Copy)]
pub(super) struct Module<'a> {
    /// Of the patch.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its bytes.
    pub image: &'a [u8],
}

/// The error of a load that failed with `error`, `messages`: what the kernel has logged meanwhile.
pub(super) fn not_loaded(
    kernel: &Kernel<'_>,
    module: Module<'_>,
    error: &io::Error,
    messages: &mut KernelMessages,
) -> Error {
    use ManageExit::{Conflict, DoesNotFit, Failed, NotPermitted};
    let lines = messages.about(module.name);
    let told = |words: &str| lines.iter().any(|line| line.contains(words));
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let (exit, why, hint) = match errno {
        Errno::EPERM if kernel.line("proc/sys/kernel/modules_disabled").as_deref() == Some("1") => (
            NotPermitted,
            "kernel.modules_disabled is 1: no module can be loaded until the next boot".to_owned(),
            "boot without that setting (sysctl.d(5))",
        ),
        Errno::EPERM if may_load(kernel) == Some(false) => (
            NotPermitted,
            "this process may load no module (CAP_SYS_MODULE)".into(),
            "run it as root, outside of containers",
        ),
        Errno::EPERM if demanded(kernel).is_some() || told("Lockdown") => {
            // Where securityfs is not mounted, only the message tells.
            let who = demanded(kernel).unwrap_or_else(|| "the kernel is locked down".into());
            (NotPermitted, format!("{who}, and {}", flaw(module)), SIGN)
        }
        Errno::EPERM => (
            NotPermitted,
            "the kernel does not let this process load modules (EPERM)".into(),
            "run it as root, outside of containers; a security module may forbid it too: see its log",
        ),
        Errno::EACCES => (
            NotPermitted,
            "a security module forbids it (EACCES)".into(),
            "see its log: IMA, SELinux, LoadPin",
        ),
        // A signature that does not fit its module is refused also where none is demanded, with no word.
        Errno::EKEYREJECTED | Errno::EBADMSG if is_signed(module.image) && !told("is rejected") => (
            NotPermitted,
            "the module's signature is not that of its contents".into(),
            "the module was changed after it was signed: install the patch again, or have it made again",
        ),
        Errno::EKEYREJECTED | Errno::ENOKEY | Errno::EBADMSG | Errno::ENOPKG | Errno::ENODATA => {
            let who = demanded(kernel).unwrap_or_else(|| "the kernel wants a signature".into());
            (NotPermitted, format!("{who}, and {}", flaw(module)), SIGN)
        }
        Errno::EBUSY => return busy(kernel, module.id, module.name),
        Errno::EEXIST => {
            (Conflict, format!("a module {} is loaded already", module.name), "see: upatch list")
        }
        Errno::ENOMEM => (
            Failed,
            "the kernel has not enough memory for the module".into(),
            "free some memory and try again; nothing was changed",
        ),
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
    let from = lines.len().saturating_sub(MOST);
    let told = lines[from..].iter().map(|line| format!("the kernel says: {line}"));
    told.fold(Error::new(exit, module.id, why), Error::hint).hint(hint)
}

/// The error of a live patch that the kernel does not take out of force.
pub(super) fn not_taken_out(kernel: &Kernel<'_>, id: &str, module: &str, error: &io::Error) -> Error {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EBUSY => busy(kernel, id, module),
        Errno::EPERM | Errno::EACCES | Errno::EROFS => {
            let why = format!("`enabled` of {module} cannot be written in /sys/kernel/livepatch: {error}");
            Error::new(ManageExit::NotPermitted, id, why).hint("run it as root, outside of containers")
        }
        _ => Error::failed(id, format_args!("the kernel does not take it out of force: {error}"))
            .hint("dmesg may tell more"),
    }
}

fn busy(kernel: &Kernel<'_>, id: &str, module: &str) -> Error {
    let busy = kernel.live().into_iter().find(|live| live.moving && live.module != module);
    let busy = busy.map_or("another live patch".into(), |live| live.module);
    let why = format!("{busy} is in transition, and the kernel does one at a time");
    Error::new(ManageExit::Conflict, id, why)
        .hint("`upatch status` names the tasks that hold it up; try again when it is over")
}

/// What is wrong with its signature, where one is demanded.
fn flaw(module: Module<'_>) -> &'static str {
    if is_signed(module.image) {
        "it does not trust the key that the module is signed with"
    } else {
        "the module is not signed"
    }
}

/// Has this process the capability to load modules? `None` where /proc does not tell.
fn may_load(kernel: &Kernel<'_>) -> Option<bool> {
    let status = fs::read_to_string(kernel.root.join("proc/self/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> CAP_SYS_MODULE & 1 == 1)
}

/// So many of the kernel's lines are shown.
const MOST: usize = 5;
