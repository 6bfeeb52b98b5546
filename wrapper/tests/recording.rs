//! What is recorded, for each way in which a build may call its tools.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod common;

use common::Lab;
use wrapper::{MapFlavour, UnitKind, recompile};

const A: &str = "#include \"a.h\"\nint a(void) { return A; }\n";
const MAIN: &str = "#include <stdio.h>\nint a(void);\nint main(void) { printf(\"%d\\n\", a()); return 0; }\n";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.c", A);
    lab.write("a.h", "#define A 7\n");
    lab.write("main.c", MAIN);
    lab
}

/// Every recorded unit can be compiled again to the same bytes.
fn check_recompile(lab: &Lab) {
    for unit in lab.records().units {
        let out = lab.scratch.path().join("again.o");
        let outcome = recompile(&unit, &[], &out, None).unwrap();
        assert_eq!(outcome.sha256, unit.object_sha256, "{:?}", unit.source);
    }
}

#[test]
fn plain_unit() {
    let lab = lab();
    lab.ok("gcc -O2 -c a.c -o a.o");
    let records = lab.records();
    assert_eq!(records.problems, []);
    let [unit] = &records.units[..] else { panic!("{records:?}") };
    assert_eq!(unit.source.as_bytes(), b"a.c");
    assert_eq!(unit.kind, UnitKind::Compile);
    assert_eq!(unit.language, "c");
    assert!(!unit.reused);
    let names: Vec<_> = unit.deps.iter().map(|dep| dep.path.to_string_lossy()).collect();
    assert!(names[0].ends_with("/a.c"), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("/a.h")), "{names:?}");
    assert_eq!(std::fs::read(unit.stored.as_path()).unwrap(), lab.object("a.o"));
    assert_eq!(wrapper::sha256(&lab.object("a.o")), unit.object_sha256);
    check_recompile(&lab);
    let out = lab.scratch.path().join("s.o");
    let outcome = recompile(unit, &["-ffunction-sections"], &out, None).unwrap();
    assert_ne!(outcome.sha256, unit.object_sha256);
    let bytes = std::fs::read(out).unwrap();
    assert!(bytes.windows(8).any(|window| window == b".text.a\0"));
    lab.write("a.h", "#define A 8\n");
    check_recompile(&lab);
    assert!(std::fs::read_to_string(lab.build().join("a.h")).unwrap().contains('8'), "as it was before");
    std::fs::remove_dir_all(lab.session.dir().join("inputs")).unwrap();
    let error = recompile(unit, &[], &lab.scratch.path().join("x.o"), None).unwrap_err().to_string();
    assert!(error.contains("a.h") && error.contains("changed"), "{error}");
}

#[test]
fn system_headers_are_inputs_whatever_the_build_asks_for() {
    for flags in ["", "-MD", "-MMD", "-MMD -MF x.d", "-Wp,-MMD,y.d", "-Wp,-MD,y.d"] {
        for compiler in ["gcc", "clang"] {
            let lab = lab();
            lab.ok(&format!("{compiler} -c main.c {flags}"));
            let records = lab.records();
            assert_eq!(records.units.len(), 1, "{compiler} {flags}");
            let has = records.units[0].deps.iter().any(|dep| dep.path.as_bytes() == b"/usr/include/stdio.h");
            assert!(has, "{compiler} {flags}: {:?}", records.units[0].deps);
        }
    }
}

#[test]
fn program_from_objects() {
    let lab = lab();
    lab.ok("gcc -c a.c && gcc -c main.c && gcc a.o main.o -o prog && ./prog");
    let records = lab.records();
    assert_eq!(records.problems, []);
    let [link] = &records.links[..] else { panic!("{records:?}") };
    assert_eq!(link.map_flavour, MapFlavour::Bfd);
    let map = std::fs::read_to_string(link.map.as_ref().unwrap().as_path()).unwrap();
    assert!(map.contains("LOAD a.o") && map.contains(".text"), "{map}");
    assert_eq!(std::fs::read(link.saved.as_path()).unwrap(), lab.object("prog"));
    for unit in &records.units {
        assert!(link.inputs.iter().any(|input| input.sha256 == unit.object_sha256), "{link:?}");
        assert!(records.unit_by_object(&unit.object_sha256).is_some());
    }
    assert!(link.shared_libs.iter().any(|library| library.to_string_lossy().contains("libc.so")));
    assert_eq!(link.output.as_path(), lab.build().canonicalize().unwrap().join("prog"));
}

