//! The build matrix: `testdata/builds/cases.yaml`, one test for each case.

use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;
use tests::builds::Builds;

fn main() -> std::process::ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let trials = match Builds::read() {
        Ok(builds) => {
            let builds = Arc::new(builds);
            let trial = |case: tests::builds::Build| {
                let builds = builds.clone();
                Trial::test(case.name.clone(), move || {
                    builds.check(&case).map_err(|error| Failed::from(format!("{error:#}")))
                })
            };
            let mut trials: Vec<Trial> = builds.cases.clone().into_iter().map(trial).collect();
            trials.push(Trial::test("page", move || {
                builds.check_page().map_err(|error| Failed::from(format!("{error:#}")))
            }));
            trials
        }
        Err(error) => {
            let text = format!("{error:#}");
            vec![Trial::test("cases.yaml", move || Err(Failed::from(text)))]
        }
    };
    libtest_mimic::run(&args, trials).exit_code()
}
