//! A fix adds a function to a library, and a program and another library call it: one patch, for all or for
//! none, as processes run, start, load the libraries and let them go again.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tests::daemon::{Alone, alone};
use tests::programs::{Service, upatch, upatch_build};
use tests::run::{Cmd, Ended};

const INNER: &str = "
long count = 3;
long inner(long n) { return n + count; }
";
const FIXED_INNER: &str = "
long count = 3;
long added(long n) { return n * VALUE + count; }
long inner(long n) { return n + count + 1; }
";
const OUTER: &str = "
long inner(long);
long outer(long n) { return inner(n) * 2; }
";
const FIXED_OUTER: &str = "
long inner(long), added(long);
long outer(long n) { return inner(n) * 2 + added(n); }
";
/// Both functions for each byte read, once before `main`.
const MAIN: &str = r#"
#include <stdio.h>
long inner(long), outer(long);
static void say(long n) { printf("%ld %ld\n", inner(n), outer(n)); }
__attribute__((constructor)) static void before(void) { say(1); }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) say(1);
    return 0;
}
"#;
const OLD: &str = "4 8";
const NEW: &str = "5 113";
/// The second version of the patch.
const NEXT: &str = "5 1013";
const BUILD: &str = "
gcc -g -O2 -fPIC -shared inner.c -o libinner.so -Wl,-soname,libinner.so
gcc -g -O2 -fPIC -shared outer.c -o libouter.so -Wl,-soname,libouter.so -L. -linner -Wl,-rpath,'$ORIGIN'
gcc -g -O2 main.c -o main -L. -louter -linner -Wl,-rpath,'$ORIGIN'
";
/// Loads and closes the outer library, which brings the inner one, as it is told. Between two rounds
/// something else takes their place.
const LOADER: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <sys/mman.h>
int main(int argc, char **argv) {
    void *library = 0;
    setvbuf(stdout, 0, _IONBF, 0);
    for (int c; (c = getchar()) != EOF;) {
        if (c == 'o') { library = dlopen(argv[1], RTLD_NOW); puts(library ? "open" : dlerror()); continue; }
        if (c == 'c') { puts(dlclose(library) ? "not closed" : "closed"); continue; }
        if (c == 'm') { puts(mmap(0, 4096 * 3, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ? "mapped" : ""); continue; }
        long (*outer)(long) = dlsym(library, "outer"), (*inner)(long) = dlsym(library, "inner");
        printf("%ld %ld\n", inner(1), outer(1));
    }
}
"#;

struct Scene {
    dir: tempfile::TempDir,
    _alone: Alone,
}

impl Scene {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let scene = Self { dir, _alone: alone() };
        for (tree, inner, outer) in
            [("a", INNER, OUTER), ("b", FIXED_INNER, FIXED_OUTER), ("c", FIXED_INNER, FIXED_OUTER)]
        {
            let tree_dir = scene.path(tree);
            fs::create_dir(&tree_dir)?;
            let value = if tree == "c" { "1000" } else { "100" };
            fs::write(tree_dir.join("inner.c"), inner.replace("VALUE", value))?;
            fs::write(tree_dir.join("outer.c"), outer)?;
            fs::write(tree_dir.join("main.c"), MAIN)?;
        }
        fs::create_dir(scene.path("root"))?;
        Cmd::new("cp").arg("-r").arg(scene.path("a")).arg(scene.path("built")).run()?.ok()?;
        Cmd::new("sh").args(["-e", "-c", BUILD]).dir(scene.path("built")).run()?.ok()?;
        Ok(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The patch `name` that makes tree `fixed` of the original, with options.
    fn make_as(&self, name: &str, fixed: &str, options: &[&str]) -> Result<Ended> {
        let diff = Cmd::new("diff").args(["-Naur", "a", fixed]).dir(self.dir.path()).run()?;
        let patch = self.path(&format!("{fixed}.patch"));
        fs::write(&patch, diff.expect_code(&[1])?.stdout)?;
        let mut build = upatch_build()?.arg("--source").arg(self.path("a"));
        for file in ["main", "libinner.so", "libouter.so"] {
            build = build.arg("--target").arg(self.path("built").join(file));
        }
        build = build.args(["--build", BUILD, "--name", name, "--patch"]).arg(&patch);
        build.arg("--output").arg(self.path(&format!("out-{fixed}"))).args(options).run()
    }

    fn make(&self, fixed: &str, options: &[&str]) -> Result<Ended> {
        self.make_as("FIX", fixed, options)
    }

    fn patch(&self, fixed: &str) -> PathBuf {
        self.path(&format!("out-{fixed}")).join("FIX")
    }

    fn upatch(&self, args: &[&str]) -> Result<Cmd> {
        Ok(upatch()?.arg("--root").arg(self.path("root")).args(args))
    }

    fn run(&self, args: &[&str]) -> Result<Ended> {
        self.upatch(args)?.run()
    }

    fn apply(&self, fixed: &str) -> Result<Ended> {
        self.upatch(&["apply"])?.arg(self.patch(fixed)).run()
    }

    fn start(&self) -> Result<Process> {
        Process::start(&mut Command::new(self.path("built/main")))
    }

    fn loader(&self) -> Result<Process> {
        fs::write(self.path("loader.c"), LOADER)?;
        let compile = Cmd::new("gcc").args(["-O1", "-w", "loader.c", "-o", "loader", "-ldl"]);
        compile.dir(self.dir.path()).run()?.ok()?;
        Process::start(Command::new(self.path("loader")).arg(self.path("built/libouter.so")))
    }
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the process has ended: {:?}", self.child.wait()?);
        Ok(line.trim_end().to_owned())
    }

    fn ask(&mut self, what: &str) -> Result<String> {
        self.input.write_all(what.as_bytes())?;
        self.line()
    }

    #[track_caller]
    fn expect(&mut self, what: &str, answer: &str) -> Result<()> {
        let found = self.ask(what)?;
        ensure!(found == answer, "{what:?} is answered by {found:?} instead of {answer:?}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process says before its `main`, and then.
fn life(scene: &Scene, answer: &str) -> Result<()> {
    let mut process = scene.start()?;
    ensure!(process.line()? == answer, "before main");
    process.expect("x", answer)
}

fn is_root() -> Result<bool> {
    Ok(fs::read_to_string("/proc/self/status")?.contains("\nUid:\t0\t"))
}

fn format_of(patch: &Path) -> Result<String> {
    let manifest = fs::read_to_string(patch.join("manifest.yaml"))?;
    Ok(manifest.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn running_and_starting_processes_and_back() -> Result<()> {
    let scene = Scene::new()?;
    scene.make("b", &[])?.ok()?;
    ensure!(format_of(&scene.patch("b"))? == "format: 2");
    let mut running = scene.start()?;
    ensure!(running.line()? == OLD);
    let _service = if is_root()? { Some(Service::start(&scene.path("root"))?) } else { None };
    scene.apply("b")?.ok()?;
    running.expect("x", NEW)?;
    for _ in 0..2 {
        if is_root()? {
            for _ in 0..10 {
                life(&scene, NEW)?;
            }
        }
        scene.run(&["deactive", "FIX"])?.ok()?;
        running.expect("x", OLD)?;
        life(&scene, OLD)?;
        scene.run(&["active", "FIX"])?.ok()?;
        running.expect("x", NEW)?;
    }
    // Another version, with the threads stopped once.
    scene.make("c", &["--patch-version", "2"])?.ok()?;
    scene.apply("c")?.ok()?;
    running.expect("x", NEXT)?;
    if is_root()? {
        life(&scene, NEXT)?;
    }
    scene.run(&["remove", "FIX"])?.ok()?;
    running.expect("x", OLD)?;
    life(&scene, OLD)
}

/// Two patches that each add a function of the same name: each calls its own, whichever is in force.
#[test]
fn two_patches_one_upon_the_other() -> Result<()> {
    let scene = Scene::new()?;
    scene.make("b", &[])?.ok()?;
    scene.make_as("OTHER", "c", &[])?.ok()?;
    let mut process = scene.start()?;
    process.line()?;
    scene.apply("b")?.ok()?;
    process.expect("x", NEW)?;
    scene.upatch(&["apply"])?.arg(scene.path("out-c").join("OTHER")).run()?.ok()?;
    process.expect("x", NEXT)?;
    scene.run(&["deactive", "FIX"])?.ok()?;
    process.expect("x", NEXT)?;
    scene.run(&["active", "FIX"])?.ok()?;
    process.expect("x", NEW)?;
    scene.run(&["deactive", "FIX"])?.ok()?;
    scene.run(&["deactive", "OTHER"])?.ok()?;
    process.expect("x", OLD)
}

/// What `--elf` leaves out cannot be called.
#[test]
fn a_file_that_is_left_out_adds_nothing() -> Result<()> {
    let scene = Scene::new()?;
    scene.make("b", &["--elf", "libouter.so"])?.expect_code(&[4])?.says("added").map(drop)
}

/// A process whose inner library is another build cannot have what the fix adds to it, hence nothing of the
/// patch.
#[test]
fn a_process_with_another_build_of_the_library_gets_nothing() -> Result<()> {
    let scene = Scene::new()?;
    scene.make("b", &[])?.ok()?;
    let other = scene.path("other");
    fs::create_dir(&other)?;
    let build = "gcc -O1 -fPIC -shared inner.c -o ../other/libinner.so -Wl,-soname,libinner.so";
    Cmd::new("sh").args(["-e", "-c", build]).dir(scene.path("a")).run()?.ok()?;
    let mut command = Command::new(scene.path("built/main"));
    let mut process =
        Process::start(command.env("LD_PRELOAD", other.join("libinner.so")).env("LD_LIBRARY_PATH", &other))?;
    ensure!(process.line()? == OLD);
    let mut usual = scene.start()?;
    usual.line()?;
    scene.apply("b")?.expect_code(&[3])?.says("added")?.says("another build")?;
    process.expect("x", OLD)?;
    usual.expect("x", NEW)?;
    let check = scene.upatch(&["check", "--pid", &process.child.id().to_string()])?.arg(scene.patch("b"));
    let said = check.run()?;
    ensure!(said.code != 0 && said.stdout.contains("added"), "{}", said.account());
    Ok(())
}

#[test]
fn libraries_that_come_and_go() -> Result<()> {
    let scene = Scene::new()?;
    scene.make("b", &[])?.ok()?;
    let mut process = scene.loader()?;
    // By hand: every time that they are loaded they are as the files are.
    process.expect("o", "open")?;
    process.expect("x", OLD)?;
    for round in 0..6 {
        scene.apply("b").and_then(Ended::ok).with_context(|| format!("round {round}"))?;
        process.expect("x", NEW).with_context(|| format!("round {round}"))?;
        process.expect("c", "closed")?;
        if round % 2 == 1 {
            process.expect("m", "mapped")?;
        }
        process.expect("o", "open")?;
        process.expect("x", OLD)?;
    }
    if !is_root()? {
        return Ok(());
    }
    scene.apply("b")?.ok()?;
    let _service = Service::start(&scene.path("root"))?;
    for round in 0..10 {
        process.expect("x", NEW).with_context(|| format!("round {round}"))?;
        process.expect("c", "closed")?;
        if round % 2 == 1 {
            process.expect("m", "mapped")?;
        }
        process.expect("o", "open")?;
    }
    scene.run(&["deactive", "FIX"])?.ok()?;
    process.expect("x", OLD)
}
