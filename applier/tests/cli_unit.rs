//! The service as its unit file makes it run, under a real systemd, and under what a unit file must not do to
//! it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    compile, skipped,
    stage::{Ran, Stage, UPATCH, is_root, stage, until},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Says on a line of a file, again and again, what it runs. With an argument, under a filter that it has set
/// up itself.
const VICTIM: &str = r#"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(int argc, char **argv)
{
    char text[32];
    int fd = open(argv[1], O_CREAT | O_WRONLY, 0644);
    struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog filter = { 1, allow };
    if (argc > 2) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 1;
    }
    for (;; usleep(10000)) pwrite(fd, text, snprintf(text, sizeof text, "%2d %2d\n", one(), two()), 0);
}
"#;

/// Executes its arguments under a seccomp filter.
const FILTERED: &str = r#"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog filter = { 1, allow };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 1;
    return execv(argv[1], argv + 1);
}
"#;

fn unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpm/upatch.service")).unwrap()
}

/// Directives with which systemd installs a filter (systemd.exec(5): those that imply `NoNewPrivileges=`).
const FILTERS: [&str; 13] = [
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "PrivateDevices",
    "ProtectClock",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
];

#[test]
fn the_unit_has_no_directive_that_installs_a_filter() {
    let unit = unit();
    let directives = unit.lines().filter_map(|l| Some(l.split_once('=')?.0)).filter(|d| !d.starts_with('#'));
    let bad: Vec<_> = directives.filter(|d| FILTERS.contains(d) || d.starts_with("SystemCall")).collect();
    assert!(bad.is_empty(), "{bad:?}: then nothing that has a filter itself can be patched");
}

struct Victim(Child, PathBuf);

impl Victim {
    fn start(stage: &Stage, name: &str, args: &[&str]) -> Self {
        let file = stage.dir.path().join(name);
        let child = Command::new(&stage.program).arg(&file).args(args).spawn().unwrap();
        let victim = Self(child, file);
        until("it runs", || victim.says(" 1  2"));
        victim
    }

