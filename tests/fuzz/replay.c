/* SPDX-License-Identifier: Apache-2.0
 *
 * Feeds every file of the folders named on the command line to a fuzz target, whole and cut short
 * at each of a few lengths; the unit run's stand-in for libFuzzer. A missing folder is an empty
 * corpus.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLAY_MAX_BYTES (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A heap copy of the exact size, so that ASan sees the first byte read past the end. */
static void replay_bytes(const uint8_t *data, size_t n)
{
    uint8_t *copy = calloc(1, n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, data, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static int replay_file(const char *path)
{
    static uint8_t data[REPLAY_MAX_BYTES];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    size_t n = fread(data, 1, sizeof(data), f);
    fclose(f);
    replay_bytes(data, n);
    for (size_t part = 1; part < 8; part++)
        replay_bytes(data, n * part / 8);
    return 0;
}

static int replay_folder(const char *folder, int *count)
{
    int rc = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        rc |= replay_file(path);
        (*count)++;
    }
    closedir(dir);
    return rc;
}

int main(int argc, char **argv)
{
    int rc = 0, count = 0;
    replay_bytes((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        rc |= replay_folder(argv[i], &count);
    printf("%d inputs replayed\n", count);
    return rc;
}
