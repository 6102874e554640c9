// Comes to a user's door as no shim does: `hostile WAY NUMBER`, with $XDG_RUNTIME_DIR as shims have it. Says "ready" when all
// connections were made, and stays until its standard input ends.
//   silent   says nothing
//   garbage  sends bytes that are no message, of any length
//   half     sends the beginning of a message
//   deaf     says hello as itself, and never reads the answer
//   gone     closes each connection at once
//   polite   says hello as itself, and prints the kind of the answer
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char message[9000];

// A hello, as interp/src/handoff.rs writes it: kind, version, process, direct, engine, two texts with their lengths.
static size_t hello(void) {
    const char *texts[] = {"/run/current-system/sw/bin/sonde", "/guests/hostile"};
    uint32_t head[] = {0x48444e53, HANDOFF_VERSION, (uint32_t)getpid(), 0, 0};
    size_t length = sizeof head;
    memcpy(message, head, sizeof head);
    for (int i = 0; i < 2; i++) {
        uint32_t size = (uint32_t)strlen(texts[i]);
        memcpy(message + length, &size, sizeof size);
        memcpy(message + length + sizeof size, texts[i], size);
        length += sizeof size + size;
    }
    return length;
}

int main(int argc, char **argv) {
    const char *way = argv[1];
    struct sockaddr_un door = {.sun_family = AF_UNIX};
    struct rlimit most;
    (void)argc;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    snprintf(door.sun_path, sizeof door.sun_path, "%s/sonde/socket", getenv("XDG_RUNTIME_DIR"));
    for (int number = 0; number < atoi(argv[2]); number++) {
        int visit = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        if (connect(visit, (struct sockaddr *)&door, sizeof door)) {
            perror("connect");
            return 1;
        }
        size_t length = 0;
        if (strcmp(way, "garbage") == 0) {
            length = (size_t)rand() % sizeof message + 1;
            for (size_t i = 0; i < length; i++) message[i] = (char)rand();
        }
        if (strcmp(way, "half") == 0) length = (size_t)number % hello() + 1;
        if (strcmp(way, "deaf") == 0 || strcmp(way, "polite") == 0) length = hello();
        if (length) (void)!send(visit, message, length, MSG_NOSIGNAL);
        if (strcmp(way, "gone") == 0) close(visit);
        if (strcmp(way, "polite") == 0 && recv(visit, message, sizeof message, 0) >= 4) printf("%.4s ", message);
    }
    puts("ready");
    fflush(stdout);
    return getchar() == EOF ? 0 : 1;
}
