/*
 * spin THREADS: the first thread reads the clock all the time and keeps the longest gap between two readings; the others
 * sleep and call work(). A line on standard input ends a round: the longest gap of it is printed, in microseconds, with
 * the value of work() and what a call of tick() takes, in picoseconds. With 0 THREADS it only waits for lines.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CALLS 1000000

int work(int value);
int tick(int value);

static _Atomic int started;

static long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void *sleeper(void *unused)
{
    (void)unused;
    started++;
    for (;;) {
        work(1);
        usleep(100000);
    }
    return NULL;
}

/* Until there is something to read. */
static long longest_gap(void)
{
    long longest = 0, last = now();

    for (unsigned n = 1;; n++) {
        long t = now();

        if (t - last > longest)
            longest = t - last;
        last = t;
        if (n % 4096 == 0) {
            struct pollfd in = { STDIN_FILENO, POLLIN, 0 };

            if (poll(&in, 1, 0) != 0)
                return longest;
        }
    }
}

static long call_cost(void)
{
    long best = 0;

    for (int round = 0; round < 5; round++) {
        long before = now(), took;
        int value = 0;

        for (int i = 0; i < CALLS; i++)
            value = tick(value);
        took = now() - before;
        if (best == 0 || took < best)
            best = took;
    }
    return best * 1000 / CALLS;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    char byte;
    pthread_t thread;
    pthread_attr_t small;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    for (int i = 1; i < threads; i++)
        pthread_create(&thread, &small, sleeper, NULL);
    while (started < threads - 1)
        usleep(1000);
    puts("ready");
    fflush(stdout);
    for (;;) {
        long gap = threads > 0 ? longest_gap() : 0;

        if (read(STDIN_FILENO, &byte, 1) != 1)
            return 0;
        if (byte != '\n')
            continue;
        printf("%ld %d %ld\n", gap / 1000, work(1), threads > 0 ? call_cost() : 0);
        fflush(stdout);
    }
}
