//! Inputs that no list of the compiler names, that can be read only once, or that are not there for long.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;

use common::Lab;
use wrapper::{UnitRecord, recompile};

/// Runs the command twice, changes something, and runs it again: the object must be what the compiler makes.
fn never_stale(files: &[(&str, &str)], before: &str, command: &str, change: &str) {
    let lab = Lab::new();
    for (name, text) in files {
        lab.write(name, text);
    }
    lab.ok(before);
    lab.settle();
    lab.ok(command);
    lab.ok(command);
    lab.ok(change);
    lab.settle();
    lab.ok(command);
    let object = lab.object("a.o");
    assert!(common::shell(&lab.build(), command, &[]).status.success());
    assert!(object == lab.object("a.o"), "{command}: the object is stale after {change}");
}

/// Files, what is run first, the command, and the change.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

#[test]
fn the_store_gives_nothing_stale() {
    let header = ("p.h", "static inline int f(void) { return 1; }\n");
    let uses = ("a.c", "int a(void) { return f(); }\n");
    let table: &[Row<'_>] = &[
        // A precompiled header of the command line, of the source, and in a folder that is searched earlier.
        (&[header, uses], "gcc -O2 p.h", "gcc -O2 -include p.h -c a.c", "sed -i s/1/2/ p.h; gcc -O2 p.h"),
        (
            &[header, ("a.c", "#include \"p.h\"\nint a(void) { return f(); }\n")],
            "gcc -O2 p.h",
            "gcc -O2 -c a.c -MD",
            "sed -i s/1/2/ p.h; gcc -O2 p.h",
        ),
        (
            &[
                ("one/x", ""),
                ("two/p.h", header.1),
                ("three/p.h", "static int f(void) { return 2; }\n"),
                uses,
            ],
            ":",
            "gcc -O2 -include p.h -Ione -Itwo -c a.c",
            "gcc -O2 three/p.h -o one/p.h.gch",
        ),
        // Assembler text that reads a file, and is nowhere spelt so.
        (
            &[("a.c", "asm(\".inc\" \"bin \\\"data\\\"\");\n"), ("data", "1")],
            ":",
            "gcc -c a.c",
            "echo 2 > data",
        ),
        (
            &[("a.c", "asm(\".inc\" \"bin \\\"data\\\"\");\n"), ("one/x", ""), ("two/data", "1")],
            ":",
            "gcc -Ione -Itwo -c a.c",
            "echo 2 > one/data",
        ),
        (
            &[("a.S", ".macro r x\n.inc\\x \"data\"\n.endm\nr bin\n"), ("data", "1")],
            ":",
            "gcc -c a.S",
            "echo 2 > data",
        ),
        (&[("a.s", ".INCBIN \"data\"\n"), ("data", "1")], ":", "clang -c a.s", "echo 2 > data"),
        // Names that the command line brings in.
        (
            &[("a.c", "#if X\nint x;\n#endif\n")],
            ":",
            "gcc -c a.c '-DX=__has_include(\"new.h\")'",
            "echo > new.h",
        ),
        (
            &[("a.c", "int a;\n"), ("list", "src:*\n")],
            ":",
            "clang -fsanitize=address -fsanitize-coverage=trace-pc-guard -fsanitize-coverage-ignorelist=list \
             -c a.c",
            "echo 'fun:*' >> list",
        ),
        // Other programs under a name in the environment.
        (
            &[
                ("a.c", "int a;\n"),
                ("old/as", "#!/bin/sh\nexec /usr/bin/as --defsym v=1 \"$@\"\n"),
                ("new", "#!/bin/sh\nexec /usr/bin/as --defsym v=2 \"$@\"\n"),
            ],
            "chmod +x old/as new",
            "COMPILER_PATH=old gcc -c a.c",
            "cp new old/as",
        ),
        // The same flags, another search path.
        (
            &[("a.c", "#include <x.h>\nint a = X;\n"), ("one/y", ""), ("two/x.h", "#define X 1\n")],
            ":",
            "gcc -c a.c -Itwo; CPATH=one CPATH=one:two gcc -c a.c",
            "echo '#define X 2' > one/x.h",
        ),
        // Directives that are hard to see.
        (
            &[("a.c", "#inc\\\nlude <x.h>\nint a = X;\n"), ("one/y", ""), ("two/x.h", "#define X 1\n")],
            ":",
            "gcc -Ione -Itwo -c a.c",
            "echo '#define X 2' > one/x.h",
        ),
        (
            &[("a.c", "# /* c */ include <x.h>\nint a = X;\n"), ("one/y", ""), ("two/x.h", "#define X 1\n")],
            ":",
            "gcc -Ione -Itwo -c a.c",
            "echo '#define X 2' > one/x.h",
        ),
    ];
    for (files, before, command, change) in table {
        never_stale(files, before, command, change);
    }
}

