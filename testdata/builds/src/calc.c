#include <assert.h>
#include <stdio.h>

#include "matrix.h"

static int calls;

/* Counts its calls; the count must outlive a patch. */
int calc(int value, char *reply, size_t size)
{
    assert(size > 16);
    calls++;
    return snprintf(reply, size, "calc %d call %d", bounded(value + value), calls);
}
