// Executes a program from a thread that is not the first, while the others open libraries: `exec_in_thread PROGRAM ARGS…`.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char **program;

static void *open_for_ever(void *unused) {
    for (;;) {
        void *library = dlopen("libexpat.so.1", RTLD_NOW);
        if (library) dlclose(library);
    }
    return unused;
}

static void *execute(void *unused) {
    usleep(20000);
    execv(program[0], program);
    perror(program[0]);
    _exit(1);
    return unused;
}

int main(int argc, char **argv) {
    pthread_t thread;
    (void)argc;
    program = argv + 1;
    for (int i = 0; i < 4; i++) pthread_create(&thread, NULL, open_for_ever, NULL);
    pthread_create(&thread, NULL, execute, NULL);
    open_for_ever(NULL);
}