#[test]
fn clang_called_by_its_full_path() {
    let lab = lab();
    lab.write("b c.c", "#include \"a.h\"\nint b(void) { return A + 1; }\n");
    lab.ok("/usr/bin/clang -O2 -g -DX='\"q $ s\"' -c a.c main.c 'b c.c' && clang a.o main.o 'b c.o' -o prog");
    let records = lab.records();
    assert_eq!(records.problems, []);
    let mut sources: Vec<_> = records.units.iter().map(|unit| unit.source.to_string_lossy()).collect();
    sources.sort();
    assert_eq!(sources, ["a.c", "b c.c", "main.c"]);
    for input in ["a.o", "main.o", "b c.o"] {
        let sha256 = wrapper::sha256(&lab.object(input));
        let unit = records.unit_by_object(&sha256).unwrap();
        assert_eq!(unit.language, "c");
        let header = if input == "main.o" { "/usr/include/stdio.h" } else { "/a.h" };
        assert!(unit.deps.iter().any(|dep| dep.path.to_string_lossy().ends_with(header)), "{:?}", unit.deps);
    }
    check_recompile(&lab);
    let out = lab.scratch.path().join("s.o");
    let unit = records.units.iter().find(|unit| unit.source.as_bytes() == b"a.c").unwrap();
    recompile(unit, &["-ffunction-sections"], &out, None).unwrap();
    assert!(std::fs::read(out).unwrap().windows(8).any(|window| window == b".text.a\0"));
}

#[test]
fn clang_called_by_its_full_path_for_assembly() {
    let lab = lab();
    lab.write("t.S", "#define ONE 1\n.text\n.globl t\nt: mov $ONE, %eax\n ret\n");
    lab.ok("/usr/bin/clang -O2 -S a.c && /usr/bin/clang -c a.s t.S && clang -c main.c && clang a.o main.o \
     t.o -o prog && ./prog");
    let records = lab.records();
    assert_eq!(records.problems, []);
    let unit = |object: &str| records.unit_by_object(&wrapper::sha256(&lab.object(object))).unwrap();
    let (text, mixed) = (unit("a.o"), unit("t.o"));
    assert_eq!((text.source.as_bytes(), text.kind), (&b"a.s"[..], wrapper::UnitKind::Assemble));
    let again = recompile(text, &["-ffunction-sections"], &lab.scratch.path().join("again.o"), None).unwrap();
    assert_eq!(again.sha256, text.object_sha256);
    // Made of a temporary file: it is known, and known not to be repeatable.
    assert_eq!(mixed.source.as_bytes(), b"t.S");
    assert!(mixed.not_recompilable.as_ref().unwrap().contains("full path"), "{mixed:?}");
}

/// The recorder's trouble is not the build's.
#[test]
fn a_session_that_cannot_be_written() {
    let lab = lab();
    let phase = lab.session.phase_dir(wrapper::Phase::Original);
    for dir in ["units", "links", "problems"] {
        std::fs::remove_dir(phase.join(dir)).unwrap();
        std::fs::write(phase.join(dir), "").unwrap();
    }
    let session = phase.parent().unwrap().parent().unwrap();
    for dir in ["objects", "outputs", "maps", "stdin", "tmp", "bytecode"] {
        std::fs::remove_dir(session.join(dir)).unwrap();
        std::fs::write(session.join(dir), "").unwrap();
    }
    lab.ok("gcc -c a.c && clang -c main.c && gcc a.o main.o -o prog && ./prog");
    lab.ok(
        "/usr/bin/gcc -flto a.c main.c -o prog && ./prog && gcc -pipe -c a.c && ar rcs liba.a a.o && gcc \
     -xc -c - < a.c -o b.o",
    );
    lab.ok("/usr/bin/clang -c a.c && clang a.c main.c -o prog && ./prog");
}

