#ifndef GREET_H
#define GREET_H

#include <stddef.h>

/* libgreet.so */
int greet(char *out, size_t size, const char *who);
const char *greet_title(const char *who);

#endif
