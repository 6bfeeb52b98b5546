/* The same in a function of the scheduler's section, which stacks do not show. */
#include "livepatch.h"
#include <linux/delay.h>
#include <linux/hrtimer.h>

static int new_nanosleep(struct hrtimer_sleeper *timer, enum hrtimer_mode mode)
{
	msleep_interruptible(1);
	return 0;
}
LIVEPATCH(NULL, "do_nanosleep", new_nanosleep);
