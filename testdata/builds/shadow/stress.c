/* Shadow variables from several threads at once: each thread has keys of its own and keys that all share. */
#define UPATCH_SHADOW
#include "upatch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 50000, SHARED = 16 };

static char objects[THREADS][64], shared[SHARED];
static int inits;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void init(void *data, const void *object)
{
    *(const void **)data = object;
    __atomic_fetch_add(&inits, 1, __ATOMIC_RELAXED);
}

static void *work(void *argument)
{
    char *own = (char *)argument;
    unsigned seed = (unsigned)(own - objects[0]);

    for (int round = 0; round < ROUNDS; round++) {
        char *key = own + rand_r(&seed) % 64;
        size_t size = 1 + rand_r(&seed) % 200;
        unsigned char *data = upatch_shadow_get_or_alloc(key, 7, size + 1, NULL);
        const void **common;

        if (!data)
            fail("no memory");
        if (data[0] == 0) {
            for (size_t i = 1; i <= size; i++)
                if (data[i])
                    fail("not zeroed");
            memset(data, 0xa5, size + 1);
            data[0] = 1;
        } else if (data[0] != 1 || upatch_shadow_get(key, 7) != data) {
            fail("data changed hands");
        }
        if (rand_r(&seed) % 3 == 0) {
            upatch_shadow_free(key, 7, NULL);
            if (upatch_shadow_get(key, 7))
                fail("still there after it was freed");
        }
        common = upatch_shadow_get_or_alloc(&shared[round % SHARED], 8, sizeof *common, init);
        if (*common != &shared[round % SHARED])
            fail("seen before it was made");
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    char *large;

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, objects[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    if (inits != SHARED)
        fail("made more than once");
    large = upatch_shadow_get_or_alloc(&shared, 9, 5 << 20, NULL);
    memset(large, 1, 5 << 20);
    upatch_shadow_free(&shared, 9, NULL);
    if (upatch_shadow_get(&shared, 9) || upatch_shadow_get(&shared, 8) == NULL)
        fail("another id or object was freed");
    puts("right");
    return 0;
}
