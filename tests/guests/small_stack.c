// Opens a library in a thread with a stack of so many bytes: `small_stack BYTES NAME`.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *open_it(void *name) { return dlopen(name, RTLD_NOW); }

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    size_t size = strtoul(argv[1], NULL, 10), guard = 1 << 20;
    pthread_attr_t attributes;
    pthread_t thread;
    void *library = NULL;
    // Below the stack nothing can be written, however far it is overrun.
    char *room = mmap(NULL, guard + size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED || mprotect(room + guard, size, PROT_READ | PROT_WRITE) != 0) return 2;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, room + guard, size) != 0) return 2;
    if (pthread_create(&thread, &attributes, open_it, argv[2]) != 0) return 2;
    pthread_join(thread, &library);
    return puts(library ? "opened" : "not there") < 0;
}
