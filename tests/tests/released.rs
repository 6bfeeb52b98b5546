//! The applier as it is shipped: one small file that wants nothing but the C library.

use anyhow::{Result, ensure};
use tests::paths;
use tests::run::Cmd;

/// Bytes.
const MOST: u64 = 3_000_000;

#[test]
fn upatch_is_one_small_file() -> Result<()> {
    let program = paths::program("upatch")?;
    let path = program.to_string_lossy();
    if !path.contains("/release/") {
        eprintln!("NOT CHECKED: {path} is no release build");
        return Ok(());
    }
    let size = std::fs::metadata(&program)?.len();
    ensure!(size <= MOST, "{path} has {size} bytes, more than {MOST}");
    Ok(())
}

#[test]
fn upatch_needs_the_c_library_only() -> Result<()> {
    let ended = Cmd::new("objdump").arg("-p").arg(paths::program("upatch")?).run()?.ok()?;
    for needed in ended.stdout.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")) {
        let known = ["libc.so", "libgcc_s.so", "ld-linux"].iter().any(|name| needed.trim().starts_with(name));
        ensure!(known, "it needs {needed}");
    }
    Ok(())
}
