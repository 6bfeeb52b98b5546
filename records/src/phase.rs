//! One of the builds of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One build of a run. Its records are in a folder of their own, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The build as it was shipped.
    #[default]
    Original,
    /// The build with the fix.
    Patched,
    /// A build with the fix whose lines are numbered, while another one without takes the name
    /// [`Phase::Patched`].
    Numbered,
}

impl Phase {
    /// Its name in records and of folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Patched => "patched",
            Self::Numbered => "numbered",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
