//! Debuggers see patched functions: by name, and through them to their callers, in a process and in a core dump.
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
    image::{Elf, Field, New, image},
};
use patchfile::{Digest, Uuid, image::Symbol};
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
    let new = New {
        name: "one",
        // sub $8,%rsp; call waits; add $8,%rsp; ret
        code: vec![0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3],
        fields: vec![(5, Field::Target("waits"))],
        covered: 5,
        frame: true,
    };
    let mut image = image(&Elf::read(&program), vec![new], false);
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
