/* Looks at what busybox has no program for: `look WHAT` prints it. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct sched_param real_time = { .sched_priority = 1 };
	struct timespec slice;

	/* How long a thread runs before the next of its priority, in nanoseconds. */
	if (argc == 2 && !strcmp(argv[1], "round-robin")) {
		if (sched_setscheduler(0, SCHED_RR, &real_time) || sched_rr_get_interval(0, &slice))
			return perror("look"), 1;
		printf("%lld\n", slice.tv_sec * 1000000000LL + slice.tv_nsec);
		return 0;
	}
	return fprintf(stderr, "look: what?\n"), 2;
}
