//! Libraries that are patched as they are loaded, before their constructors run.

mod common;

use common::{
    Target, compile,
    stage::{Stage, in_time, is_root, output, stage_with},
};
use std::{path::PathBuf, process::Command};

const LIBRARY: &str = r#"
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
static int (*volatile pointer)(void) = one;
__attribute__((constructor)) static void before(void) { printf("%d %d|", pointer(), two()); }
int both(char *text, int size) { return snprintf(text, size, "%d %d", one(), two()); }
"#;

const LINKED: &str = r#"
#include <stdio.h>
int both(char *, int);
int main(void) { char text[99]; both(text, 99); puts(text); }
"#;

/// Loads the library when told to, in a thread of its own, while others run.
const LOADS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static const char *path;
static void *spin(void *p) { for (;;) free(malloc(100)); return p; }
static void *load(void *p) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library) { puts(dlerror()); exit(1); }
    int (*both)(char *, int) = dlsym(library, "both");
    char text[99];
    both(text, 99);
    puts(text);
    return p;
}
int main(int argc, char **argv) {
    path = argv[1];
    pthread_t t;
    for (int i = 2; i < argc; i++) pthread_create(&t, 0, spin, 0);
    pthread_create(&t, 0, load, 0);
    pthread_join(t, 0);
    fflush(stdout);
    exit(0);
}
"#;

const OLD: &str = "1 2|1 2\n";
const NEW: &str = "11 22|11 22\n";

fn library(test: &str, flags: &[&str]) -> (Stage, PathBuf, PathBuf) {
    let mut all = vec!["-shared", "-fPIC"];
    all.extend_from_slice(flags);
    let stage = stage_with(test, LIBRARY, &all);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let (dir, file) = (stage.dir.path(), stage.program.to_string_lossy().into_owned());
    let linked = compile(dir, "linked", LINKED, &[&file]);
    let loads = compile(dir, "loads", LOADS, &["-pthread", "-ldl"]);
    (stage, linked, loads)
}

fn each(flags: &[(&str, &[&str])], by_hand: impl Fn(&str) -> bool) {
    for (test, flags) in flags {
        let (stage, linked, loads) = library(test, flags);
        let load = |more: &[&str]| output(Command::new(&loads).arg(&stage.program).args(more));
        assert_eq!((output(&mut Command::new(&linked)).as_str(), load(&[]).as_str()), (OLD, OLD));
        let _service = stage.serve();
        for round in 0..20 {
            assert_eq!(output(&mut Command::new(&linked)), NEW, "{test}, round {round}");
        }
        for more in [&[][..], &["two", "threads"]] {
            for round in 0..20 {
                let said = in_time(|| load(more));
                let log = || stage.run("log").out;
                assert!(said.is_none_or(|s| by_hand(&s)), "{test} {more:?} round {round}: {}", log());
            }
        }
    }
}

#[test]
fn patched_before_its_constructors() {
    if is_root() {
        each(&[("l_plain", &[]), ("l_now", &["-Wl,-z,now"])], |said| said == NEW);
    }
}

/// Where nothing is protected after relocation, `dlopen` makes no system call between relocation and
/// constructors: there the first of the constructor's own is the place. Linked, the library is no exception.
#[test]
fn without_relro_after_the_first_system_call() {
    if is_root() {
        each(&[("l_norelro", &["-Wl,-z,norelro"])], |said| said.ends_with("|11 22\n"));
    }
}

/// Whoever only reads the file is not held up, and not touched.
#[test]
fn readers_are_let_through() {
    if !is_root() {
        return;
    }
    let (stage, ..) = library("l_read", &[]);
    let _service = stage.serve();
    for _ in 0..100 {
        let copy = stage.dir.path().join("copy");
        std::fs::copy(&stage.program, &copy).unwrap();
    }
    stage.run("list").exits(0).says("ACTIVED  0        0        0");
}

/// A program is opened by its name by whoever starts it; that a debugger reads it or that it is loaded by
/// hand is no start.
#[test]
fn a_library_in_a_long_lived_program() {
    if !is_root() {
        return;
    }
    let source = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    void *library = 0;
    while (getchar() != EOF) {
        if (!library) { puts("empty"); library = dlopen(argv[1], RTLD_LAZY); continue; }
        int (*both)(char *, int) = dlsym(library, "both");
        char text[99];
        both(text, 99);
        puts(text);
        // Once more, under another name: nothing is mapped for it.
        dlopen(argv[2], RTLD_LAZY);
    }
}
"#;
    let (stage, ..) = library("l_long", &[]);
    let program = compile(stage.dir.path(), "long", source, &["-ldl"]);
    let link = stage.dir.path().join("link");
    std::os::unix::fs::symlink(&stage.program, &link).unwrap();
    let _service = stage.serve();
    let mut target = Target::start_with(Command::new(program).arg(&stage.program).arg(&link));
    for _ in 0..5 {
        assert!(target.ask().ends_with("11 22"));
    }
    assert_eq!(target.tracer(), "0");
    stage.run("deactive HP1").exits(0);
    assert_eq!(target.ask(), "1 2");
}
