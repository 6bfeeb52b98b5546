//! One machine: what is in it, one run, what came of it.

use super::archive::Archive;
use crate::run::Cmd;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the machine starts with. The script's output is between two marks on the console.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/w HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
mount -t tracefs tracing /sys/kernel/tracing 2>/dev/null; mount -t debugfs debug /sys/kernel/debug 2>/dev/null
mount -t securityfs security /sys/kernel/security 2>/dev/null
ip link set lo up 2>/dev/null
stty -F /dev/ttyS0 -onlcr 2>/dev/null
cd /w
for m in $(cat /load); do insmod $m || echo "cannot load $m"; done
echo "--vm-begin"
sh /script </dev/null 2>&1
rc=$?
echo "--vm-end $rc"
poweroff -f
"#;

/// The newest kernel of a series (`6.1`) in `$UPATCH_KERNELS`, or in `upatch-kernels` in the user's cache: a folder for each release, which
/// holds `vmlinux` and `lib/modules`. `None`, loudly, where there is none: then what needs one is left out.
pub fn kernel(series: &str) -> Option<PathBuf> {
    let cache = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/upatch-kernels"));
    let all = std::env::var_os("UPATCH_KERNELS").map(PathBuf::from).or_else(cache)?;
    let folders = fs::read_dir(&all).into_iter().flatten().flatten().map(|e| e.path());
    let is = |k: &PathBuf| {
        let name = k.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{series}.")) && k.join("vmlinux").is_file()
    };
    let found = folders.filter(is).max();
    if found.is_none() {
        eprintln!("SKIPPED: no kernel {series} in {}", all.display());
    }
    found
}

/// A machine being put together.
#[derive(Debug)]
pub struct Machine {
    kernel: PathBuf,
    archive: Archive,
    put: BTreeSet<String>,
    load: String,
    parameters: String,
    limit: Duration,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What the script ended with; `None` when the machine died before.
    pub code: Option<i32>,
    /// What the script printed; of a machine that died, its console.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

impl Machine {
    /// A machine on the kernel in `kernel`, see [`kernel()`], with busybox and nothing else. The limit is two minutes.
    ///
    /// # Errors
    /// There is no busybox that needs no libraries.
    pub fn new(kernel: &Path) -> Result<Self> {
        let mut machine = Self {
            kernel: kernel.into(),
            archive: Archive::default(),
            put: BTreeSet::new(),
            load: String::new(),
            parameters: String::new(),
            limit: Duration::from_secs(120),
        };
        for folder in ["proc", "sys", "dev", "tmp", "w", "root", "run", "etc", "sbin", "var/lib"] {
            machine.archive.folder(folder);
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).is_file());
        let busybox = fs::read(busybox.context("no busybox: install busybox-static")?)?;
        machine.archive.file("bin/busybox", &busybox);
        machine.archive.file("init", INIT.as_bytes());
        Ok(machine)
    }

    /// Puts bytes at a path.
    #[must_use]
    pub fn bytes(mut self, to: &str, content: &[u8]) -> Self {
        self.archive.file(to, content);
        self
    }

    /// Puts a file, or all files of a folder, at a path. A program brings the libraries that it is linked with.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn put(mut self, from: &Path, to: &str) -> Result<Self> {
        self.add(from, to)?;
        Ok(self)
    }

    fn add(&mut self, from: &Path, to: &str) -> Result<()> {
        if from.is_dir() {
            self.archive.folder(to);
            for entry in fs::read_dir(from)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.add(&path, &format!("{to}/{name}"))?;
            }
            return Ok(());
        }
        let content = fs::read(from).with_context(|| from.display().to_string())?;
        if content.starts_with(b"\x7fELF") && !to.ends_with(".ko") {
            let libraries = Cmd::new("ldd").arg(from).run()?;
            let words = libraries.stdout.split_whitespace().filter(|w| w.starts_with('/'));
            for library in words.map(str::to_owned).collect::<Vec<_>>() {
                if self.put.insert(library.clone()) {
                    self.archive.file(&library, &fs::read(&library)?);
                }
            }
        }
        self.archive.file(to, &content);
        Ok(())
    }

    /// Puts a module of the kernel in, with all that it needs, where `modprobe` finds it; `load`: it is loaded before the script.
    ///
    /// # Errors
    /// The kernel has no such module.
    pub fn module(mut self, name: &str, load: bool) -> Result<Self> {
        let release = self.kernel.file_name().context("kernel")?.to_string_lossy().into_owned();
        let folder = PathBuf::from("lib/modules").join(&release);
        let dep = fs::read_to_string(self.kernel.join(&folder).join("modules.dep"))?;
        let is = |path: &str| {
            let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
            file.split('.').next().unwrap_or_default().replace('-', "_") == name.replace('-', "_")
        };
        let line = dep.lines().find_map(|l| l.split_once(':').filter(|(path, _)| is(path)));
        let (path, needs) = line.with_context(|| format!("no module {name} in {}", self.kernel.display()))?;
        for path in needs.split_whitespace().rev().chain([path]) {
            let to = folder.join(path).to_string_lossy().into_owned();
            if self.put.insert(to.clone()) {
                self.archive.file(&to, &fs::read(self.kernel.join(&to))?);
                if load {
                    self.load.push_str(&format!("/{to}\n"));
                }
            }
        }
        for file in ["modules.dep", "modules.alias", "modules.symbols", "modules.builtin", "modules.order"] {
            let to = folder.join(file).to_string_lossy().into_owned();
            if let Ok(content) = fs::read(self.kernel.join(&to))
                && self.put.insert(to.clone())
            {
                self.archive.file(&to, &content);
            }
        }
        Ok(self)
    }

    /// More parameters of the kernel.
    #[must_use]
    pub fn parameters(mut self, parameters: &str) -> Self {
        self.parameters = parameters.into();
        self
    }

    /// Sets the time limit, in wall-clock time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Boots, and runs `script` as root in `/w`.
    ///
    /// # Errors
    /// The machine cannot be started. One that dies is no error here, see [`Ran::code`].
    pub fn run(mut self, script: &str) -> Result<Ran> {
        self.archive.file("script", script.as_bytes());
        self.archive.file("load", self.load.as_bytes());
        let scratch = tempfile::tempdir()?;
        let (console, initrd) = (scratch.path().join("console"), scratch.path().join("initrd"));
        fs::write(&initrd, self.archive.finish())?;
        let append = format!("console=ttyS0 quiet panic=-1 oops=panic rdinit=/init {}", self.parameters);
        let ended = Cmd::new("qemu-system-x86_64")
            .args(["-accel", "tcg,tb-size=256", "-m", "768", "-smp", "2", "-display", "none", "-nodefaults"])
            .args(["-no-user-config", "-no-reboot", "-serial", &format!("file:{}", console.display())])
            .arg("-kernel")
            .arg(self.kernel.join("vmlinux"))
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", &append])
            .limit(self.limit)
            .run()?;
        let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).replace('\r', "");
        ensure!(!text.is_empty(), "the machine did not start: {}", ended.account());
        let Some((_, script)) = text.split_once("--vm-begin\n") else {
            bail!("the machine did not come up:\n{text}");
        };
        Ok(match script.rsplit_once("--vm-end ") {
            Some((output, code)) => Ran {
                code: code.trim().lines().next().and_then(|c| c.parse().ok()),
                output: output.into(),
                took: ended.took,
            },
            None => Ran { code: None, output: script.into(), took: ended.took },
        })
    }
}
