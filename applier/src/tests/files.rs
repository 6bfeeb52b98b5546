use crate::tests::fake::{Stage, process};
use patchfile::exit::ManageExit::{DoesNotFit, Done, NotPermitted};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_damaged_patch_is_noticed_before_anything_is_touched() {
    type Damage = fn(&std::path::Path);
    let damage: [(&str, Damage); 4] = [
        ("its digest is", |d| {
            let mut bytes = fs::read(d.join("daemon1.upatch")).unwrap();
            bytes[100] ^= 1;
            fs::write(d.join("daemon1.upatch"), bytes).unwrap();
        }),
        ("no such file", |d| fs::remove_file(d.join("daemon1.upatch")).unwrap()),
        ("was changed after it was made", |d| {
            let text = fs::read_to_string(d.join("manifest.yaml")).unwrap();
            fs::write(d.join("manifest.yaml"), text.replace("a fix", "a trick")).unwrap();
        }),
        ("format version 9", |d| {
            let text = fs::read_to_string(d.join("manifest.yaml")).unwrap();
            fs::write(d.join("manifest.yaml"), text.replace("format: 1", "format: 9")).unwrap();
        }),
    ];
    for (why, damage) in damage {
        let stage = Stage::new([process(10, 1)]);
        let uuid = stage.install("HP1", &[1]).uuid;
        damage(&stage.directory("HP1"));
        let dir = stage.directory("HP1");
        for id in ["HP1", "pkg-1-1/HP1", dir.to_str().unwrap()] {
            stage.run(&format!("apply {id}")).exits(DoesNotFit).warns(why);
            stage.run(&format!("check {id}")).exits(DoesNotFit).warns(why);
        }
        assert!(!stage.backend.runs(10, uuid));
        assert!(!stage.root.path().join("var/lib/upatch/patches").exists());
        stage.run("list").exits(Done);
    }
}

#[test]
fn one_that_others_may_write_is_not_trusted() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    let file = stage.directory("HP1").join("daemon1.upatch");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    stage.run("apply HP1").exits(NotPermitted).warns("everybody may write to it");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(stage.directory("HP1"), fs::Permissions::from_mode(0o777)).unwrap();
    stage.run("apply HP1").exits(NotPermitted);
    assert!(!stage.backend.runs(10, uuid));
    stage.run("list").exits(Done).warns("not listed").warns("everybody may write to it");
}

#[test]
fn a_state_that_cannot_be_written_changes_nothing() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    // A directory where the scratch file goes.
    let scratch = format!("var/lib/upatch/.state.yaml.{}", std::process::id());
    fs::create_dir_all(stage.root.path().join(scratch)).unwrap();
    stage.run("apply HP1").exits(patchfile::exit::ManageExit::Failed).warns("state.yaml");
    assert!(!stage.backend.runs(10, uuid));
}
