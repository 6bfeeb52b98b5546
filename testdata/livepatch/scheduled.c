/* The same in a function of the scheduler's section, which stacks do not show. */
#include "livepatch.h"
#include <linux/delay.h>
#include <linux/hrtimer.h>

static int new_nanosleep(struct hrtimer_sleeper *timer, enum hrtimer_mode mode)
{
	ktime_t time = hrtimer_get_expires(&timer->timer);

	if (!(mode & HRTIMER_MODE_REL))
		time = ktime_sub(time, timer->timer.base->get_time());
	msleep_interruptible(max_t(s64, ktime_to_ms(time), 0));
	return 0;
}
LIVEPATCH(NULL, "do_nanosleep", new_nanosleep);
