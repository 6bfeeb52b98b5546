/* /proc/uptime says that it is patched. */
#include "livepatch.h"
#include <linux/seq_file.h>

static int new_uptime(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}
LIVEPATCH(NULL, "uptime_proc_show", new_uptime);
