/* What the units of the program share. */
#ifndef MATRIX_H
#define MATRIX_H

#include <stddef.h>

#include "bounds.h"

void answer(const char *line, char *reply, size_t size);
int calc(int value, char *reply, size_t size);
unsigned checksum(const char *text);
int first_value(int value);
int second_value(int value);

#endif
