//! System calls that are under way when the threads are stopped: none gives an EINTR that would not have
//! come.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::Options;
use common::{Target, compile, image::pair_patch};

/// Name, preparation and call of threads that wait in everything that a stop could interrupt.
const WAITERS: &[(&str, &str, &str)] = &[
    ("epoll_wait", "int e = epoll_create1(0); struct epoll_event v", "epoll_wait(e, &v, 1, -1)"),
    ("epoll_timeout", "int e = epoll_create1(0); struct epoll_event v", "epoll_wait(e, &v, 1, 30)"),
    (
        "epoll_pwait",
        "int e = epoll_create1(0); struct epoll_event v; sigset_t s; sigemptyset(&s)",
        "epoll_pwait(e, &v, 1, -1, &s)",
    ),
    (
        "sigtimedwait",
        "sigset_t s; siginfo_t i; struct timespec t = { 100, 0 }; sigemptyset(&s); sigaddset(&s, SIGUSR2)",
        "sigtimedwait(&s, &i, &t)",
    ),
    ("semop", "int id = semget(IPC_PRIVATE, 1, 0600); struct sembuf o = { 0, -1, 0 }", "semop(id, &o, 1)"),
    (
        "msgrcv",
        "int id = msgget(IPC_PRIVATE, 0600); struct { long t; char c[8]; } m",
        "msgrcv(id, &m, 8, 0, 0)",
    ),
    (
        "recv_timeout",
        "int s[2]; char c; struct timeval t = { 100, 0 }; socketpair(AF_UNIX, SOCK_STREAM, 0, s); \
         setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t)",
        "recv(s[0], &c, 1, 0)",
    ),
    ("recv", "int s[2]; char c; socketpair(AF_UNIX, SOCK_STREAM, 0, s)", "recv(s[0], &c, 1, 0)"),
    ("inotify", "int i = inotify_init(); char b[512]", "read(i, b, sizeof b)"),
    ("pipe", "int p[2]; char c; if (pipe(p)) return 0", "read(p[0], &c, 1)"),
    ("poll", "int p[2]; if (pipe(p)) return 0; struct pollfd f = { p[0], POLLIN, 0 }", "poll(&f, 1, -1)"),
    (
        "poll_timeout",
        "int p[2]; if (pipe(p)) return 0; struct pollfd f = { p[0], POLLIN, 0 }",
        "poll(&f, 1, 100000)",
    ),
    ("ppoll", "struct timespec t = { 100, 0 }", "ppoll(0, 0, &t, 0)"),
    (
        "select",
        "struct timeval t; fd_set s; FD_ZERO(&s)",
        "(t.tv_sec = 100, t.tv_usec = 0, select(0, &s, 0, 0, &t))",
    ),
    ("nanosleep", "struct timespec t = { 100, 0 }", "nanosleep(&t, 0)"),
    (
        "sem_timedwait",
        "sem_t s; struct timespec t; sem_init(&s, 0, 0); clock_gettime(CLOCK_REALTIME, &t); t.tv_sec += 100",
        "sem_timedwait(&s, &t)",
    ),
    (
        "recvmsg_timeout",
        "int s[2]; char c; struct iovec v = { &c, 1 }; struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 }; \
         struct timeval t = { 100, 0 }; socketpair(AF_UNIX, SOCK_DGRAM, 0, s); setsockopt(s[0], SOL_SOCKET, \
         SO_RCVTIMEO, &t, sizeof t)",
        "recvmsg(s[0], &m, 0)",
    ),
    (
        "recvmmsg_timeout",
        "int s[2]; char c; struct iovec v = { &c, 1 }; struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, \
         .msg_iovlen = 1 } }; struct timeval t = { 100, 0 }; socketpair(AF_UNIX, SOCK_DGRAM, 0, s); \
         setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t)",
        "recvmmsg(s[0], &m, 1, 0, 0)",
    ),
    // Where it is not allowed, the thread only ends.
    (
        "io_uring",
        "struct io_uring_params p = { 0 }; long u = syscall(__NR_io_uring_setup, 4, &p); if (u < 0) return 0",
        "syscall(__NR_io_uring_enter, u, 0, 1, IORING_ENTER_GETEVENTS, 0, 0)",
    ),
    (
        "io_uring_timeout",
        "struct io_uring_params p = { 0 }; long u = syscall(__NR_io_uring_setup, 4, &p); if (u < 0) return \
         0; struct __kernel_timespec t = { 100, 0 }; struct io_uring_getevents_arg a = { .ts = (unsigned \
         long)&t }",
        "syscall(__NR_io_uring_enter, u, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, sizeof a)",
    ),
    (
        "accept_timeout",
        "int s = socket(AF_UNIX, SOCK_STREAM, 0); struct timeval t = { 100, 0 }; struct sockaddr a = { \
         AF_UNIX }; bind(s, &a, 2); listen(s, 1); setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t)",
        "accept(s, 0, 0)",
    ),
];

