//! A table of command lines, each run in two equal directories, without and with the recorder. Exit status,
//! standard output, standard error and every file that is left must be the same, byte for byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Lab, shell};

const FILES: &[(&str, &str)] = &[
    ("a.c", "#include <stdio.h>\n#include \"a.h\"\nint a(void) { return A; }\nstatic int unused;\n"),
    ("a.h", "#define A 7\n"),
    ("main.c", "#include <stdio.h>\nint a(void);\nint main(void) { printf(\"%d\\n\", a()); return 0; }\n"),
    ("warn.c", "int f(void) { int x; return x; }\n#warning from the preprocessor\n"),
    ("bad.c", "int f( { return }\n"),
    ("x.cc", "#include <vector>\nint f() { return std::vector<int>{1, 2}.size(); }\n"),
    ("s.s", ".globl s\n.text\ns: ret\n"),
    ("t.S", "#define R ret\n.globl t\n.text\nt: R\n"),
    ("sub dir/b c.c", "int bc;\n"),
    ("args", "-O2 -DX='\"a b\"' a.c -c -o 'a.o'"),
    ("nested", "@args -g"),
    ("src/d.c", "int d = __LINE__;\n"),
    ("conftest.c", "int main(void) { return 0; }\n"),
    ("once.h", "int once;\n"),
    ("script.ld", "SECTIONS { .text : { *(.text*) } }\n"),
];

