//! One test per case of `testdata/matrix` and way to build it; `UPATCH_MATRIX=all` for all ways, else the
//! first of each case.

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use tests::matrix::{case::Case, check, page};

fn main() -> Result<std::process::ExitCode> {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let all = std::env::var("UPATCH_MATRIX").is_ok_and(|v| v == "all");
    let cases = Case::all()?;
    let mut trials = Vec::new();
    for case in &cases {
        let variants = case.variants()?;
        let count = if all { variants.len() } else { 1 };
        for variant in variants.into_iter().take(count) {
            let case = case.clone();
            trials.push(Trial::test(format!("{}::{}", case.name, variant.name), move || {
                check(&case, &variant).map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    trials.push(Trial::test("page", move || {
        page::check(&cases).map_err(|error| Failed::from(format!("{error:#}")))
    }));
    Ok(libtest_mimic::run(&args, trials).exit_code())
}
