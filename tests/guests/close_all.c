// Closes all descriptors from 3 up, as daemons do, opens a library, and executes a program: `close_all LIBRARY PROGRAM…`.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    for (int descriptor = 3; descriptor < 1024; descriptor++) close(descriptor);
    printf("%s\n", dlopen(argv[1], RTLD_NOW) ? "opened" : dlerror());
    fflush(stdout);
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 1;
}