const COMMANDS: &[&str] = &[
    "gcc -c a.c",
    "gcc -c a.c -o out.o",
    "gcc -oout.o -c a.c -O2 -g",
    "gcc -O2 -g3 -c a.c -MD",
    "gcc -c a.c -MMD",
    "gcc -c a.c -MMD -MP -MF deps.mk -MT target",
    "gcc -c a.c -Wp,-MMD,.a.d -O1",
    "gcc -c src/d.c -MD -o src/d.o",
    "gcc -c a.c main.c",
    "gcc -c a.c main.c -MMD",
    "gcc a.c main.c",
    "gcc a.c main.c -o prog && ./prog",
    "gcc -pipe -c a.c",
    "gcc -pipe a.c main.c -o prog",
    "gcc -save-temps -c a.c",
    "gcc -save-temps a.c main.c -o prog",
    "gcc -E a.c",
    "gcc -E a.c -o a.i && gcc -c a.i",
    "gcc -M a.c",
    "gcc -MM a.c -MF deps",
    "gcc -S a.c",
    "gcc -S -O2 a.c -o -",
    "gcc -x c -c - -o in.o < a.c",
    "cat a.c | gcc -x c - -c -o in.o -I.",
    "gcc -x c /dev/null -c -o empty.o",
    "gcc -c -x c++ a.c -x none s.s",
    "gcc @args",
    "gcc @nested",
    "gcc @missing",
    "gcc -c 'sub dir/b c.c'",
    "gcc -c 'sub dir/b c.c' -MD",
    "gcc -Wall -c warn.c",
    "gcc -Wall -Werror -c warn.c",
    "gcc -c bad.c",
    "gcc -c bad.c -o out.o -MD",
    "gcc -c missing.c",
    "gcc",
    "gcc -c",
    "gcc --version",
    "gcc -print-search-dirs",
    "gcc -print-prog-name=cc1",
    "gcc -dumpmachine",
    "gcc -frobnicate -c a.c",
    "gcc -c a.c -o /dev/null",
    "gcc -c a.c -o missing/out.o",
    "gcc -fsyntax-only warn.c",
    "gcc -c once.h",
    "gcc -c s.s && gcc -c t.S && gcc -c t.S -MD -o t2.o",
    "gcc -c -- a.c",
    "gcc -fprofile-arcs -ftest-coverage -c a.c",
    "gcc -g -gsplit-dwarf -c a.c",
    "gcc -fstack-usage -c a.c",
    "gcc -flto -O2 -frandom-seed=x a.c main.c -o prog -c || gcc -flto -O2 -frandom-seed=x -c a.c",
    "gcc -flto -O2 a.c main.c -o prog && ./prog",
    "gcc -shared -fPIC a.c -o liba.so -Wl,-soname,liba.so.1",
    "gcc -static a.c main.c -o prog && ./prog",
    "gcc a.c main.c -o prog -fuse-ld=gold -Wl,--build-id",
    "gcc a.c main.c -o prog -fuse-ld=lld -Wl,--build-id",
    "gcc a.c main.c -o prog -Wl,-Map=my.map,--build-id=sha1",
    "gcc a.c main.c -o prog -Wl,-M | sed 's,/tmp/cc[A-Za-z0-9]*,TMP,'",
    "gcc -r -nostdlib a.c main.c -o both.o",
    "gcc -c a.c main.c && ld -r a.o main.o -o both.o && ld -r both.o -o both.o",
    "gcc -c s.s && ld -T script.ld s.o -o s.elf -e s",
    "gcc main.c -o prog",
    "gcc main.c -lnosuch -o prog",
    "gcc -c a.c && ar rcs liba.a a.o && gcc main.c -L. -la -o prog && ./prog",
    "gcc -flto -frandom-seed=x -c a.c && ar rcs liba.a a.o && nm -s liba.a && gcc -flto main.c -L. -la -o \
     prog && ./prog",
    "gcc -flto -frandom-seed=x -c a.c && ld -r a.o -o both.o",
    "gcc -m64 -c a.c -specs=/dev/null",
    "cc -c a.c",
    "gcc-12 -c a.c",
    "x86_64-linux-gnu-gcc -c a.c -o a.o",
    "c99 -c a.c",
    "c89 -c a.c",
    "g++ -O2 -c x.cc -MMD",
    "g++ x.cc main.c a.c -o prog || true",
    "c++ -std=c++17 -c x.cc -o x.o",
    "clang -c a.c -O2 -g -MMD",
    "clang -c a.c -MD -MF deps",
    "clang -c a.c",
    "clang a.c main.c -o prog -Wl,--build-id && ./prog",
    "clang -Wall -c warn.c",
    "clang++ -c x.cc",
    "/usr/bin/gcc -g a.c main.c -o prog",
    "/usr/bin/gcc -pipe -c a.c",
    "as s.s -o s.o",
    "as < s.s",
    "cat s.s | as -o s.o -",
    "as --version",
    "as missing.s",
    "ld --version",
    "ld missing.o",
    "gcc -c conftest.c && gcc -o conftest conftest.c",
    "ar t missing.a",
    "gcc -c a.c main.c && objcopy --redefine-sym main=begin main.o begin.o && ar rcs liba.a a.o && strip -g \
     a.o begin.o liba.a",
    "objcopy missing.o out.o",
    "gcc -c a.c && objcopy --frobnicate a.o; strip -o a2.o a.o; strip --version",
    "gcc -c a.c 2>&1 >/dev/null; gcc -c warn.c 2>&1 | cat",
    "PWD=/nonsense gcc -g -c a.c",
    "SOURCE_DATE_EPOCH=1000000000 gcc -c a.c -O2",
    "SUNPRO_DEPENDENCIES=mine gcc -c a.c",
    "DEPENDENCIES_OUTPUT='mine tgt' gcc -c a.c",
    "CPATH=src gcc -c a.c",
    "env -i PATH=\"$PATH\" gcc -c a.c",
    "ln -s a.c link.c && gcc -g -c link.c -MD",
    "cd src && gcc -g -I.. -c ../a.c -MD",
    "gcc -E - < a.c",
];

