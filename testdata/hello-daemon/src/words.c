#include "hello.h"

#include <stdlib.h>
#include <string.h>

int split_words(char *line, char **words, int max)
{
    int count = 0;
    char *rest = line, *word;

    while (count < max && (word = strsep(&rest, " \r\n")) != NULL)
        if (*word)
            words[count++] = word;
    return count;
}

int word_number(const struct request *request, int n)
{
    return n < request->count ? atoi(request->words[n]) : 0;
}
