// Runs a program again and again, one run after the other, and prints how many nanoseconds each took from its start to
// its end: `time_runs UNPRINTED PRINTED PROGRAM ARGS…`; the first UNPRINTED runs only warm up. To be linked statically:
// inside the root, what this program does must not be what is measured.
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int unprinted = atoi(argv[1]), printed = atoi(argv[2]);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    for (int run = 0; run < unprinted + printed; run++) {
        pid_t child;
        int status;
        long long start = now();
        int error = posix_spawn(&child, argv[3], &files, NULL, argv + 3, environ);
        if (error) {
            fprintf(stderr, "%s: %s\n", argv[3], strerror(error));
            return 1;
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        long long end = now();
        if (status) {
            fprintf(stderr, "%s ended with wait status %#x\n", argv[3], status);
            return 1;
        }
        if (run >= unprinted) printf("%lld\n", end - start);
    }
    return 0;
}
