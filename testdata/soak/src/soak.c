/*
 * soak MODE: does something delicate all the time and checks every result of it. A line on standard input is answered by
 * one line: what outer(1) gives, how many results have been checked, how many were wrong, and what was wrong first.
 *
 *   threads N   N threads: some compute, the others wait in one system call each and know how it has to end
 *   churn       threads are created, and end, all the time
 *   signals     a timer's signal every 200 microseconds, and numbered signals that must arrive once each, in order
 *   forks       processes are forked, and execute this program, all the time
 *   hot N       N threads that do nothing but call the functions
 *   child       calls the functions a hundred times and ends with 7, or 1 if a result was wrong
 */
#define _GNU_SOURCE
#include "work.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_MS 300
#define SIGNAL_US 200

static _Atomic long checked, wrong, started;
static char first[200];

/* Keeps the first complaint. */
static void complain(const char *format, ...)
{
    va_list list;

    if (wrong++ != 0)
        return;
    va_start(list, format);
    vsnprintf(first, sizeof first, format, list);
    va_end(list);
}

static long now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

/* Calls what is patched, with values in registers that a switch in the middle might spoil. */
static void call(void)
{
    double before[8], sum = 0;
    int value = outer(1);

    if (value != 22 && value != 24)
        complain("outer(1) gives %d", value);
    for (int i = 0; i < 8; i++)
        before[i] = value + i * 0.5;
    errno = 77;
    value = work(1);
    if (value != 11 && value != 12)
        complain("work(1) gives %d", value);
    if (errno != 77)
        complain("errno is %d", errno);
    for (int i = 0; i < 8; i++)
        sum += before[i] - i * 0.5;
    if (sum != 22 * 8 && sum != 24 * 8)
        complain("floating point registers: %f", sum);
    checked++;
}

/* A call that lasts SLEEP_MS and ends with `want` (-1: with errno `want_errno`). */
static void lasted(const char *name, long before, long got, long want, int want_errno)
{
    int error = errno;
    long took = now_us() - before;

    if (got != want || (want == -1 && error != want_errno))
        complain("%s gives %ld, errno %d", name, got, error);
    if (took < SLEEP_MS * 1000L - 1000)
        complain("%s ended after %ld us", name, took);
}

static int pipe_ends[2];

static void wait_once(long kind)
{
    struct timespec time = { SLEEP_MS / 1000, SLEEP_MS % 1000 * 1000000L };
    long before = now_us();
    int word = 0, fd;
    sigset_t set;
    struct epoll_event event;
    struct pollfd in;

    switch (kind % 7) {
    case 0:
        fd = epoll_create1(EPOLL_CLOEXEC);
        errno = 0;
        lasted("epoll_wait", before, epoll_wait(fd, &event, 1, SLEEP_MS), 0, 0);
        close(fd);
        break;
    case 1:
        lasted("nanosleep", before, nanosleep(&time, NULL), 0, 0);
        break;
    case 2:
        lasted("futex", before, syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0), -1, ETIMEDOUT);
        break;
    case 3:
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        lasted("sigtimedwait", before, sigtimedwait(&set, NULL, &time), -1, EAGAIN);
        break;
    case 4:
        in = (struct pollfd){ pipe_ends[0], POLLIN, 0 };
        lasted("poll", before, poll(&in, 1, SLEEP_MS), 0, 0);
        break;
    case 5:
        lasted("pselect", before, pselect(0, NULL, NULL, NULL, &time, NULL), 0, 0);
        break;
    default:
        lasted("clock_nanosleep", before, clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL), 0, 0);
        break;
    }
    checked++;
}

static void *waiter(void *kind)
{
    started++;
    for (;;) {
        call();
        wait_once((long)kind);
    }
    return NULL;
}

static void *caller(void *unused)
{
    (void)unused;
    started++;
    for (;;)
        call();
    return NULL;
}

/* Computes for a moment, then lets others. */
static void *worker(void *unused)
{
    struct timespec time = { 0, 2000000 };

    (void)unused;
    started++;
    for (;;) {
        for (int i = 0; i < 200; i++)
            call();
        nanosleep(&time, NULL);
    }
    return NULL;
}

static pthread_t start(void *(*function)(void *), void *argument)
{
    static pthread_attr_t small;
    static int ready;
    pthread_t thread;

    if (!ready) {
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 128 * 1024);
        ready = 1;
    }
    if (pthread_create(&thread, &small, function, argument) != 0) {
        complain("pthread_create: %s", strerror(errno));
        return 0;
    }
    return thread;
}

static void *brief(void *argument)
{
    call();
    return argument;
}

