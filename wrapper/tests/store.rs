//! When a unit may come out of the store, and above all when not.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::path::Path;

use common::Lab;
use wrapper::recompile;

const COMMAND: &str = "gcc -O2 -Ifirst -Isecond -c a.c -o a.o";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.c", "#include <x.h>\nint a(void) { return X; }\n");
    lab.write("second/x.h", "#define X 1\n");
    fs::create_dir(lab.build().join("first")).unwrap();
    lab.settle();
    lab
}

/// Runs the command; whether the last unit came out of the store.
fn hit(lab: &Lab, command: &str) -> bool {
    lab.ok(command);
    lab.records().units.last().unwrap().reused
}

/// The object is what the compiler makes of what is there now.
fn check_fresh(lab: &Lab, command: &str) {
    let object = lab.object("a.o");
    assert!(common::shell(&lab.build(), command, &[]).status.success());
    assert!(object == lab.object("a.o"), "{command}: the object is stale");
}

fn primed(lab: &Lab, command: &str) {
    assert!(!hit(lab, command), "an empty store has nothing");
    fs::remove_file(lab.build().join("a.o")).unwrap();
    assert!(hit(lab, command), "{:?}", lab.records().units[0].notes);
    check_fresh(lab, command);
}

#[test]
fn hit_gives_all_files_and_messages() {
    let lab = lab();
    lab.write("a.c", "#include <x.h>\n#warning look here\nint a(void) { return X; }\n");
    lab.settle();
    let command = format!("{COMMAND} -MMD -MP");
    let cold = lab.ok(&command);
    let (object, deps) = (lab.object("a.o"), lab.object("a.d"));
    fs::remove_file(lab.build().join("a.o")).unwrap();
    fs::remove_file(lab.build().join("a.d")).unwrap();
    let warm = lab.ok(&command);
    assert!(lab.records().units[1].reused);
    assert_eq!((object, deps), (lab.object("a.o"), lab.object("a.d")));
    assert!(String::from_utf8_lossy(&warm.stderr).contains("look here"));
    assert_eq!(cold.stderr, warm.stderr);
    assert_eq!(lab.records().units[0].deps, lab.records().units[1].deps);
}

#[test]
fn changed_inputs_miss() {
    for (name, text) in
        [("second/x.h", "#define X 2\n"), ("a.c", "#include <x.h>\nint a(void) { return X + 1; }\n")]
    {
        let lab = lab();
        primed(&lab, COMMAND);
        lab.write(name, text);
        lab.settle();
        assert!(!hit(&lab, COMMAND), "{name}");
        check_fresh(&lab, COMMAND);
        assert!(hit(&lab, COMMAND));
    }
}

#[test]
fn same_size_and_time_but_other_content() {
    let lab = lab();
    primed(&lab, COMMAND);
    lab.ok("touch -r second/x.h stamp; echo '#define X 3' > second/x.h; touch -r stamp second/x.h");
    assert!(!hit(&lab, COMMAND));
    check_fresh(&lab, COMMAND);
}

#[test]
fn header_that_appears_in_front() {
    let lab = lab();
    primed(&lab, COMMAND);
    lab.write("first/x.h", "#define X 99\n");
    lab.settle();
    assert!(!hit(&lab, COMMAND));
    check_fresh(&lab, COMMAND);
    fs::remove_file(lab.build().join("first/x.h")).unwrap();
    assert!(hit(&lab, COMMAND), "back to the first state");
    check_fresh(&lab, COMMAND);
}

#[test]
fn directory_that_appears_in_front() {
    let lab = lab();
    fs::remove_dir(lab.build().join("first")).unwrap();
    primed(&lab, COMMAND);
    lab.write("first/x.h", "#define X 99\n");
    lab.settle();
    assert!(!hit(&lab, COMMAND));
    check_fresh(&lab, COMMAND);
}

#[test]
fn quoted_header_that_appears_beside_the_source() {
    let lab = lab();
    lab.write("a.c", "#include \"x.h\"\nint a(void) { return X; }\n");
    lab.settle();
    primed(&lab, COMMAND);
    lab.write("x.h", "#define X 99\n");
    lab.settle();
    assert!(!hit(&lab, COMMAND));
    check_fresh(&lab, COMMAND);
}

#[test]
fn computed_include() {
    let lab = lab();
    lab.write("a.c", "#define H <x.h>\n#include H\nint a(void) { return X; }\n");
    lab.settle();
    primed(&lab, COMMAND);
    lab.write("first/x.h", "#define X 99\n");
    lab.settle();
    assert!(!hit(&lab, COMMAND));
    check_fresh(&lab, COMMAND);
}

