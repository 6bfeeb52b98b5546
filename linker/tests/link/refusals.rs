//! What cannot be linked is refused, with the reason.

use linker::LinkError;

use super::{Plan, Source, build, join};

pub(crate) fn refused(plan: Plan, sources: &[Source]) -> String {
    let built = build(plan, sources);
    let touched: Vec<usize> = (0..sources.len()).collect();
    match join(&built, sources, &touched) {
        Err(LinkError::Refused(refusals) | LinkError::NoRoom { refusals, .. }) => {
            refusals.iter().map(|r| format!("{}: {}: {}\n", r.what, r.place, r.why)).collect()
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn library_that_is_not_loaded() {
    let text = "
double sqrt(double);
int main(int c, char **v) { (void)v;
#ifdef PATCHED
	return (int)sqrt(c + 2.0);
#endif
	return c;
}";
    let why = refused(
        Plan { compile: &["-O2", "-fno-builtin"], ..Plan::default() },
        &[Source { name: "main.c", text }],
    );
    assert!(why.contains("sqrt (used in main.c)"), "{why}");
}

#[test]
fn new_thread_local_variable() {
    let text = "
#ifdef PATCHED
static __thread int fresh;
#define USE fresh++
#else
#define USE 0
#endif
int main(int c, char **v) { (void)v; return c + USE; }";
    for (compile, relocation) in [
        (&["-O2"][..], "R_X86_64_TPOFF32"),
        (&["-O2", "-fPIC", "-ftls-model=initial-exec"], "R_X86_64_GOTTPOFF"),
        (&["-O2", "-fPIC", "-mtls-dialect=gnu2"], "TLSDESC"),
    ] {
        let why = refused(Plan { compile, ..Plan::default() }, &[Source { name: "main.c", text }]);
        assert!(why.contains("fresh (main.c)") && why.contains(relocation), "{why}");
    }
}

/// There is no padding in reach of a short jump either.
#[test]
fn function_without_room() {
    let text = "
asm(\".text\\n.globl tiny,next\\n.type tiny,@function\\n.type next,@function\\n.type \
before,@function\\n.type behind,@function\\n\"
    \"before: .rept 100\\n incl %eax\\n .endr\\n ret\\n.size before,.-before\\n\"
    \"tiny: mov %edi,%eax\\n ret\\n.size tiny,.-tiny\\nnext: xor %eax,%eax\\n ret\\n.size next,.-next\\n\"
    \"behind: .rept 100\\n incl %eax\\n .endr\\n ret\\n.size behind,.-behind\\n\");
int tiny(int), next(int);
int main(int c, char **v) { (void)v; return tiny(c) - next(c) - 1; }";
    let why = refused(Plan { compile: &["-O2"], ..Plan::default() }, &[Source { name: "main.c", text }]);
    assert!(why.contains("function too short to redirect: tiny"), "{why}");
}

#[test]
fn dropped_by_the_linker() {
    let text = "
#ifdef PATCHED
int unused(int x) { return x + 3; }
#else
int unused(int x) { return x + 2; }
#endif
int main(int c, char **v) { (void)v;
#ifdef PATCHED
	c += 1;
#endif
	return c - 1; }";
    let plan =
        Plan { compile: &["-O2", "-ffunction-sections"], link: &["-Wl,--gc-sections"], ..Plan::default() };
    let sources = [Source { name: "main.c", text }];
    let built = build(plan, &sources);
    let output = join(&built, &sources, &[0]).unwrap();
    assert_eq!(output.changed.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["main"]);
    assert!(output.warnings.iter().any(|w| w.place.contains("unused")), "{:?}", output.warnings);
}
