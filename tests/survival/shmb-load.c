/* SPDX-License-Identifier: MIT */
/*
 * The driver of the load: starts its clients, obeys commands on stdin, says on stdout what came of them. See load.h for
 * the parts, and --help.
 */

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/parse.h"
#include "tests/lib/asuser.h"
#include "tests/survival/load.h"

/* Processes that --segments are shared among. */
#define HOLDERS 8u
/* How long a client may take to come to a stop, the broker's restart included. */
#define PATIENCE_MSEC 60000

static void help(void)
{
	puts("Usage: shmb-load [OPTION]...\n"
	     "\n"
	     "Many clients of a broker, as programs are: they create, open, write, read, grow, publish, grant, wait\n"
	     "for, replace, remove and close segments, each knowing at every moment what must come of it. The first\n"
	     "call that fails, byte that changes, or hold that is lost or doubled ends it with a sentence and status "
	     "1.\n"
	     "\n"
	     "  --socket PATH      the broker's socket (default: $SHMBROKER_SOCKET)\n"
	     "  --clients N        processes; some have threads, some fork, some come and go (default: 200)\n"
	     "  --segments N       beside, hold N segments of one page each (default: 0)\n"
	     "  --pace USEC        a worker waits up to twice that between two calls (default: 10000)\n"
	     "  --seed N           of all chances (default: from the clock); it is printed\n"
	     "  --one-user         nobody is another user; else, as root, two clients of five are\n"
	     "  -h, --help         print this\n"
	     "\n"
	     "It prints \"ready\" when all of them are at work, then obeys commands on stdin, one a line:\n"
	     "\n"
	     "  check    stop all clients, have each verify all that it has, compare the sum of it with what the\n"
	     "           broker says (names, sizes, holders, totals, usage of each user), go on: \"ok FIGURES\"\n"
	     "  stop     the same, and stay stopped\n"
	     "  go       go on after a stop: \"ok\"\n"
	     "  pause    the longest time, in us, that a call took since this was last asked: \"pause USEC\"\n"
	     "  quit     check, give up everything, see that the broker has nothing left of it: \"bye\", status 0\n"
	     "\n"
	     "The end of stdin is as \"quit\". What is wrong is told as \"failed: SENTENCE\", status 1. As in:\n"
	     "\n"
	     "  (while true; do kill -9 $BROKER; restart; echo check; read line <&3 ...) | shmb-load --clients 50 >&3");
}

_Noreturn static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void fail(const char *format, ...)
{
	va_list ap;

	printf("failed: ");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	exit(EXIT_FAILURE);
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

/* Who a client is: root's clients are, in part, two other users. */
static uint32_t client_uid(const struct driver *d, unsigned i)
{
	if (!d->options.users || i % 5 < 3)
		return geteuid();
	return i % 5 == 3 ? UID_A : UID_B;
}

static void become(uint32_t uid)
{
	if (uid == geteuid())
		return;
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		_exit(EXIT_FAILURE);
	(void)prctl(PR_SET_DUMPABLE, 1);
}

/* In the new process: only its end of @control is left open. */
_Noreturn static void begin_client(const struct driver *d, unsigned i, int control)
{
	static struct client c;

	become(client_uid(d, i));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != d->board->run || dup2(control, 3) < 0)
		_exit(EXIT_FAILURE);
	close_range(4, ~0U, 0);
	close(STDIN_FILENO);

	c = (struct client){
		.options = &d->options,
		.board = d->board,
		.entry = &d->board->entries[i],
		.index = i,
		.control = 3,
		.n_workers = i % 4 == 2 ? 2 : 1,
		.reconnects = i % 8 == 1,
		.waits = i % 8 == 3 || i % 8 == 6,
		.forks = i % 8 == 4 || i % 8 == 7,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER,
	};
	if (i >= d->board->n_clients) {
		unsigned k = i - d->board->n_clients, n = d->options.n_segments;
		unsigned first = n / HOLDERS * k + MIN(k, n % HOLDERS);

		c.n_workers = 1;
		c.forks = false;
		holder_run(&c, first, n / HOLDERS + (k < n % HOLDERS));
	}
	client_run(&c);
}

static void start_client(struct driver *d, unsigned i)
{
	struct entry *e = &d->board->entries[i];
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		fail("socketpair: %s", strerror(errno));
	e->uid = client_uid(d, i);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		begin_client(d, i, pair[1]);
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	e->pid = pid;
	close(pair[1]);
	d->controls[i] = pair[0];
}

_Noreturn static void fail_client(const struct driver *d, unsigned i, const char *why)
{
	const struct entry *e = &d->board->entries[i];
	const char *between = e->failure[0] != '\0' ? ": " : "; last it would";

	if (e->failure[0] != '\0')
		fail("client %u (uid %u, session %llu) %s%s%s", i, e->uid, (unsigned long long)e->session, why, between,
		     e->failure);
	fail("client %u (uid %u, session %llu) %s%s %s | %s | %s", i, e->uid, (unsigned long long)e->session, why,
	     between, e->doing[0], e->doing[1], e->doing[2]);
}

