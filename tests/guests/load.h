// Opens a library and prints where it came from.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>

static void *load(void *name) {
    void *library = dlopen(name, RTLD_NOW);
    if (!library) {
        printf("%s: %s\n", (char *)name, dlerror());
        return (void *)1;
    }
    struct link_map *map;
    char origin[4096];
    Dl_info info;
    dlinfo(library, RTLD_DI_LINKMAP, &map);
    dlinfo(library, RTLD_DI_ORIGIN, origin);
    dladdr((void *)map->l_ld, &info);
    printf("%s: map %s origin %s address %s\n", (char *)name, map->l_name, origin, info.dli_fname);
    return NULL;
}
