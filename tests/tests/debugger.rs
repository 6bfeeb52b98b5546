//! What a debugger shows of a patched process: source lines, parameters, locals, and the variables of the
//! program.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tests::programs::{upatch, upatch_build};
use tests::run::Cmd;

/// Two units that have a variable of the same name.
const C: [(&str, &str, &str); 3] = [
    (
        "unit.h",
        "struct state { int request; const char *who; };\nint helper(struct state *state, int factor);\n\
         #ifdef __clang__\n#define APART __attribute__((noinline))\n#else\n#define APART \
         __attribute__((noipa))\n#endif\n",
        "",
    ),
    (
        "first.c",
        r#"#include <stdio.h>
#include "unit.h"
static int counter = 41;
int shared = 7;
static __thread int own = 5;
static int unchanged(int n) { return n + counter; }
APART int work(int request, const char *who)
{
    struct state state = { request, who };
    int factor = request * FACTOR;
    counter += factor;
    shared += helper(&state, factor);
    return unchanged(factor) + own;
}
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    puts("ready");
    while (getchar() != EOF) {
        int worked = work(10, "main");
        printf("%d %d\n", worked, shared);
    }
}
"#,
        "FACTOR",
    ),
    (
        "second.c",
        r#"#include "unit.h"
static int counter = 1000;
APART int helper(struct state *state, int factor)
{
    int sum = state->request + factor;
    counter += FACTOR;
    return sum + counter;
}
"#,
        "FACTOR",
    ),
];

const CPLUSPLUS: [(&str, &str, &str); 1] = [(
    "till.cc",
    r#"#include <cstdio>
#include <string>
namespace shop {
int visits = 3;
template <typename T> struct Box {
    T value;
    static int made;
};
template <typename T> int Box<T>::made = 20;
struct Till {
    int sum;
    __attribute__((noipa)) int take(int price, const std::string &what);
};
int Till::take(int price, const std::string &what)
{
    Box<long> box{price * FACTOR};
    visits++;
    Box<long>::made++;
    sum += int(box.value) + int(what.size());
    return sum;
}
}
int main()
{
    shop::Till till{100};
    setvbuf(stdout, nullptr, _IONBF, 0);
    puts("ready");
    while (getchar() != EOF) printf("%d\n", till.take(10, "bread"));
}
"#,
    "FACTOR",
)];

/// A program, and a patch that makes `FACTOR` 3 instead of 2.
struct Scene {
    dir: tempfile::TempDir,
    command: String,
    /// What is patched.
    module: &'static str,
}

