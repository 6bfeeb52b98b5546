/*
 * upatch.h: what a fix can use beyond changed functions when it is made into a live patch.
 * docs/explain/hooks.md explains it.
 *
 * Hooks are functions that run in the patched process when the patch comes into force and goes out of it:
 *
 *     UPATCH_PRE_APPLY(name)    { ...; return 0; }    before; anything but 0 refuses, and nothing is changed
 *     UPATCH_POST_APPLY(name)   { ... }               after
 *     UPATCH_PRE_UNAPPLY(name)  { ...; return 0; }    before the old code comes back; anything but 0 refuses
 *     UPATCH_POST_UNAPPLY(name) { ... }               after
 *
 * All threads are stopped meanwhile, in any place: a hook may do what a signal handler may do (signal-safety(7)), so no
 * malloc, no stdio, no lock. It has 32 KiB of stack and two seconds. In a program that is simply built with the fix,
 * hooks are never called.
 *
 * Shadow variables (with UPATCH_SHADOW defined before this header is included) attach data to objects that exist already,
 * by address, as if their structure had another member. They are safe in threads and in hooks, not in signal handlers.
 * Compiles as C99 and C++11 or later, with gcc and clang.
 */
#ifndef UPATCH_H
#define UPATCH_H

#include <errno.h>

/* UPATCH_OPT_OUT; once in a program, outside of functions: no process of the program is patched. It is of the program,
 * not of a patch: a note in the ELF file that upatch reads. */
#define UPATCH_OPT_OUT                                        \
    __asm__(".pushsection .note.upatch,\"a\",%note\n"         \
            ".balign 4\n.long 7, 0, 1\n.asciz \"upatch\"\n" \
            ".balign 4\n.popsection")

#define UPATCH_PRE_APPLY(name) UPATCH_HOOK_WITH_RESULT(pre_apply, name)
#define UPATCH_POST_APPLY(name) UPATCH_HOOK_WITHOUT_RESULT(post_apply, name)
#define UPATCH_PRE_UNAPPLY(name) UPATCH_HOOK_WITH_RESULT(pre_unapply, name)
#define UPATCH_POST_UNAPPLY(name) UPATCH_HOOK_WITHOUT_RESULT(post_unapply, name)

