//! Is a program that misbehaved one that may do anything? Asked only when a pair went wrong.

use super::plan::Plan;
use super::process::Running;
use std::path::Path;
use std::process::Command;

/// What the sanitizers object to; `None` when they object to nothing.
pub(super) fn undefined(dir: &Path, names: &[&'static str], plan: &Plan) -> Option<String> {
    let cplusplus = names.iter().any(|n| n.ends_with(".cc"));
    let objects: Vec<String> = names.iter().map(|n| format!("{n}.san.o")).collect();
    let flags = [
        "-O0",
        "-g",
        "-w",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fno-sanitize=alignment,float-cast-overflow",
    ];
    for (name, object) in names.iter().zip(&objects) {
        let mut command = Command::new(if name.ends_with(".cc") { "g++" } else { "gcc" });
        command.current_dir(dir).args(["-c", "-o", object, name, "-isystem", super::csmith::INCLUDE]);
        let defines = plan.compile.iter().filter(|f| **f == "-fcommon");
        if !command.args(flags).args(defines).output().ok()?.status.success() {
            return None;
        }
    }
    let mut link = Command::new(if cplusplus { "g++" } else { "gcc" });
    link.current_dir(dir).args(["-o", "sanitized", "driver.c"]).args(flags).args(&objects);
    if !link.output().ok()?.status.success() {
        return None;
    }
    // The sanitizers' own variables are in libraries, so that the driver sets nothing of theirs back.
    let mut running = Running::start(&dir.join("sanitized"), 0).ok()?;
    running.both().err().map(|e| e.to_string())
}
