/*
 * hello-daemon SOCKET: answers lines on a unix socket, one thread for each client, beside three
 * threads that tick all the time.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hello.h"

static void *ticker(void *unused)
{
    (void)unused;
    for (;;) {
        tick();
        usleep(2000);
    }
    return NULL;
}

static void *client(void *argument)
{
    int fd = (int)(long)argument;
    char line[512];
    size_t used = 0;
    ssize_t got;

    while ((got = read(fd, line + used, sizeof line - 1 - used)) > 0) {
        char *end;

        used += (size_t)got;
        line[used] = 0;
        while ((end = strchr(line, '\n')) != NULL) {
            struct request request = { .count = 0 };

            *end = 0;
            request.count = split_words(line, request.words, MAX_WORDS);
            dispatch(&request);
            dprintf(fd, "%s\n", request.reply);
            used -= (size_t)(end + 1 - line);
            memmove(line, end + 1, used + 1);
        }
        if (used == sizeof line - 1)
            break;
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    pthread_t thread;
    int server;

    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: hello-daemon SOCKET\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    strcpy(address.sun_path, argv[1]);
    unlink(argv[1]);
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (server < 0 || bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 16)) {
        perror("hello-daemon");
        return 1;
    }
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, ticker, NULL);
    for (;;) {
        int fd = accept(server, NULL, NULL);

        if (fd < 0)
            continue;
        if (pthread_create(&thread, NULL, client, (void *)(long)fd) == 0)
            pthread_detach(thread);
        else
            close(fd);
    }
}
