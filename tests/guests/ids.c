// Prints real and effective user id.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("%d %d\n", getuid(), geteuid());
    return 0;
}
