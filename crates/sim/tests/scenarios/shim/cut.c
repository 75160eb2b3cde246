/* Keeps what a power cut would leave. Whatever of the files below CUT_FROM is synced is copied to CUT_TO at that moment: the bytes of a
   file by its inode's number, the names in a directory by the directory's. What was written but not synced is nowhere in CUT_TO.
   Loaded before the C library's own calls by the test `power`; a copy that fails ends the program, so that none is missing unseen. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int holds) {
	if (!holds) abort();
}

/* Opens CUT_TO/kind/inode.new for writing. */
static FILE *begin(const char *kind, ino_t inode, char path[static PATH_MAX]) {
	must(snprintf(path, PATH_MAX, "%s/%s/%llu.new", getenv("CUT_TO"), kind, (unsigned long long)inode) < PATH_MAX);
	FILE *out = fopen(path, "w");
	must(out != NULL);
	return out;
}

static void end(FILE *out, const char *path) {
	char done[PATH_MAX];
	must(fclose(out) == 0);
	must(snprintf(done, sizeof done, "%.*s", (int)(strlen(path) - strlen(".new")), path) < (int)sizeof done);
	must(rename(path, done) == 0);
}

static void keep_bytes(const char *self, ino_t inode) {
	char path[PATH_MAX], piece[65536];
	ssize_t length;
	/* Opened anew: the caller's descriptor may be for writing only, and its place in the file is not ours to move. */
	int in = open(self, O_RDONLY | O_CLOEXEC);
	must(in >= 0);
	FILE *out = begin("bytes", inode, path);
	while ((length = read(in, piece, sizeof piece)) > 0) must(fwrite(piece, 1, (size_t)length, out) == (size_t)length);
	must(length == 0 && close(in) == 0);
	end(out, path);
}

static void keep_names(const char *self, ino_t inode) {
	char path[PATH_MAX];
	DIR *directory = opendir(self);
	must(directory != NULL);
	FILE *out = begin("names", inode, path);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (entry->d_name[0] != '.') fprintf(out, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
	}
	closedir(directory);
	end(out, path);
}

static int keep(int fd, long result) {
	const char *from = getenv("CUT_FROM");
	char self[64], path[PATH_MAX];
	struct stat status;
	if (result != 0 || !from) return (int)result;
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(self, path, sizeof path - 1);
	if (length < 0 || strncmp(path, from, strlen(from)) != 0) return 0;
	must(fstat(fd, &status) == 0);
	if (S_ISDIR(status.st_mode)) keep_names(self, status.st_ino);
	if (S_ISREG(status.st_mode)) keep_bytes(self, status.st_ino);
	return 0;
}

int fsync(int fd) {
	return keep(fd, syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
	return keep(fd, syscall(SYS_fdatasync, fd));
}
