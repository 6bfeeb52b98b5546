#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "greet.h"
#include "hello.h"

void do_version(struct request *request)
{
    snprintf(request->reply, sizeof request->reply, "version 1.0");
}

void do_greet(struct request *request)
{
    greet(request->reply, sizeof request->reply, request->count > 1 ? request->words[1] : "world");
}

void do_sum(struct request *request)
{
    snprintf(request->reply, sizeof request->reply, "sum %u", checksum(request->count > 1 ? request->words[1] : ""));
}

void do_find(struct request *request)
{
    const char *found = request->count > 2 ? strstr(request->words[1], request->words[2]) : NULL;

    snprintf(request->reply, sizeof request->reply, "find %s", found ? found : "nothing");
}

/* hold N: stays in this function for N tenths of a second. */
void do_hold(struct request *request)
{
    int tenths = word_number(request, 1);

    for (int i = 0; i < tenths; i++)
        usleep(100000);
    snprintf(request->reply, sizeof request->reply, "held %d", tenths);
}

static const struct {
    const char *name;
    handler *run;
} commands[] = {
    { "version", do_version }, { "greet", do_greet }, { "sum", do_sum },       { "find", do_find },
    { "hold", do_hold },       { "count", do_count }, { "static", do_static }, { "tls", do_tls },
    { "area", do_area },       { "left", do_left },   { "right", do_right },   { "level", do_level },
    { "sort", do_sort },       { "limit", do_limit }, { "factor", do_factor }, { "audit", do_audit },
    { "more", do_audit_more }, { "say", do_say },     { "ticks", do_ticks },   { "session", do_session },
};

void dispatch(struct request *request)
{
    if (request->count == 0)
        return;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, request->words[0]) == 0) {
            commands[i].run(request);
            return;
        }
    snprintf(request->reply, sizeof request->reply, "unknown command");
}
