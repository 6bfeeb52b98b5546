#include <stdio.h>

#include "hello.h"

int limits[4] = { 10, 20, 30, 40 };
static const int factors[8] = { 3, 5, 7, 11, 13, 17, 19, 23 };

void do_limit(struct request *request)
{
    int index = clamp(word_number(request, 1));

    if (index < 0 || (size_t)index >= sizeof limits / sizeof limits[0])
        snprintf(request->reply, sizeof request->reply, "limit none");
    else
        snprintf(request->reply, sizeof request->reply, "limit %d", limits[index]);
}

void do_factor(struct request *request)
{
    snprintf(request->reply, sizeof request->reply, "factor %d", factors[word_number(request, 1) & 7]);
}
