// hello-cxx SOCKET: answers lines on a unix socket, one thread for each client.
#include <csignal>
#include <cstring>
#include <iostream>
#include <sstream>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "hello.hpp"

static void client(int fd)
{
    std::string pending;
    char bytes[512];
    ssize_t got;

    while ((got = read(fd, bytes, sizeof bytes)) > 0) {
        pending.append(bytes, static_cast<size_t>(got));
        for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
            std::istringstream line(pending.substr(0, end));
            Words words;
            for (std::string word; line >> word;)
                words.push_back(word);
            std::string reply = dispatch(words) + "\n";
            if (write(fd, reply.data(), reply.size()) < 0)
                break;
        }
    }
    close(fd);
}

int main(int argc, char **argv)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (argc != 2 || std::strlen(argv[1]) >= sizeof address.sun_path) {
        std::cerr << "usage: hello-cxx SOCKET\n";
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    std::strcpy(address.sun_path, argv[1]);
    unlink(argv[1]);
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (server < 0 || bind(server, reinterpret_cast<sockaddr *>(&address), sizeof address) || listen(server, 16)) {
        std::perror("hello-cxx");
        return 1;
    }
    for (;;) {
        int fd = accept(server, nullptr, nullptr);
        if (fd >= 0)
            std::thread(client, fd).detach();
    }
}
