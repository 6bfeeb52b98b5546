use super::{
    fake::{Ran, Stage},
    fake_kernel::{Mood, write_patch, write_patch_as},
};
use crate::manage::StopRequest;
use patchfile::{
    Digest, Manifest,
    exit::ManageExit::{Conflict, DoesNotFit, Done, Failed, NotPermitted, Partly, Usage},
    paths,
    state::PatchState,
};
use std::{fs, sync::atomic::AtomicU32, sync::atomic::Ordering, time::Duration};

fn stage() -> (Stage, Manifest) {
    let stage = Stage::new([]);
    let manifest = install(&stage, "HP1", 1, "vmlinux", "f");
    (stage, manifest)
}

fn install(stage: &Stage, name: &str, version: u32, object: &str, function: &str) -> Manifest {
    let place = format!("linux-{version}");
    let dir = stage.root.path().join(paths::PATCHES).join(place).join(name);
    write_patch(&dir, name, version, object, function)
}

#[track_caller]
fn has(ran: &Ran, text: &str) {
    assert!(ran.out.contains(text) || ran.err.contains(text), "{text:?} is not in {ran:?}");
}

#[test]
fn there_and_back_again() {
    let (stage, manifest) = stage();
    stage.run("check HP1").exits(Done).says("HP1: fits");
    stage.run("apply --dry-run HP1").exits(Done).says("would patch the kernel");
    stage.run("list").exits(Done).says("NOT-APPLIED");
    stage.run("apply HP1").exits(Done).says("ACTIVED: vmlinux patched").says("makes it last");
    assert_eq!(stage.backend.machine.modules(), ["upatch_HP1"]);
    stage.run("apply HP1").exits(Done);
    stage
        .run("status HP1")
        .exits(Done)
        .says("ACTIVED")
        .says("vmlinux")
        .says("patched")
        .says("come back at boot");
    stage.run("info HP1").exits(Done).says("upatch_HP1").says("6.1.0-57-amd64").says("kernel");
    stage.run("deactive HP1").exits(Done).says("DEACTIVED: old code back in the kernel");
    assert!(stage.backend.machine.modules().is_empty());
    stage.run("list").says("DEACTIVED");
    stage.run("active HP1").exits(Done).says("ACTIVED");
    stage.run("accept HP1").exits(Done);
    stage.run("remove HP1").exits(Done).says("NOT-APPLIED");
    stage.run("remove HP1").exits(Done).says("the kernel does not have it");
    let log = stage.run("log HP1").exits(Done).out;
    for word in ["ACTIVED", "DEACTIVED", "ACCEPTED", "remove"] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
    assert_eq!(manifest.id(), "linux-6.1-1/HP1");
}

#[test]
fn processes_cannot_be_named() {
    let stage = Stage::new([super::fake::process(10, 1)]);
    install(&stage, "HP1", 1, "vmlinux", "f");
    for verb in ["apply", "deactive", "check"] {
        stage.run(&format!("{verb} --pid 10 HP1")).exits(Usage).warns("there is no --pid");
    }
}

#[test]
fn another_kernel() {
    let (stage, _) = stage();
    stage.backend.machine.notes("sys/kernel/notes", 9);
    stage.run("apply HP1").exits(DoesNotFit).warns("build-id");
    stage.backend.machine.write("proc/sys/kernel/osrelease", "6.12.0");
    stage.run("apply HP1").exits(DoesNotFit).warns("is for Linux 6.1.0-57-amd64, and this is Linux 6.12.0");
    let json = stage.run("check --json HP1").json();
    assert_eq!(json["patches"][0]["fits"], false);
    // What was accepted for it waits for it, without a word of complaint.
    stage.run("list").exits(Done).says("NOT-APPLIED");
}

