/* tests/fuzz/replay.c - runs a fuzz target over files, where there is no libFuzzer: `NAME FILE-OR-FOLDER...`. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static unsigned n_runs;

static void
run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct buf text = { 0 };
    struct slice in;
    char piece[4096];
    size_t n;

    if (f == NULL) {
        perror(path);
        exit(2);
    }
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&text, piece, n);
    fclose(f);
    fprintf(stderr, "%s\n", path);
    in = fuzz_dup(buf_slice(&text));
    LLVMFuzzerTestOneInput((const uint8_t *)in.p, in.n);
    fuzz_free(in);
    buf_free(&text);
    n_runs++;
}

static void
run_folder(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    char file[4096];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            run_file(file);
    }
    if (d != NULL)
        closedir(d);
}

__attribute__((weak)) int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int
main(int argc, char **argv)
{
    struct stat st;

    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            run_folder(argv[i]);
        else
            run_file(argv[i]);
    }
    printf("replayed %u inputs\n", n_runs);
    return 0;
}
