//! States of a patch and of a process with regard to a patch.

use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a patch on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PatchState {
    /// Known, in no process.
    #[default]
    #[serde(rename = "NOT-APPLIED")]
    NotApplied,
    /// Was active; the old code runs again.
    #[serde(rename = "DEACTIVED")]
    Deactived,
    /// Active; gone after a reboot.
    #[serde(rename = "ACTIVED")]
    Actived,
    /// Active and confirmed: comes back after a reboot.
    #[serde(rename = "ACCEPTED")]
    Accepted,
}

impl PatchState {
    /// Should processes run the new code?
    pub fn is_active(self) -> bool {
        matches!(self, Self::Actived | Self::Accepted)
    }
}

impl fmt::Display for PatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotApplied => "NOT-APPLIED",
            Self::Deactived => "DEACTIVED",
            Self::Actived => "ACTIVED",
            Self::Accepted => "ACCEPTED",
        })
    }
}

/// How one process stands to one active patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ProcessState {
    /// Runs the new code.
    Patched,
    /// Runs the old code, is tried again.
    Pending {
        /// Which thread, in which function, holds it up.
        why: String,
    },
    /// Runs the old code and cannot be patched.
    Refused {
        /// The reason.
        why: String,
    },
}
