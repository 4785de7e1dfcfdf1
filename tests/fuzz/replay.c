/* replay.c: gives the files named as arguments to a fuzz target, one after the other: a corpus in
 * the ordinary tests, on every system. */
#include "fuzz.h"

enum { INPUT_MAX = 1 << 20 };

int main(int count, char **names) {
    static uint8_t input[INPUT_MAX];
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) {
            perror(names[i]);
            return 1;
        }
        size_t size = fread(input, 1, sizeof(input), file);
        fclose(file);
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%d inputs\n", count - 1);
    return 0;
}
