//! The service as a service: capabilities, watchdog, its fallback, and what it costs.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    PAIR, Target, compile,
    stage::{Stage, UPATCH, is_root, output, stage, until},
};
use patchfile::paths;
use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// The capabilities in the unit file, as setpriv(1) wants them.
fn capabilities(without: &[&str]) -> String {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpm/upatch.service");
    let unit = fs::read_to_string(unit).unwrap();
    let line = unit.lines().find_map(|l| l.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let caps = line.split(' ').map(|c| c.strip_prefix("CAP_").unwrap().to_lowercase());
    let caps = caps.filter(|c| !without.contains(&c.as_str())).map(|c| format!(",+{c}"));
    format!("-all{}", caps.collect::<String>())
}

/// The service with the unit's capabilities and no others.
fn confined(stage: &Stage, without: &[&str], interval: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--no-new-privs").arg(format!("--bounding-set={}", capabilities(without)));
    command.arg(UPATCH).arg("--root").arg(stage.root()).args(["daemon", "--interval", interval]);
    command
}

#[test]
fn the_units_capabilities_are_enough() {
    if !is_root() || Command::new("setpriv").arg("-V").output().is_err() {
        return;
    }
    let stage = stage("caps", PAIR);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    fs::set_permissions(stage.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (nobody, mut before) = (65534, Vec::new());
    for uid in [0, nobody] {
        let mut command = Command::new(&stage.program);
        before.push(Target::start_with(command.uid(uid).gid(uid)));
    }
    let _service = stage.serve_with(&mut confined(&stage, &[], "600"));
    for target in &mut before {
        until("processes of every user are patched", || target.ask() == "11 22");
    }
    for uid in [0, nobody] {
        let mut command = Command::new(&stage.program);
        let mut target = Target::start_with(command.uid(uid).gid(uid));
        assert_eq!(target.ask(), "11 22", "user {uid}");
    }
    stage.run("status HP1").exits(0).says("2 patched, 0 pending, 0 refused").says("before they run");
}

/// Says `changed` to the service on the socket that it is given, and prints the answer.
const CALLER: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char answer[16];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		return puts("no connection"), 0;
	/* The other side may have closed it. */
	send(fd, "changed\n", 8, MSG_NOSIGNAL);
	ssize_t n = recv(fd, answer, sizeof answer, 0);
	printf("%.*s", n > 0 ? (int)n : 0, answer);
}
"#;

#[test]
fn the_socket_is_for_root_and_who_calls_is_looked_at() {
    if !is_root() {
        return;
    }
    let stage = stage("socket", PAIR);
    let caller = compile(stage.dir.path(), "caller", CALLER, &[]);
    let _service = stage.serve();
    let socket = stage.root().join(paths::RUN).join("socket");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing but the socket itself is in the way.
    for folder in socket.ancestors().skip(1).take_while(|folder| folder.starts_with(stage.dir.path())) {
        mode(folder, 0o755);
    }
    let answer = |uid| output(Command::new(&caller).arg(&socket).uid(uid).gid(uid));
    let nobody = 65534;
    assert_eq!((answer(0).as_str(), answer(nobody).as_str()), ("done\n", "no connection\n"));
    // Somebody let them in.
    mode(&socket, 0o666);
    assert_eq!((answer(nobody).as_str(), answer(0).as_str()), ("", "done\n"));
}

#[test]
fn where_the_kernel_does_not_hold_processes_they_are_looked_for() {
    if !is_root() || Command::new("setpriv").arg("-V").output().is_err() {
        return;
    }
    let stage = stage("polls", PAIR);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let _service = stage.serve_with(&mut confined(&stage, &["sys_admin"], "0.2"));
    let mut target = Target::start(&stage.program);
    until("it is found", || target.ask() == "11 22");
    stage.run("status HP1").exits(0).says("looks for new processes every 0.2 s").says("fanotify");
    let json = stage.run("status HP1 --json").out;
    assert!(json.contains("\"polled\""), "{json}");
}

#[test]
fn the_watchdog_is_told_in_time() {
    if !is_root() {
        return;
    }
    let stage = stage("watchdog", PAIR);
    let socket = stage.dir.path().join("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = stage.command("daemon --interval 600");
    let _service = stage.serve_with(command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000"));
    let next = || {
        let mut message = [0; 64];
        // With a timeout set, a wait is not taken up again after whatever interrupts it.
        let n = loop {
            match listener.recv(&mut message) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.unwrap(),
            }
        };
        String::from_utf8(message[..n].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// Resident memory in KiB and processor time in clock ticks.
fn cost(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap().split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    (rss.trim().trim_end_matches(" kB").parse().unwrap(), fields[11] + fields[12])
}

/// The bars: 10 MB and 0 % with 100 patches. Of one processor second, the kernel counts hundredths.
#[test]
fn idle_with_a_hundred_patches() {
    if !is_root() {
        return;
    }
    let stage = stage("idle", PAIR);
    for i in 0..100 {
        stage.install(&format!("HP{i}"), 100 + i, 200 + i);
    }
    let all: Vec<_> = (0..100).map(|i| format!("HP{i}")).collect();
    stage.run(&format!("apply {}", all.join(" "))).exits(0);
    // As users run it, where that has been built: a program for debugging is several times the size.
    let released = std::env::var_os("UPATCH_RELEASED").map(PathBuf::from);
    let bar = if released.is_some() { 10_000 } else { 16_000 };
    let mut command = Command::new(released.as_deref().unwrap_or(Path::new(UPATCH)));
    let service = stage.serve_with(command.arg("--root").arg(stage.root()).arg("daemon"));
    let mut target = Target::start(&stage.program);
    assert_eq!(target.ask(), "199 299");
    std::thread::sleep(Duration::from_secs(2));
    let before = cost(service.0.id());
    std::thread::sleep(Duration::from_secs(4));
    let (rss, ticks) = cost(service.0.id());
    eprintln!("resident {rss} KiB, {} ticks in 4 s", ticks - before.1);
    assert!(rss < bar, "{rss} KiB");
    assert!(ticks - before.1 <= 2, "{} ticks", ticks - before.1);
}

#[test]
fn one_service_at_a_time() {
    if !is_root() {
        return;
    }
    let stage = stage("alone", PAIR);
    let service = stage.serve();
    let pid = service.0.id();
    stage.run("daemon").exits(1).warns("another one serves already").warns(&pid.to_string());
    // One that is ending is waited for.
    let other = stage.command("daemon --interval 600");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut other = other;
            stage.serve_with(&mut other)
        });
        std::thread::sleep(Duration::from_millis(300));
        drop(service);
        waiting.join().unwrap()
    });
    stage.run("list").exits(0);
    drop(waiting);
    // Nor is a directory believed that others may write to.
    let run = stage.root().join(patchfile::paths::RUN);
    fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    stage.run("daemon").exits(7).warns("others may write to it");
    stage.run("apply HP1").exits(7);
}

/// Clients that say nothing, that never stop, and no descriptor to take another one.
#[test]
fn clients_without_manners_hold_nobody_up() {
    if !is_root() {
        return;
    }
    let stage = stage("manners", PAIR);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let service = stage.serve();
    let pid = service.0.id();
    let socket = stage.root().join(paths::RUN).join("socket");
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let talker = UnixStream::connect(&socket).unwrap();
    let talking = std::thread::spawn(move || while (&talker).write_all(&[b'c'; 4096]).is_ok() {});
    stage.run("deactive HP1").exits(0);
    // It is obeyed at once, not at the next look in ten minutes.
    assert_eq!(Target::start(&stage.program).ask(), "1 2");
    drop(silent);
    talking.join().unwrap();

    let files = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = |most: &str| {
        let command = ["--pid", &pid.to_string(), &format!("--nofile={most}:")];
        assert!(Command::new("prlimit").args(command).status().unwrap().success());
    };
    let used = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    until("those that have gone are forgotten", || files() < 30);
    limit("3");
    let _waiting: Vec<_> = (0..5).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let before = used();
    std::thread::sleep(Duration::from_millis(500));
    assert!(used() - before < 25, "it turns round and round");
    limit("1024");
    stage.run("active HP1").exits(0);
    assert_eq!(Target::start(&stage.program).ask(), "11 22");
}
