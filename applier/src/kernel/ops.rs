//! Operations that change the kernel. They are a trait, so that every verb is tested without changing one.

use nix::kmod::{DeleteModuleFlags, delete_module, init_module};
use std::{ffi::CString, fs, io, path::Path};

/// Everything that changes the kernel.
pub(crate) trait KernelOps: Sync {
    /// Loads a module, which begins the transition of a live patch (init_module(2)). The bytes are those that
    /// were checked: no file is read again.
    ///
    /// # Errors
    /// What the kernel says.
    fn load(&self, image: &[u8]) -> io::Result<()>;

    /// Unloads a module (delete_module(2)).
    ///
    /// # Errors
    /// What the kernel says: `EAGAIN` while it is in use.
    fn unload(&self, module: &str) -> io::Result<()>;

    /// Writes to `enabled` of a live patch: begins a transition, or turns round one that has begun.
    ///
    /// # Errors
    /// What the kernel says.
    fn enable(&self, root: &Path, module: &str, on: bool) -> io::Result<()> {
        let path = root.join("sys/kernel/livepatch").join(module).join("enabled");
        fs::write(path, if on { "1" } else { "0" })
    }
}

/// This machine's kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealKernel;

impl KernelOps for RealKernel {
    fn load(&self, image: &[u8]) -> io::Result<()> {
        Ok(init_module(image, c"")?)
    }

    fn unload(&self, module: &str) -> io::Result<()> {
        Ok(delete_module(&CString::new(module)?, DeleteModuleFlags::O_NONBLOCK)?)
    }
}
