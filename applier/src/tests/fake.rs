//! Processes and patches that are only said to exist, for testing verbs.

use crate::{
    Busy, CheckReport, LoadedPatch, Located, Outcome, ProcessError, TargetId,
    catalog::Owner,
    cli::{Args, run},
    manage::{Backend, Context, NeverStop, StopRequest, Survey, SurveyedProcess},
    state::ProcessKey,
};
use clap::Parser;
use patchfile::{
    Arch, BuildId, Digest, Manifest, Uuid,
    control::{Control, Phase},
    exit::ManageExit,
    image::{Access, Image, Redirect, Segment, Target},
    manifest::{Elf, FORMAT, Kind, Package},
    paths,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// How a process behaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Willing,
    /// Busy for so many tries.
    Busy(u32),
    Refuses(fn() -> ProcessError),
    /// Ends when touched.
    Dies,
}

#[derive(Clone, Debug)]
pub(super) struct FakeProcess {
    pub(super) key: ProcessKey,
    pub(super) builds: Vec<u8>,
    /// Patch, index of its ELF, in force.
    pub(super) blocks: Vec<(Uuid, u32, bool)>,
    pub(super) mood: Mood,
    pub(super) opts_out: bool,
}

pub(super) fn process(pid: i32, build: u8) -> FakeProcess {
    let key = ProcessKey { pid, start: 7 };
    FakeProcess { key, builds: vec![build], blocks: Vec::new(), mood: Mood::Willing, opts_out: false }
}

#[derive(Debug, Default)]
pub(super) struct FakeBackend {
    pub(super) processes: Mutex<Vec<FakeProcess>>,
    pub(super) namesakes: Vec<(i32, String)>,
    pub(super) unseen: Vec<i32>,
    pub(super) hidden: bool,
    pub(super) machine: super::fake_kernel::FakeKernel,
    /// Started as soon as anything is applied.
    pub(super) newcomer: Mutex<Option<FakeProcess>>,
}

fn build_id(build: u8) -> Option<BuildId> {
    BuildId::new([build; 20])
}

impl FakeBackend {
    pub(super) fn with(processes: impl IntoIterator<Item = FakeProcess>) -> Self {
        Self { processes: Mutex::new(processes.into_iter().collect()), ..Self::default() }
    }

    pub(super) fn change(&self, pid: i32, change: impl FnOnce(&mut FakeProcess)) {
        change(self.processes.lock().unwrap().iter_mut().find(|p| p.key.pid == pid).unwrap());
    }

    pub(super) fn runs(&self, pid: i32, uuid: Uuid) -> bool {
        let processes = self.processes.lock().unwrap();
        processes.iter().any(|p| p.key.pid == pid && p.blocks.iter().any(|b| b.0 == uuid && b.2))
    }

    fn touch(
        &self,
        key: ProcessKey,
        work: impl FnOnce(&mut FakeProcess) -> Outcome,
    ) -> Result<Outcome, ProcessError> {
        let mut processes = self.processes.lock().unwrap();
        let found = processes.iter_mut().find(|p| p.key == key).ok_or(ProcessError::Gone)?;
        match found.mood {
            Mood::Willing | Mood::Busy(0) => Ok(work(found)),
            Mood::Busy(tries) => {
                found.mood = Mood::Busy(tries - 1);
                Ok(Outcome::Busy(Busy { tid: key.pid, function: Some("f".into()), why: "is in f".into() }))
            }
            Mood::Refuses(error) => Err(error()),
            Mood::Dies => {
                processes.retain(|p| p.key != key);
                Err(ProcessError::Gone)
            }
        }
    }
}

