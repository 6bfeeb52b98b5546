//! What happens to packages, files and the service while patches are in force.

mod common;

use common::{
    PAIR, Target, compile,
    stage::{Stage, is_root, stage, until},
};
use patchfile::paths;
use std::fs;

fn active(test: &str) -> Stage {
    let stage = stage(test, PAIR);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    stage
}

fn serve(stage: &Stage) -> common::stage::Daemon {
    stage.serve_with(&mut stage.command("daemon --interval 0.2"))
}

#[test]
fn the_target_package_is_upgraded_and_installed_again() {
    if !is_root() {
        return;
    }
    let stage = active("upgraded");
    let _service = serve(&stage);
    let mut old = Target::start(&stage.program);
    assert_eq!(old.ask(), "11 22");
    // rpm puts a new file in place of the old one.
    let dir = stage.dir.path().join("new");
    fs::create_dir(&dir).unwrap();
    let newer = compile(&dir, "upgraded", &PAIR.replace("return 1;", "return 101;"), &[]);
    let kept = stage.dir.path().join("kept");
    fs::copy(&stage.program, &kept).unwrap();
    fs::rename(&newer, &stage.program).unwrap();
    let mut new = Target::start(&stage.program);
    assert_eq!((old.ask().as_str(), new.ask().as_str()), ("11 22", "101 2"));
    stage.run("status HP1").exits(0).says("ACTIVED: 1 patched, 0 pending, 0 refused");
    // Out of the old ones it comes as ever, and back again.
    stage.run("deactive HP1").exits(0).says("1 process back");
    assert_eq!(old.ask(), "1 2");
    stage.run("active HP1").exits(0);
    assert_eq!((old.ask().as_str(), new.ask().as_str()), ("11 22", "101 2"));
    drop(old);
    until("the patch is for nobody now", || stage.run("status HP1").out.contains("0 patched, 0 pending"));
    // The old build again, as a new file: it is watched within one look of the service.
    fs::rename(&kept, &stage.program).unwrap();
    let status = |text: &str| stage.run("status HP1").out.contains(text);
    until("the file is watched", || {
        let mut target = Target::start(&stage.program);
        target.ask() == "11 22" && status("file watched") | status("files watched")
    });
}

#[test]
fn the_files_of_an_active_patch_are_deleted() {
    if !is_root() {
        return;
    }
    let stage = active("deleted");
    let service = serve(&stage);
    let mut target = Target::start(&stage.program);
    assert_eq!(target.ask(), "11 22");
    let files = stage.root().join(paths::PATCHES).join("pair-1-1");
    fs::rename(&files, stage.dir.path().join("away")).unwrap();
    stage.run("list").exits(0).says("(files gone)");
    assert_eq!(target.ask(), "11 22");
    // A service that starts now cannot know the new code.
    drop(service);
    let service = serve(&stage);
    let mut later = Target::start(&stage.program);
    assert_eq!((target.ask().as_str(), later.ask().as_str()), ("11 22", "1 2"));
    stage.run("status HP1").says("its files are gone");
    // Installed again, they are read again.
    fs::rename(stage.dir.path().join("away"), &files).unwrap();
    until("it is applied to what it missed", || later.ask() == "11 22");
    fs::remove_dir_all(&files).unwrap();
    stage.run("remove HP1").exits(0);
    assert_eq!((target.ask().as_str(), later.ask().as_str()), ("1 2", "1 2"));
    drop(service);
    stage.run("list").exits(0);
    stage.run("status pair-1-1/HP1").exits(4);
}