#[test]
fn objects_of_a_clang_by_its_full_path_that_go_into_an_archive_and_away() {
    let lab = lab();
    lab.ok("/usr/bin/clang -O2 -c a.c && ar rcs liba.a a.o && rm a.o && gcc main.c liba.a -o prog");
    let records = lab.records();
    assert!(records.units.iter().any(|unit| unit.source.as_bytes() == b"a.c"), "{:?}", records.units);
}

#[test]
fn clang_with_several_sources_and_no_link() {
    let lab = lab();
    lab.ok("clang -O2 -g -c a.c main.c && clang a.o main.o -o prog");
    let records = lab.records();
    assert_eq!(records.problems, []);
    assert_eq!(records.units.len(), 2);
    assert!(records.units.iter().all(|unit| unit.deps.len() > 1));
    check_recompile(&lab);
}

#[test]
fn c_sources_of_a_driver_for_cxx_are_cxx() {
    for script in [
        "g++ -O2 -g -c a.c && g++ -O2 -c main.c && g++ a.o main.o -o prog",
        "g++ -O2 a.c main.c -o prog",
        "/usr/bin/g++ -O2 a.c main.c -o prog",
        "clang++ -w -O2 -g -c a.c && clang++ -w -O2 -c main.c && clang++ a.o main.o -o prog",
        "clang++ -w -O2 -c a.c main.c && clang++ a.o main.o -o prog",
        "clang++ -w a.c main.c -o prog",
    ] {
        let lab = lab();
        lab.ok(script);
        let records = lab.records();
        assert_eq!(records.problems, [], "{script}");
        assert_eq!(records.units.len(), 2, "{script}");
        for unit in &records.units {
            assert_eq!(unit.language, "c++", "{script}");
        }
        check_recompile(&lab);
    }
}

#[test]
fn several_sources_at_once() {
    for script in [
        "gcc -O1 a.c main.c -o prog",
        "gcc -pipe a.c main.c -o prog",
        "gcc -c a.c main.c && gcc a.o main.o -o prog",
        "gcc -save-temps a.c main.c -o prog",
        "/usr/bin/gcc a.c main.c -o prog",
        "/usr/bin/gcc -c a.c && /usr/bin/gcc -pipe -c main.c && /usr/bin/gcc a.o main.o -o prog",
        "gcc @args",
        "clang a.c main.c -o prog",
        "/usr/bin/clang a.c main.c -o prog",
        "ccache gcc -c a.c && ccache gcc -c main.c && gcc a.o main.o -o prog",
        "PATH=${PATH%%:*}:/usr/lib/ccache:/usr/bin:/bin gcc a.c main.c -o prog",
        "env -i PATH=$PATH gcc a.c main.c -o prog",
    ] {
        let lab = lab();
        lab.write("args", "a.c 'main.c' -o \"prog\"");
        lab.ok(script);
        let records = lab.records();
        let mut sources: Vec<_> = records.units.iter().map(|unit| unit.source.to_string_lossy()).collect();
        sources.sort();
        assert_eq!(sources, ["a.c", "main.c"], "{script}: {records:?}");
        assert_eq!(records.problems, [], "{script}");
        let [link] = &records.links[..] else { panic!("{script}: {records:?}") };
        for unit in &records.units {
            let linked = link.inputs.iter().any(|input| input.sha256 == unit.object_sha256);
            assert!(linked, "{script}: {} is not among the inputs", unit.source.to_string_lossy());
            assert!(unit.deps.len() >= 2, "{script}: {:?}", unit.notes);
        }
        check_recompile(&lab);
    }
}