static void *churner(void *unused)
{
    (void)unused;
    started++;
    for (long n = 1;; n++) {
        pthread_t some[8];
        void *result;

        for (long i = 0; i < 8; i++) {
            pthread_attr_t small;

            pthread_attr_init(&small);
            pthread_attr_setstacksize(&small, 64 * 1024);
            if (pthread_create(&some[i], &small, brief, (void *)(n + i)) != 0) {
                complain("pthread_create: %s", strerror(errno));
                return NULL;
            }
            pthread_attr_destroy(&small);
        }
        for (long i = 0; i < 8; i++) {
            if (pthread_join(some[i], &result) != 0 || result != (void *)(n + i))
                complain("thread %ld gives %p", n + i, result);
        }
    }
    return NULL;
}

static volatile int last_number;

static void on_number(int number, siginfo_t *info, void *context)
{
    int saved = errno;

    (void)number;
    (void)context;
    if (info->si_value.sival_int != last_number + 1)
        complain("signal %d after %d", info->si_value.sival_int, last_number);
    last_number = info->si_value.sival_int;
    call();
    errno = saved;
}

static void on_timer(int number)
{
    int saved = errno;

    (void)number;
    call();
    errno = saved;
}

static pthread_t receiver;

/* Numbered signals to the first thread, as many as are taken. */
static void *sender(void *unused)
{
    (void)unused;
    started++;
    for (int n = 1;; n++) {
        union sigval value = { .sival_int = n };
        struct timespec time = { 0, SIGNAL_US * 1000L };

        while (pthread_sigqueue(receiver, SIGRTMIN + 1, value) != 0)
            nanosleep(&time, NULL);
        nanosleep(&time, NULL);
    }
    return NULL;
}

/* The signals are for this thread; another answers. */
static void *receive(void *unused)
{
    struct sigaction action = { .sa_sigaction = on_number, .sa_flags = SA_SIGINFO | SA_RESTART };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
    struct itimerspec every = { { 0, SIGNAL_US * 1000L }, { 0, SIGNAL_US * 1000L } };
    sigset_t set;
    timer_t timer;

    (void)unused;
    sigaction(SIGRTMIN + 1, &action, NULL);
    action = (struct sigaction){ .sa_handler = on_timer, .sa_flags = SA_RESTART };
    sigaction(SIGRTMIN, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    receiver = pthread_self();
    event._sigev_un._tid = (int)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &every, NULL) != 0)
        complain("timer: %s", strerror(errno));
    started++;
    for (;;) {
        char byte;

        /* Nobody writes: only signals interrupt it, and it is restarted. */
        if (read(pipe_ends[0], &byte, 1) != 0)
            complain("read ended: errno %d", errno);
    }
    return NULL;
}

static const char *self;

static void *forker(void *unused)
{
    (void)unused;
    started++;
    for (volatile int n = 0;; n++) {
        int status;
        pid_t child = n % 4 == 3 ? fork() : vfork();

        if (child == 0) {
            if (n % 4 == 3) {
                call();
                _exit(wrong == 0 ? 7 : 1);
            }
            execl(self, self, "child", (char *)NULL);
            _exit(2);
        }
        if (child < 0 || waitpid(child, &status, 0) != child) {
            complain("fork or wait: %s", strerror(errno));
            return NULL;
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
            complain("child %d ends with status %#x", n, (unsigned)status);
        checked++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    long number = argc > 2 ? atol(argv[2]) : 1, threads = number;
    sigset_t set;
    char byte;

    self = argv[0];
    if (strcmp(mode, "child") == 0) {
        for (int i = 0; i < 100; i++)
            call();
        return wrong == 0 ? 7 : 1;
    }
    if (pipe(pipe_ends) != 0)
        return 1;
    /* Before there are threads: they have the mask of the one that starts them. */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (strcmp(mode, "threads") == 0) {
        for (long i = 0; i < number; i++)
            start(i % 100 == 0 ? worker : waiter, (void *)i);
    } else if (strcmp(mode, "churn") == 0) {
        threads = 2;
        start(churner, NULL);
        start(churner, NULL);
    } else if (strcmp(mode, "signals") == 0) {
        threads = 2;
        start(receive, NULL);
        while (started < 1)
            usleep(1000);
        start(sender, NULL);
    } else if (strcmp(mode, "forks") == 0) {
        threads = 1;
        start(forker, NULL);
    } else if (strcmp(mode, "hot") == 0) {
        for (long i = 0; i < number; i++)
            start(caller, NULL);
    } else {
        fprintf(stderr, "soak: which mode?\n");
        return 2;
    }
    while (started < threads)
        usleep(1000);
    puts("ready");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) == 1) {
        if (byte != '\n')
            continue;
        printf("%d %ld %ld %s\n", outer(1), checked, wrong, first);
        fflush(stdout);
    }
    return 0;
}