#[test]
fn another_build_of_a_module() {
    let stage = Stage::new([]);
    install(&stage, "HP2", 1, "dummy", "f");
    stage.run("apply HP2").exits(Done).says("dummy waits for the module to be loaded");
    stage.run("remove HP2").exits(Done);
    stage.backend.machine.write("sys/module/dummy/initstate", "live\n");
    stage.backend.machine.notes("sys/module/dummy/notes/.note.gnu.build-id", 9);
    stage.run("apply HP2").exits(DoesNotFit).warns("dummy has build-id");
    stage.backend.machine.notes("sys/module/dummy/notes/.note.gnu.build-id", 2);
    stage.run("apply HP2").exits(Done).says("dummy patched").says("cannot be loaded again while");
}

#[test]
fn kernels_that_cannot_be_patched() {
    let (stage, _) = stage();
    stage.backend.machine.write("proc/sys/kernel/ftrace_enabled", "0");
    stage.run("apply HP1").exits(Failed).warns("ftrace is switched off");
    stage.run("doctor").exits(Failed).says("ftrace is switched off");
    stage.backend.machine.write("proc/sys/kernel/ftrace_enabled", "1");
    fs::remove_dir(stage.backend.machine.path("sys/kernel/livepatch")).unwrap();
    stage.run("apply HP1").exits(Failed).warns("CONFIG_LIVEPATCH");
    stage.run("list").says("NOT-APPLIED");
}

#[test]
fn what_the_kernel_says_and_what_it_means() {
    let (stage, _) = stage();
    let machine = &stage.backend.machine;
    let cases = [
        (libc::EPERM, NotPermitted, "does not let this process load modules"),
        (libc::EKEYREJECTED, NotPermitted, "the module is not signed"),
        (libc::ENODEV, Failed, "switched ftrace off"),
        (libc::EINVAL, DoesNotFit, "does not take the module"),
        (libc::ENOEXEC, DoesNotFit, "does not take the module"),
        (libc::ENOMEM, Failed, "not enough memory"),
        (libc::EACCES, NotPermitted, "security module"),
    ];
    for (error, exit, why) in cases {
        machine.is(Mood::Refuses(error));
        stage.run("apply HP1").exits(exit).warns(why);
        stage.run("list").says("NOT-APPLIED");
    }
    machine.is(Mood::Refuses(libc::EPERM));
    machine.write("proc/self/status", "Name:\tupatch\nCapEff:\t000001fffffeffff\n");
    stage.run("apply HP1").exits(NotPermitted).warns("may load no module (CAP_SYS_MODULE)");
    machine.write("proc/self/status", "Name:\tupatch\nCapEff:\t000001ffffffffff\n");
    machine.write("proc/sys/kernel/modules_disabled", "1");
    stage.run("apply HP1").exits(NotPermitted).warns("modules_disabled");
    machine.begin("other_patch", None, "vmlinux", "g", true);
    machine.is(Mood::Refuses(libc::EBUSY));
    stage.run("apply --timeout 0.05 HP1").exits(Conflict).warns("other_patch is in transition");
}

