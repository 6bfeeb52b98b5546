/* A member of an archive, with two statics of the same names as calc.c. */
#include <stdlib.h>

#include "matrix.h"

static unsigned calls;

static __attribute__((noinline)) unsigned step(unsigned sum, unsigned char next)
{
    calls++;
    if (calls > 1000000)
        abort();
    return sum + next;
}

unsigned checksum(const char *text)
{
    unsigned sum = 7;

    while (*text)
        sum = step(sum, (unsigned char)*text++);
    return sum + calls;
}
