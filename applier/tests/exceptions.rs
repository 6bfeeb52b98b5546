//! C++ exceptions pass through new code.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedElf, LoadedPatch, Options, Outcome};
use common::{
    Target, compile,
    image::{Elf, calls, image},
};
use patchfile::{Digest, Uuid};

const THROWS: &str = r#"
#include <cstdio>
#include <thread>
#include <stdexcept>
extern "C" __attribute__((noipa)) int thrower(void) { throw std::runtime_error("thrown"); }
extern "C" __attribute__((noipa)) int one(void) { return 1; }
// Through a pointer: the compiler sees that the old function does not throw.
static int (*volatile pointer)(void) = one;
static int tries(void) { try { return pointer(); } catch (const std::exception &e) { return e.what()[0] == 't' ? 100 : -1; } }
int main() {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) {
        int other = 0;
        std::thread([&] { other = tries(); }).join();
        printf("%d %d\n", tries(), other);
    }
}
"#;

fn calls_thrower(register: bool, flags: &[&str]) -> (Target, LoadedPatch, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "throws", THROWS, &[&["c++", "-pthread"], flags].concat());
    let image = image(&Elf::read(&program), vec![calls("one", "thrower")], register);
    let uuid = Uuid::from_digest(&Digest::of(b"exceptions"));
    let elfs = vec![LoadedElf { index: 0, image }];
    let patch = LoadedPatch { uuid, name: "exceptions".into(), elfs };
    (Target::start(&program), patch, dir)
}

fn caught_above_new_code(flags: &[&str]) {
    let (mut target, patch, _dir) = calls_thrower(true, flags);
    for _ in 0..3 {
        assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
        assert_eq!(target.ask(), "100 100");
        assert_ne!(applier::inspect(target.pid()).unwrap()[0].control.registered, 0);
        common::deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), "1 1");
    }
}

#[test]
fn caught_in_a_dynamic_program() {
    caught_above_new_code(&[]);
}

#[test]
fn caught_in_a_static_program() {
    caught_above_new_code(&["-static"]);
}

/// What the registration is for: the same without it ends the target.
#[test]
fn not_caught_without_registration() {
    let (mut target, patch, _dir) = calls_thrower(false, &[]);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    target.send();
    assert!(!target.child.wait().unwrap().success());
}
