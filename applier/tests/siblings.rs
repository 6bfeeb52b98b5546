//! A program's part of a patch calls what the library's part adds.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{Fault, FaultKind, LoadedElf, LoadedPatch, Options, Outcome, ProcessError};
use common::{
    Target, child_of_this, compile,
    image::{Elf, Field, New, image, pair_patch, patch, returns},
    pair_of_files, was_killed,
};
use patchfile::image::{Export, Exported};
use std::{path::Path, process::Command};

const OLD: &str = "1 2";
const NEW: &str = "11 33";

/// The library gets a new function that gives 33, which the program's `two` jumps to.
fn both(library: &Path, program: &Path) -> LoadedPatch {
    let mut both = patch(&Elf::read(library), "both", vec![returns("one", 11)]);
    let fresh = [0xb8, 33, 0, 0, 0, 0xc3];
    let exporter = &mut both.elfs[0].image;
    let code = &mut exporter.segments[1];
    let address = code.address + code.data.len() as u64;
    code.data.extend_from_slice(&fresh);
    exporter.exports = vec![Export { name: "fresh".into(), version: None, at: Exported::Image(address) }];
    exporter.validate().unwrap();
    let two = New {
        name: "two",
        code: vec![0xff, 0x25, 0, 0, 0, 0],
        fields: vec![(2, Field::Sibling("fresh"))],
        covered: 5,
        frame: false,
    };
    let user = image(&Elf::read(program), vec![two], false);
    both.elfs.push(LoadedElf { index: 1, image: user });
    both
}

/// Not a test of its own: runs in a process that is killed on the way.
#[test]
#[ignore = "runs as a child of another test"]
fn killed_applier() {
    let Ok(order) = std::env::var("UPATCH_TEST_SIBLINGS") else { return };
    let words: Vec<_> = order.split_whitespace().collect();
    let [verb, pid, step, library, program] = words[..] else { panic!("{order}") };
    let fault = Some(Fault { step: step.parse().unwrap(), kind: FaultKind::Kill });
    let options = Options { fault, ..Options::default() };
    let patch = both(Path::new(library), Path::new(program));
    let outcome = match verb {
        "apply" => applier::apply(pid.parse().unwrap(), &patch, &options),
        _ => applier::deactivate(pid.parse().unwrap(), patch.uuid, &options),
    };
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

fn killed(verb: &str, target: &Target, step: usize, library: &Path, program: &Path) -> bool {
    let order = format!("{verb} {} {step} {} {}", target.pid(), library.display(), program.display());
    was_killed(
        &mut child_of_this("killed_applier", "UPATCH_TEST_SIBLINGS", &order),
        &format!("{verb} step {step}"),
    )
}

/// Wherever an applier dies: what the program calls is where it should be, and the next one brings things to
/// their end.
#[test]
fn killed_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let (library, program) = pair_of_files(dir.path());
    let patch = both(&library, &program);
    for verb in ["apply", "deactivate"] {
        let mut step = 0;
        loop {
            let mut target = Target::start(&program);
            if verb == "deactivate" {
                common::apply_patiently(target.pid(), &patch, &Options::default());
            }
            if !killed(verb, &target, step, &library, &program) {
                break;
            }
            let what = format!("{verb} killed before step {step}");
            // The library's part is in force first and out of force last, so the program never has the new
            // code alone.
            let answer = target.ask();
            assert!([OLD, "11 2", NEW].contains(&answer.as_str()), "{what}: {answer}");
            common::apply_patiently(target.pid(), &patch, &Options::default());
            assert_eq!(target.ask(), NEW, "{what}");
            common::deactivate_patiently(target.pid(), &patch);
            assert_eq!(target.ask(), OLD, "{what}");
            assert_eq!(applier::inspect(target.pid()).unwrap().len(), 2, "{what}: {}", target.maps());
            step += 1;
        }
        assert!(step > if verb == "apply" { 20 } else { 5 }, "{verb}: only {step} steps");
    }
}

/// Without the library's part nothing goes in.
#[test]
fn the_program_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (library, program) = pair_of_files(dir.path());
    let mut alone = both(&library, &program);
    alone.elfs.remove(0);
    let mut target = Target::start(&program);
    for result in [
        applier::check(target.pid(), &alone, &Options::default()).map(drop),
        applier::apply(target.pid(), &alone, &Options::default()).map(drop),
    ] {
        assert!(
            matches!(&result, Err(ProcessError::NoSibling { symbol }) if symbol == "fresh"),
            "{result:?}"
        );
    }
    assert_eq!(target.ask(), OLD);
    assert!(applier::inspect(target.pid()).unwrap().is_empty());
}

const CLOSES: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <sys/mman.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    void *library = dlopen(argv[1], RTLD_NOW);
    while (getchar() != EOF) {
        int (*three)(void) = library ? dlsym(library, "three") : one;
        int (*four)(void) = library ? dlsym(library, "four") : two;
        printf("%d %d\n", three(), four());
        if (getchar() == 'c') { dlclose(library); library = 0; }
        if (argc > 2) mmap(0, 1 << 24, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        printf("%d %d\n", one(), two());
    }
}
"#;

/// A library is closed, with its patch in force; the program's own patch goes in and out after that.
#[test]
fn what_a_closed_library_leaves_is_in_nobodys_way() {
    use std::io::{BufRead, BufReader, Write};
    let dir = tempfile::tempdir().unwrap();
    let source = "__attribute__((noipa)) int three(void) { return 3; }\n__attribute__((noipa)) int \
     four(void) { return 4; }";
    let library = compile(dir.path(), "libthree.so", source, &["-shared", "-fPIC"]);
    let program = compile(dir.path(), "closes", CLOSES, &["-ldl"]);
    let theirs = patch(&Elf::read(&library), "theirs", vec![returns("three", 33), returns("four", 44)]);
    let own = pair_patch(&program, "own");
    for more in [&[][..], &["map"]] {
        let mut child = Command::new(&program)
            .arg(&library)
            .args(more)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut ask = |text: &str| {
            input.write_all(text.as_bytes()).unwrap();
            text.chars().map(|_| lines.next().unwrap()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(ask("xx"), "3 4|1 2");
        common::apply_patiently(pid, &theirs, &Options::default());
        assert_eq!(ask("xc"), "33 44|1 2");
        assert!(applier::inspect(pid).unwrap().is_empty(), "its code is not there any more");
        common::apply_patiently(pid, &own, &Options::default());
        assert_eq!(ask("xx"), "11 22|11 22");
        common::deactivate_patiently(pid, &own);
        assert_eq!(ask("xx"), "1 2|1 2");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
