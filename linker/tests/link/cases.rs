//! Programs that must print what their patched source says.

use patchfile::image::{Reference, RelocationKind};

use super::{Plan, Source, check, execute, image, join_with};

/// Two files with a static function and static variables of one name each, an import used already, one that
/// is not, `stdout`.
const TWINS: [Source; 3] = [
    Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
int one(int), two(int);
int shared = 5;
int main(void) { setvbuf(stdout, 0, _IOLBF, 0); one(1); two(1); one(2); two(2); return 0; }
"#,
    },
    Source {
        name: "a/unit.c",
        text: r#"
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
extern int shared;
static int count = 10;
__attribute__((noinline)) static int step(int x) { count += x; return count; }
int one(int x) {
	static int calls;
	calls++;
#ifdef PATCHED
	char *copy = strdup("new one");
	static int fresh = 7;
	fprintf(stdout, "%s %d %d %d %d\n", copy, step(x * 2), calls, shared, fresh++);
	free(copy);
#else
	fprintf(stdout, "one %d %d\n", step(x), calls);
#endif
	return x;
}
"#,
    },
    Source {
        name: "b/unit.c",
        text: r#"
#include <stdio.h>
static int count = 1000;
__attribute__((noinline)) static int step(int x) { count -= x; return count; }
int two(int x) {
	static int calls;
#ifdef PATCHED
	calls += 10;
#endif
	calls++;
	return printf("two %d %d\n", step(x), calls);
}
"#,
    },
];
const TWINS_BEFORE: &str = "one 11 1\ntwo 999 1\none 13 2\ntwo 997 2\n";
const TWINS_AFTER: &str = "new one 12 1 5 7\ntwo 999 11\nnew one 16 2 5 8\ntwo 997 22\n";

fn twins(plan: Plan) {
    check(plan, &TWINS, &[1, 2], TWINS_BEFORE, TWINS_AFTER);
}

#[test]
fn pie() {
    for compile in [
        &["-O2"][..],
        &["-O0"],
        &["-Os"],
        &["-O2", "-fcf-protection"],
        &["-O2", "-fno-plt"],
        &["-O2", "-fPIC"],
    ] {
        twins(Plan { compile, ..Plan::default() });
    }
}

#[test]
fn pie_lazy_and_bound() {
    twins(Plan { compile: &["-O2"], link: &["-Wl,-z,lazy"], ..Plan::default() });
    twins(Plan { compile: &["-O2"], link: &["-Wl,-z,now"], ..Plan::default() });
}

#[test]
fn position_dependent() {
    for compile in [&["-O2", "-fno-pie"][..], &["-O0", "-fno-pie"]] {
        twins(Plan { compile, link: &["-no-pie"], ..Plan::default() });
    }
}

#[test]
fn archive_members_of_one_name() {
    let (built, output) = check(
        Plan { compile: &["-O2"], archive: true, ..Plan::default() },
        &TWINS,
        &[1, 2],
        TWINS_BEFORE,
        TWINS_AFTER,
    );
    assert_eq!(output.changed.len(), 4);
    // Only the second of the two members called unit.c.o.
    let output = super::join(&built, &TWINS, &[2]).unwrap();
    assert_eq!(execute(&built, Some((image(&output), true))), "one 11 1\ntwo 999 11\none 13 2\ntwo 997 22\n");
}

#[test]
fn shared_library() {
    let caller = "int one(int), two(int); int main(void) { one(1); two(1); one(2); two(2); return 0; }";
    let compile = &["-O2", "-fPIC", "-Dmain=unused"][..];
    let plan = Plan { compile, library_caller: Some(caller), ..Plan::default() };
    check(plan, &TWINS, &[1, 2], TWINS_BEFORE, TWINS_AFTER);
}

#[test]
fn other_linkers() {
    for link in [&["-fuse-ld=lld"][..], &["-fuse-ld=gold"]] {
        twins(Plan { compile: &["-O2"], link, ..Plan::default() });
    }
}

#[test]
fn no_map_and_stripped_target() {
    let (built, with_map) =
        check(Plan { compile: &["-O2"], ..Plan::default() }, &TWINS, &[1, 2], TWINS_BEFORE, TWINS_AFTER);
    let stripped = built.dir.path().join("stripped");
    super::build::run(
        std::process::Command::new("strip").arg("-o").arg(&stripped).arg(built.dir.path().join("main")),
    );
    let stripped = std::fs::read(stripped).unwrap();
    let other = join_with(&built, &TWINS, &[1, 2], &stripped, None).unwrap();
    assert_eq!(with_map.product, other.product, "the symbol table leads to the same places as the map");
}

