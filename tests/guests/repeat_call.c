// Makes one call many times over and prints how many nanoseconds one took, five times: `repeat_call CALL TIMES [NAME]`.
//   dlopen    opens the library NAME, and closes it again
//   openat    opens the file NAME, and closes it again; the program's own call, not its loader's
//   getppid   asks for the parent's pid: a system call that does next to nothing
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int open_library(const char *name) {
    void *library = dlopen(name, RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), -1;
    return dlclose(library);
}

static int open_file(const char *name) {
    int file = openat(AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return perror(name), -1;
    return close(file);
}

static int ask_parent(const char *name) { return (void)name, syscall(SYS_getppid) < 0; }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int (*call)(const char *) = strcmp(argv[1], "dlopen") == 0   ? open_library
                                : strcmp(argv[1], "openat") == 0 ? open_file
                                                                 : ask_parent;
    const char *name = argc > 3 ? argv[3] : NULL;
    int times = atoi(argv[2]);
    for (int round = -1; round < 5; round++) {
        double start = now();
        for (int i = 0; i < times; i++)
            if (call(name)) return 1;
        // The first round only warms up.
        if (round >= 0) printf("%.1f\n", (now() - start) / times);
    }
    return 0;
}
