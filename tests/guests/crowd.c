// Many processes at once, all of which open libraries: `crowd WAY NUMBER TIMES LIBRARY…`. Prints how many opens succeeded.
//   processes  NUMBER children of one parent, which begin when all are there
//   bomb       each process makes two more, until there are NUMBER
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    atomic_int processes, opened, strangers;
} *shared;

static void open_all(int times, char **libraries, int count) {
    for (int i = 0; i < times; i++) {
        void *library = dlopen(libraries[i % count], RTLD_NOW);
        if (!library) fprintf(stderr, "%s\n", dlerror());
        else atomic_fetch_add(&shared->opened, 1), dlclose(library);
    }
}

static void reap(int made) {
    int status;
    for (int ended = 0; ended < made; ended++)
        if (wait(&status) < 0 || !WIFEXITED(status)) atomic_fetch_add(&shared->strangers, 1);
    if (wait(&status) >= 0 || errno != ECHILD) atomic_fetch_add(&shared->strangers, 1);
}

static void bomb(int number, int times, char **libraries, int count) {
    int made = 0;
    for (int i = 0; i < 2; i++) {
        if (atomic_fetch_add(&shared->processes, 1) >= number) break;
        pid_t child = fork();
        if (child == 0) {
            bomb(number, times, libraries, count);
            _exit(0);
        }
        if (child > 0) made++;
    }
    open_all(times, libraries, count);
    reap(made);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int number = atoi(argv[2]), times = atoi(argv[3]), gate[2], made = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (strcmp(argv[1], "bomb") == 0) {
        atomic_store(&shared->processes, 1);
        bomb(number, times, argv + 4, argc - 4);
    } else {
        if (pipe(gate)) return 1;
        for (; made < number; made++) {
            char go;
            if (fork() == 0) {
                close(gate[1]);
                if (read(gate[0], &go, 1) < 0) _exit(1);
                open_all(times, argv + 4, argc - 4);
                _exit(0);
            }
        }
        close(gate[1]);
        reap(made);
    }
    printf("opened %d, strangers %d\n", atomic_load(&shared->opened), atomic_load(&shared->strangers));
    return 0;
}
