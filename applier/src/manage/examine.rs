//! What `doctor` looks at: the kernel, the service, permissions, and what earlier runs left.

use super::{
    context::Context,
    inventory::Inventory,
    service::{ServiceStatus, StartHandling},
};
use crate::{
    catalog::Entry,
    engine::target::{hidden, own},
};
use patchfile::{Arch, state::PatchState};
use std::{fs, path::Path};

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Does it keep patches from working?
    pub(crate) wrong: bool,
    /// What was found.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: Option<String>,
}

fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { wrong: true, what: what.into(), remedy: Some(remedy.into()) }
}

fn note(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { wrong: false, ..wrong(what, remedy) }
}

/// Looks at everything.
pub(crate) fn examine(ctx: &Context<'_>, inventory: &Inventory) -> Vec<Finding> {
    let mut found = kernel(ctx);
    found.extend(service(ctx, inventory));
    found.extend(patches_of_kernel(ctx, inventory));
    for problem in &inventory.catalog.problems {
        let what = format!("{}: {}", problem.directory.display(), problem.error);
        found.push(wrong(what, "install its package again, or remove the folder"));
    }
    if inventory.rebuilt {
        found.push(wrong(
            "the state file is lost or damaged: states are read from the processes",
            "upatch rescan writes it anew; accepted patches have to be accepted again",
        ));
    }
    for record in &inventory.state.patches {
        if record.state.is_active() && inventory.catalog.get(record.uuid).is_none() {
            let what = format!("{}: its files are gone, so no new process gets it", record.id);
            found.push(wrong(what, "install its package again, or: upatch remove it"));
        }
    }
    found
}

fn kernel(ctx: &Context<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if Arch::native().is_none() {
        found.push(wrong(
            format!("this machine is {}, for which there are no patches", std::env::consts::ARCH),
            format!("this program applies patches on {}", crate::arch::ARCH),
        ));
    }
    if ctx.owner.uid != 0 {
        found.push(note("this is not root: only your own processes can be looked at", "run it as root"));
    } else if !own::may_trace() {
        found.push(wrong(
            "this root has no CAP_SYS_PTRACE (a container?): the processes of others cannot be patched",
            "run upatch on the host, or give the container that capability",
        ));
    }
    if own::is_filtered() {
        found.push(wrong(
            "a seccomp filter acts on this program: processes with a filter of their own cannot be patched",
            "run upatch outside of the container or sandbox",
        ));
    }
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
    match number("/proc/sys/kernel/yama/ptrace_scope") {
        Some(3) => found.push(wrong(
            "kernel.yama.ptrace_scope is 3: no process can be patched until the next boot",
            "set it to 2 or less where it is set (sysctl.d(5)), and boot again",
        )),
        Some(scope @ 1..) if ctx.owner.uid != 0 => found.push(note(
            format!(
                "kernel.yama.ptrace_scope is {scope}: even your own processes can be patched by root only"
            ),
            "run it as root",
        )),
        _ => {}
    }
    if number("/proc/sys/vm/memfd_noexec") == Some(2) {
        found.push(note(
            "vm.memfd_noexec is 2: patches are kept in memory without a name, so perf and gdb do not tell it",
            "set it to 1 if that matters",
        ));
    }
    if hidden::some_are() {
        found.push(wrong("/proc hides processes (hidepid): they cannot be patched", "run it as root"));
    }
    found
}

/// What keeps patches of the kernel from working.
fn patches_of_kernel(ctx: &Context<'_>, inventory: &Inventory) -> Vec<Finding> {
    let kernel = ctx.backend.kernel();
    let mut found = Vec::new();
    let wanted = |entry: &&Entry| {
        entry.manifest.kernel.as_ref().is_some_and(|k| super::kernel::is_for_this_kernel(&kernel, k))
    };
    let mut ours = inventory.catalog.entries.iter().filter(wanted).peekable();
    if ours.peek().is_some() && !kernel.is_patchable() {
        found.push(wrong(
            "this kernel was built without CONFIG_LIVEPATCH, or /sys is not mounted",
            "patches of the kernel need a kernel with it",
        ));
    } else if ours.peek().is_some() && !kernel.has_ftrace() {
        found.push(wrong(
            "ftrace is switched off: the kernel takes no live patches",
            "sysctl kernel.ftrace_enabled=1; if that fails, boot again",
        ));
    }
    for entry in ours {
        let (id, uuid) = (entry.manifest.id(), entry.manifest.uuid);
        let active = inventory.state.get(uuid).is_some_and(|r| r.state.is_active());
        if active && kernel.find(uuid).is_none() {
            found.push(wrong(format!("{id}: the kernel does not have it"), format!("upatch apply {id}")));
        }
    }
    for live in kernel.live().into_iter().filter(|live| live.moving) {
        found.push(note(
            format!(
                "{} is in transition: until that is over, the kernel takes no other live patch",
                live.module
            ),
            "upatch status names the tasks that hold it up",
        ));
    }
    found
}

fn service(ctx: &Context<'_>, inventory: &Inventory) -> Vec<Finding> {
    let mut found = Vec::new();
    let active = inventory.state.patches.iter().filter(|r| r.state.is_active()).count();
    let what = match ServiceStatus::read(&ctx.root).map(|p| p.way) {
        None if active > 0 => Some(wrong(
            "the service is not running: processes that start run the old code",
            "systemctl enable --now upatch",
        )),
        None => Some(note(
            "the service is not running; once a patch is active, processes that start would run the old code",
            "systemctl enable --now upatch",
        )),
        Some(StartHandling::Held { trouble: Some(why), .. }) => Some(wrong(
            format!("the service does not watch a file: {why}"),
            "see its log: journalctl -u upatch",
        )),
        Some(StartHandling::Held { trouble: None, .. }) => None,
        Some(StartHandling::Polled { seconds, why }) => Some(note(
            format!("processes that start run the old code for up to {seconds} s, since {why}"),
            "a kernel with fanotify permission events (CONFIG_FANOTIFY_ACCESS_PERMISSIONS) avoids that",
        )),
    };
    found.extend(what);
    let accepted = inventory.state.patches.iter().any(|r| r.state == PatchState::Accepted);
    if accepted && !is_enabled(&ctx.root) {
        found.push(wrong(
            "there are accepted patches, and nothing brings them back after a reboot",
            "systemctl enable upatch",
        ));
    }
    found
}

/// Does systemd start the service at boot?
fn is_enabled(root: &Path) -> bool {
    let folders = ["etc/systemd/system", "usr/lib/systemd/system", "run/systemd/system"];
    let wanted = |folder: &str| root.join(folder).join("sysinit.target.wants/upatch.service");
    folders.iter().any(|folder| fs::symlink_metadata(wanted(folder)).is_ok())
}
