// Starts many copies of a program that says a line and waits for the end of its input: `crew NUMBER PROGRAM`. Prints how
// many nanoseconds passed until all had spoken, and waits for the end of its own input.
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int number = atoi(argv[1]), input[2], output[2];
    char byte;
    if (pipe(input) || pipe(output)) return 1;
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input[0], 0);
    posix_spawn_file_actions_adddup2(&files, output[1], 1);
    int unwanted[] = {input[0], input[1], output[0], output[1]};
    for (int i = 0; i < 4; i++) posix_spawn_file_actions_addclose(&files, unwanted[i]);
    long long start = now();
    for (int i = 0; i < number; i++) {
        pid_t child;
        if (posix_spawn(&child, argv[2], &files, NULL, argv + 2, environ)) return 1;
    }
    for (int i = 0; i < number; i++)
        if (read(output[0], &byte, 1) != 1) return 1;
    printf("%lld\n", now() - start);
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {}
    close(input[1]);
    while (wait(NULL) > 0) {}
    return 0;
}
