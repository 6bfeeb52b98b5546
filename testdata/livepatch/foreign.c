/* Somebody else's live patch: no version, no name of ours. */
#undef PATCH_UUID
#include "livepatch.h"
#include <linux/seq_file.h>

static int new_version(struct seq_file *m, void *v)
{
	seq_puts(m, "patched by somebody else\n");
	return 0;
}
LIVEPATCH(NULL, "version_proc_show", new_version);
