//! The templates of patch packages: filled in, they build, carry what other tools look for, and never fail a
//! transaction.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::{fs, path::Path, process::Command};

const VALUES: [(&str, &str); 18] = [
    ("NAME", "patch-redis-7.0.15-1-HP1"),
    ("PATCH_VERSION", "1"),
    ("PATCH_RELEASE", "1"),
    ("SUMMARY", "100%% of the fix"),
    ("DESCRIPTION", "two\nlines"),
    ("LICENSE", "BSD-3-Clause"),
    ("ARCH", "x86_64"),
    ("TARGET", "redis"),
    ("TARGET_EVR", "1:7.0.15-1"),
    ("CVE_PROVIDES", "Provides: upatch-cve(CVE-2025-1)\nProvides: CVE-2025-1"),
    ("NVR", "redis-7.0.15-1"),
    ("PATCH", "HP1"),
    ("DIRECTORY", "DIR"),
    ("SOURCES", "Source0: fix.patch\nSource1: redis-sources.tar"),
    ("ARCHIVE", "redis-sources.tar"),
    ("BUILD_REQUIRES", "BuildRequires: gcc"),
    ("SPEC", "redis.spec"),
    ("OPTIONS", "--patch \"$S\"/fix.patch --name HP1"),
];

fn fill(template: &str, dir: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpm").join(template);
    let mut text = fs::read_to_string(path).unwrap();
    for (name, value) in VALUES {
        let value = if value == "DIR" { dir.join("HP1").display().to_string() } else { value.to_owned() };
        text = text.replace(&format!("@{name}@"), &value);
    }
    let left: Vec<_> = text.lines().filter(|l| l.contains('@')).collect();
    assert!(left.is_empty(), "{left:?}");
    text
}

fn output(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn rpmbuild(dir: &Path, how: &str, template: &str) -> String {
    let spec = dir.join("patch.spec");
    fs::write(&spec, fill(template, dir)).unwrap();
    let top = format!("_topdir {}", dir.join("top").display());
    let out = output(Command::new("rpmbuild").args([how, "--target", "x86_64", "--define", &top]).arg(&spec));
    out.lines().find_map(|l| l.strip_prefix("Wrote: ")).unwrap().to_owned()
}

#[test]
fn patch_package() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("HP1")).unwrap();
    fs::write(dir.path().join("HP1/manifest.yaml"), "x").unwrap();
    // Contents that rpmbuild's own helpers would strip or complain of.
    for name in ["redis-server.upatch", "redis-server.upatch.debug"] {
        fs::copy("/bin/true", dir.path().join("HP1").join(name)).unwrap();
    }
    let rpm = rpmbuild(dir.path(), "-bb", "patch-package.spec.in");
    assert!(rpm.ends_with("patch-redis-7.0.15-1-HP1-1-1.x86_64.rpm"), "{rpm}");
    let query = |what: &str| output(Command::new("rpm").args(["-qp", what, &rpm]));
    let requires = query("--requires");
    assert!(requires.contains("redis = 1:7.0.15-1\n"), "{requires}");
    assert!(!requires.contains("libc.so"), "{requires}");
    let provides = query("--provides");
    for cve in ["upatch-cve(CVE-2025-1)", "CVE-2025-1"] {
        assert!(provides.lines().any(|l| l == cve), "{provides}");
    }
    let files = query("--list");
    let folder = "/usr/lib/upatch/patches/redis-7.0.15-1/HP1/";
    for name in ["redis-server.upatch\n", "redis-server.upatch.debug\n"] {
        assert!(files.contains(&format!("{folder}{name}")), "{files}");
    }
    assert!(!files.contains(".build-id"), "{files}");
    let shipped = dir.path().join("shipped");
    fs::create_dir(&shipped).unwrap();
    output(
        Command::new("sh").arg("-c").arg(format!("rpm2cpio {rpm} | cpio -id --quiet")).current_dir(&shipped),
    );
    for name in ["redis-server.upatch", "redis-server.upatch.debug"] {
        let shipped = shipped.join(folder.trim_start_matches('/')).join(name);
        assert_eq!(fs::read(shipped).unwrap(), fs::read("/bin/true").unwrap());
    }
}

/// Runs a scriptlet with a program named `upatch` that fails, and tells what that was called with.
fn scriptlet(dir: &Path, rpm: &str, tag: &str, left: &str) -> String {
    let body = output(Command::new("rpm").args(["-qp", "--queryformat", &format!("%{{{tag}}}"), rpm]));
    let bin = dir.join("bin");
    let calls = dir.join("calls");
    fs::create_dir_all(&bin).unwrap();
    fs::write(&calls, "").unwrap();
    let program = format!("#!/bin/sh\necho \"$*\" >> {}\nexit 3\n", calls.display());
    fs::write(bin.join("upatch"), program).unwrap();
    output(Command::new("chmod").arg("755").arg(bin.join("upatch")));
    let path = format!("{}:/usr/bin:/bin", bin.display());
    output(Command::new("sh").args(["-c", &body, "scriptlet", left]).env("PATH", path));
    fs::read_to_string(calls).unwrap()
}

#[test]
fn scriptlets_act_and_never_fail() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("HP1")).unwrap();
    fs::write(dir.path().join("HP1/manifest.yaml"), "x").unwrap();
    fs::write(dir.path().join("HP1/a.upatch"), "x").unwrap();
    let rpm = rpmbuild(dir.path(), "-bb", "patch-package.spec.in");
    assert_eq!(scriptlet(dir.path(), &rpm, "POSTIN", "1"), "apply redis-7.0.15-1/HP1\n");
    assert_eq!(scriptlet(dir.path(), &rpm, "POSTIN", "2"), "apply redis-7.0.15-1/HP1\n");
    assert_eq!(
        scriptlet(dir.path(), &rpm, "PREUN", "0"),
        "remove /usr/lib/upatch/patches/redis-7.0.15-1/HP1\n"
    );
    assert_eq!(scriptlet(dir.path(), &rpm, "PREUN", "1"), "", "an upgrade took the patch out");
}

#[test]
fn source_package() {
    let dir = tempfile::tempdir().unwrap();
    let sources = dir.path().join("top/SOURCES");
    fs::create_dir_all(&sources).unwrap();
    for file in ["redis-sources.tar", "fix.patch"] {
        fs::write(sources.join(file), "x").unwrap();
    }
    let rpm = rpmbuild(dir.path(), "-bs", "patch-source.spec.in");
    let files = output(Command::new("rpm").args(["-qp", "--list", &rpm]));
    assert_eq!(files, "fix.patch\npatch.spec\nredis-sources.tar\n");
    let requires = output(Command::new("rpm").args(["-qp", "--requires", &rpm]));
    assert!(requires.contains("upatch-build") && requires.contains("gcc"), "{requires}");
}

#[test]
fn the_projects_own_files_parse() {
    let rpm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpm");
    let names =
        output(Command::new("rpmspec").args(["-q", "--qf", "%{name}\n"]).arg(rpm.join("upatch.spec")));
    assert_eq!(names, "upatch\nupatch-build\n");
    let load = format!("--load={}", rpm.join("macros.upatch").display());
    let text = output(Command::new("rpm").args([&load, "-E", "%{upatch_post redis-1-1/HP1}"]));
    assert!(text.contains("upatch apply 'redis-1-1/HP1' || :"), "{text}");
}
