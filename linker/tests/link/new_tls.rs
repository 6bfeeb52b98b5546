//! Thread-local variables that a patch adds, reached by the calls of `__tls_get_addr` that the compiler made
//! for them.

use super::cases::expected;
use super::refusals::refused;
use super::{Plan, Source, build, execute, image, join, verify};

/// Variables of both kinds, zero and not, with an alignment of their own and with an address in the initial
/// value; `errno` at the first use.
const UNIT: Source = Source {
    name: "main.c",
    text: r#"
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#ifdef PATCHED
static __thread long zero, zeroes[3];
static __thread long mine __attribute__((aligned(64))) = 7;
__thread int seen = 5;
static __thread const char *text = "text", *where;
static __thread char odd[3] = "ab";
#endif
extern int more(int);
#ifdef PATCHED
__attribute__((noinline)) static long local(int x) {
	zero += x; zeroes[2] += 2 * x; mine += zero; odd[1]++;
	return mine + zeroes[2] + odd[1] + ((uintptr_t)&mine % 64 != 0);
}
#endif
__attribute__((noinline)) long work(int x) {
#ifdef PATCHED
	errno = x;
	seen += x;
	long all = local(x) * 100 + seen + (where == &text[1]);
	where = &text[1];
	return all * 10 + (errno == x);
#endif
	return x;
}
static void *run(void *p) {
	for (int i = 1; i < 4; i++)
		printf("%ld %d\n", work(i), more(i));
	return p;
}
__attribute__((visibility("default"))) int go(void) {
	pthread_t t[2];
	run(0);
	for (int i = 0; i < 2; i++) {
		pthread_create(&t[i], 0, run, 0);
		pthread_join(t[i], 0);
	}
	return run(0) != 0;
}
#ifndef LIBRARY
int main(void) { return go(); }
#endif
"#,
};

/// Another unit uses one of them, and has existing ones.
const OTHER: Source = Source {
    name: "other.c",
    text: "
static __thread int had = 3;
#ifdef PATCHED
extern __thread int seen;
int more(int x) { return seen + (had += x); }
#else
int more(int x) { return had += x; }
#endif
",
};

const CALLER: &str = "int go(void); int main(void) { return go(); }";

fn works(plan: Plan) {
    let sources = [UNIT, OTHER];
    let built = build(plan, &sources);
    let before = execute(&built, None);
    let output = join(&built, &sources, &[0, 1]).unwrap();
    verify(image(&output));
    assert!(output.new.iter().any(|n| n.name == "seen" && !n.function), "{:?}", output.new);
    assert!(output.warnings.iter().any(|w| w.place.contains("mine (main.c)")), "{:?}", output.warnings);
    assert_eq!(execute(&built, Some((image(&output), false))), before, "{:?}", plan.compile);
    let after = execute(&built, Some((image(&output), true)));
    assert_eq!(after, expected(&sources, &["-O2", "-fPIC"], &[]), "{:?}", plan.compile);
}

#[test]
fn of_a_library() {
    for compile in [
        &["-O2", "-fPIC", "-DLIBRARY"][..],
        &["-O0", "-fPIC", "-DLIBRARY"],
        &["-O2", "-fPIC", "-DLIBRARY", "-fno-plt"],
        &["-Os", "-fPIC", "-DLIBRARY", "-fcf-protection=full", "-fvisibility=hidden"],
    ] {
        works(Plan { compile, library_caller: Some(CALLER), ..Plan::default() });
    }
}

/// The linker would make local-exec of it.
#[test]
fn of_a_program_that_asks_for_addresses() {
    works(Plan { compile: &["-O2", "-fPIC"], ..Plan::default() });
    works(Plan { compile: &["-O2", "-fPIC", "-fno-plt"], link: &["-no-pie"], ..Plan::default() });
}

