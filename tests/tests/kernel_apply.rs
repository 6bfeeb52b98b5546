//! `upatch` on a shipped kernel, in a virtual machine: there and back, versions, strangers, what does not
//! fit, tasks in the way, modules that come later, `kill -9` at any time, the service at boot.

use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::kernel_keys::Key;
use tests::livepatch::{self, Livepatch};
use tests::paths::{program, testdata};
use tests::run::Cmd;
use tests::vm::Vm;

const LOADAVG: Livepatch<'_> = Livepatch {
    source: "loadavg",
    name: "loadavg",
    version: 1,
    object: "vmlinux",
    function: "loadavg_proc_show",
};

/// A machine with upatch and the patches in `/p`.
fn machine(kernel: &Path, patches: &Path) -> Result<Vm> {
    let stripped = patches.parent().unwrap_or(patches).join("upatch");
    Cmd::new("strip").arg("-o").arg(&stripped).arg(program("upatch")?).run()?.ok()?;
    Ok(Vm::new(kernel).file(stripped, "/bin/upatch").file(patches, "/p").memory(768))
}

/// Changes a sealed manifest, and seals it again.
fn reseal(from: &Path, to: &Path, change: impl FnOnce(&mut patchfile::Manifest)) -> Result<()> {
    with_module(from, to, |_| Ok(()), change)
}

/// The same, after a change of its module.
fn with_module(
    from: &Path,
    to: &Path,
    module: impl FnOnce(&Path) -> Result<()>,
    change: impl FnOnce(&mut patchfile::Manifest),
) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut manifest = patchfile::Manifest::parse(&fs::read_to_string(from.join("manifest.yaml"))?)?;
    let file = to.join(&manifest.elfs[0].patch);
    fs::copy(from.join(&manifest.elfs[0].patch), &file)?;
    module(&file)?;
    manifest.elfs[0].sha256 = patchfile::Digest::of(&fs::read(&file)?);
    change(&mut manifest);
    manifest.seal()?;
    fs::write(to.join("manifest.yaml"), manifest.text()?)?;
    Ok(())
}

/// A script of `testdata/livepatch`, with what all begin with.
fn script(name: &str, settings: &str) -> Result<String> {
    let read = |name: &str| fs::read_to_string(testdata("livepatch").join(name));
    Ok(format!("{settings}\n{}{}", read("say.sh")?, read(name)?))
}

/// Runs it, which must end with 0.
fn passes(machine: &Vm, script: &str) -> Result<()> {
    let ran = machine.run(script)?;
    eprintln!("{}", ran.output);
    ensure!(ran.code == Some(0), "exit code {:?}; the console:\n{}", ran.code, ran.console);
    Ok(())
}

#[test]
fn every_verb() -> Result<()> {
    let Some(kernel) = livepatch::kernel("6.1")? else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let p = scratch.path().join("p");
    let with = |source, object, function| Livepatch { source, name: source, object, function, ..LOADAVG };
    LOADAVG.make(&kernel, &p.join("loadavg"))?;
    Livepatch { version: 2, ..LOADAVG }.make(&kernel, &p.join("loadavg-2"))?;
    Livepatch { name: "other", ..LOADAVG }.make(&kernel, &p.join("other"))?;
    with("uptime", "vmlinux", "uptime_proc_show").make(&kernel, &p.join("uptime"))?;
    with("sleeper", "vmlinux", "hrtimer_nanosleep").make(&kernel, &p.join("sleeper"))?;
    with("scheduled", "vmlinux", "do_nanosleep").make(&kernel, &p.join("scheduled"))?;
    with("dummy", "dummy", "dummy_get_drvinfo").make(&kernel, &p.join("dummy"))?;
    with("nosuch", "vmlinux", "upatch_no_such_function").make(&kernel, &p.join("nosuch"))?;
    let foreign = with("foreign", "vmlinux", "version_proc_show").make(&kernel, &p.join("foreign"))?;
    fs::rename(p.join("foreign").join(&foreign.elfs[0].patch), p.join("foreign/foreign.ko"))?;
    let loadavg = p.join("loadavg");
    reseal(&loadavg, &p.join("release"), |m| {
        m.kernel.iter_mut().for_each(|k| k.release = "6.1.0-1-amd64".into());
    })?;
    reseal(&loadavg, &p.join("build"), |m| {
        let other = patchfile::BuildId::new([7; 20]);
        m.kernel
            .iter_mut()
            .for_each(|k| k.build_id.clone_from(other.as_ref().unwrap_or(&k.build_id.clone())));
    })?;
    reseal(&loadavg, &p.join("damaged"), |_| {})?;
    fs::write(p.join("damaged/upatch_loadavg.ko"), b"\x7fELF")?;

    let machine = machine(&kernel, &p)?.bring("dummy").limit(Duration::from_secs(900));
    passes(&machine, &script("cases.sh", "")?)
}

