// Starts the program that is named with a standard error that nobody reads and that is full, and opens a library
// meanwhile. Prints whether that worked.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int ends[2];
    char block[4096];
    (void)argc;
    memset(block, 'x', sizeof block);
    if (pipe(ends)) return 1;
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (write(ends[1], block, sizeof block) > 0) {}
    fcntl(ends[1], F_SETFL, 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        execv(argv[1], argv + 1);
        _exit(1);
    }
    usleep(300000);
    printf("%s: %s\n", argv[2], dlopen(argv[2], RTLD_NOW) ? "opened" : dlerror());
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
