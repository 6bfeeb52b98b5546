/* A function of a module, which is loaded later. */
#include "livepatch.h"
#include <linux/netdevice.h>
#include <linux/ethtool.h>

static void new_info(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "patched", sizeof(info->driver));
}
LIVEPATCH("dummy", "dummy_get_drvinfo", new_info);
