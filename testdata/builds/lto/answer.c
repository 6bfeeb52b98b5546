/* Takes a line apart and calls what it asks for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix.h"

__attribute__((noinline)) void answer(const char *line, char *reply, size_t size)
{
    const char *space = strchr(line, ' ');
    const char *rest = space ? space + 1 : "";

    if (strncmp(line, "calc ", 5) == 0)
        calc(atoi(rest), reply, size);
    else if (strncmp(line, "sum ", 4) == 0)
        snprintf(reply, size, "sum %u", checksum(rest));
    else if (strncmp(line, "first ", 6) == 0)
        snprintf(reply, size, "first %d", first_value(atoi(rest)));
    else if (strncmp(line, "second ", 7) == 0)
        snprintf(reply, size, "second %d", second_value(atoi(rest)));
    else
        snprintf(reply, size, "unknown");
}
