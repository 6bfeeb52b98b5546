//! The applier as it is shipped: one small file that wants nothing but the C library.

use anyhow::{Result, ensure};
use std::path::PathBuf;
use tests::paths;
use tests::run::Cmd;

/// Bytes.
const MOST: u64 = 3_000_000;

/// The released applier; `make` says where it is.
fn released() -> Result<Option<PathBuf>> {
    let program = std::env::var_os("UPATCH_RELEASED").map(PathBuf::from);
    if let Some(path) = &program {
        ensure!(path.is_file(), "there is no {}", path.display());
    }
    Ok(program)
}

#[test]
fn upatch_is_one_small_file() -> Result<()> {
    let Some(program) = released()? else {
        eprintln!("NOT CHECKED: no UPATCH_RELEASED=target/release/upatch");
        return Ok(());
    };
    let size = std::fs::metadata(&program)?.len();
    ensure!(size <= MOST, "{} has {size} bytes, more than {MOST}", program.display());
    Ok(())
}

#[test]
fn upatch_needs_the_c_library_only() -> Result<()> {
    let program = released()?.map_or_else(|| paths::program("upatch"), Ok)?;
    let ended = Cmd::new("objdump").arg("-p").arg(program).run()?.ok()?;
    for needed in ended.stdout.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")) {
        let known = ["libc.so", "libgcc_s.so", "ld-linux"].iter().any(|name| needed.trim().starts_with(name));
        ensure!(known, "it needs {needed}");
    }
    Ok(())
}
