//! A virtual machine on a stock kernel, for one script: what it prints, and how it ends.
//!
//! The machine is emulated by qemu (TCG), boots the unpacked image, and has nothing but busybox, the files
//! that are put in and the modules that are asked for. It takes 2 to 3 seconds of processor time to start. A
//! kernel that oopses ends.

use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines between which the script's output stands on the console.
const BEGIN: &str = "--vm-begin";
const END: &str = "--vm-end ";

/// The first program: mounts what programs expect, loads modules, runs the script, says how it ended.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/w HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
mount -t tracefs tracing /sys/kernel/tracing 2>/dev/null; mount -t debugfs debug /sys/kernel/debug 2>/dev/null
mkdir -p /dev/pts; mount -t devpts pts /dev/pts; ip link set lo up 2>/dev/null
stty -F /dev/ttyS0 -onlcr 2>/dev/null
for m in $(cat /load); do insmod $m || echo "vm: cannot load $m"; done
cd /w
echo "--vm-begin"
sh /script </dev/null 2>&1; code=$?
sync
echo "--vm-end $code"
poweroff -f
"#;

/// A machine that is put together.
#[derive(Debug)]
pub struct Vm {
    kernel: PathBuf,
    files: Vec<(PathBuf, String)>,
    load: Vec<String>,
    bring: Vec<String>,
    limit: Duration,
    memory: u32,
    packed: bool,
    parameters: String,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What the script printed, both outputs.
    pub output: String,
    /// Its exit code; none if the machine died or was not ready in time.
    pub code: Option<i32>,
    /// All that was on the console.
    pub console: String,
}

impl Ran {
    /// The output of a script that ended with 0.
    ///
    /// # Errors
    /// When it ended otherwise; the end of the console is in the message.
    pub fn success(&self) -> Result<&str> {
        match self.code {
            Some(0) => Ok(&self.output),
            code => {
                let lines: Vec<&str> = self.console.lines().collect();
                let end = lines[lines.len().saturating_sub(60)..].join("\n");
                bail!("the script in the machine ended with {code:?}:\n{end}")
            }
        }
    }
}

impl Vm {
    /// On the kernel that is unpacked in this folder, see [`crate::kernels`].
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            kernel: kernel.into(),
            files: Vec::new(),
            load: Vec::new(),
            bring: Vec::new(),
            limit: Duration::from_secs(300),
            memory: 512,
            packed: false,
            parameters: String::new(),
        }
    }

    /// Puts a file or folder at `/w/AS`, or at an absolute path; a program brings its libraries.
    #[must_use]
    pub fn file(mut self, file: impl Into<PathBuf>, name: &str) -> Self {
        let to = if name.starts_with('/') { name.to_owned() } else { format!("/w/{name}") };
        self.files.push((file.into(), to));
        self
    }

    /// Loads this module of the kernel, and those it depends on, before the script.
    #[must_use]
    pub fn load(mut self, module: &str) -> Self {
        self.load.push(module.to_owned());
        self
    }

    /// Puts this module in, with those it depends on; `modprobe` loads it.
    #[must_use]
    pub fn bring(mut self, module: &str) -> Self {
        self.bring.push(module.to_owned());
        self
    }

    /// Wall-clock limit; five minutes otherwise.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Boots the packed image: with addresses at random.
    #[must_use]
    pub fn packed(mut self) -> Self {
        self.packed = true;
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory(mut self, memory: u32) -> Self {
        self.memory = memory;
        self
    }

    /// Further parameters of the kernel.
    #[must_use]
    pub fn parameters(mut self, parameters: &str) -> Self {
        self.parameters = parameters.to_owned();
        self
    }

    /// Boots it and runs the script with busybox's shell, in `/w`. On a busy host the kernel waits in vain
    /// for ticks of its timer as it starts, so it is told not to check (`no_timer_check`).
    ///
    /// # Errors
    /// When the machine cannot be put together or qemu not be run. How the script ended is in the answer.
    pub fn run(&self, script: &str) -> Result<Ran> {
        let dir = tempfile::tempdir()?;
        let initrd = dir.path().join("initrd");
        std::fs::write(&initrd, self.archive(script)?)?;
        let console = dir.path().join("console");
        let image = self.kernel.join(if self.packed { "vmlinuz" } else { "vmlinux" });
        let ended: Ended = Cmd::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg,tb-size=256",
                "-smp",
                "2",
                "-display",
                "none",
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-no-reboot", "-m", &self.memory.to_string()])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(&initrd)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet panic=-1 oops=panic no_timer_check rdinit=/init {}",
                self.parameters
            ))
            .limit(self.limit)
            .run()
            .context("qemu")?;
        let console = std::fs::read(&console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).replace('\r', "") + &ended.stderr;
        let after = console.split_once(&format!("{BEGIN}\n")).map_or("", |(_, after)| after);
        let (output, end) = match after.rfind(END) {
            Some(at) => (&after[..at], after[at + END.len()..].lines().next()),
            None => (after, None),
        };
        Ok(Ran { output: output.to_owned(), code: end.and_then(|c| c.trim().parse().ok()), console })
    }

    fn archive(&self, script: &str) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        let busybox = which("busybox").context("busybox is not installed")?;
        archive.file("/bin/busybox", &busybox)?;
        for dir in
            ["/proc", "/sys", "/dev", "/tmp", "/w", "/etc", "/root", "/run", "/var/lib", "/sbin", "/lib"]
        {
            archive.folder(dir);
        }
        for (file, to) in &self.files {
            if file.is_dir() {
                for path in walk(file)? {
                    let below = path.strip_prefix(file)?.display().to_string();
                    archive.file(&format!("{to}/{below}"), &path)?;
                }
            } else {
                archive.file(to, file)?;
                for library in libraries(file) {
                    archive.file(&library.display().to_string(), &library)?;
                }
            }
        }
        let load = self.modules(&mut archive)?;
        archive.data("/load", load.join("\n").as_bytes(), 0o644);
        archive.data("/script", script.as_bytes(), 0o644);
        archive.data("/init", INIT.as_bytes(), 0o755);
        Ok(archive.finish())
    }

    /// Puts modules in; gives the paths of those to load, in order.
    fn modules(&self, archive: &mut Archive) -> Result<Vec<String>> {
        let modules = self.kernel.join("lib/modules");
        let Some(release) = folder_in(&modules)? else { return Ok(Vec::new()) };
        let root = modules.join(&release);
        let depends = std::fs::read_to_string(root.join("modules.dep")).unwrap_or_default();
        let depends: BTreeMap<&str, Vec<&str>> = depends
            .lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(file, needs)| (file, needs.split_whitespace().collect()))
            .collect();
        let find = |name: &str| -> Result<Vec<&str>> {
            let is_it = |file: &&&str| stem(file) == name.replace('-', "_");
            let file =
                depends.keys().find(is_it).with_context(|| format!("no module {name} in {release}"))?;
            // What it needs is listed with the most basic last.
            let mut all: Vec<&str> = depends[file].iter().rev().copied().collect();
            all.push(file);
            Ok(all)
        };
        let mut load = Vec::new();
        for (name, now) in self.load.iter().map(|n| (n, true)).chain(self.bring.iter().map(|n| (n, false))) {
            for file in find(name)? {
                let to = format!("/lib/modules/{release}/{file}");
                archive.file(&to, &root.join(file))?;
                if now && !load.contains(&to) {
                    load.push(to);
                }
            }
        }
        if !(self.load.is_empty() && self.bring.is_empty()) {
            for list in
                ["modules.dep", "modules.alias", "modules.symbols", "modules.order", "modules.builtin"]
            {
                let path = root.join(list);
                if path.is_file() {
                    archive.file(&format!("/lib/modules/{release}/{list}"), &path)?;
                }
            }
        }
        Ok(load)
    }
}