#[test]
fn linked_without_symbols() {
    twins(Plan { compile: &["-O2"], link: &["-s"], ..Plan::default() });
}

#[test]
fn objects_inside_another() {
    // `ld -r`: the units are no inputs of the final link, so bytes and symbols have to tell.
    let plan = Plan { compile: &["-O2"], ..Plan::default() };
    let mut built = super::build(plan, &TWINS);
    built.record.inputs.clear();
    let output = super::join(&built, &TWINS, &[1, 2]).unwrap();
    assert_eq!(execute(&built, Some((image(&output), true))), TWINS_AFTER);
}

#[test]
fn pointers_to_a_replaced_function_stay_equal() {
    let sources = [Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
typedef int (*fn)(int);
__attribute__((noinline)) int work(int x) {
#ifdef PATCHED
	x *= 100;
#endif
	return x + 1;
}
static fn saved;
__attribute__((noinline)) void keep(void) { saved = work; }
__attribute__((noinline)) int same(void) { return saved == work; }
int main(void) { keep(); printf("%d %d %d\n", same(), saved(2), work(3)); return 0; }
"#,
    }];
    for plan in [
        Plan { compile: &["-O2"], ..Plan::default() },
        Plan { compile: &["-O2", "-fno-pie"], link: &["-no-pie"], ..Plan::default() },
    ] {
        let (_, output) = check(plan, &sources, &[0], "1 3 4\n", "1 201 301\n");
        let work = image(&output).redirects.iter().find(|r| r.name == "work").unwrap();
        let old = work.old.cast_signed();
        // `lea work(%rip)` or `mov $work` in keep and same: the old function, at its address in the target.
        let to_old = image(&output).relocations.iter().filter(|r| {
            let addend = if r.kind == RelocationKind::Pc32 { old - 4 } else { old };
            image(&output).references[r.reference as usize] == Reference::Target && r.addend == addend
        });
        assert!(to_old.count() >= 2);
    }
}

const TLS: [Source; 2] = [
    Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
#include <errno.h>
#include <pthread.h>
__thread int shared_tls = 3;
static __thread char pad[100];
static __thread long own = 4;
int work(int);
__attribute__((noinline)) long bump(int x) {
	errno = x;
	pad[x]++;
#ifdef PATCHED
	own += 1000 * x;
	shared_tls += 100;
#endif
	own += x;
	return own + shared_tls + pad[x] + errno;
}
static void *run(void *p) { return printf("%ld %d\n", bump(1), work(1)), p; }
int go(void) {
	pthread_t t;
	run(0);
	pthread_create(&t, 0, run, 0);
	pthread_join(t, 0);
	return run(0) != 0;
}
#ifndef LIBRARY
int main(void) { return go(); }
#endif
"#,
    },
    Source {
        name: "other.c",
        text: r#"
extern __thread int shared_tls;
static __thread int mine = 1;
static __thread int more = 2;
int work(int x) {
#ifdef PATCHED
	more *= 3;
#endif
	if (x > 1000) more++;
	mine += x;
	return shared_tls * 10 + mine + more;
}
"#,
    },
];
fn tls(compile: &'static [&'static str], link: &'static [&'static str]) {
    let built = super::build(Plan { compile, link, ..Plan::default() }, &TLS);
    let before = execute(&built, None);
    let output = super::join(&built, &TLS, &[0, 1]).unwrap();
    assert_eq!(execute(&built, Some((image(&output), false))), before);
    assert_eq!(execute(&built, Some((image(&output), true))), expected(&TLS, compile, link));
}

/// What the patched source prints when it is compiled and linked as usual.
pub(crate) fn expected(sources: &[Source], compile: &[&str], link: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("gcc");
    command.current_dir(dir.path()).args(["-o", "main", "-DPATCHED", "-pthread"]).args(compile);
    for source in sources {
        std::fs::write(dir.path().join(source.name), source.text).unwrap();
        command.arg(source.name);
    }
    super::build::run(command.args(link));
    super::build::run(&mut std::process::Command::new(dir.path().join("main")))
}

#[test]
fn tls_of_a_program() {
    tls(&["-O2", "-pthread"], &[]);
    tls(&["-O2", "-fno-pie", "-pthread"], &["-no-pie"]);
    tls(&["-O2", "-pthread", "-ftls-model=initial-exec"], &[]);
    // General and local dynamic, rewritten as the linker does.
    tls(&["-O2", "-fPIC", "-pthread"], &[]);
    tls(&["-O2", "-fPIC", "-fno-plt", "-pthread"], &[]);
    tls(&["-O2", "-fPIC", "-mtls-dialect=gnu2", "-pthread"], &[]);
    tls(&["-O2", "-fPIC", "-ftls-model=local-dynamic", "-fno-plt", "-pthread"], &[]);
}

