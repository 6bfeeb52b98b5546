//! Targets that the rebuild is not identical to: stripped, linked at other addresses, or another program.

use anyhow::{Result, ensure};
use tests::daemon;
use tests::package::{Built, Layout};
use tests::programs::{Made, make_patch, upatch_build};

/// The package as somebody else has built it: `change` is a shell command run in the sources.
fn shipped_with(change: &str) -> Result<Built> {
    let quoted = change.replace('%', "%%");
    Layout::new("hello-daemon")?
        .edit(|spec| Ok(spec.replace("%build\n", &format!("%build\n{quoted}\n"))))?
        .build(&[])
}

/// Makes the patch from the clean spec for that target.
fn make(target: &Built, patch: &str, args: &[&str]) -> Result<Made> {
    make_from(&Layout::new("hello-daemon")?, target, patch, args)
}

fn make_from(clean: &Layout, target: &Built, patch: &str, args: &[&str]) -> Result<Made> {
    let output = tempfile::tempdir()?;
    let ended = upatch_build()?
        .arg("--spec")
        .arg(&clean.spec)
        .arg("--patch")
        .arg(clean.patch(patch))
        .arg("--target")
        .arg(&target.rpm)
        .args(["--name", "F", "--no-cache", "--no-rpm", "--output"])
        .arg(output.path())
        .args(args)
        .run()?;
    Ok(Made { output, name: "F".into(), ended })
}

fn debuginfo(built: &Built) -> [String; 2] {
    ["--debuginfo".into(), built.debuginfo.to_string_lossy().into_owned()]
}

fn fidelity(made: &Made) -> Result<String> {
    let report = std::fs::read_to_string(made.output.path().join("report.yaml"))?;
    Ok(report.lines().filter(|l| l.contains("fidelity")).collect::<Vec<_>>().join("\n"))
}

/// A function more in a unit that the patch has nothing to do with: all addresses after it are others.
const SHIFT: &str = "sed -i '3i int shift_of_addresses(int x); int shift_of_addresses(int x) { return x * 31 \
 + x / 7; }' audit.c";

#[test]
fn a_stripped_target_with_other_addresses_needs_its_debuginfo() -> Result<()> {
    let target = shipped_with(SHIFT)?;
    let made = make(&target, "fix-exe", &[])?;
    let ended = made.ended.clone().expect_code(&[7])?.is_plain_error()?;
    ensure!(ended.stderr.contains("debuginfo"), "no hint at --debuginfo: {}", ended.account());
    made.nothing_written()?;
    let units = &made.report()?["units"];
    let counted = |what: &str| units[what].as_u64().unwrap_or_default();
    ensure!(counted("recorded") > 0 && counted("compiled") >= counted("recorded"), "not counted: {units:?}");

    let [option, file] = debuginfo(&target);
    let made = make(&target, "fix-exe", &[&option, &file])?;
    made.ended.clone().ok()?;
    ensure!(fidelity(&made)?.contains("equivalent"), "{}", fidelity(&made)?);
    daemon::multiplies(&target.root, "usr/bin/hello-daemon", &made.dir())
}

#[test]
fn debuginfo_of_another_build_is_refused() -> Result<()> {
    let target = shipped_with(SHIFT)?;
    let other = Layout::new("hello-daemon")?.build(&[])?;
    let [option, file] = debuginfo(&other);
    let made = make(&target, "fix-exe", &[&option, &file])?;
    made.ended.clone().expect_code(&[7])?.is_plain_error()?;
    made.nothing_written()
}

/// The function that the patch replaces is another one in the target: nobody knows what its fix is.
#[test]
fn a_replaced_function_that_differs_is_a_mismatch() -> Result<()> {
    let target = shipped_with("sed -i 's/width + height/width + height + 1/' area.c")?;
    let [option, file] = debuginfo(&target);
    let made = make(&target, "fix-exe", &[&option, &file])?;
    let ended = made.ended.clone().expect_code(&[7])?.is_plain_error()?;
    ensure!(ended.stderr.contains("area"), "the function is not named: {}", ended.account());
    made.nothing_written()
}

/// The shipped program was built with other flags.
#[test]
fn other_flags_are_a_mismatch() -> Result<()> {
    let target = Layout::new("hello-daemon")?
        .edit(|spec| Ok(spec.replace("%{optflags}", "%{optflags} -O1")))?
        .build(&[])?;
    let [option, file] = debuginfo(&target);
    let made = make(&target, "fix-both", &[&option, &file])?;
    made.ended.clone().expect_code(&[7])?.is_plain_error()?;
    made.nothing_written()
}