#[test]
fn the_state_is_lost_or_cut_while_the_service_runs() {
    if !is_root() {
        return;
    }
    let stage = active("lost");
    let mut service = serve(&stage);
    let mut target = Target::start(&stage.program);
    let path = stage.root().join(paths::STATE).join("state.yaml");
    let whole = fs::read(&path).unwrap();
    for len in [None, Some(0), Some(whole.len() / 2), Some(whole.len() - 5)] {
        match len {
            None => fs::remove_file(&path).unwrap(),
            Some(len) => fs::write(&path, &whole[..len]).unwrap(),
        }
        stage.run("list").exits(0).says("ACTIVED  1 ");
        if len == Some(0) {
            // Killed at the same time.
            drop(service);
            service = serve(&stage);
        }
        let what = format!("it is rebuilt after a cut to {len:?} of {}", String::from_utf8_lossy(&whole));
        until(&what, || fs::read_to_string(&path).is_ok_and(|s| s.contains("ACTIVED")));
        assert_eq!(target.ask(), "11 22");
        let mut later = Target::start(&stage.program);
        until("later ones get it too", || later.ask() == "11 22");
    }
    stage.run("remove HP1").exits(0);
    assert_eq!(target.ask(), "1 2");
}

/// After a reboot the identity of the boot is another one; here it is the file that says so.
#[test]
fn a_reboot() {
    if !is_root() {
        return;
    }
    let stage = active("reboot");
    let path = stage.root().join(paths::STATE).join("state.yaml");
    let reboot = || {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|l| if l.starts_with("boot:") { "boot: before" } else { l });
        let text: Vec<_> = lines.collect();
        fs::write(&path, text.join("\n")).unwrap();
        fs::remove_dir_all(stage.root().join(paths::RUN)).unwrap();
    };
    reboot();
    let service = stage.serve();
    assert_eq!(Target::start(&stage.program).ask(), "1 2", "it was not accepted");
    stage.run("list").exits(0).says("NOT-APPLIED");
    stage.run("apply HP1").exits(0);
    stage.run("accept HP1").exits(0).says("ACCEPTED");
    drop(service);
    reboot();
    let _service = stage.serve();
    assert_eq!(Target::start(&stage.program).ask(), "11 22");
    stage.run("list").exits(0).says("ACCEPTED");
    stage.run("restore --accepted").exits(0);
}

/// A package is upgraded: the directory holds the next version, and the scriptlet applies it.
#[test]
fn the_next_version_of_a_patch() {
    if !is_root() {
        return;
    }
    let stage = active("version");
    let _service = serve(&stage);
    let mut target = Target::start(&stage.program);
    assert_eq!(target.ask(), "11 22");
    fs::remove_dir_all(stage.root().join(paths::PATCHES)).unwrap();
    stage.install("HP1", 111, 222);
    stage.run("apply HP1").exits(0);
    assert_eq!(target.ask(), "111 222");
    assert_eq!(Target::start(&stage.program).ask(), "111 222");
    stage.run("status HP1").exits(0).says("1 patched");
    stage.run("deactive HP1").exits(0);
    assert_eq!(target.ask(), "1 2");
    assert_eq!(Target::start(&stage.program).ask(), "1 2");
}

/// What a hook says that is called when all is done changes nothing, but is told.
#[test]
fn a_hook_that_fails_when_the_old_code_is_back() {
    use common::image::{Elf, image, returns};
    use patchfile::image::{Hook, HookPoint};
    if !is_root() {
        return;
    }
    let stage = stage("afterwards", PAIR);
    let mut image = image(&Elf::read(&stage.program), vec![returns("one", 11), returns("two", 22)], false);
    // The function returns 11, which is not 0.
    image.hooks = vec![Hook { when: HookPoint::PostUnapply, address: image.redirects[0].new }];
    let at = stage.root().join(paths::PATCHES).join("pair-1-1/HP1");
    stage.patch_with(&stage.program, &at, "HP1", &image);
    let mut target = Target::start(&stage.program);
    stage.run("apply HP1").exits(0);
    assert_eq!(target.ask(), "11 22");
    stage.run("deactive HP1").exits(0).warns("refused with 11 (post-unapply)");
    assert_eq!(target.ask(), "1 2");
    stage.run("log").says("warning: the old code is back, but");
}
