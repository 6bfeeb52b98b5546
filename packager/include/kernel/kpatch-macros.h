/*
 * Names of kpatch's macros for sources of fixes that use them, on top of upatch.h. The functions that they name get the
 * livepatch object, as with kpatch.
 */
#ifndef UPATCH_KPATCH_MACROS_H
#define UPATCH_KPATCH_MACROS_H

#include "upatch.h"

typedef struct klp_object patch_object;

#define KPATCH_PRE_PATCH_CALLBACK(function)                                          \
	UPATCH_HOOK_ENTRY(pre_apply, function, int, return function(upatch_object))
#define KPATCH_POST_PATCH_CALLBACK(function)                                         \
	UPATCH_HOOK_ENTRY(post_apply, function, void, function(upatch_object))
#define KPATCH_PRE_UNPATCH_CALLBACK(function)                                        \
	UPATCH_HOOK_ENTRY(pre_unapply, function, void, function(upatch_object))
#define KPATCH_POST_UNPATCH_CALLBACK(function)                                       \
	UPATCH_HOOK_ENTRY(post_unapply, function, void, function(upatch_object))

#define KPATCH_PRINTK(format, ...) pr_info("kpatch: " format, ##__VA_ARGS__)

/* What these ask for, to leave a difference out of the patch, is never done here. */
#define KPATCH_IGNORE_SECTION(section) \
	_Static_assert(0, "KPATCH_IGNORE_SECTION: upatch leaves no difference out of a patch")
#define KPATCH_IGNORE_FUNCTION(function) \
	_Static_assert(0, "KPATCH_IGNORE_FUNCTION: upatch leaves no difference out of a patch")
#define KPATCH_FORCE_UNSAFE(function) \
	_Static_assert(0, "KPATCH_FORCE_UNSAFE: upatch waits for every task")

#endif