#[test]
fn kernels_that_want_signatures() {
    let (stage, manifest) = stage();
    let machine = &stage.backend.machine;
    // Refused before the kernel is asked: it takes any module here.
    machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    for verb in ["check", "apply --dry-run", "apply"] {
        let ran = stage.run(&format!("{verb} HP1")).exits(NotPermitted);
        has(&ran, "the kernel is locked down (integrity), and the module is not signed");
        has(&ran, "--sign-key");
    }
    machine.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    machine.write("sys/module/module/parameters/sig_enforce", "Y\n");
    stage
        .run("check HP1")
        .exits(NotPermitted)
        .warns("module.sig_enforce is set, and the module is not signed");
    stage.run("list").says("NOT-APPLIED");
    machine.write("sys/module/module/parameters/sig_enforce", "N\n");
    stage.run("apply HP1").exits(Done);
    // What is in the kernel already needs none.
    machine.write("sys/module/module/parameters/sig_enforce", "Y\n");
    stage.run("apply HP1").exits(Done);
    stage.run("remove HP1").exits(Done);

    let dir = stage.root.path().join(paths::PATCHES).join("linux-1/HP1");
    let mut module = fs::read(dir.join("upatch_HP1.ko")).unwrap();
    module.extend_from_slice(b" ~Module signature appended~\n");
    fs::write(dir.join("upatch_HP1.ko"), &module).unwrap();
    let mut manifest = manifest;
    manifest.elfs[0].sha256 = Digest::of(&module);
    manifest.seal().unwrap();
    fs::write(dir.join(paths::MANIFEST), manifest.text().unwrap()).unwrap();
    stage.run("check HP1").exits(Done);
    machine.is(Mood::Refuses(libc::EKEYREJECTED));
    // The kernel has said nothing of it, so it is the signature itself.
    stage.run("apply HP1").exits(NotPermitted).warns("signature is not that of its contents");
    machine.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    machine.is(Mood::Refuses(libc::EPERM));
    let ran = stage.run("apply HP1").exits(NotPermitted);
    has(&ran, "the kernel is locked down (confidentiality), and it does not trust the key");
    stage.run("list").says("NOT-APPLIED");
}

#[test]
fn a_task_in_the_way() {
    let (stage, _) = stage();
    let machine = &stage.backend.machine;
    machine.is(Mood::Held);
    let ran = stage.run("apply --timeout 0.05 HP1").exits(Failed);
    for text in ["did not end within 0.05 s", "task 78 (sleeper) is in f", "turned round", "--lazy"] {
        has(&ran, text);
    }
    assert!(machine.modules().is_empty());
    stage.run("list").says("NOT-APPLIED");
    stage.run("log HP1").says("it was turned round").says("task 78 (sleeper)");
    let ran = stage.run("apply --lazy --timeout 0.05 HP1").exits(Partly);
    has(&ran, "task 78 (sleeper) is in f");
    stage.run("status HP1").says("ACTIVED").says("78").says("not on the new code yet: is in f");
    let json = stage.run("list --json").json();
    assert_eq!(json["patches"][0]["processes"]["pending"], 1);
    // Turned round, at once.
    stage.run("deactive HP1").exits(Done);
    assert!(machine.modules().is_empty());
    machine.is(Mood::Willing);
    stage.run("apply HP1").exits(Done);
    machine.is(Mood::Held);
    let ran = stage.run("deactive --timeout 0.05 HP1").exits(Failed);
    has(&ran, "task 78 (sleeper)");
    stage.run("list").says("ACTIVED");
    let ran = stage.run("deactive --lazy --timeout 0.05 HP1").exits(Partly);
    has(&ran, "on its way out");
}

/// Asks to stop at the third look.
#[derive(Debug, Default)]
struct Soon(AtomicU32);

impl StopRequest for Soon {
    fn asked(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 2
    }

    fn wait(&self, _: Duration) -> bool {
        self.asked()
    }
}

#[test]
fn an_interrupted_transition_is_turned_round() {
    let (mut stage, _) = stage();
    stage.backend.machine.is(Mood::Held);
    stage.stop = Box::new(Soon::default());
    stage.run("apply HP1").exits(Failed).warns("interrupted; it was turned round");
    assert!(stage.backend.machine.modules().is_empty());
}

#[test]
fn patches_beside_each_other() {
    let (stage, _) = stage();
    install(&stage, "HP2", 1, "vmlinux", "g");
    install(&stage, "HP3", 1, "vmlinux", "f");
    install(&stage, "HP4", 1, "vmlinux", "h");
    let machine = &stage.backend.machine;
    machine.begin("theirs", None, "vmlinux", "h", false);
    stage.run("apply HP1 HP2").exits(Done);
    stage.run("apply HP3").exits(Conflict).warns("linux-6.1-1/HP1 is active and replaces f of vmlinux too");
    stage.run("apply HP4").exits(Conflict).warns("theirs, a live patch that is not ours, replaces h");
    stage.run("list").exits(Done).says("theirs").says("FOREIGN");
    assert_eq!(stage.run("list --json").json()["foreign"][0]["module"], "theirs");
    stage.run("remove HP1 HP2").exits(Done);
    assert!(machine.path("sys/kernel/livepatch/theirs").exists() && machine.modules().is_empty());
}

