// A loader that does nothing but what glibc 2.44's does with its cache: looks at it, opens it, looks again. Ends with 0
// if the path and the open file are the same to stat(2) and the content begins as a cache does.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static void end(int status) {
    for (;;) call(SYS_exit_group, status, 0, 0, 0);
}

static const char cache[] = "/etc/ld.so.cache";

__attribute__((force_align_arg_pointer)) void _start(void) {
    struct stat by_path, by_descriptor;
    char magic[20] = {0};
    if (call(SYS_newfstatat, AT_FDCWD, (long)cache, (long)&by_path, 0) != 0) end(1);
    long file = call(SYS_openat, AT_FDCWD, (long)cache, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) end(2);
    if (call(SYS_fstat, file, (long)&by_descriptor, 0, 0) != 0) end(3);
    if (by_path.st_ino != by_descriptor.st_ino || by_path.st_dev != by_descriptor.st_dev) end(4);
    if (by_path.st_size != by_descriptor.st_size || by_path.st_mtime != by_descriptor.st_mtime) end(5);
    if (call(SYS_read, file, (long)magic, 17, 0) != 17) end(6);
    for (int i = 0; i < 17; i++)
        if (magic[i] != "glibc-ld.so.cache"[i]) end(7);
    // Anything else is as the kernel says.
    if (call(SYS_newfstatat, AT_FDCWD, (long)"/no/such/file", (long)&by_path, 0) != -2) end(8);
    end(0);
}
