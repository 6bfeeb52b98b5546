#include <stdio.h>

#include "hello.h"

static __attribute__((noinline)) int area(int width, int height)
{
    return width + height;
}

void do_area(struct request *request)
{
    int width = word_number(request, 1);
    int height = word_number(request, 2);

    snprintf(request->reply, sizeof request->reply, "area %d", area(width, height));
}
