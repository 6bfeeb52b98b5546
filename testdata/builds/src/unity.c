/* The whole program as one compilation unit. */
#include "server.c"
#include "answer.c"
#include "calc.c"
#include "checksum.c"
#include "first.c"
#include "second.c"
