//! Debuggers see patched functions: by name, and through them to their callers, in a process and in a core
//! dump.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedElf, LoadedPatch, Options};
use common::{
    Target, compile,
    image::{Elf, New, calls, image},
};
use patchfile::{
    Digest, Uuid,
    image::{DebugLink, Symbol},
};
use std::{path::Path, process::Command};

const WAITS: &str = r#"
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int waits(void) { char c; return read(0, &c, 1) == 1 ? 7 : -1; }
__attribute__((noipa)) int one(void) { return 1; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (char c; read(0, &c, 1) == 1;) printf("%d\n", one());
}
"#;

fn gdb(args: &[&str]) -> String {
    let out = Command::new("gdb").args(["-q", "-batch"]).args(args).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// Functions on the stack, innermost first.
fn frames(output: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.strip_prefix('#')?.split_once(' ')?.1.trim_start();
        let rest = if rest.starts_with("0x") { rest.split_once(" in ")?.1 } else { rest };
        Some(rest.split(' ').next()?.to_owned())
    };
    output.lines().filter_map(name).collect()
}

#[test]
fn a_debugger_names_patched_functions_and_their_callers() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "waits", WAITS, &[]);
    let mut image = image(&Elf::read(&program), vec![calls("one", "waits")], false);
    let address = image.redirects[0].new;
    image.symbols = vec![Symbol { name: "one".into(), address, size: 14, function: true }];
    let file = dir.path().join("waits.upatch");
    std::fs::write(&file, image.write().unwrap()).unwrap();
    let uuid = Uuid::from_digest(&Digest::of(b"seen"));
    let patch = LoadedPatch { uuid, name: "seen".into(), elfs: vec![LoadedElf { index: 0, image }] };
    let mut target = Target::start(&program);
    common::apply_patiently(target.pid(), &patch, &Options::default());
    target.send();
    target.rest();

    let base = applier::inspect(target.pid()).unwrap()[0].address;
    let names = format!("add-symbol-file {} -o {base:#x}", file.display());
    let pid = target.pid().to_string();
    let live = gdb(&["-p", &pid, "-ex", &names, "-ex", "bt"]);
    let callers = ["waits", "one", "main"].map(str::to_owned);
    assert!(frames(&live).ends_with(&callers), "{live}");

    let core = dir.path().join("core");
    let saved = gdb(&["-p", &pid, "-ex", &format!("gcore {}", core.display())]);
    let program = program.to_str().unwrap();
    let core = core.to_str().unwrap();
    assert!(Path::new(core).exists(), "{saved}");
    let dead = gdb(&[program, core, "-ex", &names, "-ex", "bt"]);
    assert!(frames(&dead).ends_with(&callers), "{dead}");

    target.send();
    assert_eq!(target.read_line(), "7");
}

/// The new code of `one` is where it spends its time; the first byte makes it answer, the second one calls
/// `crash`.
const SPINS: &str = r#"
#include <poll.h>
#include <stdio.h>
__attribute__((noipa)) int crash(void) { return 5; }
__attribute__((noipa)) int one(void) { return 1; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    if (getchar() != EOF) puts("ready");
    for (;;) {
        struct pollfd in = { 0, POLLIN, 0 };
        if (poll(&in, 1, 0) == 1 && (getchar() == EOF || crash() == one())) return 1;
        one();
    }
}
"#;

struct Seen {
    target: Target,
    program: std::path::PathBuf,
    dir: tempfile::TempDir,
    file: std::path::PathBuf,
    base: u64,
}