#[test]
fn tls_of_a_library() {
    let caller = "int go(void); int main(void) { return go(); }";
    for compile in [
        &["-O2", "-fPIC", "-DLIBRARY"][..],
        &["-O2", "-fPIC", "-DLIBRARY", "-ftls-model=initial-exec"],
        &["-O2", "-fPIC", "-DLIBRARY", "-mtls-dialect=gnu2"],
    ] {
        let built = super::build(Plan { compile, library_caller: Some(caller), ..Plan::default() }, &TLS);
        let before = execute(&built, None);
        let output = super::join(&built, &TLS, &[0, 1]).unwrap();
        assert_eq!(execute(&built, Some((image(&output), false))), before, "{compile:?}");
        let after = execute(&built, Some((image(&output), true)));
        assert_eq!(after, expected(&TLS, &["-O2", "-fPIC", "-pthread"], &[]), "{compile:?}");
    }
}

#[test]
fn objects_of_a_library_not_used_before() {
    let sources = [Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
#include <unistd.h>
extern char **environ;
#ifdef PATCHED
static FILE **where = &stderr;
#endif
__attribute__((noinline)) int say(int x) {
#ifdef PATCHED
	if (*where != stderr) return puts("two of them");
	if (environ == 0) return 1;
	fputs("to ", stdout);
	fprintf(stdout, "stdout %d\n", x);
	fflush(stdout);
	return fileno(stderr) + optind;
#endif
	return x * getpid() / getpid();
}
int main(void) { dprintf(1, "%d\n", say(4)); return 0; }
"#,
    }];
    for plan in [
        Plan { compile: &["-O2"], ..Plan::default() },
        Plan { compile: &["-O0"], ..Plan::default() },
        Plan { compile: &["-O2", "-fno-pie"], link: &["-no-pie"], ..Plan::default() },
        Plan { compile: &["-O0", "-fno-pie"], link: &["-no-pie"], ..Plan::default() },
        Plan { compile: &["-O2", "-fPIC"], ..Plan::default() },
    ] {
        check(plan, &sources, &[0], "4\n", "to stdout 4\n3\n");
    }
}

#[test]
fn interposed_function_of_a_library() {
    let sources = [Source {
        name: "lib.c",
        text: r#"
#include <stdio.h>
int hook(void) { return 1; }
__attribute__((visibility("hidden"))) int inner(void) { return 2; }
int value = 3;
int run(void) {
	int n = hook() * 100 + inner() * 10 + value;
#ifdef PATCHED
	n += 1000;
#endif
	return printf("%d\n", n);
}
"#,
    }];
    // The program's own `hook` wins, also in patched code.
    let caller = "int hook(void) { return 5; } int run(void); int main(void) { return run() < 0; }";
    for compile in [&["-O2", "-fPIC"][..], &["-O2", "-fPIC", "-fno-plt"]] {
        let plan = Plan { compile, library_caller: Some(caller), ..Plan::default() };
        check(plan, &sources, &[0], "523\n", "1523\n");
    }
}

#[test]
fn exceptions_and_templates() {
    let sources = [
        Source {
            name: "main.cc",
            text: r#"
#include <cstdio>
#include <iostream>
#include <stdexcept>
#include <string>
template <class T> __attribute__((noinline)) T twice(T x) {
	static int calls;
	++calls;
#ifdef PATCHED
	if (x > 100) throw std::out_of_range("big " + std::to_string(calls));
#endif
	return x + x;
}
int other(int);
struct Guard { ~Guard() { std::cout << "guard\n"; } };
__attribute__((noinline)) int run(int x) {
	Guard g;
	try { return twice(x) + other(x); }
	catch (const std::runtime_error &e) { std::cout << "caught " << e.what() << "\n"; return -1; }
}
int main() {
	try { std::cout << run(1) << "\n" << run(-1) << "\n" << run(200) << "\n"; }
	catch (const std::exception &e) { std::cout << "main caught " << e.what() << "\n"; }
}
"#,
        },
        Source {
            name: "other.cc",
            text: r#"
#include <stdexcept>
template <class T> __attribute__((noinline)) T twice(T x) {
	static int calls;
	++calls;
#ifdef PATCHED
	if (x > 100) throw std::out_of_range("big");
#endif
	return x + x;
}
int other(int x) {
	if (x < 0) throw std::runtime_error("negative");
	return twice(x);
}
"#,
        },
    ];
    let before = "guard\n4\ncaught negative\nguard\n-1\nguard\n800\n";
    let after = "guard\n4\ncaught negative\nguard\n-1\nguard\nmain caught big 4\n";
    for plan in [
        Plan { compile: &["-O2"], ..Plan::default() },
        Plan { compile: &["-O0"], ..Plan::default() },
        Plan { compile: &["-O2", "-fno-pie"], link: &["-no-pie"], ..Plan::default() },
    ] {
        let (_, output) = check(plan, &sources, &[0, 1], before, after);
        let unwind = image(&output).unwind.unwrap();
        assert!(unwind.register);
        let twice = output.changed.iter().filter(|c| c.name.contains("twice")).count();
        assert_eq!(twice, 1, "a function that two units hold a copy of is redirected once");
    }
}

