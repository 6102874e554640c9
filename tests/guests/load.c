// Opens each library that is named, in the way that the first argument says, and prints where it came from:
//   here      in the main thread
//   fork      in a forked child that does not exec
//   threads   each in a thread of its own, all at once
//   alarms    in the main thread, under a storm of SIGALRM
//   asked     each line of standard input, when it arrives
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void *load(void *name) {
    void *library = dlopen(name, RTLD_NOW);
    if (!library) {
        printf("%s: %s\n", (char *)name, dlerror());
        return (void *)1;
    }
    struct link_map *map;
    char origin[4096];
    Dl_info info;
    dlinfo(library, RTLD_DI_LINKMAP, &map);
    dlinfo(library, RTLD_DI_ORIGIN, origin);
    dladdr((void *)map->l_ld, &info);
    printf("%s: map %s origin %s address %s\n", (char *)name, map->l_name, origin, info.dli_fname);
    return NULL;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int signal) { (void)signal, alarms++; }

int main(int argc, char **argv) {
    const char *way = argv[1];
    long failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(way, "fork") == 0) {
        int status;
        pid_t child = fork();
        if (child) {
            waitpid(child, &status, 0);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
        }
    }
    if (strcmp(way, "alarms") == 0) {
        struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
        struct itimerval often = {{0, 500}, {0, 500}};
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &often, NULL);
    }
    if (strcmp(way, "asked") == 0) {
        char name[256];
        while (scanf("%255s", name) == 1) failed += (long)load(name);
        return failed ? 1 : 0;
    }
    if (strcmp(way, "threads") == 0) {
        pthread_t *threads = calloc(argc, sizeof *threads);
        for (int i = 2; i < argc; i++) pthread_create(&threads[i], NULL, load, argv[i]);
        for (int i = 2; i < argc; i++) {
            void *result;
            pthread_join(threads[i], &result);
            failed += (long)result;
        }
    } else {
        for (int i = 2; i < argc; i++) failed += (long)load(argv[i]);
    }
    return failed ? 1 : 0;
}
