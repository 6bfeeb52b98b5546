/* A member of an archive. */
#include "matrix.h"

unsigned checksum(const char *text)
{
    unsigned sum = 7;

    while (*text)
        sum += (unsigned char)*text++;
    return sum;
}
