/* Another one, which calls the first. */
#include "matrix.h"

int second_value(int value)
{
    return first_value(value) * 2;
}
