#include <stdio.h>
#include <string.h>

#include "hello.h"

static __attribute__((cold, noinline)) int complain(struct request *request, const char *text, int code)
{
    snprintf(request->reply, sizeof request->reply, "level error %d in %s", code, text);
    return code;
}

/* The refusals are a cold part of this function: gcc moves them to do_level.cold. */
void do_level(struct request *request)
{
    const char *text = request->count > 1 ? request->words[1] : "";
    int level = 0;

    if (strlen(text) > 6) {
        complain(request, "length", -1);
        return;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9') {
            complain(request, "digit", -2);
            return;
        }
        level = level * 10 + (*text - '0');
    }
    snprintf(request->reply, sizeof request->reply, "level %d", level);
}
