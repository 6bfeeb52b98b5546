//! Where the repository, the test data and the built programs are.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The top folder of the repository.
pub fn repository() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// A folder of `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    repository().join("testdata").join(name)
}

/// A built program of the workspace: in `$UPATCH_BIN` if that is set, else where cargo put this test.
///
/// # Errors
/// The program is not there. It is never skipped: a test without its program has failed.
pub fn program(name: &str) -> Result<PathBuf> {
    let dirs = match std::env::var_os("UPATCH_BIN") {
        Some(dir) => vec![repository().join(dir)],
        None => {
            let exe = std::env::current_exe().context("own path")?;
            exe.ancestors().skip(1).take(2).map(Path::to_path_buf).collect()
        }
    };
    for dir in &dirs {
        let path = dir.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!(
        "{name} is not in {dirs:?}: run `cargo build --workspace` first, or set UPATCH_BIN to the folder of \
         the built programs"
    )
}
