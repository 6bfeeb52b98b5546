//! C++ exceptions pass through new code.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedElf, LoadedPatch, Options, Outcome};
use common::{
    Target, compile,
    image::{Elf, calls, image},
};
use patchfile::{Digest, Uuid};

const THROWS: &str = r#"
#include <cstdio>
#include <thread>
#include <stdexcept>
extern "C" __attribute__((noipa)) int thrower(void) { throw std::runtime_error("thrown"); }
extern "C" __attribute__((noipa)) int one(void) { return 1; }
// Through a pointer: the compiler sees that the old function does not throw.
static int (*volatile pointer)(void) = one;
static int tries(void) { try { return pointer(); } catch (const std::exception &e) { return e.what()[0] == 't' ? 100 : -1; } }
int main() {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) {
        int other = 0;
        std::thread([&] { other = tries(); }).join();
        printf("%d %d\n", tries(), other);
    }
}
"#;

fn calls_thrower(register: bool, flags: &[&str]) -> (Target, LoadedPatch, tempfile::TempDir) {
    of_source(THROWS, register, flags)
}

fn of_source(source: &str, register: bool, flags: &[&str]) -> (Target, LoadedPatch, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "throws", source, &[&["c++", "-pthread"], flags].concat());
    let image = image(&Elf::read(&program), vec![calls("one", "thrower")], register);
    let uuid = Uuid::from_digest(&Digest::of(b"exceptions"));
    let elfs = vec![LoadedElf { index: 0, image }];
    let patch = LoadedPatch { uuid, name: "exceptions".into(), elfs };
    (Target::start(&program), patch, dir)
}

fn caught_above_new_code(flags: &[&str]) {
    let (mut target, patch, _dir) = calls_thrower(true, flags);
    for _ in 0..3 {
        assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
        assert_eq!(target.ask(), "100 100");
        assert_ne!(applier::inspect(target.pid()).unwrap()[0].control.registered, 0);
        common::deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), "1 1");
    }
}

#[test]
fn caught_in_a_dynamic_program() {
    caught_above_new_code(&[]);
}

#[test]
fn caught_in_a_static_program() {
    caught_above_new_code(&["-static"]);
}

/// What the registration is for: the same without it ends the target.
#[test]
fn not_caught_without_registration() {
    let (mut target, patch, _dir) = calls_thrower(false, &[]);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    target.send();
    assert!(!target.child.wait().unwrap().success());
}

/// The registration takes locks of the C library's allocator. Threads that wait for something else, in
/// whatever way, do not hold them.
const WAITS: &str = r#"
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>
extern "C" __attribute__((noipa)) int thrower(void) { throw std::runtime_error("thrown"); }
extern "C" __attribute__((noipa)) int one(void) { return 1; }
static int (*volatile pointer)(void) = one;
static int tries() { try { return pointer(); } catch (const std::exception &) { return 100; } }
static std::mutex held, other;
static std::condition_variable condition;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
/* In a handler for ever, which has interrupted a call that waits: one that gives up, or one that is made again. */
static void alarms(int flags) {
    struct sigaction a = {};
    a.sa_handler = [](int) { pause(); };
    a.sa_flags = flags;
    sigaction(SIGALRM, &a, 0);
    std::thread([self = pthread_self()] { usleep(20000); pthread_kill(self, SIGALRM); }).detach();
    char c;
    int ends[2];
    if (!pipe(ends)) { if (flags) { if (read(ends[0], &c, 1)) {} } else pause(); }
}
static void answer() { while (getchar() != EOF) printf("%d %d\n", tries(), tries()); _exit(0); }
int main() {
    setvbuf(stdout, 0, _IONBF, 0);
    sigset_t none; sigemptyset(&none); sigaddset(&none, SIGUSR2); pthread_sigmask(SIG_BLOCK, &none, 0);
    held.lock();
    pthread_rwlock_wrlock(&lock);
    pthread_barrier_init(&barrier, 0, 2);
    sem_init(&semaphore, 0, 0);
    std::thread([] { held.lock(); }).detach();
    std::thread([] { std::unique_lock<std::mutex> l(other); condition.wait(l, [] { return false; }); }).detach();
    std::thread([] { pthread_rwlock_rdlock(&lock); }).detach();
    std::thread([] { pthread_barrier_wait(&barrier); }).detach();
    std::thread([] { sem_wait(&semaphore); }).detach();
    std::thread([&] { int s; sigwait(&none, &s); }).detach();
    std::thread([] { std::lock_guard<std::mutex> l(*new std::mutex); for (;;) poll(0, 0, 1000); }).detach();
    std::thread([] { pause(); }).detach();
    std::thread([] { alarms(0); }).detach();
    std::thread([] { alarms(SA_RESTART); }).detach();
    usleep(100000);
    std::thread(answer).join();
}
"#;

#[test]
fn threads_that_wait_hold_nothing_up() {
    let (mut target, patch, _dir) = of_source(WAITS, true, &[]);
    target.rest();
    let patient = Options { patience: std::time::Duration::from_millis(100), ..Options::default() };
    assert_eq!(applier::apply(target.pid(), &patch, &patient).unwrap(), Outcome::Done);
    assert_eq!(target.ask(), "100 100");
    assert_ne!(applier::inspect(target.pid()).unwrap()[0].control.registered, 0);
}
