/* A function in which tasks sleep: `sleep 100` holds up the transition. */
#include "livepatch.h"
#include <linux/delay.h>
#include <linux/hrtimer.h>

static long new_nanosleep(ktime_t time, const enum hrtimer_mode mode, const clockid_t clock)
{
	if (!(mode & HRTIMER_MODE_REL))
		time = ktime_sub(time, ktime_get());
	msleep_interruptible(max_t(s64, ktime_to_ms(time), 0));
	return 0;
}
LIVEPATCH(NULL, "hrtimer_nanosleep", new_nanosleep);
