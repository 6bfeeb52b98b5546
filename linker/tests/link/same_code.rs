//! Stripped targets whose code is the rebuilt one, but whose strings have other lengths: they were built in
//! another folder.

use super::{Plan, Source, build, execute, image, join_with};

const SOURCES: [Source; 2] = [
    Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
#ifndef FOLDER
#define FOLDER "/here"
#endif
extern int work(int);
extern const char *const folder;
const char *const folder = FOLDER "/main.c";
int main(void)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    int one = work(1), two = work(2);
    printf("%d %d\n", one, two);
    return folder == 0;
}
"#,
    },
    Source {
        name: "work.c",
        text: r#"
#include <stdio.h>
static const int table[] = {10, 20, 30, 40, 50, 60, 70, 80};
static int calls = 5;
static int sum;
int work(int x) {
	calls++;
	sum += table[x + (calls & 1)];
#ifdef PATCHED
	sum += 1000;
#endif
	return sum + calls;
}
"#,
    },
];

const PLAN: Plan = Plan { compile: &["-O2"], link: &[], archive: false, library_caller: None };

/// The same program with a `main.c` compiled with other options, stripped, in the place of the rebuilt one.
fn ship(built: &mut super::Built, options: &[&str]) -> Vec<u8> {
    let dir = built.dir.path();
    let gcc = |args: &[&str]| build::run(std::process::Command::new("gcc").current_dir(dir).args(args));
    gcc(&[&["-g", "-O2", "-c", "-o", "shipped.o", "main.c"], options].concat());
    std::fs::create_dir(dir.join("shipped")).unwrap();
    gcc(&["-s", "-o", "shipped/main", "shipped.o", "work.c.o"]);
    built.executable = dir.join("shipped/main");
    std::fs::read(&built.executable).unwrap()
}

#[test]
fn strings_of_another_length() {
    let mut built = build(PLAN, &SOURCES);
    let folder = r#"-DFOLDER="/builddir/build/BUILD/a-much-longer-path-than-that-of-the-rebuilt-one""#;
    let target = ship(&mut built, &[folder]);
    assert_ne!(target.len(), 0);
    let output = join_with(&built, &SOURCES, &[1], &target, Some(&built.map)).unwrap();
    assert_eq!(execute(&built, None), "26 67\n");
    assert_eq!(execute(&built, Some((image(&output), false))), "26 67\n");
    assert_eq!(execute(&built, Some((image(&output), true))), "1026 2067\n");
}

#[test]
fn other_code_is_refused() {
    let mut built = build(PLAN, &SOURCES);
    let target = ship(&mut built, &["-fcf-protection", r#"-DFOLDER="/builddir/build/BUILD/long""#, "-O1"]);
    let refused = join_with(&built, &SOURCES, &[1], &target, Some(&built.map)).unwrap_err().to_string();
    assert!(refused.contains("address in the target not certain: work"), "{refused}");
}
