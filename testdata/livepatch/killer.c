/*
 * Lets a program end, or fail, at one of its system calls that change something:
 *
 *	killer CALL before|after|ERRNO COMMAND...
 *
 * CALL is a number (the first is 0), or a name with a number, such as init_module:0. "before": it is killed
 * instead of the call; "after": when the call has been made; a number: the call is not made and gives this
 * error. Prints the call. Exit code: that of the command, 137 if it was killed, 99 if it made fewer such calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 64

static struct { pid_t tid; int inside, failing, dying; } threads[MOST];

static const char *changes(const struct user_regs_struct *regs)
{
	switch (regs->orig_rax) {
	case SYS_write:
	case SYS_pwrite64: return regs->rdi > 2 ? "write" : NULL;
	case SYS_openat: return regs->rdx & (O_CREAT | O_TRUNC) ? "create" : NULL;
	case SYS_open: return regs->rsi & (O_CREAT | O_TRUNC) ? "create" : NULL;
	case SYS_rename:
	case SYS_renameat:
	case SYS_renameat2: return "rename";
	case SYS_unlink:
	case SYS_unlinkat:
	case SYS_rmdir: return "unlink";
	case SYS_mkdir:
	case SYS_mkdirat: return "mkdir";
	case SYS_link:
	case SYS_linkat:
	case SYS_symlink:
	case SYS_symlinkat: return "link";
	case SYS_fsync:
	case SYS_fdatasync: return "fsync";
	case SYS_ftruncate: return "truncate";
	case SYS_fchmod:
	case SYS_fchmodat:
	case SYS_chmod: return "chmod";
	case SYS_init_module:
	case SYS_finit_module: return "init_module";
	case SYS_delete_module: return "delete_module";
	default: return NULL;
	}
}

static int of_thread(pid_t tid)
{
	for (int i = 0; i < MOST; i++) {
		if (threads[i].tid == tid || !threads[i].tid) {
			threads[i].tid = tid;
			return i;
		}
	}
	exit(98);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 98;
	char *colon = strchr(argv[1], ':');
	int wanted = atoi(colon ? colon + 1 : argv[1]);
	size_t named = colon ? (size_t)(colon - argv[1]) : 0;
	int before = !strcmp(argv[2], "before"), after = !strcmp(argv[2], "after");
	int count = 0, hit = 0, status;

	pid_t child = fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	for (;;) {
		pid_t tid = waitpid(-1, &status, __WALL);
		int deliver = 0;

		if (tid < 0)
			return 98;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (tid != child)
				continue;
			return !hit ? 99 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		}
		int t = of_thread(tid);
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			struct user_regs_struct regs;

			ptrace(PTRACE_GETREGS, tid, 0, &regs);
			threads[t].inside = !threads[t].inside;
			const char *name = threads[t].inside ? changes(&regs) : NULL;
			if (name && !hit && (!named || (strlen(name) == named && !strncmp(name, argv[1], named))) &&
			    count++ == wanted) {
				hit = 1;
				printf("%s\n", name);
				fflush(stdout);
				if (before) {
					kill(child, SIGKILL);
				} else if (after) {
					threads[t].dying = 1;
				} else {
					threads[t].failing = 1;
					regs.orig_rax = -1;
					ptrace(PTRACE_SETREGS, tid, 0, &regs);
				}
			} else if (!threads[t].inside && threads[t].dying) {
				kill(child, SIGKILL);
			} else if (!threads[t].inside && threads[t].failing) {
				threads[t].failing = 0;
				regs.rax = -atoi(argv[2]);
				ptrace(PTRACE_SETREGS, tid, 0, &regs);
			}
		} else if (WSTOPSIG(status) == SIGSTOP || status >> 16) {
			ptrace(PTRACE_SETOPTIONS, tid, 0,
			       PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
		} else if (WSTOPSIG(status) != SIGTRAP) {
			deliver = WSTOPSIG(status);
		}
		ptrace(PTRACE_SYSCALL, tid, 0, deliver);
	}
}
