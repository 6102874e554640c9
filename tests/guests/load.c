// Opens each library that is named, in the way that the first argument says, and prints where it came from:
//   here      in the main thread
//   fork      in a forked child that does not exec
//   vfork     in a child that shares the memory, while its parent waits
//   threads   each in a thread of its own, all at once
//   alarms    in the main thread, under a storm of SIGALRM
//   asked     each line of standard input, when it arrives
//   daemon    in a process of another session, when the one that was started is gone
//   outlive   the same, but the daemon executes this program anew
#include "load.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

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
    if (strcmp(way, "vfork") == 0) {
        int status;
        pid_t child = vfork();
        if (child == 0) {
            for (int i = 2; i < argc; i++) failed += (long)load(argv[i]);
            fflush(stdout);
            _exit(failed ? 1 : 0);
        }
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
    }
    if (strcmp(way, "daemon") == 0 || strcmp(way, "outlive") == 0) {
        int gone[2];
        char byte;
        if (pipe(gone)) return 98;
        if (fork()) return 0;
        setsid();
        if (fork()) return 0;
        close(gone[1]);
        if (read(gone[0], &byte, 1) != 0) return 97; // ends when nobody has the other end any more
        if (strcmp(way, "outlive") == 0) {
            argv[1] = "here";
            execv("/proc/self/exe", argv);
            return 96;
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