impl Scene {
    fn new(files: &[(&str, &str, &str)], command: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-debugger-").tempdir()?;
        for (tree, factor) in [("a", "2"), ("b", "3")] {
            fs::create_dir(dir.path().join(tree))?;
            for (name, text, placeholder) in files {
                let text = if placeholder.is_empty() {
                    (*text).to_owned()
                } else {
                    text.replace(placeholder, factor)
                };
                fs::write(dir.path().join(tree).join(name), text)?;
            }
        }
        let scene = Self { dir, command: command.to_owned(), module: "prog" };
        let diff =
            Cmd::new("diff").args(["-Naur", "a", "b"]).dir(scene.dir.path()).run()?.expect_code(&[1])?;
        fs::write(scene.path("fix.patch"), diff.stdout)?;
        // Built in a copy: the sources stay as a package has them.
        Cmd::new("cp").arg("-r").arg(scene.path("a")).arg(scene.path("built")).run()?.ok()?;
        Cmd::new("sh").args(["-e", "-c", command]).dir(scene.path("built")).run()?.ok()?;
        Ok(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the patch; gives its directory.
    fn patch(&self, output: &str) -> Result<PathBuf> {
        let output = self.path(output);
        upatch_build()?
            .arg("--source")
            .arg(self.path("a"))
            .args(["--build", &self.command, "--no-cache", "--name", "FIX", "--patch"])
            .arg(self.path("fix.patch"))
            .arg("--target")
            .arg(self.path("built").join(self.module))
            .arg("--workdir")
            .arg(output.join("work"))
            .arg("--output")
            .arg(&output)
            .limit(Duration::from_secs(120))
            .run()?
            .ok()?;
        Ok(output.join("FIX"))
    }

    fn start(&self) -> Result<Process> {
        let (input, output) = (self.path("input"), self.path("output"));
        if !input.exists() {
            Cmd::new("mkfifo").arg(&input).run()?.ok()?;
        }
        let child = Cmd::new("sh")
            .args(["-c", "exec \"$0\" <>\"$1\""])
            .arg(self.path("built/prog"))
            .arg(&input)
            .spawn_to(&output)?;
        let process = Process { child, input, output, module: self.module };
        process.wait_for("ready")?;
        Ok(process)
    }

    fn apply(&self, process: &Process, patch: &Path) -> Result<()> {
        let pid = process.child.id().to_string();
        upatch()?
            .arg("apply")
            .arg(patch)
            .args(["--pid", &pid, "--root"])
            .arg(self.path("root"))
            .run()?
            .ok()?;
        Ok(())
    }
}

/// The program at work: it does its work for each byte that is written to `input`.
struct Process {
    child: Child,
    input: PathBuf,
    output: PathBuf,
    module: &'static str,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn wait_for(&self, line: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(&self.output)?;
            if said.lines().any(|l| l == line) {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(60) {
                bail!("no line `{line}` in\n{said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops at the breakpoint when the work is done once more, says what the commands give, and lets the
    /// process go on.
    fn debug(&self, patch: &Path, breakpoint: &str, commands: &[&str]) -> Result<String> {
        let pid = self.child.id();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let base = maps.lines().find(|l| l.contains("/memfd:upatch:")).and_then(|l| l.split('-').next());
        let base = base.context("no patch in the process")?;
        let file = patch.join(format!("{}.upatch", self.module));
        let mut gdb =
            Cmd::new("gdb").args(["-q", "-nx", "-batch", "-p", &pid.to_string(), "-ex", "set confirm off"]);
        let (names, input) = (file.display(), self.input.display());
        let first = [
            format!("add-symbol-file {names} -o 0x{base}"),
            format!("break {breakpoint}"),
            format!("shell printf x >{input}"),
            "continue".to_owned(),
        ];
        for command in first.iter().map(String::as_str).chain(commands.iter().copied()) {
            gdb = gdb.arg("-ex").arg(command);
        }
        let ended = gdb.args(["-ex", "delete", "-ex", "detach"]).limit(Duration::from_secs(60)).run()?;
        Ok(format!("{}{}", ended.stdout, ended.stderr))
    }
}

/// Objects first: those that a compiler makes on the way to a program have names by chance.
fn built_by(compile: &str) -> String {
    format!("{compile} -c first.c second.c; {compile} -o prog first.o second.o")
}

fn shows(said: &str, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(said.lines().any(|l| l.contains(line)), "no `{line}` in\n{said}");
    }
    Ok(())
}

#[test]
fn lines_parameters_locals_and_the_programs_own_variables() -> Result<()> {
    let scene = Scene::new(&C, &built_by("gcc -O0 -g"))?;
    let patch = scene.patch("out")?;
    let process = scene.start()?;
    scene.apply(&process, &patch)?;
    let variables = [
        "bt",
        "info args",
        "info locals",
        "printf \"second counter %d\\n\", counter",
        "up",
        "info locals",
        "printf \"first counter %d, shared %d\\n\", counter, shared",
        "printf \"own %d\\n\", own",
    ];
    let said = process.debug(&patch, "second.c:7", &variables)?;
    // (10 * 3) is added to one counter, 3 to the other.
    let wanted = [
        "at second.c:7",
        "#0  helper (state=0x",
        "factor=30) at second.c:7",
        "in work (request=10, who=0x",
        "\"main\") at first.c:12",
        "in main () at first.c:20",
        "sum = 40",
        "second counter 1003",
        "state = {request = 10, who = 0x",
        "first counter 71, shared 7",
    ];
    shows(&said, &wanted)?;
    ensure!(!said.contains("own ") || said.contains("own 5"), "another thread-local variable:\n{said}");
    process.wait_for("106 1050")
}

/// With optimisation, in both versions of DWARF, and from another compiler.
#[test]
fn every_compiler_and_version_gives_lines_and_variables() -> Result<()> {
    for compile in [
        "gcc -O2 -gdwarf-4 -gz -fdebug-types-section",
        "gcc -O2",
        "gcc -O2 -g -gsplit-dwarf -gz=zlib-gnu",
        "clang -O2 -gdwarf-5",
        "clang -O1 -gdwarf-4",
    ] {
        let scene = Scene::new(&C, &built_by(compile))?;
        let patch = scene.patch("out")?;
        let process = scene.start()?;
        scene.apply(&process, &patch)?;
        let variables = ["bt", "printf \"counter %d\\n\", counter", "up", "printf \"first %d\\n\", counter"];
        let said = process.debug(&patch, "second.c:7", &variables).context(compile)?;
        let wanted = ["at second.c:7", "at first.c:12", "counter 1003", "first 71"];
        shows(&said, &wanted).context(compile)?;
    }
    Ok(())
}

const LIBRARY: [(&str, &str, &str); 2] = [
    (
        "lib.c",
        r#"static int hidden = 5;
int open_to_all = 6;
int bump(int n)
{
    hidden += n * FACTOR;
    return hidden + open_to_all;
}
"#,
        "FACTOR",
    ),
    (
        "main.c",
        r#"#include <stdio.h>
int bump(int n);
extern int open_to_all;
int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    open_to_all = 60;
    puts("ready");
    while (getchar() != EOF) printf("%d\n", bump(10));
}
"#,
        "",
    ),
];

/// One variable is where the library is loaded, the other one has been copied into the program: only there is
/// its value.
#[test]
fn variables_of_a_library() -> Result<()> {
    let command = "gcc -O0 -g -fPIC -c lib.c; gcc -shared -o lib.so lib.o -Wl,-soname,lib.so; \
                   gcc -O0 -g -fno-pie -c main.c; gcc -no-pie -o prog main.o lib.so -Wl,-rpath,'$ORIGIN'";
    let mut scene = Scene::new(&LIBRARY, command)?;
    scene.module = "lib.so";
    let patch = scene.patch("out")?;
    let process = scene.start()?;
    scene.apply(&process, &patch)?;
    let variables = ["bt", "printf \"hidden %d\\n\", hidden", "printf \"open %d\\n\", open_to_all"];
    let said = process.debug(&patch, "lib.c:6", &variables)?;
    shows(&said, &["bump (n=10) at lib.c:6", "hidden 35", "open 60"])?;
    process.wait_for("95")
}

#[test]
fn classes_templates_and_namespaces() -> Result<()> {
    let scene = Scene::new(&CPLUSPLUS, "g++ -O0 -g -o prog till.cc")?;
    let patch = scene.patch("out")?;
    let process = scene.start()?;
    scene.apply(&process, &patch)?;
    let variables = [
        "bt",
        "info args",
        "info locals",
        "print *this",
        "printf \"visits %d, made %d\\n\", visits, shop::Box<long>::made",
    ];
    let said = process.debug(&patch, "till.cc:20", &variables)?;
    let wanted = [
        "shop::Till::take (this=0x",
        "price=10, what=",
        "at till.cc:20",
        "box = {value = 30",
        "{sum = 135}",
        "visits 4, made 21",
    ];
    shows(&said, &wanted)?;
    process.wait_for("135")
}

#[test]
fn the_file_for_debuggers_is_nothing_to_upatch() -> Result<()> {
    let scene = Scene::new(&C, &built_by("gcc -O2 -g"))?;
    let patch = scene.patch("out")?;
    let file = patch.join("prog.upatch.debug");
    fs::write(&file, b"\x7fELF and then something else").context("there is one to overwrite")?;
    let process = scene.start()?;
    scene.apply(&process, &patch)?;
    drop(process);
    fs::remove_file(&file)?;
    let process = scene.start()?;
    scene.apply(&process, &patch)
}

/// Types in sections of their own, which come from assembly here.
#[test]
fn what_cannot_be_told_is_no_reason_to_refuse() -> Result<()> {
    let mut files = C;
    let text =
        files[2].1.to_owned() + "__asm__(\".pushsection .debug_types,\\\"\\\"\\n.long 0\\n.popsection\");\n";
    files[2].1 = &text;
    let scene = Scene::new(&files, &built_by("gcc -O0 -g"))?;
    let patch = scene.patch("out")?;
    let report = fs::read_to_string(scene.path("out/report.yaml"))?;
    let told = report.lines().any(|l| l.contains("prog: second.c: its types are in units of their own"));
    ensure!(told, "{report}");
    let process = scene.start()?;
    scene.apply(&process, &patch)?;
    let said = process.debug(&patch, "first.c:12", &["bt", "info symbol helper", "info locals"])?;
    shows(&said, &["at first.c:12", "helper in section .text", "factor = 30"])?;
    process.wait_for("106 1050")
}

/// Wherever the scratch directory was.
#[test]
fn one_input_gives_one_file() -> Result<()> {
    let scene = Scene::new(&C, &built_by("gcc -O2 -g"))?;
    let (one, other) = (scene.patch("out")?, scene.patch("elsewhere")?);
    for name in ["prog.upatch.debug", "prog.upatch", "manifest.yaml"] {
        ensure!(fs::read(one.join(name))? == fs::read(other.join(name))?, "{name} differs");
    }
    Ok(())
}
