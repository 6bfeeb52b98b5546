#include <stdio.h>

#include "codes.h"
#include "matrix.h"

static const char *const names[] = {
#include "names.h"
};
static int calls;

int calc(int value, char *reply, size_t size)
{
    calls++;
    return snprintf(reply, size, "calc %s call %d", names[value % BOUNDS], calls);
}
