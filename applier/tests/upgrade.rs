//! A version of a patch takes the place of another: no thread ever runs the code that neither has changed.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    Target,
    stage::{Stage, is_root, output, stage_with, until},
    view::View,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Two threads that call all the time and remember whether they have met the old code; with an argument, a
/// program that says what its constructor and its `main` have met.
const HOT: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
static volatile int old[2];
static volatile long rounds[2];
static int first[2];
__attribute__((constructor)) static void before(void) { first[0] = one(); first[1] = two(); }
static void *hot_one(void *p) { for (;;) { if (one() == 1) old[0] = 1; rounds[0]++; } return p; }
static void *hot_two(void *p) { for (;;) { if (two() == 2) old[1] = 1; rounds[1]++; } return p; }
int main(int argc, char **argv) {
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    if (argc > 1) return printf("%d %d %d %d\n", first[0], first[1], one(), two()) < 0;
    pthread_create(&t, 0, hot_one, 0);
    pthread_create(&t, 0, hot_two, 0);
    while (getchar() != EOF) {
        // What they were about to note is noted.
        for (int i = 0; i < 2; i++) for (long now = rounds[i]; rounds[i] < now + 2;) usleep(10);
        printf("%d %d %d %d\n", one(), two(), old[0], old[1]);
        old[0] = old[1] = 0;
    }
}
"#;

fn hot(test: &str) -> Stage {
    stage_with(test, HOT, &["-pthread"])
}

fn rpmbuild(dir: &Path, spec: &str) -> PathBuf {
    let file = dir.join("some.spec");
    fs::write(&file, spec).unwrap();
    let top = format!("_topdir {}", dir.join("top").display());
    let out = output(Command::new("rpmbuild").args(["-bb", "--define", &top]).arg(file));
    out.lines().find_map(|l| l.strip_prefix("Wrote: ")).unwrap().into()
}

/// A package with the program.
fn package(stage: &Stage, name: &str, release: u32) -> PathBuf {
    let program = stage.program.display();
    let spec = format!(
        "%global debug_package %{{nil}}\n%global __os_install_post %{{nil}}\n%global _build_id_links none\n\
         Name: pair\nVersion: 1\nRelease: {release}\nSummary: -\nLicense: -\nAutoReqProv: no\nProvides: \
         /bin/sh\n\
         %description\n-\n%install\ninstall -D {program} \
         %{{buildroot}}/usr/bin/{name}\n%files\n/usr/bin/{name}\n"
    );
    rpmbuild(stage.dir.path(), &spec)
}

/// A package with the patch `HP1` for it.
fn patch_package(stage: &Stage, name: &str, version: u32, one: u32, two: u32) -> PathBuf {
    let dir = stage.dir.path().join(version.to_string());
    stage.patch_of(&Path::new("/usr/bin").join(name), &dir.join("HP1"), "HP1", one, two);
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpm/patch-package.spec.in");
    let mut spec = fs::read_to_string(template).unwrap();
    for (key, value) in [
        ("NAME", "patch-pair-1-1-HP1".into()),
        ("PATCH_VERSION", version.to_string()),
        ("PATCH_RELEASE", "1".into()),
        ("SUMMARY", "-".into()),
        ("DESCRIPTION", "-".into()),
        ("LICENSE", "-".into()),
        ("ARCH", "x86_64".into()),
        ("TARGET", "pair".into()),
        ("TARGET_EVR", "1-1".into()),
        ("CVE_PROVIDES", String::new()),
        ("NVR", "pair-1-1".into()),
        ("PATCH", "HP1".into()),
        ("DIRECTORY", dir.join("HP1").display().to_string()),
    ] {
        spec = spec.replace(&format!("@{key}@"), &value);
    }
    rpmbuild(&dir, &spec)
}

/// Starts the program again and again until it is stopped, and tells what all of them have said.
struct Starts {
    stop: PathBuf,
    running: thread::JoinHandle<String>,
}

impl Starts {
    fn begin(view: &View, stage: &Stage, name: &str) -> Self {
        let stop = stage.dir.path().join("stop");
        let _ = fs::remove_file(&stop);
        let loop_ = format!("while [ ! -e {} ]; do /usr/bin/{name} once; done", stop.display());
        let mut command = view.command("sh -c");
        let child = command.arg(loop_).stdout(Stdio::piped()).spawn().unwrap();
        let running =
            thread::spawn(move || String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap());
        thread::sleep(Duration::from_millis(200));
        Self { stop, running }
    }

    fn end(self) -> Vec<String> {
        thread::sleep(Duration::from_millis(200));
        fs::write(&self.stop, "").unwrap();
        self.running.join().unwrap().lines().map(str::to_owned).collect()
    }
}