/* The section's name is what makes a function a hook. errno belongs to the thread that was interrupted. */
#define UPATCH_HOOK_ENTRY(point, name, call)                              \
    __attribute__((section(".text.upatch." #point), used, noinline))      \
    static int upatch_##point##_##name(void)                              \
    {                                                                     \
        int upatch_code = 0, upatch_errno = errno;                        \
        call;                                                             \
        errno = upatch_errno;                                             \
        return upatch_code;                                               \
    }
#define UPATCH_HOOK_WITH_RESULT(point, name)                              \
    static int name(void);                                                \
    UPATCH_HOOK_ENTRY(point, name, upatch_code = name())                  \
    static int name(void)
#define UPATCH_HOOK_WITHOUT_RESULT(point, name)                           \
    static void name(void);                                               \
    UPATCH_HOOK_ENTRY(point, name, name())                                \
    static void name(void)

#ifdef UPATCH_SHADOW

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define UPATCH_SHADOW_BUCKETS 1024
#define UPATCH_SHADOW_CLASSES 12 /* blocks of 64 bytes << class */
#define UPATCH_SHADOW_CHUNK 262144

struct upatch_shadow {
    struct upatch_shadow *next;
    const void *object;
    unsigned long id;
    size_t size; /* of the block, this header included */
};

struct upatch_shadow_state {
    int lock;
    struct upatch_shadow *buckets[UPATCH_SHADOW_BUCKETS];
    struct upatch_shadow *free[UPATCH_SHADOW_CLASSES];
    char *chunk;
    size_t left;
};

/* One for each program or library, however many of its units include this header. */
__attribute__((weak, visibility("hidden"))) struct upatch_shadow_state upatch_shadow_state;

#define UPATCH_SHADOW_FN __attribute__((unused)) static

UPATCH_SHADOW_FN void upatch_shadow_lock(void)
{
    while (__atomic_exchange_n(&upatch_shadow_state.lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

UPATCH_SHADOW_FN void upatch_shadow_unlock(void)
{
    __atomic_store_n(&upatch_shadow_state.lock, 0, __ATOMIC_RELEASE);
}

UPATCH_SHADOW_FN struct upatch_shadow **upatch_shadow_bucket(const void *object, unsigned long id)
{
    uint64_t key = ((uint64_t)(uintptr_t)object >> 3) ^ ((uint64_t)id << 40);

    key *= 0x9e3779b97f4a7c15u; /* 2^64 divided by the golden ratio: multiplicative hashing */
    return &upatch_shadow_state.buckets[key >> 54];
}

/* The link that leads to the variable, or to NULL. */
UPATCH_SHADOW_FN struct upatch_shadow **upatch_shadow_find(const void *object, unsigned long id)
{
    struct upatch_shadow **link = upatch_shadow_bucket(object, id);

    while (*link && ((*link)->object != object || (*link)->id != id))
        link = &(*link)->next;
    return link;
}

UPATCH_SHADOW_FN int upatch_shadow_class(size_t size)
{
    int index = 0;

    while (index < UPATCH_SHADOW_CLASSES && ((size_t)64 << index) < size)
        index++;
    return index;
}

/* Memory from the kernel: malloc is not for hooks. */
UPATCH_SHADOW_FN void *upatch_shadow_map(size_t size)
{
    void *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return got == MAP_FAILED ? NULL : got;
}

UPATCH_SHADOW_FN struct upatch_shadow *upatch_shadow_block(size_t size)
{
    int index = upatch_shadow_class(size);
    struct upatch_shadow_state *state = &upatch_shadow_state;
    struct upatch_shadow *block;
    size_t take = (size_t)64 << index;

    if (index == UPATCH_SHADOW_CLASSES) {
        take = size;
        block = (struct upatch_shadow *)upatch_shadow_map(take);
    } else if (state->free[index]) {
        block = state->free[index];
        state->free[index] = block->next;
    } else {
        if (state->left < take) {
            state->chunk = (char *)upatch_shadow_map(UPATCH_SHADOW_CHUNK);
            state->left = state->chunk ? UPATCH_SHADOW_CHUNK : 0;
        }
        block = (struct upatch_shadow *)(void *)state->chunk;
        if (block) {
            state->chunk += take;
            state->left -= take;
        }
    }
    if (block) {
        memset(block, 0, take);
        block->size = take;
    }
    return block;
}

/* The data attached to `object` under `id`; NULL if there is none. */
UPATCH_SHADOW_FN void *upatch_shadow_get(const void *object, unsigned long id)
{
    struct upatch_shadow *found;

    upatch_shadow_lock();
    found = *upatch_shadow_find(object, id);
    upatch_shadow_unlock();
    return found ? found + 1 : NULL;
}

/*
 * The same; if there is none yet, `size` zeroed bytes, which `init`, if given, fills before anybody else sees them.
 * NULL only if there is no memory. The data stays where it is until it is freed.
 */
UPATCH_SHADOW_FN void *upatch_shadow_get_or_alloc(const void *object, unsigned long id, size_t size,
                                                  void (*init)(void *data, const void *object))
{
    struct upatch_shadow **link, *found = NULL;

    if (size > PTRDIFF_MAX - sizeof *found)
        return NULL;
    upatch_shadow_lock();
    link = upatch_shadow_find(object, id);
    found = *link;
    if (!found && (found = upatch_shadow_block(sizeof *found + size)) != NULL) {
        found->object = object;
        found->id = id;
        if (init)
            init(found + 1, object);
        *link = found;
    }
    upatch_shadow_unlock();
    return found ? found + 1 : NULL;
}

/* Takes the data off, after `done`, if given, has seen it. To be called before the object's memory is used for another. */
UPATCH_SHADOW_FN void upatch_shadow_free(const void *object, unsigned long id, void (*done)(void *data))
{
    struct upatch_shadow **link, *found;

    upatch_shadow_lock();
    link = upatch_shadow_find(object, id);
    found = *link;
    if (found) {
        int index;

        *link = found->next;
        if (done)
            done(found + 1);
        index = upatch_shadow_class(found->size);
        if (index == UPATCH_SHADOW_CLASSES) {
            munmap(found, found->size);
        } else {
            found->next = upatch_shadow_state.free[index];
            upatch_shadow_state.free[index] = found;
        }
    }
    upatch_shadow_unlock();
}

#endif /* UPATCH_SHADOW */
#endif