#[test]
fn forced_include() {
    let lab = lab();
    let command = "gcc -include x.h -Ifirst -Isecond -c a.c -o a.o";
    lab.write("a.c", "int a(void) { return X; }\n");
    lab.settle();
    primed(&lab, command);
    lab.write("x.h", "#define X 99\n");
    lab.settle();
    assert!(!hit(&lab, command));
    check_fresh(&lab, command);
}

#[test]
fn has_include() {
    let lab = lab();
    lab.write("a.c", "#if __has_include(<new.h>)\nint b = 1;\n#endif\nint a;\n");
    lab.settle();
    primed(&lab, COMMAND);
    lab.write("second/new.h", "");
    lab.settle();
    assert!(!hit(&lab, COMMAND));
    check_fresh(&lab, COMMAND);
    assert!(hit(&lab, COMMAND));
    fs::remove_file(lab.build().join("second/new.h")).unwrap();
    check_hit_is_right(&lab, COMMAND);
}

fn check_hit_is_right(lab: &Lab, command: &str) {
    lab.ok(command);
    check_fresh(lab, command);
}

#[test]
fn precompiled_header_that_appears() {
    let lab = lab();
    lab.write("a.c", "#include \"second/x.h\"\nint a(void) { return X; }\n");
    lab.settle();
    primed(&lab, COMMAND);
    lab.ok("gcc -O2 -DX_OTHER -c second/x.h -o second/x.h.gch");
    lab.settle();
    assert!(!hit(&lab, COMMAND));
}

#[test]
fn flags_directory_environment_and_compiler_are_in_the_key() {
    let lab = lab();
    primed(&lab, COMMAND);
    for other in [
        "gcc -O1 -Ifirst -Isecond -c a.c -o a.o",
        "gcc -O2 -Ifirst -Isecond -DY -c a.c -o a.o",
        "clang -O2 -Ifirst -Isecond -c a.c -o a.o",
        "SOURCE_DATE_EPOCH=1 gcc -O2 -Ifirst -Isecond -c a.c -o a.o",
        "CPATH=first gcc -O2 -Ifirst -Isecond -c a.c -o a.o",
        "LC_ALL=C gcc -O2 -Ifirst -Isecond -c a.c -o a.o",
        "cp -r . ../copy && cd ../copy && gcc -O2 -Ifirst -Isecond -c a.c -o a.o",
    ] {
        lab.ok(other);
        assert!(!lab.records().units.last().unwrap().reused, "{other}");
    }
    assert!(hit(&lab, COMMAND));
}

#[test]
fn specs_file_is_an_input() {
    let lab = lab();
    lab.write("my.specs", "*cc1_options:\n+ -DFROM_SPECS\n");
    lab.settle();
    let command = format!("{COMMAND} -specs=./my.specs");
    primed(&lab, &command);
    lab.write("my.specs", "*cc1_options:\n+ -DX=5\n");
    lab.settle();
    assert!(!hit(&lab, &command));
}

#[test]
fn things_that_are_never_kept() {
    for (flags, text) in [
        ("-fprofile-arcs", "int a;"),
        ("-save-temps", "int a;"),
        ("-march=native", "int a;"),
        ("-unknown-to-all --param=ggc-min-heapsize=5000 -fplugin-arg-x", "int a;"),
        ("", "__asm__(\".incbin \\\"data\\\"\");"),
    ] {
        let lab = lab();
        lab.write("data", "x");
        lab.write("a.c", text);
        lab.settle();
        let command = format!("gcc {flags} -c a.c -o a.o");
        let first = lab.sh(&command);
        let second = lab.sh(&command);
        assert_eq!(first.status, second.status);
        assert!(lab.records().units.iter().all(|unit| !unit.reused), "{flags} {text}");
    }
}

/// `__DATE__` and `__TIME__` may not go into another run, but the patched build takes over what the original
/// build made.
#[test]
fn time_of_day() {
    let store = tempfile::tempdir().unwrap();
    let text = "const char *t = __TIME__;\n";
    let mut first = Lab::with_store(Some(store.path()));
    first.write("a.c", text);
    first.settle();
    assert!(!hit(&first, COMMAND));
    let object = first.object("a.o");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    first.session.set_phase(wrapper::Phase::Patched).unwrap();
    assert!(hit(&first, COMMAND), "the patched build takes over the unit");
    assert_eq!(object, first.object("a.o"));

    // Another session, same store, same place.
    let place = first.build();
    let second = Lab::with_store(Some(store.path()));
    let run = |extra: &[(std::ffi::OsString, std::ffi::OsString)]| {
        let mut env = second.session.env();
        env.extend(extra.iter().cloned());
        assert!(common::shell(&place, COMMAND, &env).status.success());
        second.records().units.last().unwrap().reused
    };
    assert!(!run(&[]), "another session must not");
    let fixed = [("SOURCE_DATE_EPOCH".into(), "1000000000".into())];
    assert!(!run(&fixed));
    assert!(run(&fixed));
    let third = Lab::with_store(Some(store.path()));
    let mut env = third.session.env();
    env.extend(fixed);
    assert!(common::shell(&place, COMMAND, &env).status.success());
    assert!(third.records().units[0].reused, "with SOURCE_DATE_EPOCH the time is in the key");
}

