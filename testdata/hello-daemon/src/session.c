#include <stdio.h>

#include "hello.h"

struct session {
    int id;
    int uses;
    long total;
};

static struct session sessions[4];

void do_session(struct request *request)
{
    struct session *session = &sessions[word_number(request, 1) & 3];

    session->id = word_number(request, 1) & 3;
    session->uses++;
    session->total += word_number(request, 2);
    snprintf(request->reply, sizeof request->reply, "session %d uses %d total %ld", session->id, session->uses,
             session->total);
}
