#include <stdio.h>

#include "hello.h"

static int bias = 20;
static int calls;

static __attribute__((noinline)) int weight(int value)
{
    calls++;
    return clamp(value) * 3 + bias;
}

void do_right(struct request *request)
{
    int result = weight(word_number(request, 1));

    snprintf(request->reply, sizeof request->reply, "right %d", result);
}

void right_bias(int value)
{
    bias = value;
}
