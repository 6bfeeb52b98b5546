//! What a patch has called when it comes into force is called in processes that start later, too: its hooks,
//! and the registration of its unwind tables.

mod common;

use common::{
    compile,
    image::{Elf, Field, New, calls, image, returns},
    stage::{Stage, is_root, output, stage_with, until},
};
use patchfile::{
    image::{Hook, HookPoint},
    paths,
};
use std::process::Command;

/// Both functions, and how often the hooks have been called, as constructor and `main` see it. Nothing calls
/// `hook`.
const HOOKED: &str = r#"
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
__attribute__((noipa)) int hook(void) { return 3; }
int counter = 100;
__attribute__((constructor)) static void before(void) { printf("%d %d %d|", one(), two(), counter); }
"#;
const MAIN: &str = "\nint main(void) { printf(\"%d %d %d\\n\", one(), two(), counter); }";
const EXPORTED: &str = "\nvoid run(void) { printf(\"%d %d %d\\n\", one(), two(), counter); fflush(stdout); }";

const LINKED: &str = "void run(void); int main(void) { run(); }";
const LOADS: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) return puts(dlerror()), 1;
    ((void (*)(void))dlsym(library, "run"))();
}
"#;

/// A patch with hooks, which count in the program's own variable and give `result`.
fn hooks(stage: &Stage, result: u8) {
    // incl counter(%rip); mov $result,%eax; ret
    let code = vec![0xff, 0x05, 0, 0, 0, 0, 0xb8, result, 0, 0, 0, 0xc3];
    let hook =
        New { name: "hook", code, fields: vec![(2, Field::Target("counter"))], covered: 5, frame: false };
    let elf = Elf::read(&stage.program);
    let mut image = image(&elf, vec![returns("one", 11), returns("two", 22), hook], false);
    let address = image.redirects[2].new;
    image.hooks =
        [HookPoint::PreApply, HookPoint::PostApply].map(|when| Hook { when, address }).into_iter().collect();
    let at = stage.root().join(paths::PATCHES).join("pair-1-1/HP1");
    stage.patch_with(&stage.program, &at, "HP1", &image);
}

const OLD: &str = "1 2 100|1 2 100\n";
/// Twice, before the constructor has run.
const NEW: &str = "11 22 102|11 22 102\n";

#[test]
fn hooks_are_called_before_the_first_line_of_a_program() {
    if !is_root() {
        return;
    }
    for (name, flags) in [
        ("h_plain", &[][..]),
        ("h_fixed", &["-no-pie", "-fno-pie"]),
        ("h_static", &["-static"]),
        ("h_static_pie", &["-static-pie", "-fPIE"]),
        ("h_protected", &["-fstack-protector-all"]),
    ] {
        let stage = stage_with(name, &format!("{HOOKED}{MAIN}"), flags);
        hooks(&stage, 0);
        stage.run("apply HP1").exits(0);
        assert_eq!(stage.output(), OLD, "{name}");
        let _service = stage.serve();
        for round in 0..10 {
            assert_eq!(stage.output(), NEW, "{name}, round {round}");
        }
    }
}

#[test]
fn hooks_are_called_before_the_first_line_of_a_library() {
    if !is_root() {
        return;
    }
    let stage = stage_with("h_library", &format!("{HOOKED}{EXPORTED}"), &["-shared", "-fPIC"]);
    hooks(&stage, 0);
    stage.run("apply HP1").exits(0);
    let library = stage.program.to_string_lossy().into_owned();
    let linked = compile(stage.dir.path(), "linked", LINKED, &[&library]);
    let loads = compile(stage.dir.path(), "loads", LOADS, &["-ldl"]);
    let by_hand = || output(Command::new(&loads).arg(&stage.program));
    assert_eq!((output(&mut Command::new(&linked)), by_hand()), (OLD.into(), OLD.into()));
    let _service = stage.serve();
    for round in 0..10 {
        assert_eq!(output(&mut Command::new(&linked)), NEW, "round {round}");
        assert_eq!(by_hand(), NEW, "round {round}");
    }
}

/// One that says no is obeyed: the program runs as it was, and why is told.
#[test]
fn a_hook_that_refuses_a_program_that_starts() {
    if !is_root() {
        return;
    }
    let slow = MAIN.replace("{ ", "{ getchar(); ");
    let stage = stage_with("h_refuses", &format!("{HOOKED}{slow}"), &[]);
    hooks(&stage, 7);
    stage.run("apply HP1").exits(0);
    let _service = stage.serve();
    let mut waits = Command::new(&stage.program);
    let mut child =
        waits.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    until("the refusal is told", || {
        stage.run("status HP1").out.contains("a hook of the patch refused with 7")
    });
    drop(child.stdin.take());
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    // The first of them was called, once, by each that tried.
    assert!(said.starts_with("1 2 ") && said.contains("|1 2 "), "{said}");
}

/// Catches, in a constructor and in `run`, what new code lets through.
const CATCHES: &str = r#"
#include <cstdio>
#include <stdexcept>
extern "C" __attribute__((noipa)) int thrower(void) { throw std::runtime_error("thrown"); }
extern "C" __attribute__((noipa)) int one(void) { return 1; }
// Through a pointer: the compiler sees that the old function does not throw.
static int (*volatile pointer)(void) = one;
static int tries(void) { try { return pointer(); } catch (const std::exception &e) { return e.what()[0] == 't' ? 100 : -1; } }
__attribute__((constructor)) static void before(void) { printf("%d|", tries()); }
extern "C" void run(void) { printf("%d\n", tries()); fflush(stdout); }
"#;

/// `one` calls what throws.
fn thrown_through(stage: &Stage) {
    let image = image(&Elf::read(&stage.program), vec![calls("one", "thrower")], true);
    let at = stage.root().join(paths::PATCHES).join("pair-1-1/HP1");
    stage.patch_with(&stage.program, &at, "HP1", &image);
    stage.run("apply HP1").exits(0);
}

#[test]
fn exceptions_pass_through_new_code_in_a_program_that_starts() {
    if !is_root() {
        return;
    }
    for (name, flags) in [
        ("x_plain", &["c++"][..]),
        ("x_static", &["c++", "-static"]),
        ("x_static_pie", &["c++", "-static-pie", "-fPIE"]),
    ] {
        let stage = stage_with(name, &format!("{CATCHES}\nint main() {{ run(); }}\nextern"), flags);
        thrown_through(&stage);
        assert_eq!(stage.output(), "1|1\n");
        let _service = stage.serve();
        for round in 0..10 {
            assert_eq!(stage.output(), "100|100\n", "{name}, round {round}");
        }
    }
}

/// Also where the library brings the unwinder along: the program is in C.
#[test]
fn exceptions_pass_through_new_code_in_a_library_that_is_loaded() {
    if !is_root() {
        return;
    }
    let stage = stage_with("x_library", &format!("{CATCHES}\nextern"), &["c++", "-shared", "-fPIC"]);
    thrown_through(&stage);
    let library = stage.program.to_string_lossy().into_owned();
    let linked = compile(stage.dir.path(), "linked", LINKED, &[&library]);
    let loads = compile(stage.dir.path(), "loads", LOADS, &["-ldl"]);
    let _service = stage.serve();
    for round in 0..10 {
        assert_eq!(output(&mut Command::new(&linked)), "100|100\n", "round {round}");
        assert_eq!(output(Command::new(&loads).arg(&stage.program)), "100|100\n", "round {round}");
    }
}
