#include <stdio.h>

#include "hello.h"

#define CHECK(request, condition)                                                                   \
    ((condition) ? 1 : (snprintf((request)->reply, sizeof (request)->reply, "check failed: %s:%d %s", \
                                 __FILE__, __LINE__, #condition), 0))

void do_audit(struct request *request)
{
    int value = word_number(request, 1);

    if (!CHECK(request, value >= 0))
        return;
    snprintf(request->reply, sizeof request->reply, "audit %d", value);
}

void do_audit_more(struct request *request)
{
    int value = word_number(request, 1);

    if (!CHECK(request, value > 0))
        return;
    if (!CHECK(request, value < 100))
        return;
    snprintf(request->reply, sizeof request->reply, "more %d", value);
}