/// Not one address differs, only a string that the patch does not use: what a build stamp is like.
#[test]
fn a_stamp_in_the_data_is_equivalent() -> Result<()> {
    let target = shipped_with("sed -i 's/level error/LEVEL ERROR/' level.c")?;
    let made = make(&target, "fix-exe", &[])?;
    made.ended.clone().ok()?;
    ensure!(fidelity(&made)?.contains("equivalent"), "{}", fidelity(&made)?);
    daemon::multiplies(&target.root, "usr/bin/hello-daemon", &made.dir())
}

/// `%install` compiles and links all anew with other flags, as that of redis does, and a stamp takes more
/// room in the target: of the links that made another program, that of `%install` is the one to go by.
#[test]
fn what_install_linked_with_a_stamp_is_equivalent() -> Result<()> {
    let with_stamp = |stamp: &str| {
        let stamp =
            format!("\n%build\necho 'const char *stamp(void) {{ return \"{stamp}\"; }}' >> level.c\n");
        Layout::new("hello-daemon")?.edit(|spec| {
            let spec = spec.replace("\n%build\n", &stamp);
            Ok(spec.replace("\n%install\n", "\n%install\nmake -B CFLAGS='-O1 -g'\n"))
        })
    };
    let target = with_stamp("built on a host with a rather long name, which takes room")?.build(&[])?;
    let made = make_from(&with_stamp("built here")?, &target, "fix-exe", &[])?;
    made.ended.clone().ok()?;
    ensure!(fidelity(&made)?.contains("equivalent"), "{}", fidelity(&made)?);
    daemon::multiplies(&target.root, "usr/bin/hello-daemon", &made.dir())
}

/// The patch made for an identical target says so.
#[test]
fn identical_is_said() -> Result<()> {
    let target = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&target, &target.layout.patch("fix-exe"), "F", &["--no-rpm"])?;
    made.ended.clone().ok()?;
    ensure!(fidelity(&made)?.contains("identical"), "{}", fidelity(&made)?);
    daemon::multiplies(&target.root, "usr/bin/hello-daemon", &made.dir())
}

/// What the change itself is refused for stands for every target: it is not the target's fault.
#[test]
fn a_change_that_cannot_be_live_patched_is_refused_for_another_target_too() -> Result<()> {
    let target = shipped_with("sed -i 's/level error/a longer level error/' level.c")?;
    let made = make(&target, "struct-grown", &[])?;
    let ended = made.ended.clone().expect_code(&[4])?.is_plain_error()?;
    ensure!(ended.stderr.contains("layout of a structure changed"), "{}", ended.account());
    made.nothing_written()
}

/// A hard link and a copy, sorted before the name that the link has in the build: one target, whatever a
/// process was started as.
#[test]
fn a_program_with_several_names_is_one_target() -> Result<()> {
    let names = "ln %{buildroot}/usr/bin/hello-daemon %{buildroot}/usr/bin/a-link\n\
        cp %{buildroot}/usr/bin/hello-daemon %{buildroot}/usr/bin/b-copy\n";
    let target = Layout::new("hello-daemon")?
        .edit(|spec| {
            let spec = spec.replace("DESTDIR=%{buildroot}\n", &format!("DESTDIR=%{{buildroot}}\n{names}"));
            Ok(spec.replace("/usr/bin/hello-daemon\n/usr", "/usr/bin/*\n/usr"))
        })?
        .build(&[])?;
    let made = make_patch(&target, &target.layout.patch("fix-exe"), "F", &["--no-rpm", "--elf", "b-copy"])?;
    made.ended.clone().ok()?;
    ensure!(made.elfs()? == ["hello-daemon"], "{:?}", made.elfs()?);
    let manifest: serde_yaml::Value =
        serde_yaml::from_str(&std::fs::read_to_string(made.dir().join("manifest.yaml"))?)?;
    let elf = &manifest["elfs"][0];
    ensure!(elf["path"] == "/usr/bin/hello-daemon", "{manifest:?}");
    let also: Vec<&str> =
        elf["also"].as_sequence().into_iter().flatten().filter_map(|p| p.as_str()).collect();
    ensure!(
        also == ["/usr/bin/b-copy", "/usr/bin/a-link"] || also == ["/usr/bin/a-link", "/usr/bin/b-copy"],
        "{also:?}"
    );
    for name in ["hello-daemon", "a-link", "b-copy"] {
        daemon::multiplies(&target.root, &format!("usr/bin/{name}"), &made.dir())?;
    }
    Ok(())
}
