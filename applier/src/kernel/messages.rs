//! What the kernel says meanwhile (`/dev/kmsg`): it returns one number for many reasons, and tells the reason
//! there.

use nix::fcntl::OFlag;
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Records that are read at most: each is one read, and others may write without end.
const MOST: usize = 2000;
/// A record is shorter (`CONSOLE_EXT_LOG_MAX` of the kernel).
const LONGEST: usize = 8192;

/// The kernel's messages from some moment on.
#[derive(Debug)]
pub(crate) struct KernelMessages(Option<File>);

impl KernelMessages {
    /// Begins with the messages from now on; there are none where they may not be read.
    pub(crate) fn from_now(root: &Path) -> Self {
        let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(root.join("dev/kmsg"));
        Self(file.ok().filter(|mut file| file.seek(SeekFrom::End(0)).is_ok()))
    }

    /// The messages since then.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(file) = &mut self.0 else { return lines };
        let mut record = [0; LONGEST];
        for _ in 0..MOST {
            let text = match file.read(&mut record) {
                Ok(0) => break,
                Ok(len) => String::from_utf8_lossy(&record[..len]).into_owned(),
                // What was to come next has been overwritten.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => continue,
                Err(_) => break,
            };
            // After its head comes the message; lines with a blank before are about the device.
            let messages = text.lines().filter(|l| !l.starts_with(' ')).filter_map(|l| l.split_once(';'));
            lines.extend(messages.map(|(_, message)| message.to_owned()));
        }
        lines
    }

    /// Messages since then about live patches or this module.
    pub(crate) fn about(&mut self, module: &str) -> Vec<String> {
        let mut lines = self.lines();
        let words =
            ["livepatch", "ftrace", "Lockdown", "module verification", "Loading of", "is rejected", module];
        lines.retain(|line| words.iter().any(|word| line.contains(word)));
        // The kernel says these of every live patch.
        lines.retain(|line| !line.contains("tainting kernel") && !line.contains("enabling patch"));
        lines
    }
}
