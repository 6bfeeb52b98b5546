/*
 * upatch.h of kernel code: what a fix can use beyond changed functions when it is made into a livepatch module by
 * `upatch-build --kernel`, which finds this header by itself. docs/guide/kernel.md explains it.
 *
 * Hooks run when the patch comes into force for an object (the kernel, or the module that the source file belongs to)
 * and goes out of it:
 *
 *     UPATCH_PRE_APPLY(name)    { ...; return 0; }    before; a negative error refuses
 *     UPATCH_POST_APPLY(name)   { ... }               when no task runs old code any more
 *     UPATCH_PRE_UNAPPLY(name)  { ... }               before the old code comes back
 *     UPATCH_POST_UNAPPLY(name) { ... }               when no task runs new code any more
 *
 * They are the kernel's livepatch callbacks (Documentation/livepatch/callbacks.rst): they may sleep, and the others of a
 * patch do not run meanwhile. The same shadow variables as in programs are the kernel's own, klp_shadow_*.
 */
#ifndef UPATCH_H
#define UPATCH_H

#include <linux/livepatch.h>
#include <linux/slab.h>

/* The section's name is what makes a function a hook. */
#define UPATCH_HOOK_ENTRY(point, name, type, call)                                   \
	type upatch_##point##_##name(struct klp_object *upatch_object);              \
	__attribute__((section(".text.upatch." #point), __used__, __noinline__))     \
	type upatch_##point##_##name(struct klp_object *upatch_object)               \
	{                                                                            \
		call;                                                                \
	}
#define UPATCH_PRE_APPLY(name)                                                       \
	static int name(void);                                                       \
	UPATCH_HOOK_ENTRY(pre_apply, name, int, return name())                       \
	static int name(void)
#define UPATCH_POST_APPLY(name)                                                      \
	static void name(void);                                                      \
	UPATCH_HOOK_ENTRY(post_apply, name, void, name())                            \
	static void name(void)
#define UPATCH_PRE_UNAPPLY(name)                                                     \
	static void name(void);                                                      \
	UPATCH_HOOK_ENTRY(pre_unapply, name, void, name())                           \
	static void name(void)
#define UPATCH_POST_UNAPPLY(name)                                                    \
	static void name(void);                                                      \
	UPATCH_HOOK_ENTRY(post_unapply, name, void, name())                          \
	static void name(void)

/* The data attached to `object` under `id`; NULL if there is none. */
static inline void *upatch_shadow_get(void *object, unsigned long id)
{
	return klp_shadow_get(object, id);
}

/* The same; if there is none yet, `size` zeroed bytes. NULL only if there is no memory. Does not sleep. */
static inline void *upatch_shadow_get_or_alloc(void *object, unsigned long id, size_t size)
{
	return klp_shadow_get_or_alloc(object, id, size, GFP_ATOMIC, NULL, NULL);
}

/* Takes the data off. To be called before the object's memory is used for another. */
static inline void upatch_shadow_free(void *object, unsigned long id)
{
	klp_shadow_free(object, id, NULL);
}

#endif
