#ifndef HELLO_H
#define HELLO_H

#include <stddef.h>

#define MAX_WORDS 16

/* One line of a client, split into words, and the answer to it. */
struct request {
    char *words[MAX_WORDS];
    int count;
    char reply[512];
};

typedef void handler(struct request *request);

handler do_count, do_static, do_tls, do_area, do_left, do_right, do_level, do_sort, do_limit, do_factor;
handler do_audit, do_audit_more, do_say, do_greet, do_sum, do_ticks, do_hold, do_session, do_find, do_version;

void dispatch(struct request *request);
void tick(void);

/* libhello.a */
unsigned checksum(const char *text);
int split_words(char *line, char **words, int max);

/* The whole number in word N, or 0. */
int word_number(const struct request *request, int n);

static inline int clamp(int value)
{
    return value > 1000 ? 1000 : value;
}

#endif
