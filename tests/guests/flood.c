// Asks for libraries that nobody has, without end, in as many threads as the first argument says; says "ready" when each has
// asked once. Ends with its standard input, and prints how often it has asked.
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long asked;
static atomic_int begun;

static void *ask(void *unused) {
    (void)unused;
    for (int first = 1;; first = 0) {
        char name[64];
        snprintf(name, sizeof name, "libflood-%ld.so.1", atomic_fetch_add(&asked, 1));
        void *library = dlopen(name, RTLD_NOW);
        if (library) dlclose(library);
        if (first) begun++;
    }
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (!freopen("/dev/null", "w", stderr)) return 1; // one line for each name
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, ask, NULL)) return 1;
    }
    while (begun < threads) usleep(1000);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {}
    printf("%ld\n", asked);
    fflush(stdout);
    _exit(0);
}
