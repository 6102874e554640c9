// Opens each library that is named on a line of its input, and says at once whether it could.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    char name[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(name, sizeof name, stdin)) {
        name[strcspn(name, "\n")] = 0;
        puts(dlopen(name, RTLD_NOW) ? "opened" : dlerror());
    }
    return 0;
}