impl Backend for FakeBackend {
    fn kernel(&self) -> crate::kernel::Kernel<'_> {
        self.machine.seen()
    }

    fn survey(&self, wanted: &[TargetId], only: &[i32]) -> Survey {
        let block = |&(uuid, elf, active): &(Uuid, u32, bool)| Located {
            address: 0x1000,
            control: Control {
                uuid,
                active,
                sequence: 1,
                bias: 0,
                size: 0x1000,
                phase: Phase::Ready,
                elf,
                registered: 0,
                eh_frame: 0,
                name: "HP1".into(),
                entries: Vec::new(),
            },
            in_force: active,
            disturbed: Vec::new(),
        };
        let processes = self.processes.lock().unwrap();
        let seen = processes.iter().filter(|p| only.is_empty() || only.contains(&p.key.pid));
        let seen = seen.map(|p| SurveyedProcess {
            key: p.key,
            comm: "daemon".into(),
            targets: (0..wanted.len())
                .filter(|i| p.builds.iter().any(|b| build_id(*b) == wanted[*i].build_id))
                .collect(),
            blocks: Ok(p.blocks.iter().map(block).collect()),
        });
        let of_interest =
            |p: &SurveyedProcess| !p.targets.is_empty() || p.blocks.as_ref().is_ok_and(|b| !b.is_empty());
        let unseen = self.unseen.iter().copied().filter(|p| only.is_empty() || only.contains(p)).collect();
        Survey { processes: seen.filter(of_interest).collect(), unseen, hidden: self.hidden }
    }

    fn apply(
        &self,
        process: ProcessKey,
        patch: &LoadedPatch,
        older: &[Uuid],
        _: bool,
    ) -> Result<Outcome, ProcessError> {
        if let Some(newcomer) = self.newcomer.lock().unwrap().take() {
            self.processes.lock().unwrap().push(newcomer);
        }
        self.touch(process, |p| {
            let before = p.blocks.clone();
            for elf in &patch.elfs {
                if p.builds.iter().any(|b| build_id(*b) == elf.image.target.build_id) {
                    p.blocks.retain(|b| (b.0, b.1) != (patch.uuid, elf.index));
                    p.blocks.push((patch.uuid, elf.index, true));
                }
            }
            p.blocks.iter_mut().filter(|b| older.contains(&b.0)).for_each(|b| b.2 = false);
            if before == p.blocks { Outcome::Already } else { Outcome::Done }
        })
    }

    fn deactivate(&self, process: ProcessKey, uuid: Uuid, _: bool) -> Result<Outcome, ProcessError> {
        self.touch(process, |p| {
            p.blocks.iter_mut().filter(|b| b.0 == uuid).for_each(|b| b.2 = false);
            Outcome::Done
        })
    }

    fn check(&self, process: ProcessKey, patch: &LoadedPatch, _: bool) -> Result<CheckReport, ProcessError> {
        let already = self.runs(process.pid, patch.uuid);
        let mut busy = None;
        if let Outcome::Busy(b) = self.touch(process, |_| Outcome::Done)? {
            self.change(process.pid, |p| p.mood = Mood::Busy(1));
            busy = Some(b);
        }
        Ok(CheckReport { already, modules: Vec::new(), busy })
    }

    fn exists(&self, pid: i32) -> bool {
        let named = self.namesakes.iter().any(|(p, _)| *p == pid);
        named || self.unseen.contains(&pid) || self.processes.lock().unwrap().iter().any(|p| p.key.pid == pid)
    }

    fn key(&self, pid: i32) -> Option<ProcessKey> {
        self.processes.lock().unwrap().iter().map(|p| p.key).find(|k| k.pid == pid)
    }

    fn alive(&self, process: ProcessKey) -> bool {
        self.processes.lock().unwrap().iter().any(|p| p.key == process)
    }

    fn opts_out(&self, process: ProcessKey, _: &crate::manage::OptOut) -> Option<String> {
        let processes = self.processes.lock().unwrap();
        let found = processes.iter().any(|p| p.key == process && p.opts_out);
        found.then(|| "left alone: by the test".to_owned())
    }

    fn namesakes(&self, _: &str) -> Vec<(i32, String)> {
        self.namesakes.clone()
    }
}

