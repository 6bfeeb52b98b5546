/* Asks the case: each line of standard input is a word and a number, each answer ends with a line `.`. */
#include <stdio.h>

void ask(const char *word, long number);

int main(void)
{
	char line[200], word[100];
	while (fgets(line, sizeof line, stdin)) {
		long number = 0;
		word[0] = 0;
		sscanf(line, "%99s %ld", word, &number);
		ask(word, number);
		puts(".");
		fflush(stdout);
	}
	return 0;
}
