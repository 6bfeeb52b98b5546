//! The kernel's own words about tasks that hold up a transition are debugging messages, which are switched on
//! for a moment and given back as they were.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the messages are made.
const FILE: &str = "kernel/livepatch/transition.c";
/// Where they are switched (`Documentation/admin-guide/dynamic-debug-howto.rst`): the second is there where
/// debugfs is mounted.
const CONTROLS: [&str; 2] = ["proc/dynamic_debug/control", "sys/kernel/debug/dynamic_debug/control"];

/// Messages that are on for as long as this lives.
#[derive(Debug)]
pub(crate) struct Debug {
    control: PathBuf,
    /// The lines of the file whose messages were off.
    off: Vec<String>,
}

impl Debug {
    /// Switches them on; nothing where the kernel has none, or they may not be switched.
    pub(crate) fn begin(root: &Path) -> Option<Self> {
        let (control, text) = CONTROLS.iter().find_map(|path| {
            let path = root.join(path);
            // The messages of all drivers are in it, in whatever letters.
            let bytes = fs::read(&path).ok()?;
            Some((path, String::from_utf8_lossy(&bytes).into_owned()))
        })?;
        let off = text.lines().filter_map(|line| {
            // kernel/livepatch/transition.c:312 [livepatch]klp_try_switch_task =_ "text"
            let (number, rest) = line.strip_prefix(FILE)?.strip_prefix(':')?.split_once(' ')?;
            let flags = rest.split(" =").nth(1)?.split(' ').next()?;
            (!flags.contains('p')).then(|| number.to_owned())
        });
        let debug = Self { off: off.collect(), control };
        debug.switch("+p").ok()?;
        Some(debug)
    }

    fn switch(&self, flags: &str) -> std::io::Result<()> {
        self.off
            .iter()
            .try_for_each(|line| fs::write(&self.control, format!("file {FILE} line {line} {flags}")))
    }
}

impl Drop for Debug {
    fn drop(&mut self) {
        // What could be switched on can be switched off; there is nobody to tell otherwise.
        self.switch("-p").ok();
    }
}
