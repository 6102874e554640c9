// Opens a library by its path in a thread whose stack ends where the heap begins. The loader copies the path to that heap,
// some kilobytes above the stack pointer: `stack_below_heap PATH`.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK = 256 << 10, PAGE = 4096 };

static void *open_it(void *path) {
    return dlopen(path, RTLD_NOW) ? NULL : strdup(dlerror());
}

int main(int argc, char **argv) {
    mallopt(M_ARENA_MAX, 1);
    uintptr_t heap = (uintptr_t)malloc(24) & ~(uintptr_t)(PAGE - 1);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    void *stack = mmap((void *)(heap - STACK), STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (stack == MAP_FAILED) return 77; // the heap begins close behind the program, this time
    pthread_attr_t attributes;
    pthread_t thread;
    void *error;
    if (argc < 2 || pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, stack, STACK)) return 2;
    if (pthread_create(&thread, &attributes, open_it, argv[1]) || pthread_join(thread, &error)) return 3;
    puts(error ? error : "opened");
    return 0;
}
