// Puts a small disk in the place of a folder, or takes it away: `disk mount PATH OPTIONS`, `disk read-only PATH`,
// `disk writable PATH`, `disk unmount PATH`. The options are tmpfs's (tmpfs(5)).
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

int main(int argc, char **argv) {
    int failed = 1;
    if (argc > 3 && strcmp(argv[1], "mount") == 0) failed = mount("tmpfs", argv[2], "tmpfs", 0, argv[3]);
    if (strcmp(argv[1], "read-only") == 0) failed = mount(NULL, argv[2], NULL, MS_REMOUNT | MS_RDONLY, NULL);
    if (strcmp(argv[1], "writable") == 0) failed = mount(NULL, argv[2], NULL, MS_REMOUNT, NULL);
    if (strcmp(argv[1], "unmount") == 0) failed = umount2(argv[2], MNT_DETACH);
    if (failed) perror(argv[2]);
    return failed != 0;
}