/// One call for the base of existing and new variables.
#[test]
fn one_base_for_old_and_new() {
    let text = "
static __thread int had = 1;
#ifdef PATCHED
static __thread int fresh = 2;
__attribute__((noinline)) static int apart(int x) { return fresh += x; }
#endif
__attribute__((visibility(\"default\"))) int go(void) {
	had++;
#if defined PATCHED && defined SHARED
	fresh += had;
	return had + fresh - 6;
#elif defined PATCHED
	return had + apart(had) - 6;
#else
	return had - 2;
#endif
}";
    let sources = [Source { name: "main.c", text }];
    let library = Plan { library_caller: Some(CALLER), ..Plan::default() };
    let why = refused(Plan { compile: &["-O2", "-fPIC", "-DSHARED"], ..library }, &sources);
    assert!(why.contains("new thread-local variable: .text.go (main.c)"), "{why}");
    // By calls of their own it works.
    for compile in [&["-O0", "-fPIC", "-DSHARED"][..], &["-O2", "-fPIC"]] {
        let built = build(Plan { compile, ..library }, &sources);
        let output = join(&built, &sources, &[0]).unwrap();
        assert_eq!(execute(&built, Some((image(&output), true))), "", "{compile:?}");
    }
}

/// The base is asked for in the function and used in the part of it that is rarely executed.
#[test]
fn base_used_in_a_cold_part() {
    let text = "
static __thread int had = 1;
void note(int *, int);
#ifdef PATCHED
static __thread int fresh = 2;
#endif
__attribute__((cold, noinline)) void note(int *p, int x) { *p += x; }
int work(int *p, int n) {
	for (int i = 0; i < n; i++) had += p[i];
#ifdef PATCHED
	if (__builtin_expect(n > 1000, 0)) { note(&fresh, n); note(p, fresh); }
#endif
	return had;
}
__attribute__((visibility(\"default\"))) int go(void) { int x = 1; return work(&x, 1) - 2; }";
    let sources = [Source { name: "main.c", text }];
    let plan = Plan {
        compile: &["-O2", "-fPIC", "-ftls-model=local-dynamic"],
        library_caller: Some(CALLER),
        ..Plan::default()
    };
    let why = refused(plan, &sources);
    assert!(why.contains(".text.work (main.c)") || why.contains(".text.unlikely"), "{why}");
}

/// What makes the room cannot be what is patched.
#[test]
fn of_an_allocator() {
    let text = "
#include <stddef.h>
void *malloc(size_t), *calloc(size_t, size_t); void free(void *);
#ifdef PATCHED
static __thread long count;
#define COUNT count++
#else
#define COUNT 0
#endif
__attribute__((visibility(\"default\"))) void *calloc(size_t n, size_t m) { COUNT; return (void)n, (void)m, \
NULL; }
int go(void) { return 0; }";
    let plan =
        Plan { compile: &["-O2", "-fPIC", "-fno-builtin"], library_caller: Some(CALLER), ..Plan::default() };
    let why = refused(plan, &[Source { name: "main.c", text }]);
    assert!(
        why.contains("count (main.c)") && why.contains("calloc, which the target itself defines"),
        "{why}"
    );
}

/// A thread in the getter can be unwound: an allocator of the program's own looks at the stack. The stack may
/// be anywhere: it is one word off in every second call.
#[test]
fn unwound_and_with_any_stack() {
    let text = r#"
extern "C" {
long work(int);
#ifdef PATCHED
static __thread long fresh __attribute__((aligned(32))) = 4;
long use(int x) { return fresh += x; }
#else
long use(int x) { return x; }
#endif
/* Like code of old compilers, which called __tls_get_addr without aligning the stack. */
asm(".globl work\n.type work,@function\nwork: .cfi_startproc\n push %rbx\n .cfi_adjust_cfa_offset 8\n sub $8,%rsp\n .cfi_adjust_cfa_offset 8\n"
    " call use@PLT\n add $8,%rsp\n .cfi_adjust_cfa_offset -8\n pop %rbx\n .cfi_adjust_cfa_offset -8\n ret\n .cfi_endproc\n.size work,.-work");
long go(int x) { return use(x) + work(x); }
}"#;
    let caller = r#"
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <unwind.h>
extern "C" { long go(int); void *__libc_calloc(size_t, size_t); extern volatile int asked; }
volatile int asked;
int main();
static int frames;
static bool found, aligned;
static _Unwind_Reason_Code frame(_Unwind_Context *c, void *)
{
	frames++;
	found |= _Unwind_FindEnclosingFunction((void *)_Unwind_GetIP(c)) == (void *)main;
	return _URC_NO_REASON;
}
extern "C" void *calloc(size_t n, size_t size)
{
	if (asked) {
		asked = 0;
		aligned = (uintptr_t)__builtin_frame_address(0) % 16 == 0;
		_Unwind_Backtrace(frame, nullptr);
	}
	return __libc_calloc(n, size);
}
int main()
{
	asked = 1;
	long sum = go(1);
	asked = 0;
	printf("%ld %d %d %d\n", sum, frames > 2, found, aligned);
}"#;
    let sources = [Source { name: "main.cc", text }];
    let plan = Plan { compile: &["-O2", "-fPIC"], library_caller: Some(caller), ..Plan::default() };
    let built = build(plan, &sources);
    assert_eq!(execute(&built, None), "2 0 0 0\n");
    let output = join(&built, &sources, &[0]).unwrap();
    assert_eq!(execute(&built, Some((image(&output), true))), "11 1 1 1\n");
}

/// Each module may have a copy of an inline variable, of which the dynamic loader chooses one.
#[test]
fn inline_in_a_header() {
    let text = r#"
#ifdef PATCHED
inline thread_local int fresh = 3;
#else
static int fresh_before = 3;
#define fresh fresh_before
#endif
extern "C" int go(void) { return ++fresh - 4; }"#;
    let caller = r#"extern "C" int go(void); int main() { return go(); }"#;
    let plan =
        Plan { compile: &["-O2", "-fPIC", "-std=c++17"], library_caller: Some(caller), ..Plan::default() };
    let why = refused(plan, &[Source { name: "main.cc", text }]);
    assert!(why.contains("new thread-local variable: fresh") && why.contains("a copy"), "{why}");
}
