#include <stdio.h>

#include "hello.h"

static int bias = 10;
static int calls;

static __attribute__((noinline)) int weight(int value)
{
    calls++;
    return clamp(value) * 2 + bias;
}

void do_left(struct request *request)
{
    int result = weight(word_number(request, 1));

    snprintf(request->reply, sizeof request->reply, "left %d", result);
}

void left_bias(int value)
{
    bias = value;
}
