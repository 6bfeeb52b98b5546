//! `/etc/upatch/upatch.yaml`: defaults of this machine. Options on the command line come first.

use super::{error::Error, opt_out::OptOut};
use crate::catalog::{Owner, PatchDir, ReadError};
use patchfile::{exit::ManageExit, paths};
use serde::Deserialize;
use std::{path::Path, time::Duration};

/// What an administrator may set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Seconds for which busy processes are tried again: the default of `--timeout`.
    timeout: f64,
    /// Seconds between two looks of the service for what it was not told: the default of `daemon --interval`.
    interval: f64,
    /// May the service let the kernel hold processes as they start? If not, it finds them at its next look.
    pub hold: bool,
    /// Processes that are left alone.
    pub opt_out: OptOut,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: 10.0, interval: 1.0, hold: true, opt_out: OptOut::default() }
    }
}

impl Settings {
    /// Reads the settings of `root`; defaults where there are none.
    ///
    /// # Errors
    /// They cannot be read, could have been written by another user, or mean nothing.
    pub(crate) fn read(root: &Path, owner: Owner) -> Result<Self, Error> {
        let path = root.join(paths::SETTINGS);
        let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
            return Ok(Self::default());
        };
        let bytes = match PatchDir::open(directory, owner).and_then(|d| d.read(name)) {
            Ok(bytes) => bytes,
            Err(ReadError::Absent(_)) => return Ok(Self::default()),
            Err(error @ (ReadError::Untrusted { .. } | ReadError::Denied(_))) => {
                return Err(Error::new(ManageExit::NotPermitted, "settings", error));
            }
            Err(error) => return Err(Error::failed("settings", error)),
        };
        let what = path.display().to_string();
        let text = String::from_utf8_lossy(&bytes);
        // An empty file, or one of comments only, sets nothing.
        let settings: Option<Self> = serde_yaml::from_str(&text).map_err(|e| Error::failed(&what, e))?;
        let settings = settings.unwrap_or_default();
        for (name, value) in [("timeout", settings.timeout), ("interval", settings.interval)] {
            if Duration::try_from_secs_f64(value).is_err() {
                return Err(Error::failed(&what, format_args!("{name}: {value} is no number of seconds")));
            }
        }
        Ok(settings)
    }

    /// What was given on the command line, or what is set.
    pub(crate) fn timeout(&self, given: Option<Duration>) -> Duration {
        given.unwrap_or_else(|| Duration::try_from_secs_f64(self.timeout).unwrap_or_default())
    }

    /// What was given on the command line, or what is set.
    pub(crate) fn interval(&self, given: Option<Duration>) -> Duration {
        given.unwrap_or_else(|| Duration::try_from_secs_f64(self.interval).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_set_and_what_is_not() {
        let root = tempfile::tempdir().unwrap();
        let read = || Settings::read(root.path(), Owner::current());
        assert_eq!(read().unwrap(), Settings::default());
        let path = root.path().join(paths::SETTINGS);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "# nothing\n").unwrap();
        assert_eq!(read().unwrap(), Settings::default());
        fs::write(&path, "timeout: 2.5\nhold: false\n").unwrap();
        let settings = read().unwrap();
        assert!(!settings.hold);
        assert_eq!(settings.timeout(None), Duration::from_millis(2500));
        assert_eq!(settings.timeout(Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(settings.interval(None), Duration::from_secs(1));
        for bad in ["timeout: -1", "intervall: 3", "hold: maybe", "[1"] {
            fs::write(&path, bad).unwrap();
            assert_eq!(read().unwrap_err().exit, ManageExit::Failed, "{bad}");
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read().unwrap_err().exit, ManageExit::NotPermitted);
    }
}
