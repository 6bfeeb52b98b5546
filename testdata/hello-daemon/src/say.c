#include <stdio.h>

#include "hello.h"

void do_say(struct request *request)
{
    fprintf(stdout, "said %s\n", request->count > 1 ? request->words[1] : "");
    fflush(stdout);
    snprintf(request->reply, sizeof request->reply, "said");
}
