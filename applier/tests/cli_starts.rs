//! Processes that start while the service runs. It looks for new ones so rarely here that only what it does as they start counts.

mod common;

use common::stage::{Stage, is_root, output, stage_with, until};
use std::process::Command;

/// Calls both functions from a constructor and from `main`.
const ONCE: &str = r#"
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
__attribute__((constructor)) static void before(void) { printf("%d %d|", one(), two()); }
int main(void) { printf("%d %d\n", one(), two()); }
"#;

const OLD: &str = "1 2|1 2\n";
const NEW: &str = "11 22|11 22\n";

fn ready(test: &str, flags: &[&str]) -> Stage {
    let stage = stage_with(test, ONCE, flags);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    stage
}

#[test]
fn patched_before_its_first_line() {
    if !is_root() {
        return;
    }
    let stage = ready("first", &[]);
    assert_eq!(stage.output(), OLD);
    let daemon = stage.serve();
    stage.run("status HP1").says("service: running").says("1 file watched");
    for round in 0..50 {
        assert_eq!(stage.output(), NEW, "round {round}");
    }
    // Commands are obeyed from the moment at which they end.
    for _ in 0..5 {
        stage.run("deactive HP1").exits(0);
        assert_eq!(stage.output(), OLD);
        stage.run("active HP1").exits(0);
        assert_eq!(stage.output(), NEW);
    }
    until("it is in the log", || stage.run("log").out.contains("patched"));
    drop(daemon);
    assert_eq!(stage.output(), OLD, "nobody is left who would wait for the service");
    stage.run("status HP1").says("service: not running");
}

#[test]
fn programs_of_every_kind() {
    if !is_root() {
        return;
    }
    for (name, flags) in [
        ("k_fixed", &["-no-pie", "-fno-pie"][..]),
        ("k_static", &["-static"]),
        ("k_static_pie", &["-static-pie", "-fPIE"]),
        ("k_norelro", &["-Wl,-z,norelro"]),
        ("k_now", &["-Wl,-z,now"]),
    ] {
        let stage = ready(name, flags);
        let _daemon = stage.serve();
        for _ in 0..5 {
            assert_eq!(stage.output(), NEW, "{name}");
        }
    }
}

#[test]
fn thousands_from_a_script() {
    if !is_root() {
        return;
    }
    let stage = ready("script", &[]);
    let _daemon = stage.serve();
    let script = format!("i=0; while [ $i -lt 2000 ]; do {}; i=$((i+1)); done", stage.program.display());
    let said = output(Command::new("sh").args(["-c", &script]));
    let old = said.lines().filter(|l| *l != NEW.trim()).count();
    assert_eq!((said.lines().count(), old), (2000, 0));
    // Several at once.
    let script = format!("seq 500 | xargs -P 8 -n 1 sh -c {}", stage.program.display());
    let said = output(Command::new("sh").args(["-c", &script]));
    let old = said.lines().filter(|l| *l != NEW.trim()).count();
    assert_eq!((said.lines().count(), old), (500, 0));
}