/// A root directory and processes.
pub(super) struct Stage {
    pub(super) root: tempfile::TempDir,
    pub(super) backend: FakeBackend,
    pub(super) uid: u32,
    pub(super) boot: &'static str,
    pub(super) stop: Box<dyn StopRequest>,
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: ManageExit,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ran {
    #[track_caller]
    pub(super) fn exits(self, exit: ManageExit) -> Self {
        assert_eq!(self.exit, exit, "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "{text:?} is not in the output of {self:?}");
        self
    }

    #[track_caller]
    pub(super) fn warns(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not among the messages of {self:?}");
        self
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

impl Stage {
    pub(super) fn new(processes: impl IntoIterator<Item = FakeProcess>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let backend = FakeBackend::with(processes);
        Self { root, backend, uid: Owner::current().uid, boot: "boot-1", stop: Box::new(NeverStop) }
    }

    /// Runs `upatch --root ROOT LINE`.
    pub(super) fn run(&self, line: &str) -> Ran {
        let root = self.root.path().to_str().unwrap();
        let words = ["upatch", "--root", root].into_iter().chain(line.split_whitespace());
        let args = match Args::try_parse_from(words) {
            Ok(args) => args,
            Err(e) => return Ran { exit: ManageExit::Usage, out: String::new(), err: e.to_string() },
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut ctx = Context {
            terminal: None,
            root: self.root.path().into(),
            backend: &self.backend,
            stop: &*self.stop,
            owner: Owner { uid: self.uid, gid: Owner::current().gid },
            boot: self.boot.into(),
            settings: crate::manage::Settings::default(),
            out: &mut out,
            err: &mut err,
        };
        let exit = run(&args, &mut ctx, crate::daemon::serve);
        Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }

    /// Installs the patch `name` for ELF files of these builds.
    pub(super) fn install(&self, name: &str, builds: &[u8]) -> Manifest {
        let dir = self.root.path().join(paths::PATCHES).join("pkg-1-1").join(name);
        write_patch(&dir, name, builds, 1)
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.root.path().join(paths::PATCHES).join("pkg-1-1").join(name)
    }

    pub(super) fn state_file(&self) -> PathBuf {
        crate::state::StateFile::path(self.root.path())
    }
}

fn image(build: u8) -> Image {
    Image {
        arch: Arch::native().unwrap(),
        target: Target {
            name: "daemon".into(),
            build_id: build_id(build),
            code: Digest::of(&[build]),
            fixed: false,
        },
        segments: vec![
            Segment { access: Access::Read, address: 0, size: 0x1000, data: vec![] },
            Segment { access: Access::Execute, address: 0x1000, size: 0x100, data: vec![0xcc; 0x100] },
        ],
        redirects: vec![Redirect {
            name: "f".into(),
            old: 0x4000,
            old_size: 100,
            skip: 0,
            original: [0x90; 8],
            new: 0x1000,
            stub: 0x1080,
            resume: Some(0x10a0),
            fragments: vec![],
            hop: None,
        }],
        references: vec![],
        relocations: vec![],
        symbols: vec![],
        unwind: None,
        hooks: vec![],
        exports: vec![],
        companions: vec![],
    }
}

/// Writes a patch directory.
pub(super) fn write_patch(dir: &Path, name: &str, builds: &[u8], version: u32) -> Manifest {
    fs::create_dir_all(dir).unwrap();
    let elf = |build: &u8| {
        let bytes = image(*build).write().unwrap();
        let patch = format!("daemon{build}.upatch");
        fs::write(dir.join(&patch), &bytes).unwrap();
        Elf {
            name: "daemon".into(),
            path: format!("/usr/bin/daemon{build}"),
            also: vec![],
            build_id: build_id(*build),
            code: Digest::of(&[*build]),
            patch,
            sha256: Digest::of(&bytes),
            changed: vec!["f".into()],
            new: vec![],
        }
    };
    let mut manifest = Manifest {
        format: FORMAT,
        uuid: Uuid::from_bytes([0; 16]),
        name: name.into(),
        version,
        release: 1,
        arch: Arch::native().unwrap(),
        kind: Kind::User,
        package: Package { name: "pkg".into(), epoch: None, version: "1".into(), release: "1".into() },
        kernel: None,
        cve: vec!["CVE-2025-1".into()],
        license: "MIT".into(),
        description: "a fix".into(),
        sources: vec![],
        elfs: builds.iter().map(elf).collect(),
        digest: None,
    };
    manifest.seal().unwrap();
    fs::write(dir.join(paths::MANIFEST), manifest.text().unwrap()).unwrap();
    manifest
}