#[test]
fn kept_between_sessions() {
    let store = tempfile::tempdir().unwrap();
    let first = Lab::with_store(Some(store.path()));
    first.write("a.c", "int a;\n");
    first.settle();
    assert!(!hit(&first, COMMAND));
    let second = Lab::with_store(Some(store.path()));
    assert!(common::shell(&first.build(), COMMAND, &second.session.env()).status.success());
    assert!(second.records().units[0].reused);
}

/// None where no recorder has opened the store yet: a build may have been killed before that.
fn results(store: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(store.join("results")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn damaged_entries_are_misses() {
    for damage in ["results", "manifests"] {
        let store = tempfile::tempdir().unwrap();
        let lab = Lab::with_store(Some(store.path()));
        lab.write("a.c", "int a = 5;\n");
        lab.settle();
        primed(&lab, COMMAND);
        for entry in fs::read_dir(store.path().join(damage)).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            fs::write(&path, bytes).unwrap();
        }
        lab.ok(COMMAND);
        check_fresh(&lab, COMMAND);
        if damage == "results" {
            assert!(!lab.records().units.last().unwrap().reused);
        }
    }
}

#[test]
fn parallel_and_killed() {
    let store = tempfile::tempdir().unwrap();
    let lab = Lab::with_store(Some(store.path()));
    let mut body = String::from("#include <stdio.h>\n#include <stdlib.h>\n");
    for number in 0..300 {
        body.push_str(&format!(
            "int f{number}(int x) {{ for (int i = 0; i < x; i++) x ^= i * {number}; return x; }}\n"
        ));
    }
    lab.write("a.c", &body);
    lab.settle();
    // Killed at different moments, from before the start of the compiler to after its end.
    for delay in [5, 30, 60, 120, 200, 300, 400] {
        let mut child = std::process::Command::new(lab.session.bin_dir().join("gcc"))
            .args(["-O2", "-c", "a.c", "-o", "a.o"])
            .current_dir(lab.build())
            .envs(lab.session.env())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        for path in results(store.path()) {
            let whole = !path.file_name().unwrap().to_string_lossy().starts_with(".tmp");
            let bytes = fs::read(&path).unwrap();
            assert!(!whole || wrapper::sha256(&bytes[64..]).as_bytes() == &bytes[..64], "half a result");
        }
        lab.records();
    }
    lab.ok("for i in 1 2 3 4 5 6 7 8; do gcc -O2 -c a.c -o a$i.o & done; wait");
    lab.ok("for i in 1 2 3 4 5 6 7 8; do gcc -O2 -c a.c -o a$i.o & done; wait");
    let records = lab.records();
    let last = &records.units[records.units.len() - 8..];
    assert!(last.iter().all(|unit| unit.reused));
    assert!(last.iter().all(|unit| unit.object_sha256 == last[0].object_sha256));
}

#[test]
fn recompiled_units_are_kept_too() {
    let lab = lab();
    lab.ok(COMMAND);
    let unit = lab.records().units.remove(0);
    let store = wrapper::Store::of(&lab.session).unwrap();
    let out = lab.scratch.path().join("sectioned.o");
    let flags = ["-ffunction-sections", "-fdata-sections"];
    let first = recompile(&unit, &flags, &out, Some(&store)).unwrap();
    let second = recompile(&unit, &flags, &out, Some(&store)).unwrap();
    assert!(!first.reused && second.reused);
    assert_eq!(first.sha256, second.sha256);
    assert!(!recompile(&unit, &["-ffunction-sections"], &out, Some(&store)).unwrap().reused);
    lab.write("second/x.h", "#define X 2\n");
    assert_eq!(recompile(&unit, &flags, &out, Some(&store)).unwrap().sha256, first.sha256);
    fs::remove_dir_all(lab.session.dir().join("inputs")).unwrap();
    assert!(recompile(&unit, &flags, &out, Some(&store)).is_err());
}

#[test]
fn store_stays_within_its_bound() {
    let store = tempfile::tempdir().unwrap();
    let lab = Lab::with_store(Some(store.path()));
    for number in 0..6 {
        lab.write("a.c", &format!("char a[20000] = {{{number}}};\n"));
        lab.settle();
        lab.ok("gcc -c a.c -o a.o");
    }
    let small = wrapper::Store::open(store.path(), 60_000).unwrap();
    assert!(small.trim().unwrap() <= 60_000);
    assert!(!results(store.path()).is_empty());
    assert!(hit(&lab, "gcc -c a.c -o a.o"), "the latest one is still there");
}
