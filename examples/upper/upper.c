/* Upper-cases what it reads: standard input to standard output, ASCII letters only; with -l, lower-cases it.
 * Exit codes: 0 done, 1 could not read or write, 2 usage, 3 nothing came in. */
#include <stdio.h>
#include <string.h>

enum { EXIT_IO = 1, EXIT_USAGE = 2, EXIT_EMPTY = 3 };

static char buffer[16 * 1024];

int main(int argc, char **argv) {
    char first = 'a';
    size_t got, total = 0;

    if (argc == 2 && strcmp(argv[1], "-l") == 0) {
        first = 'A';
    } else if (argc > 1) {
        fprintf(stderr, "upper: unknown argument '%s'; only -l (lower-case) is known\n", argv[1]);
        return EXIT_USAGE;
    }
    while ((got = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
        for (size_t i = 0; i < got; i++)
            if (buffer[i] >= first && buffer[i] <= first + ('z' - 'a'))
                buffer[i] ^= 'a' ^ 'A'; /* the one bit between the cases */
        if (fwrite(buffer, 1, got, stdout) != got)
            break;
        total += got;
    }
    if (ferror(stdin) || ferror(stdout) || fflush(stdout) != 0) {
        perror("upper: could not read or write");
        return EXIT_IO;
    }
    if (total == 0) {
        fputs("upper: nothing on standard input; give it some text\n", stderr);
        return EXIT_EMPTY;
    }
    return 0;
}
