// Does as a service manager does for a socket unit: listens at the path that the first argument names, and executes the
// rest, with the socket, when somebody has come. Says "ready" when it listens.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listening = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    char pid[16];
    (void)argc;
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 16)) {
        perror(argv[1]);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    struct pollfd ready = {.fd = listening, .events = POLLIN};
    if (poll(&ready, 1, -1) != 1 || (listening != 3 && dup2(listening, 3) != 3)) return 1;
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    execv(argv[2], argv + 3);
    perror(argv[2]);
    return 1;
}
