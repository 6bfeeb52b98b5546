/* A program that needs no library, for machines that have none for its kind. */
#include "bounds.h"

volatile int value;

void _start(void)
{
    value = bounded(value);
    for (;;) {
    }
}
