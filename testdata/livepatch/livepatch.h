/* A live patch of one function, as samples/livepatch of the kernel explains it. */
#include <linux/module.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>

#define LIVEPATCH(OBJECT, OLD, NEW)                                                             \
	static struct klp_func functions[] = { { .old_name = OLD, .new_func = NEW }, { } };     \
	static struct klp_object objects[] = { { .name = OBJECT, .funcs = functions }, { } };   \
	static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };                \
	static int __init begin(void) { return klp_enable_patch(&patch); }                      \
	static void __exit end(void) { }                                                        \
	module_init(begin);                                                                     \
	module_exit(end);                                                                       \
	MODULE_LICENSE("GPL");                                                                  \
	MODULE_INFO(livepatch, "Y")

#ifdef PATCH_UUID
MODULE_VERSION(PATCH_UUID);
#endif