static void say(struct driver *d, enum word word)
{
	char byte = (char)word;

	for (unsigned i = 0; i < d->n_entries; i++)
		if (send(d->controls[i], &byte, 1, MSG_NOSIGNAL) != 1)
			fail_client(d, i, "has ended");
}

/* Until each client has said @word. */
static void collect(struct driver *d, enum word word)
{
	for (unsigned i = 0; i < d->n_entries; i++) {
		struct pollfd p = {.fd = d->controls[i], .events = POLLIN};
		char byte;

		if (poll(&p, 1, PATIENCE_MSEC) <= 0)
			fail_client(d, i, "does not come");
		if (recv(p.fd, &byte, 1, 0) != 1)
			fail_client(d, i, "has ended");
		if (byte != (char)word)
			fail_client(d, i, "says something else");
	}
}

/* --- the driver's own --------------------------------------------------------------------------------------------- */

static struct shmb_conn *connect_as(const struct driver *d, uint32_t uid)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_error error;
	struct shmb_conn *conn;
	int r;

	options.socket_path = d->options.socket;
	options.timeout_usec = PATIENCE_MSEC * USEC_PER_MSEC;
	if (uid != geteuid() && seteuid(uid) < 0)
		fail("become uid %u: %s", uid, strerror(errno));
	r = shmb_connect(&options, &conn, &error);
	if (geteuid() != getuid() && seteuid(getuid()) < 0)
		fail("become root again: %s", strerror(errno));
	if (r < 0)
		fail("connect: %s", error.text);
	return conn;
}

static void create_common(struct driver *d)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	uint64_t n_bytes = (d->board->n_clients + 1) * WORKERS_MAX * sizeof(uint64_t);
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];

	options.lifetime = SHMB_LIFETIME_PERSISTENT;
	options.mode = 0666;
	load_name(name, sizeof(name), d->board->run, "common", 0, 0);
	if (shmb_create(d->conn, name, n_bytes, &options, &s, &error) < 0)
		fail("create %s: %s", name, error.text);
	d->common = (struct told){
		.id = shmb_segment_id(s),
		.generation = shmb_segment_generation(s),
		.n_bytes = n_bytes,
		.max_bytes = n_bytes,
		.uid = shmb_conn_uid(d->conn),
		.owned = true,
		.named = true,
	};
	shmb_close(s);
}