    fn says(&self, text: &str) -> bool {
        fs::read_to_string(&self.1).is_ok_and(|said| said.trim_end() == text)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn under_a_filter_of_its_own_the_reason_is_that_one() {
    if !is_root() {
        return;
    }
    let stage = stage("filtered", VICTIM);
    stage.install("HP1", 11, 22);
    let filtered = compile(stage.dir.path(), "filter", FILTERED, &[]);
    let run = |line: &str| -> Ran {
        let mut command = Command::new(&filtered);
        command.arg(UPATCH).arg("--root").arg(stage.root()).args(line.split_whitespace());
        command.output().unwrap().into()
    };
    let (plain, hardened) = (Victim::start(&stage, "plain", &[]), Victim::start(&stage, "hard", &["filter"]));
    let reason = "this upatch has one too";
    run(&format!("apply HP1 --pid {}", hardened.0.id())).exits(7).warns(reason);
    run("apply HP1").exits(3).warns(reason);
    until("what has no filter is patched", || plain.says("11 22"));
    run("remove HP1").exits(0);

    // The same of the service, where one starts that has it from the beginning.
    let mut daemon = Command::new(&filtered);
    daemon.arg(UPATCH).arg("--root").arg(stage.root()).args(["daemon", "--interval", "0.2"]);
    drop(hardened);
    stage.run("apply HP1").exits(0);
    let service = stage.serve_with(daemon.stderr(Stdio::null()));
    let file = stage.dir.path().join("first");
    let mut command = Command::new(&filtered);
    let hardened = Victim(command.arg(&stage.program).arg(&file).spawn().unwrap(), file);
    until("it is refused for the true reason", || {
        let status = stage.run("status HP1").out;
        status.contains("refused") && status.contains(reason)
    });
    assert!(hardened.says(" 1  2"));
    drop(service);
    // Without the filter it works at once.
    stage.run("apply HP1").exits(0);
    until("it is patched", || hardened.says("11 22"));
}

/// As distributions harden their services.
const HARDENED: &str = "NoNewPrivileges=yes\nPrivateDevices=yes\nPrivateTmp=yes\nProtectKernelTunables=yes\nProtectKernelModules=yes\n\
    ProtectClock=yes\nRestrictAddressFamilies=AF_UNIX\nRestrictNamespaces=yes\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\n\
    SystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged \
    @resources\nUser=nobody\n";

/// Boots a systemd on this system's /usr that runs `script` and then ends. Gives what the script has written
/// to `/stage/log`.
fn boot(stage: &Stage, script: &str) -> Option<String> {
    let dir = stage.dir.path();
    let units = dir.join("units");
    fs::create_dir_all(&units).unwrap();
    let put = |name: &str, text: &str| fs::write(units.join(name), text).unwrap();
    put("upatch.service", &unit().replace("/usr/bin/upatch", "/stage/upatch"));
    let program = stage.program.file_name().unwrap().to_str().unwrap();
    for name in ["before", "after"] {
        put(
            &format!("{name}.service"),
            &format!("[Service]\nExecStart=/stage/{program} /stage/said/{name}\n{HARDENED}"),
        );
    }
    put(
        "script.service",
        "[Unit]\nFailureAction=poweroff-force\nSuccessAction=poweroff-force\n[Service]\nType=oneshot\n\
        StandardOutput=file:/stage/log\nStandardError=inherit\nTimeoutStartSec=60\nExecStart=/bin/sh -e \
        /stage/script\n",
    );
    put("test.target", "[Unit]\nRequires=script.service\n");
    fs::write(dir.join("script"), script).unwrap();
    fs::copy(UPATCH, dir.join("upatch")).unwrap();
    fs::create_dir_all(dir.join("said")).unwrap();
    for (path, mode) in [("", 0o755), ("said", 0o777), ("upatch", 0o755)] {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "90", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit"]);
    command.args(["--directory=/", "--volatile=yes", "--capability=all", "--console=pipe"]);
    command.arg(format!("--bind-ro={}:/etc/systemd/system", units.display()));
    command.arg(format!("--bind={}:/stage", dir.display()));
    command.args(["--boot", "--", "systemd.unit=test.target"]);
    // The filter is that of nspawn, which would act on everything inside.
    let said = command.env("SYSTEMD_SECCOMP", "0").stdin(Stdio::null()).output();
    let Ok(said) = said else {
        skipped("no timeout(1)");
        return None;
    };
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    if log.is_empty() {
        let why = String::from_utf8_lossy(&said.stderr).lines().last().unwrap_or_default().to_owned();
        skipped(&format!("no systemd boots here in a container of systemd-nspawn: {why}"));
        return None;
    }
    Some(log)
}

#[test]
fn hardened_services_are_patched_under_a_real_systemd() {
    if !is_root() {
        return;
    }
    let stage = stage("unit", VICTIM);
    let out = stage.dir.path().join("HP1");
    let inside = Path::new("/stage").join(stage.program.file_name().unwrap());
    stage.patch_of(&inside, &out, "HP1", 11, 22);
    let script = "\
        echo begins\n\
        says() { for i in $(seq 200); do [ \"$(cat /stage/said/$1 2>&1)\" = \"$2\" ] && return; sleep 0.05; \
        done; echo \"$1 says $(cat /stage/said/$1), not $2\"; }\n\
        /stage/upatch apply /stage/HP1\n\
        systemctl start before.service\n\
        says before ' 1  2'\n\
        systemctl start upatch.service\n\
        grep Seccomp: /proc/$(systemctl show -P MainPID upatch.service)/status\n\
        says before '11 22'\n\
        systemctl start after.service\n\
        says after '11 22'\n\
        grep Seccomp: /proc/$(systemctl show -P MainPID after.service)/status\n\
        /stage/upatch status HP1\n\
        /stage/upatch remove HP1\n\
        says before ' 1  2'\n\
        says after ' 1  2'\n\
        echo ends\n";
    let Some(log) = boot(&stage, script) else { return };
    // Give what was mounted time to go.
    thread::sleep(Duration::from_millis(10));
    assert!(log.ends_with("ends\n"), "{log}");
    assert!(!log.contains(" says "), "{log}");
    assert!(
        log.contains("2 patched, 0 pending, 0 refused") && log.contains("patches processes before they run"),
        "{log}"
    );
    let seccomp: Vec<_> = log.lines().filter(|l| l.starts_with("Seccomp:")).collect();
    assert_eq!(seccomp, ["Seccomp:\t0", "Seccomp:\t2"], "{log}");
}