/// Kernels that load nothing without a signature that they trust: stock ones, and one whose owner trusts a
/// key of ours.
#[test]
fn signatures() -> Result<()> {
    let Some(kernel) = livepatch::kernel("6.1")? else { return Ok(()) };
    let tree = livepatch::tree(&kernel)?;
    let scratch = tempfile::tempdir()?;
    let p = scratch.path().join("p");
    let loadavg = p.join("loadavg");
    LOADAVG.make(&kernel, &loadavg)?;
    let (owner, stranger) = (Key::new("Owner")?, Key::new("Stranger")?);
    with_module(&loadavg, &p.join("owner"), |module| owner.sign(&tree, module), |_| {})?;
    with_module(&loadavg, &p.join("stranger"), |module| stranger.sign(&tree, module), |_| {})?;
    let damage = |module: &Path| {
        owner.sign(&tree, module)?;
        let mut bytes = fs::read(module)?;
        let at = bytes.windows(8).position(|w| w == b"livepatc").unwrap_or_default();
        bytes[at] ^= 1;
        Ok(fs::write(module, bytes)?)
    };
    with_module(&loadavg, &p.join("changed"), damage, |_| {})?;

    // The same kernel, with another certificate in it.
    let theirs = scratch.path().join("kernel").join(kernel.file_name().unwrap_or_default());
    fs::create_dir_all(&theirs)?;
    fs::write(theirs.join("vmlinux"), owner.trusted_by(&fs::read(kernel.join("vmlinux"))?)?)?;
    std::os::unix::fs::symlink(kernel.join("lib"), theirs.join("lib"))?;
    let enforced = "WHO='module.sig_enforce is set'";
    let locked = "WHO='the kernel is locked down (integrity)'";
    for (kernel, settings, parameters) in [
        (&kernel, enforced.to_owned(), "module.sig_enforce=1"),
        (&theirs, format!("{enforced}; TRUSTED=1"), "module.sig_enforce=1"),
        (&theirs, format!("{locked}; TRUSTED=1"), "lockdown=integrity"),
    ] {
        let machine = machine(kernel, &p)?.parameters(parameters);
        passes(&machine, &script("signatures.sh", &settings)?)?;
    }

    // Signatures are looked at before anything else of a module, so one of the older kernel will do.
    let Some(newer) = livepatch::kernel("6.12")? else { return Ok(()) };
    let q = scratch.path().join("newer/p");
    let release = newer.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = livepatch::build_id_of(&newer.join("vmlinux"))?;
    for name in ["loadavg", "stranger"] {
        reseal(&p.join(name), &q.join(name), |m| {
            m.kernel.iter_mut().for_each(|k| (k.release, k.build_id) = (release.clone(), id.clone()));
            m.elfs.iter_mut().for_each(|e| e.build_id = Some(id.clone()));
        })?;
    }
    for (settings, parameters) in [(enforced, "module.sig_enforce=1"), (locked, "lockdown=integrity")] {
        passes(&machine(&newer, &q)?.parameters(parameters), &script("signatures.sh", settings)?)?;
    }
    Ok(())
}

/// The machine of [`faults`], with the program that lets others fail.
fn faulty(kernel: &Path, patches: &Path) -> Result<Vm> {
    let killer = patches.parent().unwrap_or(patches).join("killer");
    Cmd::new("gcc")
        .args(["-O1", "-o"])
        .arg(&killer)
        .arg(testdata("livepatch").join("killer.c"))
        .run()?
        .ok()?;
    Ok(machine(kernel, patches)?.file(killer, "/bin/killer"))
}

/// Killed, and without space or memory, at the steps that matter most; on a kernel at random addresses.
#[test]
fn faults() -> Result<()> {
    let Some(kernel) = livepatch::kernel("6.1")? else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let p = scratch.path().join("p");
    LOADAVG.make(&kernel, &p.join("loadavg"))?;
    let machine = faulty(&kernel, &p)?.packed().limit(Duration::from_secs(900));
    passes(&machine, &script("faults.sh", "CALLS='init_module:0 rename:0 delete_module:0'")?)
}

/// The same at each system call that changes something.
#[test]
#[ignore = "a campaign: make kernel-faults"]
fn faults_at_every_step() -> Result<()> {
    let Some(kernel) = livepatch::kernel("6.1")? else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let p = scratch.path().join("p");
    LOADAVG.make(&kernel, &p.join("loadavg"))?;
    let machine = faulty(&kernel, &p)?.limit(Duration::from_secs(7200));
    passes(&machine, &script("faults.sh", "CALLS=all")?)
}

/// A module that is unloaded and comes again while a patch that refers to it is there. The older kernel does
/// not take it back, unless the patch is loaded anew.
#[test]
fn a_module_that_comes_again() -> Result<()> {
    let Some(kernel) = livepatch::kernel("6.1")? else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let p = scratch.path().join("p");
    let reload = Livepatch {
        source: "reload",
        name: "reload",
        object: "dummy",
        function: "dummy_get_drvinfo",
        ..LOADAVG
    };
    reload.make(&kernel, &p.join("made"))?;
    with_module(&p.join("made"), &p.join("reload"), livepatch::refer, |_| {})?;
    let machine = machine(&kernel, &p)?.bring("dummy").limit(Duration::from_secs(900));
    passes(&machine, &script("reload.sh", "")?)
}

/// In and out again, as often as `CYCLES` says, while other programs are at work. A campaign.
#[test]
#[ignore = "a campaign: make kernel-cycles"]
fn cycles_under_load() -> Result<()> {
    let Some(kernel) = livepatch::kernel("6.1")? else { return Ok(()) };
    let count: u32 = std::env::var("CYCLES").ok().and_then(|c| c.parse().ok()).unwrap_or(1000);
    let scratch = tempfile::tempdir()?;
    let p = scratch.path().join("p");
    LOADAVG.make(&kernel, &p.join("loadavg"))?;
    let script = fs::read_to_string(testdata("livepatch").join("cycles.sh"))?;
    let limit = Duration::from_secs(120 + u64::from(count) * 60);
    // A machine that stands still shows where.
    let ran = machine(&kernel, &p)?
        .limit(limit)
        .parameters("softlockup_panic=1")
        .run(&format!("COUNT={count}\n{script}"))?;
    eprintln!("{}", ran.output);
    ensure!(
        ran.code == Some(0) && ran.output.contains(&format!("{count} cycles")),
        "exit code {:?}",
        ran.code
    );
    Ok(())
}