/* Memory that the driver shares with its clients. */
static void make_board(struct driver *d)
{
	unsigned n_holders = d->options.n_segments > 0 ? HOLDERS : 0, n_shares;
	size_t n_head, n_told;
	uint8_t *p;

	d->n_entries = d->options.n_clients + n_holders;
	n_shares = d->options.n_segments / HOLDERS + 1;
	n_head = ROUND_UP(sizeof(struct board) + d->n_entries * sizeof(struct entry), sizeof(uint64_t));
	n_told = (size_t)d->options.n_clients * TOLD_MAX + (size_t)n_holders * n_shares;
	p = mmap(NULL, n_head + n_told * sizeof(struct told), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	d->controls = calloc(d->n_entries, sizeof(*d->controls));
	if (p == MAP_FAILED || !d->controls)
		fail("no memory");
	d->board = (struct board *)p;
	d->board->run = getpid();
	d->board->n_clients = d->options.n_clients;
	for (unsigned i = 0; i < d->n_entries; i++) {
		d->board->entries[i].told = (struct told *)(p + n_head);
		p += (i < d->options.n_clients ? TOLD_MAX : n_shares) * sizeof(struct told);
	}
}

static void begin(struct driver *d)
{
	const uint32_t uids[] = {geteuid(), UID_A, UID_B};
	int r;

	make_board(d);
	d->conn = connect_as(d, geteuid());
	for (unsigned i = 0; i < (d->options.users ? ARRAY_SIZE(uids) : 1); i++)
		d->probes[d->n_probes++] = (struct probe){.uid = uids[i], .conn = connect_as(d, uids[i])};
	r = check_begin(d);
	if (r < 0)
		fail("stats: %s", shmb_strerror(r));
	create_common(d);
	for (unsigned i = 0; i < d->n_entries; i++)
		start_client(d, i);
	collect(d, WORD_READY);
	say(d, WORD_GO);
	puts("ready");
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void stop_and_check(struct driver *d)
{
	say(d, WORD_STOP);
	collect(d, WORD_STOPPED);
	if (!check_agrees(d))
		fail("%s", d->why);
}

static void print_figures(const struct driver *d)
{
	uint64_t n_calls = 0, n_told = 0, n_waits = 0;

	for (unsigned i = 0; i < d->n_entries; i++) {
		n_calls += atomic_load(&d->board->entries[i].n_calls);
		n_told += d->board->entries[i].n_told;
		n_waits += d->board->entries[i].n_waits;
	}
	printf("ok %u clients, %llu holds and names, %llu waits, %llu calls so far\n", d->n_entries,
	       (unsigned long long)n_told, (unsigned long long)n_waits, (unsigned long long)n_calls);
}

static void print_pause(const struct driver *d)
{
	uint64_t longest = 0, n;

	for (unsigned i = 0; i < d->n_entries; i++) {
		n = atomic_exchange(&d->board->entries[i].pause_usec, 0);
		longest = MAX(longest, n);
	}
	printf("pause %llu\n", (unsigned long long)longest);
}

static void quit(struct driver *d)
{
	char name[64];
	int status;

	stop_and_check(d);
	say(d, WORD_QUIT);
	collect(d, WORD_GONE);
	for (unsigned i = 0; i < d->n_entries; i++) {
		struct entry *e = &d->board->entries[i];

		if (waitpid(e->pid, &status, 0) != e->pid || status != 0)
			fail_client(d, i, "has ended badly");
		e->session = e->n_told = e->n_waits = 0;
		close(d->controls[i]);
	}
	load_name(name, sizeof(name), d->board->run, "common", 0, 0);
	if (shmb_remove(d->conn, name, NULL, NULL) < 0)
		fail("%s is not there any more", name);
	d->common.id = 0;
	if (!check_agrees(d))
		fail("at the end %s", d->why);
	for (unsigned i = 0; i < d->n_probes; i++)
		shmb_disconnect(d->probes[i].conn);
	shmb_disconnect(d->conn);
	free(d->controls);
	puts("bye");
}

/* Returns false after the last one. */
static bool obey(struct driver *d, const char *command)
{
	if (strcmp(command, "check") == 0 || strcmp(command, "stop") == 0) {
		stop_and_check(d);
		if (strcmp(command, "check") == 0)
			say(d, WORD_GO);
		print_figures(d);
	} else if (strcmp(command, "go") == 0) {
		say(d, WORD_GO);
		puts("ok");
	} else if (strcmp(command, "pause") == 0) {
		print_pause(d);
	} else if (strcmp(command, "quit") == 0) {
		quit(d);
		return false;
	} else {
		fail("\"%s\" is no command", command);
	}
	return true;
}

/* Waits for a command; what goes wrong meanwhile is told at once. */
static void wait_command(struct driver *d, struct pollfd *p)
{
	p[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	for (unsigned i = 0; i < d->n_entries; i++)
		p[i + 1] = (struct pollfd){.fd = d->controls[i], .events = POLLIN};
	if (poll(p, d->n_entries + 1, -1) < 0)
		fail("poll: %s", strerror(errno));
	for (unsigned i = 0; i < d->n_entries; i++)
		if (p[i + 1].revents)
			fail_client(d, i, "has ended");
}

static void obey_all(struct driver *d)
{
	struct pollfd *p = calloc(d->n_entries + 1, sizeof(*p));
	char line[32];

	if (!p)
		fail("no memory");
	/* So that poll() sees what is there to read. */
	setvbuf(stdin, NULL, _IONBF, 0);
	do {
		fflush(stdout);
		wait_command(d, p);
		if (!fgets(line, sizeof(line), stdin))
			strcpy(line, "quit");
		line[strcspn(line, "\n")] = '\0';
	} while (obey(d, line));
	free(p);
}

/* --- options ------------------------------------------------------------------------------------------------------ */

static uint64_t number(const char *text, uint64_t max)
{
	uint64_t n;

	if (parse_u64(text, &n) < 0 || n > max) {
		fprintf(stderr, "shmb-load: \"%s\" is no number, or too high\n", text);
		exit(2);
	}
	return n;
}

static void parse_options(int argc, char **argv, struct load_options *o)
{
	static const struct option longs[] = {
		{"socket", required_argument, NULL, 's'},   {"clients", required_argument, NULL, 'c'},
		{"segments", required_argument, NULL, 'n'}, {"pace", required_argument, NULL, 'p'},
		{"seed", required_argument, NULL, 'r'},	    {"one-user", no_argument, NULL, 'u'},
		{"help", no_argument, NULL, 'h'},	    {},
	};
	int c;

	*o = (struct load_options){
		.socket = getenv("SHMBROKER_SOCKET"),
		.n_clients = 200,
		.pace_usec = 10000,
		.seed = load_now_usec(),
		.users = geteuid() == 0,
	};
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->socket = optarg;
			break;
		case 'c':
			o->n_clients = (unsigned)number(optarg, 10000);
			break;
		case 'n':
			o->n_segments = (unsigned)number(optarg, 1 << 20);
			break;
		case 'p':
			o->pace_usec = (unsigned)number(optarg, 10 * USEC_PER_SEC);
			break;
		case 'r':
			o->seed = number(optarg, UINT64_MAX);
			break;
		case 'u':
			o->users = false;
			break;
		case 'h':
			help();
			exit(EXIT_SUCCESS);
		default:
			exit(2);
		}
	}
	if (optind < argc || !o->socket) {
		fputs("Try 'shmb-load --help'.\n", stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct driver d = {};
	struct rlimit limit;

	parse_options(argc, argv, &d.options);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	printf("seed %llu\n", (unsigned long long)d.options.seed);
	begin(&d);
	obey_all(&d);
	return EXIT_SUCCESS;
}