#[test]
fn time_of_day_from_the_command_line() {
    let lab = Lab::new();
    lab.write("a.c", "const char *a = STAMP;\n");
    lab.settle();
    lab.ok("gcc -c a.c -DSTAMP=__TIME__");
    assert!(lab.records().units[0].notes.iter().any(|note| note.contains("__TIME__")));
}

fn only_unit(lab: &Lab) -> UnitRecord {
    let records = lab.records();
    assert_eq!(records.problems, []);
    assert_eq!(records.units.len(), 1, "{records:?}");
    records.units[0].clone()
}

fn same_again(lab: &Lab, unit: &UnitRecord) {
    let out = lab.scratch.path().join("again.o");
    assert_eq!(recompile(unit, &[], &out, None).unwrap().sha256, unit.object_sha256, "{unit:?}");
    recompile(unit, &["-ffunction-sections"], &out, None).unwrap();
    assert!(fs::read(out).unwrap().windows(8).any(|window| window == b".text.a\0"));
}

const SOURCE: &str =
    "#include \"x.h\"\nconst char *name(void) { return __FILE__; }\nint a(void) { return X; }\n";

fn with_source() -> Lab {
    let lab = Lab::new();
    lab.write("a.c", SOURCE);
    lab.write("x.h", "#define X 1\n");
    lab.settle();
    lab
}

#[test]
fn a_pipe_is_read_once() {
    for command in [
        "cat a.c | gcc -g -I. -x c -c /dev/stdin -o a.o",
        "cat a.c | gcc -g -I. -x c -MMD -MF d -c /dev/stdin -o a.o",
        "cat a.c | timeout 20 clang -g -I. -x c -c /dev/stdin -o a.o",
        "gcc -g -I. -x c -c /dev/stdin -o a.o < a.c",
        "cat a.c | (gcc -g -I. -x c -c /dev/fd/7 -o a.o) 7<&0 < /dev/null",
        "cat a.c | gcc -g -I. -x c -c - -o a.o",
    ] {
        let lab = with_source();
        lab.ok(&format!("timeout 20 sh -c '{command}'"));
        let object = lab.object("a.o");
        assert!(common::shell(&lab.build(), command, &[]).status.success());
        assert!(object == lab.object("a.o"), "{command}: another object");
        let unit = only_unit(&lab);
        assert!(!unit.reused);
        same_again(&lab, &unit);
    }
}

