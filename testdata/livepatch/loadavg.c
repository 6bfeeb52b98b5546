/* /proc/loadavg says that it is patched, and by which version. */
#include "livepatch.h"
#include <linux/seq_file.h>

static int new_loadavg(struct seq_file *m, void *v)
{
	seq_printf(m, "patched by version %d\n", PATCH_VERSION);
	return 0;
}
LIVEPATCH(NULL, "loadavg_proc_show", new_loadavg);