#[test]
fn archive_members() {
    for archive in ["ar rc liba.a a.o", "ar rcT liba.a a.o"] {
        let lab = lab();
        lab.ok(&format!(
            "gcc -c a.c main.c && {archive} && gcc main.o -L. -la -o prog && gcc main.o liba.a -o prog2"
        ));
        let records = lab.records();
        let unit = records.units.iter().find(|unit| unit.source.as_bytes() == b"a.c").unwrap();
        assert_eq!(records.links.len(), 2);
        for link in &records.links {
            let input = link.inputs.iter().find(|input| input.sha256 == unit.object_sha256).unwrap();
            assert_eq!(input.member.as_ref().unwrap().as_bytes(), b"a.o", "{archive}");
        }
    }
}

#[test]
fn standard_input() {
    let lab = lab();
    lab.ok("gcc -x c - -c -o in.o < a.c && cat a.c | gcc -c -x c -o in2.o -");
    let records = lab.records();
    assert_eq!(records.units.len(), 2);
    assert_eq!(records.units[0].object_sha256, records.units[1].object_sha256);
    assert_eq!(std::fs::read(records.units[0].stdin.as_ref().unwrap().as_path()).unwrap(), A.as_bytes());
    check_recompile(&lab);
}

#[test]
fn assembly() {
    let lab = lab();
    lab.write("s.s", ".globl s\n.text\ns: ret\n");
    lab.write("t.S", "#include \"a.h\"\n.globl t\n.text\nt: mov $A, %eax\n ret\n");
    lab.ok("gcc -c s.s && gcc -c t.S && as s.s -o s2.o && as -o s3.o < s.s && gcc -S a.c -o - | as -o a.o -");
    let records = lab.records();
    assert_eq!(records.problems, []);
    assert_eq!(records.units.len(), 5, "{records:?}");
    assert!(records.units.iter().all(|unit| unit.kind == UnitKind::Assemble));
    assert!(records.units[1].deps.iter().any(|dep| dep.path.to_string_lossy().ends_with("a.h")));
    check_recompile(&lab);
}

#[test]
fn linkers_and_maps() {
    for (flag, flavour) in [
        ("-fuse-ld=bfd", MapFlavour::Bfd),
        ("-fuse-ld=gold", MapFlavour::Gold),
        ("-fuse-ld=lld", MapFlavour::Lld),
        ("-Wl,-Map=mine.map", MapFlavour::Bfd),
        ("-shared -fPIC", MapFlavour::Bfd),
        ("-r -nostdlib", MapFlavour::Bfd),
        ("-static", MapFlavour::Bfd),
    ] {
        let lab = lab();
        lab.ok(&format!("gcc a.c main.c -fPIC -o prog {flag}"));
        let records = lab.records();
        assert_eq!(records.problems, [], "{flag}");
        let [link] = &records.links[..] else { panic!("{flag}: {records:?}") };
        assert_eq!(link.map_flavour, flavour, "{flag}");
        assert!(std::fs::metadata(link.map.as_ref().unwrap().as_path()).unwrap().len() > 100, "{flag}");
        assert_eq!((link.relocatable, link.shared), (flag.starts_with("-r"), flag.starts_with("-shared")));
    }
}

/// The temporary files of the one link are gone; the same call gives the same object again.
fn made_by_the_link_again(lab: &Lab) {
    let records = lab.records();
    assert_eq!(records.links.len(), 1, "{records:?}");
    let link = &records.links[0];
    assert!(link.lto, "{link:?}");
    let made = records.units.iter().find(|unit| unit.language == "lto").unwrap();
    assert!(link.inputs.iter().any(|input| input.sha256 == made.object_sha256));
    let again = lab.build().join("again.o");
    let plain = wrapper::recompile(made, &[], &again, None).unwrap();
    assert_eq!(plain.sha256, made.object_sha256);
    let sectioned = wrapper::recompile(made, &["-ffunction-sections"], &again, None).unwrap();
    assert!(memchr::memmem::find(&std::fs::read(sectioned.object).unwrap(), b".text.startup.main").is_some());
}

