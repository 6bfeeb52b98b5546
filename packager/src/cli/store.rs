//! Where compiled units are kept between runs.

use super::Args;
use std::path::{Path, PathBuf};

impl Args {
    /// The store of compiled units, if there is to be one.
    pub(crate) fn store(&self) -> Option<PathBuf> {
        if self.no_cache {
            return None;
        }
        let absolute = |p: PathBuf| std::path::absolute(&p).unwrap_or(p);
        if let Some(dir) = &self.cache {
            return Some(absolute(dir.clone()));
        }
        let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = base.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))?;
        // Nobody asked for a store: where none can be kept, as in a build service, the run does without.
        Some(absolute(base.join("upatch"))).filter(|dir| can_write(dir))
    }
}

fn can_write(dir: &Path) -> bool {
    let probe = || tempfile::Builder::new().prefix(".probe").tempfile_in(dir);
    std::fs::create_dir_all(dir).is_ok() && probe().is_ok()
}