/// `nf_tables` of `kernel/net/netfilter/nf_tables.ko.xz`.
fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

fn folder_in(dir: &Path) -> Result<Option<String>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(None) };
    let mut names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    Ok(names.next())
}

fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { all.push(path) }
        }
    }
    all.sort();
    Ok(all)
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/bin".into(), "/usr/sbin".into()])
        .map(|d| d.join(program))
        .find(|p| p.is_file())
}

/// The libraries that a program is linked with, and its loader (ldd(1)).
fn libraries(program: &Path) -> Vec<PathBuf> {
    let head = std::fs::read(program).unwrap_or_default();
    if !head.starts_with(b"\x7fELF") || program.extension().is_some_and(|e| e == "ko") {
        return Vec::new();
    }
    let said = Cmd::new("ldd").arg(program).run().map(|e| e.stdout).unwrap_or_default();
    said.split_whitespace().filter(|w| w.starts_with('/')).map(PathBuf::from).collect()
}

/// What keeps a machine from being run here, if something does.
pub fn missing() -> Option<String> {
    let programs = ["qemu-system-x86_64", "busybox"];
    programs.iter().find(|p| which(p).is_none()).map(|p| format!("{p} is not installed"))
}

/// An initial file system: a cpio archive in the new ASCII format (the kernel's
/// Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Debug, Default)]
struct Archive {
    data: Vec<u8>,
    entries: u32,
    known: BTreeSet<String>,
}

impl Archive {
    fn folder(&mut self, path: &str) {
        let mut at = String::new();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            at = format!("{at}/{part}");
            if self.known.insert(at.clone()) {
                self.entry(&at, 0o040_755, &[]);
            }
        }
    }

    fn file(&mut self, to: &str, from: &Path) -> Result<()> {
        let data = std::fs::read(from).with_context(|| from.display().to_string())?;
        let mode = std::fs::metadata(from)?.permissions().mode() & 0o777;
        self.data(to, &data, mode);
        Ok(())
    }

    fn data(&mut self, to: &str, data: &[u8], mode: u32) {
        if let Some((folder, _)) = to.rsplit_once('/') {
            self.folder(folder);
        }
        if self.known.insert(to.to_owned()) {
            self.entry(to, 0o100_000 | mode, data);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) {
        let name = path.trim_start_matches('/');
        self.entries += 1;
        let links = if mode & 0o040_000 == 0 { 1 } else { 2 };
        let fields =
            [self.entries, mode, 0, 0, links, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let header: String = fields.iter().map(|f| format!("{f:08x}")).collect();
        let _ = write!(self.data, "070701{header}{name}\0");
        self.pad();
        self.data.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.data.resize(self.data.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_what_cpio_reads() {
        let mut archive = Archive::default();
        archive.data("/a/b/file", b"text", 0o755);
        archive.data("/a/other", b"", 0o644);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        std::fs::write(&path, archive.finish()).unwrap();
        let said = Cmd::new("sh").arg("-c").arg(format!("cpio -t < {}", path.display())).run().unwrap();
        assert_eq!(said.stdout, "a\na/b\na/b/file\na/other\n", "{}", said.stderr);
    }
}