const HEAD: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static char failed[1024];
"#;

/// Starts all waiters, and says for each byte read which of them saw EINTR.
const MAIN: &str = r#"
    setvbuf(stdout, 0, _IONBF, 0);
    char c;
    for (;;) {
        errno = 0;
        if (read(0, &c, 1) != 1) { if (errno) strcat(failed, " main"); else return 0; }
        usleep(20000);
        printf("%d %d%s\n", one(), two(), failed);
    }
}
"#;

fn source() -> String {
    let mut out = HEAD.to_owned();
    for (name, setup, call) in WAITERS {
        out.push_str(&format!(
            "static void *in_{name}(void *arg) {{ {setup}; for (;;) {{ errno = 0; long r = ({call}); \
             (void)r; \
             if (errno == EINTR) {{ strcat(failed, \" {name}\"); usleep(1000); }} }} return arg; }}\n"
        ));
    }
    out.push_str("int main(void) {\nsigset_t block; sigemptyset(&block); sigaddset(&block, SIGUSR2);\n");
    out.push_str("pthread_sigmask(SIG_BLOCK, &block, 0);\npthread_t t;\n");
    for (name, ..) in WAITERS {
        out.push_str(&format!("pthread_create(&t, 0, in_{name}, 0);\n"));
    }
    out + MAIN
}

#[test]
fn no_call_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "waiters", &source(), &["-pthread"]);
    let patch = pair_patch(&program, "calls");
    let mut target = Target::start(&program);
    for _ in 0..10 {
        common::apply_patiently(target.pid(), &patch, &Options::default());
        assert_eq!(target.ask(), "11 22");
        common::deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), "1 2");
    }
}

/// Calls with a timeout of 1.5 seconds that nothing else ends.
const TIMED: &[(&str, &str, &str)] = &[
    ("epoll_wait", "int e = epoll_create1(0); struct epoll_event v", "epoll_wait(e, &v, 1, 1500)"),
    (
        "epoll_pwait",
        "int e = epoll_create1(0); struct epoll_event v; sigset_t s; sigemptyset(&s)",
        "epoll_pwait(e, &v, 1, 1500, &s)",
    ),
    (
        "epoll_pwait2",
        "int e = epoll_create1(0); struct epoll_event v",
        "syscall(SYS_epoll_pwait2, e, &v, 1, &t, 0, 8)",
    ),
    (
        "sigtimedwait",
        "sigset_t s; siginfo_t i; sigemptyset(&s); sigaddset(&s, SIGUSR2)",
        "sigtimedwait(&s, &i, &t)",
    ),
    (
        "semtimedop",
        "int id = semget(IPC_PRIVATE, 1, 0600); struct sembuf o = { 0, -1, 0 }",
        "semtimedop(id, &o, 1, &t)",
    ),
    (
        "io_getevents",
        "long c = 0; char v[32]; syscall(SYS_io_setup, 1, &c)",
        "syscall(SYS_io_getevents, c, 1, 1, v, &t)",
    ),
    ("poll", "", "poll(0, 0, 1500)"),
    ("ppoll", "", "ppoll(0, 0, &t, 0)"),
    ("select", "struct timeval v = { 1, 500000 }", "select(0, 0, 0, 0, &v)"),
    ("pselect", "", "pselect(0, 0, 0, 0, &t, 0)"),
    ("nanosleep", "", "nanosleep(&t, 0)"),
    ("clock_nanosleep", "", "clock_nanosleep(CLOCK_MONOTONIC, 0, &t, 0)"),
    ("futex", "int f = 0", "syscall(SYS_futex, &f, 0, 0, &t, 0, 0)"),
    (
        "sem_timedwait",
        "sem_t s; sem_init(&s, 0, 0); struct timespec a; clock_gettime(CLOCK_REALTIME, &a); a.tv_sec += 1; \
         a.tv_nsec += 500000000; if (a.tv_nsec >= 1000000000) { a.tv_sec++; a.tv_nsec -= 1000000000; }",
        "sem_timedwait(&s, &a)",
    ),
];

