//! One patch in and out of simple programs of each kind.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use applier::{Options, Outcome};
use common::{
    PAIR, Target, compile,
    image::{Elf, Field, New, length_of, pair_patch, patch},
};

fn in_and_out(flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, flags);
    let patch = pair_patch(&program, "CVE-1");
    let mut target = Target::start(&program);
    let options = Options::default();
    let pid = target.pid();

    assert!(applier::find_processes(&patch.targets()).iter().any(|c| c.pid == pid));
    assert!(!applier::check(pid, &patch, &options).unwrap().already);
    assert_eq!(target.ask(), "1 2");
    assert!(applier::inspect(pid).unwrap().is_empty());

    for _ in 0..3 {
        assert_eq!(common::apply_patiently(pid, &patch, &options), Outcome::Done);
        assert_eq!(target.ask(), "11 22");
        assert_eq!(applier::apply(pid, &patch, &options).unwrap(), Outcome::Already);
        let found = applier::inspect(pid).unwrap();
        assert_eq!((found.len(), found[0].in_force, found[0].control.uuid), (1, true, patch.uuid));
        assert!(target.maps().contains("upatch:CVE-1"));
        assert!(applier::check(pid, &patch, &options).unwrap().already);

        common::deactivate_patiently(pid, &patch);
        assert_eq!(target.ask(), "1 2");
        assert_eq!(applier::deactivate(pid, patch.uuid, &options).unwrap(), Outcome::Already);
        assert!(!applier::inspect(pid).unwrap()[0].in_force);
    }
    assert_eq!(target.tracer(), "0");
    // Memory is used again, not mapped anew.
    assert_eq!(applier::inspect(pid).unwrap().len(), 1);
}

#[test]
fn position_independent() {
    in_and_out(&["-pie", "-fPIE"]);
}

#[test]
fn fixed() {
    in_and_out(&["-no-pie", "-fno-pie"]);
}

#[test]
fn static_program() {
    in_and_out(&["-static"]);
}

#[test]
fn imports_target_data_and_own_data() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &["-fPIE", "-pie"]);
    let import = New {
        name: "one",
        // jmp *getppid(%rip)
        code: vec![0xff, 0x25, 0, 0, 0, 0],
        fields: vec![(2, Field::Import("getppid"))],
        covered: 5,
        frame: false,
    };
    let data = New {
        name: "two",
        // incl data(%rip); mov counter(%rip),%eax; add data(%rip),%eax; ret
        code: vec![0xff, 0x05, 0, 0, 0, 0, 0x8b, 0x05, 0, 0, 0, 0, 0x03, 0x05, 0, 0, 0, 0, 0xc3],
        fields: vec![(2, Field::Data), (8, Field::Target("counter")), (14, Field::Data)],
        covered: 5,
        frame: false,
    };
    let patch = patch(&Elf::read(&program), "imports", vec![import, data]);
    let mut target = Target::start(&program);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    let parent = std::process::id();
    assert_eq!(target.ask(), format!("{parent} 101"));
    assert_eq!(target.ask(), format!("{parent} 102"));
}

#[test]
fn indirect_function() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &["-fPIE", "-pie"]);
    let patch = patch(&Elf::read(&program), "ifunc", vec![length_of("one", "abc")]);
    let mut target = Target::start(&program);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), "3 2");
}
