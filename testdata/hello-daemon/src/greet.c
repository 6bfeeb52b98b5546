#include "greet.h"

#include <stdio.h>

static int greetings;
static __thread int greetings_here;

int greet(char *out, size_t size, const char *who)
{
    greetings++;
    greetings_here++;
    return snprintf(out, size, "Hello, %s%s! %d/%d", greet_title(who), who, greetings_here, greetings);
}