/// For each byte read, starts all of them, and says how long each took, in milliseconds, and whether it was
/// interrupted.
fn timed_source() -> String {
    let mut out = HEAD.replace("#include <sys/epoll.h>", "#include <sys/epoll.h>\n#include <sys/syscall.h>");
    out.push_str(
        "static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); \
         return t.tv_sec * 1000 + t.tv_nsec / 1000000; }\n",
    );
    for (name, setup, call) in TIMED {
        out.push_str(&format!(
            "static char said_{name}[64];\nstatic void *in_{name}(void *arg) {{ \
             const struct timespec t = {{ 1, 500000000 }}; (void)t; {setup}; errno = 0; long start = now(); \
             long r = ({call}); (void)r; int error = errno; \
             snprintf(said_{name}, 64, \"{name} %ld %d\", now() - start, error == EINTR); return arg; }}\n"
        ));
    }
    out.push_str("int main(void) { char c; setvbuf(stdout, 0, _IONBF, 0); printf(\"ready\\n\");\n");
    out.push_str("while (read(0, &c, 1) == 1) {\n");
    for (name, ..) in TIMED {
        out.push_str(&format!("pthread_t t_{name}; pthread_create(&t_{name}, 0, in_{name}, 0);\n"));
    }
    for (name, ..) in TIMED {
        out.push_str(&format!("pthread_join(t_{name}, 0);\n"));
    }
    for (name, ..) in TIMED {
        out.push_str(&format!("printf(\"%s,\", said_{name});\n"));
    }
    out + "printf(\"%d %d\\n\", one(), two()); } return failed[0]; }\n"
}

#[test]
fn calls_go_on_with_what_is_left_of_their_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "timed", &timed_source(), &["-pthread"]);
    let patch = pair_patch(&program, "timed");
    stopped_for(&program, &patch, std::time::Duration::from_millis(150));
    // Threads that were let go have not come to their calls before they are stopped again.
    stopped_for(&program, &patch, std::time::Duration::ZERO);
}

/// Stops calls again and again, with such pauses.
fn stopped_for(program: &std::path::Path, patch: &applier::LoadedPatch, pause: std::time::Duration) {
    // Its first answer is to nobody's question.
    let mut target = Target::start(program);
    let mut stops = 0;
    let started = std::time::Instant::now();
    while started.elapsed().as_millis() < 1200 {
        std::thread::sleep(pause);
        common::apply_patiently(target.pid(), patch, &Options::default());
        common::deactivate_patiently(target.pid(), patch);
        stops += 2;
    }
    let answer = target.read_line();
    eprintln!("{stops} stops: {answer}");
    // What the machine makes of a timeout that the kernel keeps itself.
    let usual =
        answer.split(',').find_map(|c| c.strip_prefix("nanosleep ")?.split(' ').next()?.parse::<u64>().ok());
    let usual = usual.unwrap();
    let (mut calls, mut late) = (0, 0);
    for call in answer.split(',').filter(|c| c.split(' ').count() == 3) {
        let words: Vec<_> = call.split(' ').collect();
        let (took, interrupted): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        assert_eq!(interrupted, 0, "{call}");
        assert!(took >= 1500, "{call}: too short");
        assert!(took < usual + 1150, "{call}: began anew each time");
        // The last eight are the kernel's business; what it writes back for `ppoll` and `select` does not
        // count a stop itself.
        late += usize::from(took > usual + 700 && calls < 6);
        calls += 1;
    }
    assert!(late <= 2, "{answer}");
    assert_eq!(calls, TIMED.len(), "{answer}");
}

/// Signals that only `epoll_pwait` lets in, sent one by one: the next one goes only when the call has
/// returned for the last.
const LET_IN: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile long woken, handled, odd, lost;
static pthread_t waiter;
static void handler(int s) { (void)s; handled++; }
static void *wait_for_signals(void *arg) {
    sigset_t all_in;
    struct epoll_event v;
    int e = epoll_create1(0);
    sigemptyset(&all_in);
    for (;;) {
        long before = handled;
        int r = epoll_pwait(e, &v, 1, -1, &all_in);
        if (r == -1 && errno == EINTR && handled > before) woken++;
        else odd++;
    }
    return arg;
}
static void *send_signals(void *arg) {
    for (long sent = 0;;) {
        long waited = 0;
        pthread_kill(waiter, SIGUSR1);
        sent++;
        while (woken < sent && waited++ < 100000) usleep(30);
        if (woken < sent) { lost++; sent = woken; }
        usleep(10);
    }
    return arg;
}
int main(void) {
    pthread_t t;
    sigset_t block;
    char c;
    signal(SIGUSR1, handler);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &block, 0);
    setvbuf(stdout, 0, _IONBF, 0);
    pthread_create(&waiter, 0, wait_for_signals, 0);
    pthread_create(&t, 0, send_signals, 0);
    while (read(0, &c, 1) == 1) printf("%d %d %ld %ld %s\n", one(), two(), lost, odd, woken > 100 ? "many" : "few");
}
"#;

#[test]
fn a_signal_let_in_by_a_call_ends_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "let_in", LET_IN, &["-pthread"]);
    let patch = pair_patch(&program, "let in");
    let mut target = Target::start(&program);
    for round in 0..300 {
        common::apply_patiently(target.pid(), &patch, &Options::default());
        common::deactivate_patiently(target.pid(), &patch);
        if round % 50 == 49 {
            let answer = target.ask();
            assert!(answer.starts_with("1 2 0 0 "), "round {round}: {answer}");
        }
    }
    // Long enough to notice one that was lost at the end.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(target.ask(), "1 2 0 0 many");
}
