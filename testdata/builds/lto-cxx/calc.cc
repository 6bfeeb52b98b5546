// A template, an exception, and a function that checksum.cc has too by that name.
#include <cstdio>
#include <stdexcept>

extern "C" {
#include "matrix.h"
}

namespace {
int calls;

__attribute__((noinline)) long scale(long value)
{
    static int made;

    if (value > 1000)
        throw std::runtime_error("big");
    calls = ++made;
    return value;
}
} // namespace

template <class T> static T twice(T value)
{
    return value + value;
}

extern "C" int calc(int value, char *reply, size_t size)
{
    try {
        long scaled = scale(twice<long>(value));

        return snprintf(reply, size, "calc %ld call %d", scaled, calls);
    } catch (const std::exception &e) {
        return snprintf(reply, size, "calc %s call %d", e.what(), calls);
    }
}
