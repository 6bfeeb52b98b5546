#include "hello.h"

unsigned checksum(const char *text)
{
    unsigned sum = 7;

    for (; *text; text++)
        sum += (unsigned char)*text;
    return sum;
}
