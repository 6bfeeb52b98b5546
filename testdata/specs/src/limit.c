#include "limit.h"

static int scale(int n)
{
	return n * FACTOR;
}

__attribute__((noipa)) int limit(int n)
{
	if (n > 1000)
		return 1000;
	return scale(n) + 1;
}
