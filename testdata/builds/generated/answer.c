/* Every line is an expression. */
#include <stdio.h>

#include "matrix.h"

int evaluate(const char *text, long *result);

void answer(const char *line, char *reply, size_t size)
{
    long result = 0;

    if (evaluate(line, &result) == 0)
        snprintf(reply, size, "%ld", result);
    else
        snprintf(reply, size, "error");
}