#[test]
fn link_time_optimisation() {
    let lab = lab();
    lab.ok("gcc -O2 -flto -c a.c && gcc -O2 -flto -c main.c && gcc -O2 -flto a.o main.o -o prog && ./prog");
    made_by_the_link_again(&lab);
}

#[test]
fn link_time_optimisation_in_one_piece() {
    let lab = lab();
    lab.ok("gcc -O2 -flto -c a.c && gcc -O2 -flto -c main.c && gcc-ar rcs liba.a a.o && rm a.o");
    lab.ok("gcc -O2 -flto -flto-partition=none main.o liba.a -o prog && ./prog && rm main.o liba.a");
    // Objects and archive are gone, too.
    made_by_the_link_again(&lab);
}

#[test]
fn link_time_optimisation_by_llvm() {
    for (flags, linker, archived) in [
        ("-flto", "lld", true),
        ("-flto=thin", "lld", true),
        ("-flto=thin", "lld -Wl,--thinlto-cache-dir=theirs", false),
        ("-flto", "gold", true),
        ("-flto", "bfd", false),
        ("-flto=thin", "bfd", true),
        ("-flto=thin", "gold", true),
        ("-flto", "mold", false),
        ("-flto=thin -Os", "mold", true),
    ] {
        let lab = lab();
        let objects = if archived { "main.o liba.a" } else { "main.o a.o" };
        lab.ok(&format!("clang -O2 {flags} -c a.c main.c && llvm-ar-14 rcs liba.a a.o"));
        let link = format!("-O2 {flags} -fuse-ld={linker} {objects} -o prog");
        lab.ok(&format!("clang {link} && ./prog && mv prog recorded"));
        lab.ok(&format!("env -i PATH=/usr/bin:/bin clang {link}"));
        let read = |name: &str| std::fs::read(lab.build().join(name)).unwrap();
        assert!(read("recorded") == read("prog"), "{flags} {linker}");
        let records = lab.records();
        let link = &records.links[0];
        assert!(link.lto, "{flags} {linker}: {:?} {:?}", link.notes, records.problems);
        let pieces: Vec<_> = records.units.iter().filter(|u| u.language == wrapper::LLVM).collect();
        let map = std::fs::read(link.map.as_ref().unwrap()).unwrap();
        let mut functions = Vec::new();
        for piece in pieces {
            let mut own = link.inputs.iter().filter(|input| input.sha256 == piece.object_sha256);
            let path = own.next().unwrap().path.as_bytes();
            assert!(memchr::memmem::find(&map, path).is_some(), "{flags} {linker}: {piece:?}");
            functions.extend(std::fs::read(&piece.stored).unwrap());
        }
        assert!(memchr::memmem::find(&functions, b".text.main").is_some(), "{flags} {linker}");
    }
}

#[test]
fn names_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let lab = lab();
    let name = std::ffi::OsStr::from_bytes(b"na\xffme\xe9.c");
    std::fs::write(lab.build().join(name), "int x;\n").unwrap();
    lab.ok("gcc -c na*.c -o out.o");
    let records = lab.records();
    assert_eq!(records.units[0].source.as_os_str(), name);
    assert_eq!(records.units[0].deps[0].path.as_path(), lab.build().join(name));
    check_recompile(&lab);
}

/// Build systems that compile probes of their own, keep the compiler's path, and write dependency files.
#[test]
fn cmake_and_meson() {
    let cmake = "cmake_minimum_required(VERSION 3.10)\nproject(p C)\nadd_library(a STATIC \
     a.c)\nadd_executable(prog main.c)\n\
                 target_link_libraries(prog a)\n";
    let meson =
        "project('p', 'c')\nl = static_library('a', 'a.c')\nexecutable('prog', 'main.c', link_with: l)\n";
    for (tool, script) in [
        ("cmake", "cmake -B out . && make -C out VERBOSE=1 && out/prog"),
        ("cmake", "cmake -G Ninja -B out . && ninja -C out && out/prog"),
        ("meson", "meson setup out && ninja -C out && out/prog"),
    ] {
        if ["cmake", "ninja", tool].iter().any(|name| !std::path::Path::new("/usr/bin").join(name).exists()) {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), b"skipped: build tool not installed\n");
            continue;
        }
        let lab = lab();
        lab.write("CMakeLists.txt", cmake);
        lab.write("meson.build", meson);
        lab.ok(script);
        let records = lab.records();
        assert_eq!(records.problems, [], "{script}");
        assert_eq!((records.units.len(), records.links.len()), (2, 1), "{script}: {records:#?}");
        for unit in &records.units {
            let linked = records.links[0].inputs.iter().any(|input| input.sha256 == unit.object_sha256);
            assert!(linked, "{script}: {:?}", unit.source);
        }
        check_recompile(&lab);
    }
}

