/* A function of a module, and a reference to that module, which the kernel fills in when it is loaded. */
#include "livepatch.h"
#include <linux/netdevice.h>
#include <linux/ethtool.h>

extern char setup[] __asm__("\".klp.sym.dummy.dummy_setup,0\"");
static void *reference __used __section(".klp.rela.dummy..data.reference") = setup;

static void new_info(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, reference ? "patched" : "nothing", sizeof(info->driver));
}
LIVEPATCH("dummy", "dummy_get_drvinfo", new_info);
