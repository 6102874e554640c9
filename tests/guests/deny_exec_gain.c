// Executes a program that may make no memory executable that was not so from the start, as services with systemd's
// MemoryDenyWriteExecute= are (PR_SET_MDWE, Linux 6.3). Exits with 77 where the kernel does not have that.
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

int main(int argc, char **argv) {
    (void)argc;
    if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0) return 77;
    execv(argv[1], argv + 1);
    return 1;
}
