#include <stdatomic.h>
#include <stdio.h>

#include "hello.h"

long request_count;
static _Atomic long ticks;
static __thread long requests_here;
__thread long tls_step = 1;

void tick(void)
{
    ticks += 1;
}

void do_ticks(struct request *request)
{
    snprintf(request->reply, sizeof request->reply, "ticks %s", ticks > 0 ? "run" : "stand");
}

void do_count(struct request *request)
{
    request_count++;
    snprintf(request->reply, sizeof request->reply, "count %ld", request_count);
}

void do_static(struct request *request)
{
    static int calls;
    static int step = 2;

    calls += step;
    snprintf(request->reply, sizeof request->reply, "static %d", calls);
}

void do_tls(struct request *request)
{
    requests_here += tls_step;
    snprintf(request->reply, sizeof request->reply, "tls %ld", requests_here);
}