#[test]
fn a_newer_version_goes_on_top_and_the_older_one_goes() {
    let (stage, old) = stage();
    stage.run("apply HP1").exits(Done);
    stage.run("accept HP1").exits(Done);
    let new = install(&stage, "HP1", 2, "vmlinux", "f");
    stage.run(&format!("apply {}", new.uuid)).exits(Done).says("ACCEPTED");
    let seen = stage.backend.machine.seen();
    assert!(seen.find(old.uuid).is_none() && seen.find(new.uuid).is_some());
    assert_eq!(stage.backend.machine.modules().len(), 1);
}

#[test]
fn a_newer_version_of_the_same_module_name_comes_after_the_older_one() {
    let (stage, old) = stage();
    stage.run("apply HP1").exits(Done);
    let dir = stage.root.path().join(paths::PATCHES).join("linux-2/HP1");
    let new = write_patch_as(&dir, "HP1", 2, "vmlinux", "f", false);
    stage.run(&format!("apply {}", new.uuid)).exits(Done).warns("has the same name");
    let seen = stage.backend.machine.seen();
    assert!(seen.find(old.uuid).is_none() && seen.find(new.uuid).is_some());
    assert_eq!(stage.run("list --json").json()["patches"].as_array().unwrap().len(), 2);
}

#[test]
fn what_was_killed_on_the_way_is_taken_up() {
    let (stage, manifest) = stage();
    let machine = &stage.backend.machine;
    let uuid = manifest.uuid.to_string();
    // Loaded, and the state knows nothing.
    machine.begin("upatch_HP1", Some(&uuid), "vmlinux", "f", false);
    stage.run("list").says("ACTIVED");
    stage.run("apply HP1").exits(Done);
    // The state is there, the module is not.
    fs::remove_dir_all(machine.path("sys/kernel/livepatch/upatch_HP1")).unwrap();
    fs::remove_dir_all(machine.path("sys/module/upatch_HP1")).unwrap();
    stage.run("list").says("NOT-APPLIED");
    stage.run("status").exits(Partly).says("should be ACTIVED and is not loaded");
    stage.run("accept HP1").exits(Failed).warns("the kernel does not have it");
    stage.run("doctor").exits(Failed).says("HP1: the kernel does not have it");
    stage.run("apply HP1").exits(Done).says("ACTIVED");
    // Out of force, and still loaded.
    fs::remove_dir_all(machine.path("sys/kernel/livepatch/upatch_HP1")).unwrap();
    stage.run("apply HP1").exits(Done).says("ACTIVED");
    fs::remove_dir_all(machine.path("sys/kernel/livepatch/upatch_HP1")).unwrap();
    stage.run("remove HP1").exits(Done);
    assert!(machine.modules().is_empty());
    // A module of another patch has the name.
    machine.begin("upatch_HP1", Some("01020304-0000-8000-8000-000000000000"), "vmlinux", "z", false);
    stage.run("apply HP1").exits(Conflict).warns("a module upatch_HP1 is loaded");
}

