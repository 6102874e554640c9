// Says that it is up, waits for a line in a system call that a stop interrupts, opens a library, and repeats the line:
// `line [LIBRARY]`. With `line abort` it ends as a failed assertion does.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char line[100] = "";
    if (argc > 1 && strcmp(argv[1], "abort") == 0) abort();
    if (write(1, "up\n", 3) != 3) return 1;
    if (!fgets(line, sizeof line, stdin)) return 2;
    if (argc > 1 && !dlopen(argv[1], RTLD_NOW)) return printf("%s\n", dlerror()), 3;
    printf("got %s", line);
    return 0;
}
