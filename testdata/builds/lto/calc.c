/* Has two statics of the same names as checksum.c. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "matrix.h"

static int calls;

static __attribute__((noinline)) int step(int value)
{
    calls++;
    if (value < -1000)
        abort();
    return value + value;
}

int calc(int value, char *reply, size_t size)
{
    assert(size > 16);
    value = bounded(step(value));
    return snprintf(reply, size, "calc %d call %d", value, calls);
}
