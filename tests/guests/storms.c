// Opens libraries while something happens to the process, and prints where they came from:
//   children  other processes of it end all the time (SIGCHLD)
//   preempt   a thread interrupts the one that opens, as Go's scheduler does (SIGURG)
//   killed    a child opens the first library and is killed meanwhile; then another one opens it
#include "load.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int done;
static volatile sig_atomic_t signals;
static pid_t opener;

static void on_signal(int signal) { (void)signal, signals++; }

static void *end_children(void *unused) {
    (void)unused;
    while (!done) {
        if (fork() == 0) _exit(0);
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
    }
    return NULL;
}

static void *preempt(void *unused) {
    (void)unused;
    while (!done) syscall(SYS_tgkill, getpid(), opener, SIGURG), usleep(50);
    return NULL;
}

static int in_child(const char *name, int is_killed) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (is_killed && !freopen("/dev/null", "w", stdout)) _exit(98); // what it prints is of no interest
        void *failed = load((void *)name);
        while (is_killed) pause(); // it came too far, and is killed all the same
        _exit(failed != NULL);
    }
    if (is_killed) usleep(20000), kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 0 : WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    const char *way = argv[1];
    long failed = 0;
    pthread_t thread;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(way, "killed") == 0) {
        failed = in_child(argv[2], 1);
        return failed + in_child(argv[2], 0);
    }
    opener = syscall(SYS_gettid);
    int is_preempted = strcmp(way, "preempt") == 0;
    sigaction(is_preempted ? SIGURG : SIGCHLD, &action, NULL);
    pthread_create(&thread, NULL, is_preempted ? preempt : end_children, NULL);
    for (int i = 2; i < argc; i++) failed += (long)load(argv[i]);
    done = 1;
    pthread_join(thread, NULL);
    return failed || !signals;
}
