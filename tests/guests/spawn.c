// Starts a child by the call that the first argument names (fork, vfork, posix_spawn), executing the rest, and prints
// how it ended.
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    pid_t child = -1;
    int status, error = 0;
    (void)argc;
    if (strcmp(argv[1], "posix_spawn") == 0) {
        error = posix_spawn(&child, argv[2], NULL, NULL, argv + 2, environ);
    } else {
        child = strcmp(argv[1], "vfork") == 0 ? vfork() : fork();
        if (child == 0) {
            execv(argv[2], argv + 2);
            _exit(errno == ENOENT ? 44 : 45);
        }
    }
    if (error) {
        printf("not spawned: %s\n", strerror(error));
        return 0;
    }
    if (waitpid(child, &status, 0) != child) return 1;
    printf("child ended: exit %d signal %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    errno = 0;
    pid_t other = waitpid(-1, NULL, WNOHANG);
    printf("others: %d %s\n", other, strerror(errno));
    return 0;
}
