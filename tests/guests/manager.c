// Does what a service manager does for a socket unit and its service: listens at the path that the first argument names,
// executes the rest, with the socket, when somebody has come, and holds what the service asks it to hold (FDSTORE,
// sd_notify(3)) for the next start. Reads one command a line, and answers each with a line:
//   restart   ends the service as `systemctl restart` does, and starts it anew
//   crash     the same after its main process was killed
//   held      how many descriptors are held
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 64
static struct { int fd; char name[80]; } held[MOST];
static int count, listening, notify;
static pid_t service;
static char notify_path[100];

static void drop(int i) {
    close(held[i].fd);
    held[i] = held[--count];
}

static int bound(int type, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
        perror(path);
        exit(1);
    }
    return fd;
}

static void start(char **argv) {
    char names[4096] = "sonde.socket", number[16];
    service = fork();
    // By whoever is first.
    setpgid(service, service);
    if (service) return;
    // Above the numbers that are taken: in their order from 3 on, as systemd passes them.
    int high[MOST + 1] = {fcntl(listening, F_DUPFD_CLOEXEC, 100)};
    for (int i = 0; i < count; i++) {
        high[i + 1] = fcntl(held[i].fd, F_DUPFD_CLOEXEC, 100);
        strcat(strcat(names, ":"), held[i].name);
    }
    for (int i = 0; i <= count; i++) dup2(high[i], 3 + i);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    snprintf(number, sizeof number, "%d", count + 1);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    setenv("NOTIFY_SOCKET", notify_path, 1);
    execv(argv[2], argv + 3);
    perror(argv[2]);
    _exit(1);
}

// All that is left of the service, as of a control group.
static void end(void) {
    if (!service) return;
    kill(-service, SIGTERM);
    waitpid(service, NULL, 0);
    while (!kill(-service, 0)) usleep(1000);
    service = 0;
}

static void hear(void) {
    char text[512] = "", room[CMSG_SPACE(sizeof(int) * 8) + CMSG_SPACE(sizeof(struct ucred))];
    struct iovec vector = {text, sizeof text - 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t length = recvmsg(notify, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int fds[8], number = 0;
    pid_t sender = 0;
    if (length < 0) return;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_type == SCM_RIGHTS) {
            number = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(part), number * sizeof(int));
        }
        if (part->cmsg_type == SCM_CREDENTIALS) sender = ((struct ucred *)CMSG_DATA(part))->pid;
    }
    char *name = strstr(text, "FDNAME=");
    if (name) name = strtok(strdup(name + 7), "\n");
    // NotifyAccess=main
    if (sender != service || !name) {
        fprintf(stderr, "manager: ignored: %s\n", text);
    } else if (strstr(text, "FDSTOREREMOVE=1")) {
        for (int i = count - 1; i >= 0; i--)
            if (!strcmp(held[i].name, name)) drop(i);
    } else if (strstr(text, "FDSTORE=1")) {
        for (int i = 0; i < number && count < MOST; i++, count++) {
            held[count].fd = fds[i];
            strncpy(held[count].name, name, sizeof held[count].name - 1);
        }
    }
}

int main(int argc, char **argv) {
    int one = 1;
    char line[64];
    (void)argc;
    setvbuf(stdin, NULL, _IONBF, 0);
    listening = bound(SOCK_SEQPACKET, argv[1]);
    listen(listening, 16);
    snprintf(notify_path, sizeof notify_path, "%s.notify", argv[1]);
    notify = bound(SOCK_DGRAM, notify_path);
    setsockopt(notify, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
    puts("ready");
    for (;;) {
        fflush(stdout);
        struct pollfd ready[3 + MOST] = {{notify, POLLIN, 0}, {0, POLLIN, 0}, {service ? -1 : listening, POLLIN, 0}};
        for (int i = 0; i < count; i++) ready[3 + i] = (struct pollfd){held[i].fd, 0, 0};
        int were = count;
        // A service that leaves by itself is found gone a little later.
        poll(ready, 3 + were, 100);
        if (service && waitpid(service, NULL, WNOHANG) == service) service = 0;
        if (ready[0].revents) {
            hear();
            continue;
        }
        // FDPOLL=1, which is the default: what hangs up is let go.
        for (int i = were - 1; i >= 0; i--)
            if (ready[3 + i].revents & (POLLHUP | POLLERR)) drop(i);
        if (ready[2].revents) start(argv);
        if (!ready[1].revents) continue;
        if (!fgets(line, sizeof line, stdin)) break;
        if (!strcmp(line, "held\n")) {
            printf("%d held\n", count);
            continue;
        }
        if (!strcmp(line, "crash\n") && service) kill(service, SIGKILL);
        end();
        start(argv);
        puts("started");
    }
    end();
    return 0;
}
