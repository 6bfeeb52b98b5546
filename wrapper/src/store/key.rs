//! The key under which the store knows a unit before its inputs are looked at.

use std::path::Path;

use crate::base::env;
use crate::base::hash::KeyHasher;
use crate::record::recorder::Recorder;
use crate::tools::names::Tool;
use crate::tools::{identity, resolve};
use records::OsBytes;

/// The key of one unit's manifest.
#[derive(Clone, Debug)]
pub(crate) struct UnitKey {
    pub(super) key: String,
    pub(super) session: String,
}

impl UnitKey {
    pub(crate) fn new(recorder: &Recorder, family: Tool, driver: &Path, words: &[Vec<u8>]) -> Option<Self> {
        let bin = recorder.session.bin_dir();
        let memo = recorder.session.dir().join("compilers");
        let identity = identity::of(driver, family, Some(&memo), &bin)?;
        let mut key = KeyHasher::new("unit 3");
        key.field(identity.as_bytes());
        key.field(OsBytes::from(recorder.cwd.as_path()).as_bytes());
        for word in words {
            key.field(word);
        }
        // A driver without an assembler of its own takes that of `PATH`, which a build may set.
        let path = std::env::var_os("PATH").unwrap_or_default();
        if let Some(assembler) = resolve::real_tool("as", &path, &bin) {
            identity::stamp(&mut key, &assembler);
        }
        for (name, value) in env::relevant(&bin) {
            key.field(b"environment");
            key.field(name.as_bytes());
            key.field(value.as_bytes());
        }
        Some(Self { key: key.finish(), session: recorder.session.id().to_owned() })
    }
}
