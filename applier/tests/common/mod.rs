//! Small C programs to patch, and images for them made by hand.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(unreachable_pub, reason = "test helpers")]
#![allow(clippy::allow_attributes, reason = "an expectation would not hold in every test program")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test helper fails the test that uses it"
)]

pub mod image;
#[cfg(test)]
pub mod stage;
pub mod sys;
#[cfg(test)]
pub mod view;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Says that the calling test, or a part of it, does not run here, and why: past the test runner, which shows
/// nothing of what passes.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("?"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Compiles `source` to `dir/name`.
pub fn compile(dir: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let extension = if flags.contains(&"c++") { "cc" } else { "c" };
    let input = dir.join(format!("{name}.{extension}"));
    let output = dir.join(name);
    std::fs::write(&input, source).unwrap();
    let flags: Vec<_> = flags.iter().filter(|f| **f != "c++").collect();
    let compiler = if extension == "cc" { "g++" } else { "gcc" };
    let status = Command::new(compiler)
        .args(["-O2", "-g", "-Wall", "-Wl,--build-id", "-o"])
        .arg(&output)
        .arg(&input)
        .args(flags)
        .current_dir(dir)
        .status()
        .unwrap();
    assert!(status.success(), "{name} does not compile");
    output
}

const ONE: &str = "__attribute__((noipa)) int one(void) { return 1; }";
const TWO: &str = r#"
#include <stdio.h>
int one(void);
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) printf("%d %d\n", one(), two());
}
"#;

/// A library that has `one`, and a program that has `two` and answers as [`PAIR`] does.
pub fn pair_of_files(dir: &Path) -> (PathBuf, PathBuf) {
    let library = compile(dir, "libone.so", ONE, &["-shared", "-fPIC", "-Wl,-soname,libone.so"]);
    (library, compile(dir, "user", TWO, &["-L.", "-l:libone.so", "-Wl,-rpath,$ORIGIN"]))
}

/// The command that runs the test function `test` of this program alone, which finds its `order` in the
/// variable `variable`.
pub fn child_of_this(test: &str, variable: &str, order: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--include-ignored", "--exact", test]).env(variable, order).stdout(Stdio::null());
    command
}

/// Was the command killed, by itself? Else it has ended well.
pub fn was_killed(command: &mut Command, what: &str) -> bool {
    let status = command.status().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{what}: {status}");
    !status.success()
}

/// A running target that answers one line for each line it reads.
pub struct Target {
    pub child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    pub fn start(program: &Path) -> Self {
        Self::start_with(&mut Command::new(program))
    }

    pub fn start_with(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut target = Self { child, input, output };
        // Once it answers, it is past its start-up code.
        target.ask();
        target
    }

    /// A process that executes `program` after the first line of its input.
    pub fn about_to_execute(program: &Path) -> Self {
        let mut gate = Command::new("sh");
        gate.args(["-c", "read line; exec \"$0\""]).arg(program);
        Self::about_to_execute_by(gate)
    }

    /// The same of a `gate` that reads a line and then executes a program.
    pub fn about_to_execute_by(mut gate: Command) -> Self {
        let mut child = gate.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let target = Self { child, input, output };
        // In `read`, so that nothing of the shell is on its way.
        let waits = |call: String| call.starts_with("0 0x0 ");
        while !waits(std::fs::read_to_string(format!("/proc/{}/syscall", target.pid())).unwrap()) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        target
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn ask(&mut self) -> String {
        self.input.write_all(b"x").unwrap();
        self.read_line()
    }

    /// Sends this byte and waits for the answer.
    pub fn ask_with(&mut self, byte: &[u8; 1]) -> String {
        self.input.write_all(byte).unwrap();
        self.read_line()
    }

    pub fn send(&mut self) {
        self.input.write_all(b"x").unwrap();
    }

    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the target ended: {:?}", self.child.try_wait());
        line.trim_end().to_owned()
    }

    pub fn maps(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap()
    }

    pub fn state(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        status.lines().find_map(|l| l.strip_prefix("State:")).unwrap().trim()[..1].to_owned()
    }

    /// Waits until it sleeps: after its answer it may not have come back to its reading yet.
    pub fn rest(&self) {
        let started = std::time::Instant::now();
        while self.state() != "S" {
            assert!(started.elapsed().as_secs() < 20, "it does not come to rest");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    pub fn tracer(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        status.lines().find_map(|l| l.strip_prefix("TracerPid:")).unwrap().trim().to_owned()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two functions, called for each byte read.
pub const PAIR: &str = r#"
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) printf("%d %d\n", one(), two());
}
"#;

/// The same, waiting in the first of them.
pub const BUSY: &str = r#"
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { if (getchar() == EOF) _exit(0); return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (;;) { int a = one(); printf("%d %d\n", a, two()); }
}
"#;

/// Applies until no thread is in the way.
pub fn apply_patiently(
    pid: i32,
    patch: &applier::LoadedPatch,
    options: &applier::Options,
) -> applier::Outcome {
    let started = std::time::Instant::now();
    loop {
        match applier::apply(pid, patch, options).unwrap() {
            applier::Outcome::Busy(busy) if started.elapsed().as_secs() > 10 => panic!("{busy}"),
            applier::Outcome::Busy(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
            outcome => return outcome,
        }
    }
}

/// Deactivates until no thread is in the way.
pub fn deactivate_patiently(pid: i32, patch: &applier::LoadedPatch) {
    let started = std::time::Instant::now();
    while let applier::Outcome::Busy(busy) =
        applier::deactivate(pid, patch.uuid, &applier::Options::default()).unwrap()
    {
        assert!(started.elapsed().as_secs() < 10, "{busy}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
