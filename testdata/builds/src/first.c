/* A shared library. */
#include "matrix.h"

static int offset = 10;

int first_value(int value)
{
    return bounded(value + offset);
}