#[test]
fn equal_objects_of_two_sources_are_two_units() {
    let lab = lab();
    for name in ["one/same.c", "two/same.c"] {
        lab.write(name, "static int nothing;\n");
    }
    lab.ok("gcc -c one/same.c -o one/same.o && gcc -c two/same.c -o two/same.o && gcc -c main.c a.c");
    lab.ok("gcc one/same.o two/same.o main.o a.o -o prog");
    let records = lab.records();
    let link = &records.links[0];
    for wanted in ["one/same.o", "two/same.o", "main.o"] {
        let input = link.inputs.iter().find(|input| input.path.as_bytes() == wanted.as_bytes()).unwrap();
        let mut units = records.units.iter().filter(|unit| unit.object_sha256 == input.sha256);
        assert!(units.any(|unit| unit.object_path.to_string_lossy().ends_with(wanted)), "{wanted}");
    }
}

#[test]
fn probes_leave_no_trace() {
    let lab = lab();
    lab.write("conftest.c", MAIN);
    lab.ok("gcc -c conftest.c && gcc -c a.c -o /dev/null && gcc -E a.c && gcc --version && ld --version && \
     as --version");
    let records = lab.records();
    assert_eq!((records.units, records.links, records.problems), Default::default());
}

#[test]
fn parallel_make() {
    let lab = Lab::new();
    let mut makefile = "all: prog\n%.o: %.c\n\t$(CC) -c $< -o $@\nprog: main.o".to_owned();
    for number in 0..20 {
        lab.write(&format!("f{number}.c"), &format!("int f{number}(void) {{ return {number}; }}\n"));
        makefile.push_str(&format!(" f{number}.o"));
    }
    makefile.push_str("\n\t$(CC) $^ -o $@\n");
    lab.write("Makefile", &makefile);
    lab.write("main.c", "int main(void) { return 0; }\n");
    lab.ok("make -j8 CC=gcc");
    let records = lab.records();
    assert_eq!((records.units.len(), records.links.len(), records.problems.len()), (21, 1, 0));
}

#[test]
fn recording_that_fails_does_not_fail_the_build() {
    let lab = lab();
    std::fs::remove_dir_all(lab.session.dir().join("objects")).unwrap();
    std::fs::write(lab.session.dir().join("objects"), "in the way").unwrap();
    lab.ok("gcc -c a.c && gcc -c main.c && gcc a.o main.o -o prog && ./prog");
    let records = lab.records();
    assert_eq!(records.units, []);
    assert_eq!(records.problems.len(), 2);
    for dir in ["stdin", "tmp", "maps", "outputs", "search", "compilers"] {
        let _ = std::fs::remove_dir_all(lab.session.dir().join(dir));
        std::fs::write(lab.session.dir().join(dir), "in the way").unwrap();
    }
    lab.ok("cat a.c | gcc -x c - -c -o a.o -I. && gcc -pipe main.c a.o -o prog && ./prog && as < /dev/null");
    std::fs::remove_dir_all(lab.session.dir().join("phases")).unwrap();
    lab.ok("gcc -c a.c && gcc a.c main.c -o prog && ./prog");
    std::fs::remove_file(lab.session.dir().join("session.json")).unwrap();
    lab.ok("gcc -c a.c && gcc a.c main.c -o prog && ./prog");
}
