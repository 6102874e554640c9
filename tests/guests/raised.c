// Says with what privileges it runs, whether it is supervised, and what of its user's it has believed: libraries of
// LD_LIBRARY_PATH and LD_PRELOAD, another loader. With arguments it executes them in the end, as a wrapper would.
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

static int name_library(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size, (void)unused;
    if (strstr(info->dlpi_name, "/guests/")) printf("believed %s\n", info->dlpi_name);
    return 0;
}

static int seccomp_mode(void) {
    char line[256];
    int mode = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "Seccomp: %d", &mode);
    if (status) fclose(status);
    return mode;
}

int main(int argc, char **argv) {
    printf("secure %lu uid %d %d gid %d %d seccomp %d no_new_privs %d\n", getauxval(AT_SECURE), getuid(), geteuid(),
           getgid(), getegid(), seccomp_mode(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    dl_iterate_phdr(name_library, NULL);
    fflush(stdout);
    if (argc > 1) execv(argv[1], argv + 1);
    return argc > 1;
}
