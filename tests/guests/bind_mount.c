// Mounts a folder in a second place; statically linked, for a machine without mount(8).
#include <stdio.h>
#include <sys/mount.h>

int main(int argc, char **argv) {
    if (argc == 3 && mount(argv[1], argv[2], NULL, MS_BIND, NULL) == 0) return 0;
    perror("mount");
    return 1;
}
