// Installs a seccomp filter of its own, as sandboxes do, and opens libraries:
//   filters WAY BEFORE AFTER...     BEFORE is opened before the filter stands, the others behind it
//   trap      openat raises SIGSYS, whose handler opens in its place (Chromium's broker, in one process)
//   errno     openat fails with EACCES
//   harmless  keyctl fails, which nobody here calls
//   listener  a filter with a listener
//   sockets   socket kills
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t trapped;

static void open_instead(int signal, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)signal, (void)info;
    long result = syscall(SYS_open, registers[REG_RSI], registers[REG_RDX], registers[REG_R10]);
    registers[REG_RAX] = result < 0 ? -errno : result;
    trapped++;
}

static int install(int number, unsigned action, unsigned flags) {
    struct sock_filter rows[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number},
        {BPF_RET | BPF_K, 0, 0, action},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog program = {4, rows};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void load(const char *name) {
    void *library = dlopen(name, RTLD_NOW);
    printf("%s: %s\n", name, library ? "opened" : dlerror());
}

int main(int argc, char **argv) {
    const char *way = argv[1];
    int result = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    load(argv[2]);
    if (strcmp(way, "trap") == 0) {
        struct sigaction action = {.sa_sigaction = open_instead, .sa_flags = SA_SIGINFO | SA_NODEFER};
        sigaction(SIGSYS, &action, NULL);
        result = install(SYS_openat, SECCOMP_RET_TRAP, 0);
    } else if (strcmp(way, "errno") == 0) {
        result = install(SYS_openat, SECCOMP_RET_ERRNO | EACCES, 0);
    } else if (strcmp(way, "harmless") == 0) {
        result = install(SYS_keyctl, SECCOMP_RET_ERRNO | EPERM, 0);
    } else if (strcmp(way, "listener") == 0) {
        result = install(SYS_keyctl, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    } else if (strcmp(way, "sockets") == 0) {
        result = install(SYS_socket, SECCOMP_RET_KILL_PROCESS, 0);
    }
    printf("filter: %s\n", result < 0 ? strerror(errno) : "installed");
    for (int i = 3; i < argc; i++) load(argv[i]);
    if (trapped) printf("opens were trapped by the program\n");
    return 0;
}
