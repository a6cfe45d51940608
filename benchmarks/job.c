/* The program that is supervised, and its two companions. It says when things happen to it: each mark is one line
 * `EVENT NANOSECONDS PID NUMBER` (CLOCK_MONOTONIC) written to a named pipe.
 *
 *   job launch PIPE COMMAND...   mark `exec`, then become COMMAND: the moment before the supervisor's exec
 *   job wait PIPE                mark `start`; on SIGTERM mark `term`, then `end`; on SIGUSR1 only `end`
 *   job flood PIPE BYTES         mark `start`; on SIGUSR1 mark `flood`, write BYTES of lines to stdout, mark `end`
 *   job count PIPE               read stdin to its end; mark `counted` with the flood's lines and when the last came
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE "~ 2026-01-01 00:00:00 a line of a job's log, one hundred bytes with its end, as daemons write them.\n"

static int marks;
static volatile sig_atomic_t asked;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void mark(const char *event, long long when, long long number)
{
    char line[128];
    int size = snprintf(line, sizeof line, "%s %lld %d %lld\n", event, when, (int)getpid(), number);
    if (write(marks, line, size) != size)
        _exit(111);
}

static void on_signal(int number)
{
    if (number == SIGTERM)
        mark("term", now(), 0);
    asked = number;
}

static sigset_t before;

static void listen(void)
{
    struct sigaction action;
    sigset_t both;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGUSR1);
    sigprocmask(SIG_BLOCK, &both, &before);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

static void flood(long long bytes)
{
    static char block[40 * (sizeof LINE - 1)]; /* as stdio's buffer on a pipe: about 4 KB a write */
    const size_t line = sizeof LINE - 1;
    for (size_t at = 0; at < sizeof block; at += line)
        memcpy(block + at, LINE, line);
    for (long long lines = bytes / line; lines > 0; lines -= 40) {
        size_t size = lines < 40 ? lines * line : sizeof block;
        for (size_t at = 0; at < size;) {
            ssize_t written = write(1, block + at, size - at);
            if (written < 0)
                _exit(112);
            at += written;
        }
    }
}

static void count(void)
{
    static char block[1 << 16];
    long long lines = 0, last = now();
    ssize_t size;
    while ((size = read(0, block, sizeof block)) > 0) {
        const long long before = lines;
        for (char *at = block, *end = block + size; (at = memchr(at, '~', end - at)); at++)
            lines++;
        if (lines > before)
            last = now();
    }
    mark("counted", last, lines);
}

int main(int argc, char **argv)
{
    const long long begin = now();
    if (argc < 3 || (marks = open(argv[2], O_WRONLY | O_CLOEXEC)) < 0)
        return 100;
    if (!strcmp(argv[1], "launch")) {
        mark("exec", now(), 0);
        execvp(argv[3], argv + 3);
        return 127;
    }
    if (!strcmp(argv[1], "count")) {
        count();
        return 0;
    }
    listen(); /* first, for the mark may bring a signal */
    mark("start", begin, 0);
    while (!asked)
        sigsuspend(&before);
    if (!strcmp(argv[1], "flood") && asked == SIGUSR1) {
        mark("flood", now(), 0);
        flood(atoll(argv[3]));
    }
    mark("end", now(), 0);
    _exit(0);
}
