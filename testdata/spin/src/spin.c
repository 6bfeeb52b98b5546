/*
 * spin THREADS: one thread reads the clock all the time and keeps the longest gap between two readings; the others
 * sleep and call work(). A line on standard input ends a round: the longest gap of it is printed, in microseconds, with
 * the value of work().
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int work(int value);

static _Atomic long longest;
static _Atomic int started;

static long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void *spin(void *unused)
{
    long last = now();

    (void)unused;
    started++;
    for (;;) {
        long t = now();

        if (t - last > longest)
            longest = t - last;
        last = t;
    }
    return NULL;
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

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    char line[64];
    pthread_t thread;
    pthread_attr_t small;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    pthread_create(&thread, &small, spin, NULL);
    for (int i = 1; i < threads; i++)
        pthread_create(&thread, &small, sleeper, NULL);
    while (started < threads)
        usleep(1000);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%ld %d\n", atomic_exchange(&longest, 0) / 1000, work(1));
        fflush(stdout);
    }
    return 0;
}
