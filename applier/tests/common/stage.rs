//! A program of its own build, a patch for it, a root, and the command.

use super::{
    compile,
    image::{Elf, image, returns},
    skipped,
};
use patchfile::{
    Arch, Digest, Manifest, Uuid,
    image::Image,
    manifest::{FORMAT, Kind, Package},
    paths,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    thread,
    time::{Duration, Instant},
};

pub const UPATCH: &str = env!("CARGO_BIN_EXE_upatch");

/// A program of its own build, a patch for it, and a root.
pub struct Stage {
    pub dir: tempfile::TempDir,
    pub program: PathBuf,
}

/// Each test's program is a build of its own, so that tests running side by side do not see each other's
/// processes.
pub fn stage(test: &str, source: &str) -> Stage {
    stage_with(test, source, &[])
}

pub fn stage_with(test: &str, source: &str, flags: &[&str]) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("{source}\nconst char test_name[] = \"{test}\";\n");
    let program = compile(dir.path(), test, &source, flags);
    Stage { dir, program }
}

pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n{}{}", self.code, self.out, self.err)
    }
}

impl From<Output> for Ran {
    fn from(o: Output) -> Self {
        let text = |b| String::from_utf8(b).unwrap();
        Self { code: o.status.code(), out: text(o.stdout), err: text(o.stderr) }
    }
}

impl Ran {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "{text:?} is not in {self:?}");
        self
    }

    #[track_caller]
    pub fn warns(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        self
    }
}

impl Stage {
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(UPATCH);
        command.arg("--root").arg(self.root()).args(line.split_whitespace());
        command
    }

    pub fn run(&self, line: &str) -> Ran {
        self.command(line).output().unwrap().into()
    }

    /// Writes the patch `name`, which makes `one` and `two` return these values.
    pub fn patch(&self, at: &Path, name: &str, one: u32, two: u32) -> Uuid {
        self.patch_of(&self.program, at, name, one, two)
    }

    /// The same where the program is installed as `path`.
    pub fn patch_of(&self, path: &Path, at: &Path, name: &str, one: u32, two: u32) -> Uuid {
        let image = image(&Elf::read(&self.program), vec![returns("one", one), returns("two", two)], false);
        self.patch_with(path, at, name, &image)
    }

    /// The same with another image.
    pub fn patch_with(&self, path: &Path, at: &Path, name: &str, image: &Image) -> Uuid {
        fs::create_dir_all(at).unwrap();
        let bytes = image.write().unwrap();
        fs::write(at.join("pair.upatch"), &bytes).unwrap();
        let mut manifest = Manifest {
            format: FORMAT,
            uuid: Uuid::from_bytes([0; 16]),
            name: name.into(),
            version: 1,
            release: 1,
            arch: Arch::X86_64,
            kind: Kind::User,
            package: Package { name: "pair".into(), epoch: None, version: "1".into(), release: "1".into() },
            kernel: None,
            cve: vec!["CVE-2025-1".into()],
            license: String::new(),
            description: String::new(),
            sources: vec![],
            elfs: vec![patchfile::manifest::Elf {
                name: path.file_name().unwrap().to_str().unwrap().into(),
                path: path.to_str().unwrap().into(),
                also: Vec::new(),
                build_id: image.target.build_id.clone(),
                code: image.target.code,
                patch: "pair.upatch".into(),
                sha256: Digest::of(&bytes),
                changed: vec!["one".into(), "two".into()],
                new: vec![],
            }],
            digest: None,
        };
        manifest.seal().unwrap();
        fs::write(at.join("manifest.yaml"), manifest.text().unwrap()).unwrap();
        manifest.uuid
    }

    pub fn install(&self, name: &str, one: u32, two: u32) -> Uuid {
        self.patch(&self.root().join(paths::PATCHES).join("pair-1-1").join(name), name, one, two)
    }
}

pub struct Daemon(pub Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What `start` says. `None` where it took so long that the service had to let it go on unpatched: this
/// machine is too busy then to show anything.
pub fn in_time(start: impl FnOnce() -> String) -> Option<String> {
    let begun = Instant::now();
    let said = start();
    (begun.elapsed() < Duration::from_millis(200)).then_some(said)
}

/// Most tests of the service can only run as root; they ask here, and what asks in vain is named.
pub fn is_root() -> bool {
    let root = fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t0\t");
    if !root {
        skipped("needs root");
    }
    root
}

impl Stage {
    /// Starts the service and waits until it serves. It looks for processes by itself so rarely that no test
    /// lives to see it.
    pub fn serve(&self) -> Daemon {
        self.serve_with(&mut self.command("daemon --interval 600"))
    }

    pub fn serve_with(&self, command: &mut Command) -> Daemon {
        use std::{io::BufRead, process::Stdio};
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        // What it found to do at once comes first.
        assert!(lines.any(|l| l.unwrap() == "upatch: serving"));
        thread::spawn(move || lines.for_each(drop));
        Daemon(child)
    }

    /// What the program prints.
    pub fn output(&self) -> String {
        output(&mut Command::new(&self.program))
    }
}

pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
