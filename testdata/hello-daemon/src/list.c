#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"

static int by_text(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* A pointer to code in live data: it keeps the address of the function as it was at the start. */
int (*ordering)(const void *, const void *) = by_text;

void do_sort(struct request *request)
{
    size_t used;

    qsort(request->words + 1, (size_t)request->count - 1, sizeof request->words[0], ordering);
    used = (size_t)snprintf(request->reply, sizeof request->reply, "sorted");
    for (int i = 1; i < request->count && used < sizeof request->reply; i++)
        used += (size_t)snprintf(request->reply + used, sizeof request->reply - used, " %s", request->words[i]);
}
