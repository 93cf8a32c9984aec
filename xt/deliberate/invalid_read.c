/* Reads what it has freed: by C's code, or by Rust's of invalid_read.rs if an argument is given.
 * xt/asan has to find both. */

#include <stdlib.h>

char read_in_rust(const char *memory);

static char read_in_c(const char *memory) {
    return *(volatile const char *)memory;
}

int main(int count, char **arguments) {
    (void)arguments;
    char *memory = calloc(16, 1);
    free(memory);
    return count > 1 ? read_in_rust(memory) : read_in_c(memory);
}
