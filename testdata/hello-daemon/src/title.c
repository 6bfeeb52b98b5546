#include "greet.h"

#include <string.h>

const char *greet_title(const char *who)
{
    return strcmp(who, "Ada") == 0 ? "Lady " : "";
}