/// The life of a patch package beside a service that runs, a process that never rests, and others that start
/// all the time.
#[test]
fn packages_come_and_go_while_everything_runs() {
    if !is_root() {
        return;
    }
    let Some(view) = View::new(Path::new(common::stage::UPATCH)) else { return };
    let name = "hotpackage";
    let stage = hot(name);
    let run = |line: &str| output(&mut view.command(line));
    let upatch = |line: &str| -> common::stage::Ran {
        view.command(&format!("upatch {line}")).output().unwrap().into()
    };
    let base = package(&stage, name, 1);
    run(&format!("rpm -i --nodeps {}", base.display()));
    let versions =
        [(1, 11, 22), (2, 111, 222), (3, 1111, 2222)].map(|(v, a, b)| patch_package(&stage, name, v, a, b));
    let mut target = Target::start_with(&mut view.command(&format!("/usr/bin/{name}")));
    let service = stage.serve_with(&mut view.command("upatch daemon --interval 0.3"));

    // Installed while processes start: from the end of the installation all are on the new code.
    run(&format!("rpm -i {}", versions[0].display()));
    assert!(target.ask().starts_with("11 22"));
    assert_eq!(target.ask(), "11 22 0 0");
    let starts = Starts::begin(&view, &stage, name);
    run(&format!("rpm -U {}", versions[1].display()));
    let said = starts.end();
    assert!(said.len() > 20, "{said:?}");
    let new = ["11 22 11 22", "11 22 111 222", "111 222 111 222"];
    let odd: Vec<_> = said.iter().filter(|s| !new.contains(&s.as_str())).collect();
    assert!(odd.is_empty(), "{odd:?} of {}", said.len());
    assert_eq!((said[0].as_str(), said.last().unwrap().as_str()), (new[0], new[2]));
    assert_eq!(target.ask(), "111 222 0 0");
    upatch("status pair-1-1/HP1").says("ACTIVED: 1 patched, 0 pending, 0 refused");
    upatch("log").says("replaced by a newer version");

    // The service does not live through it.
    let starts = Starts::begin(&view, &stage, name);
    drop(service);
    run(&format!("rpm -U {}", versions[2].display()));
    assert_eq!(target.ask(), "1111 2222 0 0");
    let service = stage.serve_with(&mut view.command("upatch daemon --interval 0.3"));
    let said = starts.end();
    assert_eq!(said.last().unwrap(), "1111 2222 1111 2222");
    let one: Vec<_> = said.iter().filter(|s| !s.starts_with("1 ") && !s.starts_with("11")).collect();
    assert!(one.is_empty(), "{one:?}");

    // The package of the program is upgraded: its new processes have nothing to do with the patch, the old
    // ones keep it.
    let newer = stage_with(
        name,
        &HOT.replace("return 1;", "return 5;").replace("return 2;", "return 6;"),
        &["-pthread"],
    );
    run(&format!("rpm -U {}", package(&newer, name, 2).display()));
    assert_eq!(run(&format!("/usr/bin/{name} once")), "5 6 5 6\n");
    assert_eq!(target.ask(), "1111 2222 0 0");
    upatch("status pair-1-1/HP1").exits(0).says("1 patched, 0 pending, 0 refused");
    // And back.
    run(&format!("rpm -U --oldpackage {}", base.display()));
    until("the file is watched", || run(&format!("/usr/bin/{name} once")) == "1111 2222 1111 2222\n");

    // Removed while processes start.
    let starts = Starts::begin(&view, &stage, name);
    run("rpm -e patch-pair-1-1-HP1");
    let said = starts.end();
    assert_eq!((said[0].as_str(), said.last().unwrap().as_str()), ("1111 2222 1111 2222", "1 2 1 2"));
    assert!(target.ask().starts_with("1 2 "));
    let list = upatch("list").exits(0);
    assert!(!list.out.contains("pair-1-1"), "{list:?}");
    upatch("status pair-1-1/HP1").exits(4);
    upatch("log").says("old code back");
    drop(service);
}

#[test]
fn killed_at_any_moment() {
    if !is_root() {
        return;
    }
    let stage = hot("hotkill");
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    stage.run("apply HP1").exits(0);
    target.ask();
    let mut killed = 0;
    for round in 0..30u64 {
        let (one, two) = if round % 2 == 0 { (111, 222) } else { (11, 22) };
        stage.install("HP1", one, two);
        let mut command = stage.command("apply HP1");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_micros(round * 300));
        let _ = child.kill();
        killed += u32::from(!child.wait().unwrap().success());
        let said = target.ask();
        assert!(["11 22 0 0", "111 222 0 0"].contains(&said.as_str()), "round {round}: {said}");
        stage.run("apply HP1").exits(0);
        assert_eq!(target.ask(), format!("{one} {two} 0 0"), "round {round}");
        let list = stage.run("list").exits(0);
        assert_eq!(list.out.matches("HP1").count(), 1, "round {round}: {list:?}");
        let pid = target.pid();
        let in_force: Vec<_> = applier::inspect(pid).unwrap();
        assert_eq!(in_force.iter().filter(|l| l.in_force).count(), 1, "round {round}");
    }
    assert!(killed > 5, "only {killed} were killed");
    stage.run("remove HP1").exits(0);
    assert!(target.ask().starts_with("1 2 "));
}

/// A newer version that is refused leaves the older one in force, and the name means both of them when they
/// are taken out.
#[test]
fn a_refused_version_leaves_the_older_one() {
    if !is_root() {
        return;
    }
    let stage = hot("hotrefused");
    stage.install("HP1", 11, 22);
    let mut targets = [Target::start(&stage.program), Target::start(&stage.program)];
    stage.run("apply HP1").exits(0);
    stage.install("HP1", 111, 222);
    let pid = targets[1].pid().to_string();
    let trace = stage.dir.path().join("trace");
    let Ok(mut strace) = Command::new("strace").args(["-f", "-q", "-p", &pid, "-o"]).arg(&trace).spawn()
    else {
        return;
    };
    until("it is traced", || targets[1].tracer() != "0");
    stage.run("apply HP1").exits(3).warns("is refused");
    let _ = Command::new("kill").arg(strace.id().to_string()).status();
    let _ = strace.wait();
    let said = targets.each_mut().map(|t| t.ask());
    assert_eq!((&said[0][..7], &said[1][..5]), ("111 222", "11 22"));
    stage.run("remove HP1").exits(0);
    let said = targets.each_mut().map(|t| t.ask());
    assert!(said.iter().all(|s| s.starts_with("1 2 ")), "{said:?}");
    stage.run("list").exits(0).says("NOT-APPLIED");
}