/// Nobody but the compiler may open these, and no unit of them is made again.
#[test]
fn a_pipe_with_a_name() {
    for command in [
        "gcc -x c -c pipe -o a.o",
        "gcc -x c -MMD -MF d -c pipe -o a.o",
        "/usr/bin/gcc -x c -c pipe -o a.o",
        "gcc -include pipe -x c -c /dev/null -o a.o",
        "gcc -MMD -MF d -include pipe -x c -c /dev/null -o a.o",
        "clang -x c -c pipe -o a.o",
        "gcc -MMD -MF d -c b.c -o a.o",
    ] {
        let lab = Lab::new();
        lab.write("a.c", "int a(void) { return 1; }\n");
        lab.write("b.c", "#include \"pipe\"\n");
        lab.ok(&format!("mkfifo pipe; cat a.c > pipe & timeout 20 {command}"));
        assert!(lab.object("a.o").windows(2).any(|window| window == b"a\0"));
        let unit = only_unit(&lab);
        assert!(unit.not_recompilable.is_some() && !unit.reused, "{command}: {unit:?}");
    }
    let lab = Lab::new();
    lab.ok("mkfifo pipe; echo 'a: ret' > pipe & timeout 20 as pipe -o a.o");
    assert!(only_unit(&lab).not_recompilable.is_some());
    let lab = Lab::new();
    lab.ok("echo 'a: ret' | timeout 20 as /dev/stdin -o a.o");
    let out = lab.scratch.path().join("again.o");
    recompile(&only_unit(&lab), &[], &out, None).unwrap();
}

/// One file, written anew for each unit and removed at the end.
#[test]
fn inputs_as_they_were() {
    let lab = Lab::new();
    lab.ok(
        "for t in int long; do mkdir t; echo \"$t x;\" > t/x.h; echo '#include \"t/x.h\"\nlong a(void) { \
         return x; }' > t.c;\
         gcc -c t.c -o $t.o; rm -r t; done; rm t.c",
    );
    lab.ok("echo 'int b;' > t.c");
    let records = lab.records();
    assert_eq!((records.units.len(), records.problems.len()), (2, 0));
    std::thread::scope(|scope| {
        for unit in &records.units {
            scope.spawn(|| {
                let out = lab.scratch.path().join(format!("{}.o", unit.id));
                assert_eq!(recompile(unit, &[], &out, None).unwrap().sha256, unit.object_sha256);
            });
        }
    });
    assert_eq!(fs::read_to_string(lab.build().join("t.c")).unwrap(), "int b;\n");
    assert!(!lab.build().join("t").exists());
}

/// Each resource goes through one file, of which the compiler says nothing.
#[test]
fn what_the_assembler_reads_is_an_input() {
    for compiler in ["gcc", "clang"] {
        let lab = Lab::new();
        lab.write("wrap.c", "asm(\".data; .incbin \\\"blob\\\"\");\nint a(void) { return 1; }\n");
        lab.ok(&format!("for t in one two; do echo $t > blob; {compiler} -c wrap.c -o $t.o; done"));
        let units = lab.records().units;
        let out = lab.scratch.path().join("again.o");
        let results: Vec<_> =
            units.iter().map(|unit| recompile(unit, &["-ffunction-sections"], &out, None)).collect();
        assert!(results[1].is_ok(), "{compiler}: {results:?}");
        assert_eq!(results[0].is_ok(), compiler == "gcc", "{results:?}");
        if let Err(error) = &results[0] {
            assert!(error.to_string().contains("another object"), "{error}");
        }
    }
}

#[test]
fn sources_of_one_name() {
    let lab = Lab::new();
    lab.write("x/util.c", "int x(void) { return 1; }\n");
    lab.write("y/util.c", "int y(void) { return 2; }\n");
    lab.write("util.c", "int main(void) { return 0; }\n");
    lab.ok("gcc -O2 -o prog x/util.c util.c y/util.c");
    let records = lab.records();
    assert_eq!(records.problems, []);
    let sources: Vec<_> = records.units.iter().map(|unit| unit.source.to_string_lossy()).collect();
    assert_eq!(sources, ["x/util.c", "util.c", "y/util.c"]);
    let out = lab.scratch.path().join("again.o");
    for unit in &records.units {
        recompile(unit, &["-ffunction-sections"], &out, None).unwrap();
    }
    // One that was told wrongly is not taken.
    let mut wrong = records.units[0].clone();
    wrong.source = "y/util.c".into();
    assert!(recompile(&wrong, &[], &out, None).unwrap_err().to_string().contains("another object"));
}
