/* matrix SOCKET: answers lines on a unix socket, one client after the other. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "matrix.h"

static void serve(int fd)
{
    char line[256], reply[256];
    size_t used = 0;
    ssize_t got;

    while ((got = read(fd, line + used, sizeof line - 1 - used)) > 0) {
        char *end;

        used += (size_t)got;
        line[used] = 0;
        while ((end = strchr(line, '\n')) != NULL) {
            *end = 0;
            answer(line, reply, sizeof reply);
            dprintf(fd, "%s\n", reply);
            used -= (size_t)(end + 1 - line);
            memmove(line, end + 1, used + 1);
        }
    }
    close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int server = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 2)
        return 2;
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    if (bind(server, (struct sockaddr *)&address, sizeof address) != 0 || listen(server, 8) != 0)
        return 1;
    for (;;) {
        int fd = accept(server, NULL, NULL);

        if (fd >= 0)
            serve(fd);
    }
}
