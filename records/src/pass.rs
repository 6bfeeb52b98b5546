//! What objcopy and strip do to objects before they are linked.

use crate::OsBytes;
use serde::{Deserialize, Serialize};

/// A run of objcopy or strip, to be repeated on another object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// The real tool.
    pub tool: OsBytes,
    /// Its options, without options that change nothing that is linked.
    pub options: Vec<OsBytes>,
    /// Working directory.
    pub cwd: OsBytes,
}

impl Pass {
    /// Does the pass change only which symbols other files can name?
    #[must_use]
    pub fn only_hides(&self) -> bool {
        const NAMES: [&str; 10] = [
            "-L",
            "-G",
            "-w",
            "--wildcard",
            "--localize-symbol",
            "--localize-symbols",
            "--localize-hidden",
            "--keep-global-symbol",
            "--keep-global-symbols",
            "--globalize-symbol",
        ];
        let mut words = self.options.iter().map(OsBytes::as_bytes);
        while let Some(word) = words.next() {
            let name = word.split(|byte| *byte == b'=').next().unwrap_or(word);
            if !NAMES.iter().any(|known| known.as_bytes() == name) {
                return false;
            }
            if matches!(name, b"-L" | b"-G") {
                words.next();
            }
        }
        true
    }
}
