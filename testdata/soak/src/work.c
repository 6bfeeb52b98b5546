#include "work.h"

int work(int value)
{
    volatile int result = value;

    for (int i = 0; i < 10; i++)
        result = result + 1;
    return result;
}

/* A switch between the two calls would give 23. */
int outer(int value)
{
    return work(value) + work(value);
}
