//! Directories that must not stay behind when a signal ends the run.

use super::stopped::{is_stopped, locked};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Directories that are half made now.
static HALF_MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// A removal is waited for this long, as most take no time.
const PATIENCE: Duration = Duration::from_millis(200);

/// Removes a directory that is half made if we end by a signal in the meantime. Dropped, it does nothing any
/// more.
#[derive(Debug)]
pub(crate) struct HalfMade(PathBuf);

impl HalfMade {
    /// Takes note of it.
    pub(crate) fn new(dir: &Path) -> Self {
        locked(&HALF_MADE).push(dir.to_path_buf());
        Self(dir.to_path_buf())
    }

    /// Does a program that outlives us remove the directory? After a signal it does, so that nobody waits for
    /// it.
    pub(crate) fn is_left_to_others(&self) -> bool {
        is_stopped() && remove_later(&self.0)
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        locked(&HALF_MADE).retain(|dir| *dir != self.0);
    }
}

/// Removes all that is half made.
pub(super) fn remove_all() {
    for dir in std::mem::take(&mut *locked(&HALF_MADE)) {
        remove_later(&dir);
    }
}

/// Takes a directory out of the way at once, and has it removed by a program that outlives us: a big tree
/// takes its time. So nobody waits for the program in the end, which is nothing that [`super::Tool`] could
/// do.
fn remove_later(dir: &Path) -> bool {
    let mut away = dir.as_os_str().to_owned();
    away.push(format!(".gone-{}", std::process::id()));
    let away = PathBuf::from(away);
    if std::fs::rename(dir, &away).is_err() {
        return false;
    }
    let mut command = Command::new("/bin/rm");
    command.args(["-rf", "--"]).arg(away).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut removing) = command.spawn() {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && matches!(removing.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    true
}
