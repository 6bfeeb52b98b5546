//! `upatch`: manages live patches of running processes.

use std::process::ExitCode;

fn main() -> ExitCode {
    applier::main().into()
}