#[test]
fn a_patch_is_loaded_anew_so_that_its_module_can_come_again() {
    let (mut stage, _) = stage();
    install(&stage, "HP2", 1, "dummy", "f");
    stage.run("apply HP2").exits(Done).says("waits for the module").says("cannot be loaded again while");
    let patched = "sys/kernel/livepatch/upatch_HP2/dummy/patched";
    // It goes with the module that it is put in.
    let mark = "sys/module/upatch_HP2/mark";
    let machine = &stage.backend.machine;
    machine.write(mark, "");
    machine.write("sys/module/dummy/initstate", "live\n");
    machine.write(patched, "1\n");
    stage.run("apply HP2").exits(Done);
    assert!(machine.path(mark).exists(), "it is in force");
    fs::remove_dir_all(machine.path("sys/module/dummy")).unwrap();
    machine.write(patched, "0\n");
    for verb in ["info", "status"] {
        stage.run(&format!("{verb} HP2")).exits(Done).says("so does `upatch apply`");
    }
    stage.run("apply HP2").exits(Done).says("waits for the module");
    assert!(!machine.path(mark).exists());

    // A kernel that clears what it has filled in, whatever its version.
    machine.write("proc/kallsyms", "ffffffff81000000 T startup_64\nffffffff81000010 T clear_relocate_add\n");
    machine.write(mark, "");
    let ran = stage.run("apply HP2").exits(Done);
    assert!(machine.path(mark).exists() && !ran.out.contains("cannot be loaded again"), "{ran:?}");
    let ran = stage.run("info HP2").exits(Done);
    assert!(!ran.out.contains("cannot be loaded again"), "{ran:?}");

    fs::remove_file(machine.path("proc/kallsyms")).unwrap();
    stage.stop = Box::new(Soon::default());
    stage.run("daemon").says("HP2: patched the kernel");
    assert!(!stage.backend.machine.path(mark).exists());
}

#[test]
fn what_only_the_kernel_knows() {
    let (stage, manifest) = stage();
    stage.run("apply HP1").exits(Done);
    fs::remove_dir_all(stage.root.path().join(paths::PATCHES)).unwrap();
    stage.run("rescan").exits(Done).warns("its files are gone, but the kernel still runs it");
    stage.run("prune").exits(Done);
    stage.run("list").says("(files gone)");
    fs::remove_file(stage.state_file()).unwrap();
    stage.run(&format!("remove {}", manifest.uuid)).exits(Done);
    assert!(stage.backend.machine.modules().is_empty());
}

#[test]
fn accepted_patches_come_back_at_boot() {
    let (mut stage, manifest) = stage();
    stage.run("apply HP1").exits(Done);
    stage.run("accept HP1").exits(Done);
    let machine = &stage.backend.machine;
    fs::remove_dir_all(machine.path("sys/kernel/livepatch/upatch_HP1")).unwrap();
    fs::remove_dir_all(machine.path("sys/module/upatch_HP1")).unwrap();
    stage.boot = "boot-2";
    machine.write("proc/sys/kernel/osrelease", "6.12.0");
    stage.run("restore --accepted").exits(Done).says("NOT-APPLIED: is for Linux 6.1.0-57-amd64");
    stage.run("status").exits(Done).says("all is as it should be");
    machine.write("proc/sys/kernel/osrelease", super::fake_kernel::RELEASE);
    stage.stop = Box::new(Soon::default());
    stage.run("daemon").says("patched the kernel");
    let state = stage.run("list --json").json()["patches"][0]["state"].clone();
    assert_eq!(state, PatchState::Accepted.to_string());
    assert!(stage.backend.machine.seen().find(manifest.uuid).is_some());
}

#[test]
fn copies_of_patches_are_kept_as_long_as_their_kernel_is() {
    let stage = Stage::new([]);
    let dir = stage.root.path().join("elsewhere/HP9");
    let manifest = write_patch(&dir, "HP9", 1, "vmlinux", "f");
    stage.run(&format!("apply {}", dir.display())).exits(Done);
    fs::remove_dir_all(&dir).unwrap();
    stage.run("prune").exits(Done);
    stage.run("remove HP9").exits(Done);
    write_patch(&dir, "HP9", 1, "vmlinux", "f");
    stage.run(&format!("apply {}", dir.display())).exits(Done);
    stage.run("deactive HP9").exits(Done);
    stage.backend.machine.write("proc/sys/kernel/osrelease", "6.12.0");
    stage.run("prune").exits(Done).says("dropped");
    let _ = manifest;
}