fn tree(dir: &Path, prefix: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree(&path, prefix, found);
        } else {
            let name = path.strip_prefix(prefix).unwrap().to_string_lossy().into_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// Names that the compiler makes up anew in each run.
fn without_random_names(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("/tmp/") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        out.push_str("TMP");
        let end = after[5..]
            .find(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
            .map_or(after.len(), |n| n + 5);
        rest = &after[end..];
    }
    out + rest
}

/// One command, twice without (to see what differs anyway) and twice with the recorder (the second run is
/// from the store).
fn check(lab: &Lab, command: &str, failures: &mut Vec<String>) {
    let build = lab.build();
    let plain_env = [("CCACHE_DISABLE".into(), "1".into())];
    let session_env = lab.session.env();
    let mut results = Vec::new();
    for env in [&plain_env[..], &plain_env[..], &session_env[..], &session_env[..]] {
        // The same place each time: the path is part of debug information.
        let _ = fs::remove_dir_all(&build);
        for (name, text) in FILES {
            lab.write(name, text);
        }
        lab.settle();
        let output = shell(&build, command, env);
        let mut files = BTreeMap::new();
        tree(&build, &build, &mut files);
        let out = without_random_names(&output.stdout);
        let err = without_random_names(&output.stderr);
        results.push((output.status, out, err, files));
    }
    let [first, second, cold, warm] = &results[..] else { unreachable!() };
    for (what, it) in [("cold", cold), ("warm", warm)] {
        if it.0 != first.0 {
            failures.push(format!("{command} ({what}): {} instead of {}\n{}", it.0, first.0, it.2));
        }
        if it.1 != first.1 {
            failures.push(format!("{command} ({what}): stdout\n{}\n--\n{}", it.1, first.1));
        }
        if it.2 != first.2 {
            failures.push(format!("{command} ({what}): stderr\n{}\n--\n{}", it.2, first.2));
        }
        if it.3.keys().ne(first.3.keys()) {
            failures.push(format!(
                "{command} ({what}): files {:?} instead of {:?}",
                it.3.keys(),
                first.3.keys()
            ));
        }
        for (name, bytes) in &it.3 {
            let stable = first.3.get(name) == second.3.get(name);
            if stable && first.3.get(name).is_some_and(|expected| expected != bytes) {
                failures.push(format!("{command} ({what}): {name} differs"));
            }
        }
    }
}

fn check_part(part: usize, of: usize) {
    let lab = Lab::new();
    let mut failures = Vec::new();
    for (number, command) in COMMANDS.iter().enumerate() {
        if number % of == part {
            check(&lab, command, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn table_part_1() {
    check_part(0, 2);
}

#[test]
fn table_part_2() {
    check_part(1, 2);
}

/// A table that no difference can break proves nothing: the comparison must see one.
#[test]
fn the_comparison_sees_a_difference() {
    let lab = Lab::new();
    let mut failures = Vec::new();
    check(&lab, "echo \"$UPATCH_CC_SESSION\" | tee file; test -z \"$UPATCH_CC_SESSION\"", &mut failures);
    assert!(failures.iter().any(|failure| failure.contains("stdout")), "{failures:?}");
    assert!(failures.iter().any(|failure| failure.contains("file differs")), "{failures:?}");
    assert!(failures.iter().any(|failure| failure.contains("exit status")), "{failures:?}");
}

/// Death by a signal shows as the same signal, and a signal to the recorder reaches the compiler.
#[test]
fn signals() {
    use std::os::unix::process::ExitStatusExt;
    let lab = Lab::new();
    lab.write("bin/gcc-99", "");
    let script = lab.build().join("bin/gcc-99");
    // A compiler that kills itself. It stands behind a link of the recorder made by hand, as it is a script.
    fs::write(&script, "#!/bin/sh\nkill -SEGV $$\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::hard_link(lab.session.bin_dir().join("upatch-cc"), lab.session.bin_dir().join("gcc-99")).unwrap();
    lab.write("a.c", "int a;\n");
    let path =
        format!("{}:{}:/usr/bin:/bin", lab.session.bin_dir().display(), lab.build().join("bin").display());
    let run = |args: &[&str]| {
        std::process::Command::new(lab.session.bin_dir().join("gcc-99"))
            .args(args)
            .env("PATH", &path)
            .current_dir(lab.build())
            .spawn()
            .unwrap()
    };
    assert_eq!(run(&["-c", "a.c"]).wait().unwrap().signal(), Some(11));
    assert_eq!(run(&["--version"]).wait().unwrap().signal(), Some(11));

    fs::write(
        &script,
        "#!/bin/sh\ntest \"$1\" = -c || exit 0\ntrap 'echo got >got; exit 3' TERM\necho up >up\nwhile :; do \
         sleep 0.05; done\n",
    )
    .unwrap();
    let mut child = run(&["-c", "a.c"]);
    while !lab.build().join("up").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    shell(&lab.build(), &format!("kill -TERM {}", child.id()), &[]);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(lab.build().join("got").exists());
}

/// The build-id is a hash over the linked file.
#[test]
fn build_id() {
    let lab = Lab::new();
    let mut seen = Vec::new();
    for env in [vec![], lab.session.env()] {
        let _ = fs::remove_dir_all(lab.build());
        for (name, text) in FILES {
            lab.write(name, text);
        }
        let script = "gcc -O2 -g -c a.c && gcc -O2 -g -c main.c && gcc -Wl,--build-id a.o main.o -o prog && \
         readelf -n prog";
        let output = shell(&lab.build(), script, &env);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Build ID"), "{text}");
        seen.push(text);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(lab.records().units.len(), 2);
}
