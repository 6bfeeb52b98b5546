/* Used by most units: a change of it touches all of them. */
#ifndef BOUNDS_H
#define BOUNDS_H

static inline int bounded(int value)
{
    return value > 1000 ? 1000 : value;
}

#endif
