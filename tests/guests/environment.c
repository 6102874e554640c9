// Prints its environment, in order; or, as env(1) does, sets variables (NAME=VALUE) and executes the rest.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    int next = 1;
    for (; next < argc && strchr(argv[next], '='); next++) putenv(argv[next]);
    if (next < argc) {
        execv(argv[next], argv + next);
        return 44;
    }
    for (char **entry = environ; *entry; entry++) puts(*entry);
    return 0;
}
