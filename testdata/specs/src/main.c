#include <stdio.h>
#include <unistd.h>
#include "limit.h"
int limit(int n);
int main(int argc, char **argv)
{
	char line[64];
	(void)argv;
	while (fgets(line, sizeof line, stdin)) {
		printf("%d %s\n", limit(argc + (int)line[0]), NAME);
		fflush(stdout);
	}
	return 0;
}
