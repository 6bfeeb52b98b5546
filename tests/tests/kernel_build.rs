//! `upatch-build --kernel` on a shipped kernel: the quick cases of `testdata/kernel`, made, and loaded in one
//! virtual machine. `make kernel` has all of them, on two kernels.

use anyhow::{Result, ensure};
use tests::kernel_cases::{Case, cases, run};
use tests::kernels::{fetched, folder};
use tests::vm;

#[test]
fn quick_cases() -> Result<()> {
    let missing = vm::missing();
    let Some(kernel) = fetched("6.1")?.filter(|_| missing.is_none()) else {
        let why = missing.unwrap_or_else(|| format!("no kernel 6.1 in {}", folder().display()));
        eprintln!("SKIPPED: {why}: run scripts/setup --kernel");
        return Ok(());
    };
    let quick: Vec<Case> = cases()?.into_iter().filter(|c| c.quick).collect();
    let (passed, failed) = run(&kernel, None, &quick)?;
    ensure!(failed == 0, "{passed} passed, {failed} failed");
    ensure!(passed > 20, "only {passed} cases");
    Ok(())
}
