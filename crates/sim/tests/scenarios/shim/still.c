/* Everything that could differ between two runs of one program, held still: clocks stand, randomness is a counter. Loaded before the
   C library's own by the test `replay`; if a run still takes anything from the machine, it takes the same each time. With
   STILL_SEED set, "random" bytes begin elsewhere: a run that depends on them differs then. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>

static unsigned long long ticks;

static unsigned char next_byte(void) {
	const char *seed = getenv("STILL_SEED");
	ticks = ticks * 6364136223846793005ULL + 1442695040888963407ULL + (seed ? strtoull(seed, NULL, 10) : 0);
	return (unsigned char)(ticks >> 56);
}

static void fill(void *to, size_t length) {
	unsigned char *bytes = to;
	for (size_t at = 0; at < length; at++) bytes[at] = next_byte();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
	(void)clock;
	now->tv_sec = 1000000000;
	now->tv_nsec = 0;
	return 0;
}

time_t time(time_t *now) {
	if (now) *now = 1000000000;
	return 1000000000;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
	(void)zone;
	now->tv_sec = 1000000000;
	now->tv_usec = 0;
	return 0;
}

ssize_t getrandom(void *to, size_t length, unsigned flags) {
	(void)flags;
	fill(to, length);
	return (ssize_t)length;
}

int getentropy(void *to, size_t length) {
	fill(to, length);
	return 0;
}
