//! Locks between test programs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// An exclusive lock on a file, until it is dropped or this process dies.
#[derive(Debug)]
pub struct Lock(Child);

impl Lock {
    /// Waits for the lock, and makes the file if there is none. `None` where flock(1) cannot do that.
    pub fn on(file: &Path) -> Option<Self> {
        // flock(1) holds the lock until its standard input ends.
        let child = Command::new("flock")
            .arg(file)
            .args(["sh", "-c", "echo held; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut lock = Self(child.ok()?);
        let mut line = String::new();
        BufReader::new(lock.0.stdout.take()?).read_line(&mut line).ok()?;
        (line == "held\n").then_some(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock");
        let free =
            || Command::new("flock").arg("--nonblock").arg(&file).arg("true").status().unwrap().success();
        let lock = Lock::on(&file).unwrap();
        assert!(!free());
        drop(lock);
        assert!(free());
        assert!(Lock::on(&dir.path().join("no such folder/lock")).is_none());
    }
}
