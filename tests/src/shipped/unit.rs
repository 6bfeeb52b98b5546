//! A service under its own unit, with the hardening that the unit has, patched by `upatch.service`: in a
//! container that sees this system's files with the packages installed, and keeps nothing.

use super::fetch::Fetched;
use super::{Entry, Outcome};
use crate::paths::{program, repository};
use crate::run::Cmd;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Makes the root of the container and boots it. Arguments: the stage, where all that goes in and comes out
/// is.
const BOOT: &str = r#"set -e
stage=$1; mkdir "$stage/t"; mount -t tmpfs tmpfs "$stage/t"; cd "$stage/t"; mkdir up work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$PWD/up,workdir=$PWD/work" root
rm -rf root/etc/systemd/system; mkdir root/etc/systemd/system; cp "$stage"/units/* root/etc/systemd/system/
mkdir -p root/stage; rm -f root/etc/machine-id; : > root/etc/machine-id
# The filter that this turns off is one of the container, which would act on everything inside.
SYSTEMD_SECCOMP=0 exec timeout --kill-after=5 280 systemd-nspawn --quiet --register=no --keep-unit \
    --directory="$PWD/root" --private-network --capability=all --console=pipe --bind="$stage:/stage" \
    --boot -- systemd.unit=test.target"#;

/// Ends the container with itself.
const SCRIPT_UNIT: &str = "[Unit]\nFailureAction=poweroff-force\nSuccessAction=poweroff-force\n\
    [Service]\nType=oneshot\nStandardOutput=file:/stage/log\nStandardError=inherit\n\
    TimeoutStartSec=270\nExecStart=/bin/bash /stage/script\n";

/// What runs inside, after a line that names the unit and a function that makes it work.
const SCRIPT: &str = r#"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
look() {
    for _ in $(seq 20); do probe > "/stage/$1" 2>&1 && break; sleep 0.5; done
    /stage/upatch status PATCH > "/stage/$1.status" 2>&1
    systemctl show -P MainPID "$unit" > "/stage/$1.pid"
    grep Seccomp: "/proc/$(cat "/stage/$1.pid")/status" | tr -dc 0-9 > "/stage/$1.seccomp"
}
patched() {
    for _ in $(seq 100); do
        /stage/upatch status PATCH 2>&1 | grep -q ' [1-9][0-9]* patched' && return
        sleep 0.1
    done
}
dpkg -i --force-all /stage/debs/*.deb > /stage/dpkg.log 2>&1
setup
/stage/upatch apply /stage/PATCH
systemctl start "$unit" || systemctl status --no-pager "$unit"
look before
systemctl start upatch.service; patched
look with
systemctl restart "$unit"; patched
look restarted
/stage/upatch remove PATCH
look after
echo ends
"#;

/// Tries the patch in the unit of the entry, if it has one.
pub(super) fn under_unit(entry: &Entry, fetched: &Fetched, outcome: &mut Outcome) -> Result<()> {
    let Some(unit) = &entry.unit else { return Ok(()) };
    let stage = tempfile::tempdir()?;
    let dir = stage.path();
    fs::create_dir(dir.join("units"))?;
    let service = fs::read_to_string(repository().join("rpm/upatch.service"))?;
    fs::write(dir.join("units/upatch.service"), service.replace("/usr/bin/upatch", "/stage/upatch"))?;
    fs::write(dir.join("units/script.service"), SCRIPT_UNIT)?;
    fs::write(dir.join("units/test.target"), "[Unit]\nRequires=script.service\n")?;
    fs::write(
        dir.join("script"),
        format!(
            "unit='{}'\nsetup() {{\n:\n{}\n}}\nprobe() {{\n{}\n}}\n{SCRIPT}",
            unit.name, unit.setup, unit.probe
        ),
    )?;
    let copy = |from: &Path, to: &str| Cmd::new("cp").arg("-a").arg(from).arg(dir.join(to)).run()?.ok();
    copy(&program("upatch")?, "upatch")?;
    copy(&fetched.place.join("PATCH"), "PATCH")?;
    copy(&fetched.place.join("debs"), "debs")?;
    let boot = Cmd::new("unshare").args(["--mount", "bash", "-c", BOOT, "boot"]).arg(dir);
    let ended = boot.limit(Duration::from_secs(300)).run()?;
    let said = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    if !said("log").ends_with("ends\n") {
        outcome.under_unit = format!("not tried: {}", said("log").lines().last().unwrap_or("does not boot"));
        fs::write(fetched.place.join("unit.log"), said("log") + &said("dpkg.log") + &ended.stderr)?;
        return Ok(());
    }
    outcome.under_unit = judge(&said).context("unit")?;
    let stages = ["before", "with", "restarted", "after"];
    let all = stages.map(|s| format!("== {s}\n{}\n{}", said(s), said(&format!("{s}.status"))));
    fs::write(fetched.place.join("unit.log"), all.concat() + &said("log"))?;
    Ok(())
}

/// What the files say that the script has left.
fn judge(said: &impl Fn(&str) -> String) -> Result<String> {
    let before = said("before");
    if before.trim().is_empty() || before != said("after") {
        return Ok("WRONG: the service does not answer, or not as before".into());
    }
    for stage in ["with", "restarted"] {
        if said(stage) != before {
            return Ok(format!("WRONG: {stage} the patch it answers something else"));
        }
        let status = said(&format!("{stage}.status"));
        if !status.contains(" patched") || status.contains(" 0 patched") {
            return Ok(format!("{stage}: not patched"));
        }
    }
    if said("before.pid") != said("with.pid") {
        return Ok("WRONG: the process was not the same".into());
    }
    let filter = if said("with.seccomp") == "2" { "with a seccomp filter" } else { "no seccomp filter" };
    Ok(format!("patched, and again after a restart; {filter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(with: &str, status: &str, after: &str) -> String {
        let said = |name: &str| {
            let text = match name {
                "with" => with,
                "after" => after,
                "with.status" | "restarted.status" => status,
                "with.seccomp" => "2",
                name if name.ends_with(".pid") => "7",
                _ => "answer",
            };
            text.to_owned()
        };
        judge(&said).unwrap()
    }

    #[test]
    fn an_answer_that_is_another_is_wrong_and_one_without_the_patch_is_no_success() {
        let patched = "ID: ACTIVED: 2 patched, 0 pending, 0 refused";
        assert_eq!(
            judged("answer", patched, "answer"),
            "patched, and again after a restart; with a seccomp filter"
        );
        assert!(judged("other", patched, "answer").starts_with("WRONG"));
        assert!(judged("answer", patched, "other").starts_with("WRONG"));
        assert_eq!(
            judged("answer", "ID: ACTIVED: 0 patched, 2 pending, 0 refused", "answer"),
            "with: not patched"
        );
    }
}
