/* The kernel has no such function. */
#include "livepatch.h"

static void nothing(void)
{
}
LIVEPATCH(NULL, "upatch_no_such_function", nothing);