/// The program with its patch in force, after a limit for its core file has been set.
fn patched(limit: &str) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "spins", SPINS, &[]);
    // sub $8,%rsp; mov $1000000,%ecx; dec %ecx; jnz (to the dec); mov $11,%eax; add $8,%rsp; ret
    let one = vec![
        0x48, 0x83, 0xec, 8, 0xb9, 0x40, 0x42, 0x0f, 0, 0xff, 0xc9, 0x75, 0xfc, 0xb8, 11, 0, 0, 0, 0x48,
        0x83, 0xc4, 8, 0xc3,
    ];
    // sub $8,%rsp; mov 0,%eax; ud2
    let crash = vec![0x48, 0x83, 0xec, 8, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x0f, 0x0b];
    let new = [("one", one), ("crash", crash)];
    let new = new.map(|(name, code)| New { name, code, fields: Vec::new(), covered: 5, frame: true });
    let mut image = image(&Elf::read(&program), new.into(), false);
    let symbol = |i: usize, name: &str, size| Symbol {
        name: format!("new_{name}"),
        address: image.redirects[i].new,
        size,
        function: true,
    };
    image.symbols = vec![symbol(0, "one", 23), symbol(1, "crash", 13)];
    // As behind the control block of a patch for some hundred functions.
    assert!(image.redirects[0].new > 0x1000);
    let file = dir.path().join("spins.upatch");
    // As it is shipped. Where tools look, nothing of that name lies beside it.
    let link = DebugLink { file: "spins.upatch.debug".into(), crc: 0 };
    std::fs::write(&file, image.write_with(Some(&link)).unwrap()).unwrap();
    let uuid = Uuid::from_digest(&Digest::of(b"spins"));
    let patch = LoadedPatch { uuid, name: "spins".into(), elfs: vec![LoadedElf { index: 0, image }] };
    let line = format!("ulimit -c {limit}; cd {}; exec {}", dir.path().display(), program.display());
    let target = Target::start_with(Command::new("sh").args(["-c", &line]));
    common::apply_patiently(target.pid(), &patch, &Options::default());
    let base = applier::inspect(target.pid()).unwrap()[0].address;
    Seen { target, program, dir, file, base }
}

#[test]
fn a_profiler_names_patched_functions() {
    let seen = patched("0");
    let path = |name: &str| seen.dir.path().join(name);
    let data = path("perf.data");
    let mut record = Command::new("perf");
    record.args(["record", "-q", "-e", "cpu-clock", "-p", &seen.target.pid().to_string(), "-o"]).arg(&data);
    // Without perf, or the right to use it, there is nothing to see.
    if !record.args(["sleep", "0.5"]).output().is_ok_and(|o| o.status.success()) {
        return;
    }
    let names = path("names");
    std::fs::create_dir(&names).unwrap();
    std::fs::copy(&seen.file, names.join("memfd:upatch:spins (deleted)")).unwrap();
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "-F", "symbol,overhead", "-i"]).arg(&data).arg("--symfs").arg(&names);
    let out = report.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let first = text.lines().find(|l| !l.starts_with('#') && !l.trim().is_empty());
    assert!(first.is_some_and(|l| l.contains("new_one")), "{text}{}", String::from_utf8_lossy(&out.stderr));
}

/// What the kernel writes when a process crashes in new code.
#[test]
fn a_crash_in_new_code_is_seen_in_the_core_that_the_kernel_writes() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    // Otherwise it goes somewhere else.
    if pattern.trim() != "core" {
        return;
    }
    let mut seen = patched("unlimited");
    seen.target.send();
    let status = seen.target.child.wait().unwrap();
    assert!(!status.success());
    let written =
        std::fs::read_dir(seen.dir.path()).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok());
    let core = written.filter(|n| n.starts_with("core")).map(|n| seen.dir.path().join(n)).next();
    let names = format!("add-symbol-file {} -o {:#x}", seen.file.display(), seen.base);
    let (program, core) = (seen.program.to_str().unwrap(), core.unwrap());
    let dead = gdb(&[program, core.to_str().unwrap(), "-ex", &names, "-ex", "bt"]);
    assert!(frames(&dead).ends_with(&["new_crash", "main"].map(str::to_owned)), "{dead}");
}
