/* SPDX-License-Identifier: MIT */

/*
 * Runs every file in the directories given as arguments through a fuzz target, so that what a
 * fuzzer once found is an ordinary test with any compiler.
 */

#include "fuzz.h"

#include <dirent.h>
#include <errno.h>

static char *read_file(const char *path, size_t *ret_size)
{
        FILE *file = fopen(path, "rb");
        char *bytes;
        long size;

        if (!file || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
                (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
                exit(1);
        }
        rewind(file);
        bytes = malloc((size_t)size + 1);
        must(bytes);
        must(fread(bytes, 1, (size_t)size, file) == (size_t)size);
        (void)fclose(file);
        *ret_size = (size_t)size;
        return bytes;
}

static unsigned int replay(const char *directory)
{
        struct dirent **names;
        unsigned int n = 0;
        int n_names;

        n_names = scandir(directory, &names, NULL, alphasort);
        if (n_names < 0) {
                (void)fprintf(stderr, "%s: %s\n", directory, strerror(errno));
                exit(1);
        }
        for (int i = 0; i < n_names; i++) {
                char *path, *bytes, *input;
                size_t size;

                if (names[i]->d_name[0] != '.') {
                        must(asprintf(&path, "%s/%s", directory, names[i]->d_name) > 0);
                        /* Before, so that whoever crashes is known. */
                        printf("%s\n", path);
                        (void)fflush(stdout);
                        bytes = read_file(path, &size);
                        input = copy_exactly(bytes, size);
                        (void)LLVMFuzzerTestOneInput((const uint8_t *)input, size);
                        free(input);
                        free(bytes);
                        free(path);
                        n++;
                }
                free(names[i]);
        }
        free(names);
        return n;
}

int main(int argc, char **argv)
{
        unsigned int n = 0;

        for (int i = 1; i < argc; i++)
                n += replay(argv[i]);
        printf("%u inputs\n", n);
        return n > 0 ? 0 : 1;
}
