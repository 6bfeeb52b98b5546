//! Libraries that a patch needs and its target does not load: the process loads them, or stays as it was.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedPatch, Options, Outcome, ProcessError};
use common::{Target, apply_patiently, compile, image::pair_patch};
use std::{path::Path, time::Duration};

/// What nearly every system has, and none of the programs here is linked with.
const LIBRARY: &str = "libm.so.6";

/// Answers 11 and 22, and brings `library`.
fn bringing(program: &Path, seed: &str, library: &str) -> LoadedPatch {
    let mut patch = pair_patch(program, seed);
    patch.elfs[0].image.companions = vec![library.to_owned()];
    patch
}

/// The usual two functions, and what is left in `errno` by whoever was here while the program waited.
const ERRNO: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    char c;
    for (;;) {
        errno = 77;
        if (read(0, &c, 1) != 1) return 0;
        int left = errno;
        dprintf(1, "%d %d %d\n", one(), two(), left);
    }
}
"#;

#[test]
fn is_loaded_and_leaves_errno_alone() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "errno", ERRNO, &[]);
    let mut target = Target::start(&program);
    assert!(!target.maps().contains(LIBRARY));
    target.rest();
    let patch = bringing(&program, "brings", LIBRARY);
    let report = applier::check(target.pid(), &patch, &Options::default()).unwrap();
    assert!(report.busy.is_none() && !target.maps().contains(LIBRARY), "{report:?}");
    assert!(matches!(applier::apply(target.pid(), &patch, &Options::default()), Ok(Outcome::Done)));
    assert!(target.maps().contains(LIBRARY));
    assert_eq!(target.ask(), "11 22 77");
    // It stays: others may have found it meanwhile.
    target.rest();
    applier::deactivate(target.pid(), patch.uuid, &Options::default()).unwrap();
    assert!(target.maps().contains(LIBRARY));
    assert_eq!(target.ask(), "1 2 77");
}

#[test]
fn that_is_not_there_is_told_in_the_words_of_the_loader() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "errno", ERRNO, &[]);
    let mut target = Target::start(&program);
    target.rest();
    let before = target.maps();
    let patch = bringing(&program, "absent", "libupatch-none.so.9");
    let error = applier::apply(target.pid(), &patch, &Options::default()).unwrap_err();
    assert!(matches!(error, ProcessError::Unfit { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("libupatch-none.so.9") && text.contains("cannot open shared object file"),
        "{text}"
    );
    assert_eq!(target.ask(), "1 2 77");
    // Its heap may have grown; nothing of ours is there.
    let images = |maps: &str| maps.lines().filter(|l| l.contains("upatch") || l.contains(" r-xp ")).count();
    assert_eq!(images(&target.maps()), images(&before));
}

/// A program whose first byte makes it load a library whose constructor reads the next one.
const LOADS: &str = r#"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int waits[2];
static void *load(void *path) { return dlopen(path, RTLD_NOW); }
int main(int argc, char **argv) {
    char c;
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    if (pipe(waits)) return 1;
    while ((c = getchar()) != EOF) {
        if (c == 'l') pthread_create(&t, 0, load, argv[1]);
        if (c == 'e') { if (write(waits[1], "x", 1) != 1) return 1; pthread_join(t, 0); }
        printf("%d %d\n", one(), two());
    }
}
"#;

const SLOW: &str = r#"
#include <unistd.h>
extern int waits[2];
__attribute__((constructor)) static void begin(void) { char c; if (read(waits[0], &c, 1) != 1) _exit(3); }
"#;

#[test]
fn waits_for_a_thread_in_the_loader() {
    let dir = tempfile::tempdir().unwrap();
    let slow = compile(dir.path(), "slow.so", SLOW, &["-shared", "-fPIC"]);
    let program = compile(dir.path(), "loads", LOADS, &["-pthread", "-rdynamic"]);
    let mut target = Target::start_with(std::process::Command::new(&program).arg(&slow));
    assert_eq!(target.ask_with(b"l"), "1 2");
    // In the constructor, under the loader's lock.
    while !target.maps().contains("slow.so") {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    let patch = bringing(&program, "held", LIBRARY);
    let quick = Options { wait: Duration::from_millis(50), ..Options::default() };
    let outcome = applier::apply(target.pid(), &patch, &quick).unwrap();
    let Outcome::Busy(busy) = &outcome else { panic!("{outcome:?}") };
    assert!(busy.to_string().contains("which loading a library needs"), "{busy}");
    assert_eq!(target.ask_with(b"e"), "1 2");
    target.rest();
    assert!(matches!(applier::apply(target.pid(), &patch, &Options::default()), Ok(Outcome::Done)));
    assert_eq!(target.ask(), "11 22");
}

/// Threads that allocate, and load and close a library, again and again.
const BUSY: &str = r#"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static void *allocates(void *arg) {
    void *kept[64] = { 0 };
    for (unsigned n = 1;; n = n * 1664525 + 1013904223) {
        free(kept[n >> 26]);
        kept[n >> 26] = malloc(n >> 16);
        for (volatile unsigned work = 0; work < 2000; work++) { }
    }
    return arg;
}
static void *loads(void *name) {
    for (;;) { void *it = dlopen(name, RTLD_NOW); if (it) dlclose(it); usleep(2000); }
    return 0;
}
int main(void) {
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 4; i++) pthread_create(&t, 0, allocates, 0);
    pthread_create(&t, 0, loads, "librt.so.1");
    pthread_create(&t, 0, loads, "libm.so.6");
    while (getchar() != EOF) printf("%d %d\n", one(), two());
}
"#;

#[test]
fn comes_into_a_process_that_allocates_and_loads_libraries() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "busy", BUSY, &["-pthread"]);
    let mut target = Target::start(&program);
    for round in 0..10 {
        let patch = bringing(&program, &format!("busy{round}"), LIBRARY);
        apply_patiently(target.pid(), &patch, &Options::default());
        assert_eq!(target.ask(), "11 22");
        common::deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), "1 2");
    }
}
