// Names that calc.cc has too.
#include <stdexcept>

extern "C" {
#include "matrix.h"
}

namespace {
int calls;

__attribute__((noinline)) long scale(long value)
{
    static int made;

    if (value > 100000)
        throw std::runtime_error("long");
    calls = made += 2;
    return value * 3;
}
} // namespace

extern "C" unsigned checksum(const char *text)
{
    unsigned sum = 7;

    try {
        while (*text)
            sum += scale((unsigned char)*text++);
    } catch (const std::exception &) {
        return 0;
    }
    return sum + calls;
}
