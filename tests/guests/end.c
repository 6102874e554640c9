// Ends as told: `exit N`, `signal N`, or `daemon N`: leaves a descendant without descriptors for N seconds.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (strcmp(argv[1], "exit") == 0) return number;
    if (strcmp(argv[1], "daemon") == 0) {
        if (fork()) return 0;
        setsid();
        for (int descriptor = 0; descriptor < 100; descriptor++) close(descriptor);
        sleep(number);
        return 0;
    }
    raise(number);
    return 99;
}
