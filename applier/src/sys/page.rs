//! The page size of this machine's kernel.

use nix::unistd::{SysconfVar, sysconf};
use std::sync::OnceLock;

/// Bytes of a page, on which mappings begin and end. Images are aligned to the largest that any kernel for
/// the machine has (see `patchfile::arch::Facts::page`), which may be more.
pub(crate) fn size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|n| u64::try_from(n).ok());
        size.filter(|n| n.is_power_of_two()).unwrap_or(4096)
    })
}

/// `address`, rounded down to the beginning of its page.
pub(crate) fn floor(address: u64) -> u64 {
    address & !(size() - 1)
}
