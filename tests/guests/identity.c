// Prints everything by which a program could tell that it was not started natively.
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void print_file(const char *name, const char *path) {
    printf("%s:", name);
    FILE *file = fopen(path, "r");
    for (int c; file && (c = getc(file)) != EOF;) putchar(c ? c : ' ');
    if (file) fclose(file);
    putchar('\n');
}

static int by_number(const struct dirent **a, const struct dirent **b) {
    return atoi((*a)->d_name) - atoi((*b)->d_name);
}

static void print_descriptors(void) {
    struct dirent **entries;
    int count = scandir("/proc/self/fd", &entries, NULL, by_number);
    for (int i = 0; i < count; i++) {
        char path[300], target[300];
        snprintf(path, sizeof path, "/proc/self/fd/%s", entries[i]->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0 || entries[i]->d_name[0] == '.') continue;
        target[length] = 0;
        // Pipes have a number of their own in each run; scandir's descriptor is this program's.
        if (strchr(target, '[')) *strchr(target, '[') = 0;
        if (!strstr(target, "/proc/")) printf("descriptor %s: %s\n", entries[i]->d_name, target);
    }
}

int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
    for (char **entry = environ; *entry; entry++) printf("environment: %s\n", *entry);
    char exe[300];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    printf("exe: %.*s\n", (int)(length < 0 ? 0 : length), exe);
    print_file("cmdline", "/proc/self/cmdline");
    print_file("environ", "/proc/self/environ");
    print_file("comm", "/proc/self/comm");
    print_descriptors();

    printf("execfn: %s\n", (const char *)getauxval(AT_EXECFN));
    printf("secure: %lu\n", getauxval(AT_SECURE));
    const Elf64_Phdr *headers = (const void *)getauxval(AT_PHDR);
    printf("headers: %lu of them, the first is %d\n", getauxval(AT_PHNUM), headers->p_type == PT_PHDR);
    printf("invocation: %s %s\n", program_invocation_name, program_invocation_short_name);

    // No child that the program did not make, and no signal from one.
    errno = 0;
    int child = waitpid(-1, NULL, WNOHANG);
    printf("children: %d %s\n", child, strerror(errno));
    sigset_t pending, blocked;
    sigpending(&pending);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int signal = 1; signal < 65; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL) printf("handled: %d\n", signal);
        if (sigismember(&pending, signal)) printf("pending: %d\n", signal);
        if (sigismember(&blocked, signal)) printf("blocked: %d\n", signal);
    }
    int adopts = -1;
    prctl(PR_GET_CHILD_SUBREAPER, &adopts);
    printf("adopts orphans: %d\n", adopts);
    printf("dumpable: %d\n", prctl(PR_GET_DUMPABLE));
    // The heap must work, and grow.
    char *heap = malloc(100000);
    memset(heap, 1, 100000);
    printf("heap: %d\n", sbrk(4096) != (void *)-1);
    fprintf(stderr, "pid %d parent %d\n", getpid(), getppid());
    return argc;
}