const APART: [Source; 2] = [
    Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
int work(int);
static int count = 1;
__attribute__((noinline)) static int next(int x) { return count += x; }
int main(void) { return printf("%d %d\n", work(1), next(2)) < 0; }
"#,
    },
    Source {
        name: "other.c",
        text: r#"
static int count = 100;
__attribute__((noinline)) static int next(int x) { return count *= x; }
int work(int x) {
#ifdef PATCHED
	x += 40;
#endif
	return next(x + 1) + count;
}
"#,
    },
];

/// The same objects in another order: nothing lies where it did.
fn relink(built: &super::Built, files: &[&str]) -> Vec<u8> {
    let mut command = std::process::Command::new("gcc");
    super::build::run(command.current_dir(built.dir.path()).args(["-o", "apart"]).args(files));
    std::fs::read(built.dir.path().join("apart")).unwrap()
}

#[test]
fn target_of_another_layout() {
    let mut built = super::build(Plan { compile: &["-O2"], ..Plan::default() }, &APART);
    let target = relink(&built, &["other.c.o", "main.c.o"]);
    let output = join_with(&built, &APART, &[1], &target, Some(&built.map)).unwrap();
    assert_ne!(output.changed[0].old, super::join(&built, &APART, &[1]).unwrap().changed[0].old);
    built.executable = built.dir.path().join("apart");
    built.module = "main";
    let copy = built.dir.path().join("main");
    std::fs::rename(&built.executable, &copy).unwrap();
    built.executable = copy;
    assert_eq!(execute(&built, Some((image(&output), false))), "400 3\n");
    assert_eq!(execute(&built, Some((image(&output), true))), "8400 3\n");
}

#[test]
fn target_of_other_code_is_refused() {
    let built = super::build(Plan { compile: &["-O2"], ..Plan::default() }, &APART);
    let dir = built.dir.path();
    super::build::run(
        std::process::Command::new("gcc").current_dir(dir).args(["-O0", "-c", "-o", "o0.o", "other.c"]),
    );
    let target = relink(&built, &["main.c.o", "o0.o"]);
    let refused = join_with(&built, &APART, &[1], &target, Some(&built.map)).unwrap_err().to_string();
    assert!(refused.contains("address in the target not certain: work"), "{refused}");
}

#[test]
fn labels_of_jump_tables_and_computed_gotos_are_in_the_new_code() {
    let sources = [Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
#ifdef PATCHED
#define N "new "
#else
#define N ""
#endif
int pick(int x) {
	switch (x) {
	case 0: return puts(N "zero");
	case 1: return printf("%s\n", N "one");
	case 2: puts("and"); return puts(N "two");
	case 3: return putchar('3') + putchar('\n');
	case 4: return printf(N "four %d\n", x);
	case 5: return puts(N "five");
	}
	return 0;
}
int leap(int x) {
	static void *const to[] = { &&a, &&b, &&c };
	goto *to[x];
a:	puts(N "a"); x++;
b:	puts(N "b"); x++;
c:	return puts(N "c") + x;
}
int main(void) { for (int i = 0; i < 6; i++) pick(i); return leap(1) < 0; }
"#,
    }];
    let before = "zero\none\nand\ntwo\n3\nfour 4\nfive\nb\nc\n";
    let after = "new zero\nnew one\nand\nnew two\n3\nnew four 4\nnew five\nnew b\nnew c\n";
    for plan in [
        Plan { compile: &["-O2"], ..Plan::default() },
        Plan { compile: &["-O0"], ..Plan::default() },
        Plan { compile: &["-O2", "-fno-pie"], link: &["-no-pie"], ..Plan::default() },
        Plan { compile: &["-O0", "-fno-pie"], link: &["-no-pie"], ..Plan::default() },
    ] {
        check(plan, &sources, &[0], before, after);
    }
}
