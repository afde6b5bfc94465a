/* SPDX-License-Identifier: MIT */
/*
 * shmbroker-bench: what the broker costs, measured beside what the kernel and a minimal server cost, in one run.
 */

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "config.h"

#include "common/cleanup.h"
#include "common/unixsock.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/delay.h"
#include "bench/kernel.h"
#include "bench/kill.h"
#include "bench/load.h"
#include "bench/memory.h"
#include "bench/minserver.h"
#include "bench/survive.h"

#define JOBS_MAX 24u

/* Priority of everything that is measured, where permitted: others on the machine shall not be. */
#define NICE (-10)

int bench_touch(int fd, bool write)
{
	volatile char *p;

	p = mmap(NULL, SEGMENT_BYTES, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (write)
		*p = 1;
	else
		(void)*p;

	return munmap((void *)p, SEGMENT_BYTES) < 0 ? -errno : 0;
}

int bench_fill(int fd, size_t n_bytes)
{
	void *p;

	p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;

	memset(p, 1, n_bytes);
	return munmap(p, n_bytes) < 0 ? -errno : 0;
}

int bench_report(struct bench *b, const char *group, const char *name, enum place place, const struct series *s)
{
	struct figure f = FIGURE_INIT;

	f.group = group;
	f.name = name;
	f.place = place_name(place);
	f.unit = "us";
	f.median = series_quantile(s, 0.5);
	f.p99 = series_quantile(s, 0.99);
	f.worst = series_quantile(s, 1);
	return report_add(b->report, &f);
}

int bench_pin(struct bench *b, enum place place)
{
	const pid_t servers[] = {b->kept.daemon.pid, b->unkept.pid, b->minimal.pid, b->pair.pid};
	int r;

	r = place_pin(0, place_driver_cpu());
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(servers); i++)
		if (servers[i] > 0)
			r = place_pin(servers[i], place_server_cpu(place));

	return r < 0 ? r : place_pin(b->kept.keeper.pid, place_keeper_cpu(place));
}

int bench_fail(const char *what, int error)
{
	if (error != -EINTR)
		(void)fprintf(stderr, "shmbroker-bench: %s: %s\n", what, strerror(-error));
	return error;
}

/* --- single jobs, side by side ------------------------------------------------------------------------------------ */

struct job_group {
	const char *name;
	const char *heading;
	const struct job *jobs;
	unsigned n_jobs;
	unsigned n_rounds;
	unsigned n_items;
	/* Which jobs the others are compared with; of RATIO_UNKEPT it is the next one. */
	unsigned bases[RATIO_N];
};

static const struct job open_jobs[] = {
	{"POSIX shm, read-write", kernel_posix_open_write, 1},
	{"POSIX shm, read-only", kernel_posix_open_read, 1},
	{"System V shm, attach and detach", kernel_sysv_open_write, 1},
	{"bare pair, round trip with a descriptor", kernel_pair_open, 1},
	{"minimal server, read-write", minimal_open_write, 1},
	{"minimal server, read-only", minimal_open_read, 1},
	{"minimal server, one-shot program", minimal_one_shot, 1},
	{"broker, read-write", broker_open_write, 1},
	{"without keeper, read-write", unkept_open_write, 1, .unkept = true},
	{"broker, read-only", broker_open_read, 1},
	{"broker, one-shot program", broker_one_shot, 1},
	{"without keeper, one-shot program", unkept_one_shot, 1, .unkept = true},
	{"broker, connect and disconnect", broker_connect_disconnect, 1, .apart = true},
	{"without keeper, connect and disconnect", unkept_connect_disconnect, 1, .unkept = true, .apart = true},
	{"broker, read-write, batch of 16", broker_open_many_write, 16},
	{"broker, read-write, batch of 64", broker_open_many_write, 64},
	{"broker, read-write, batch of 253", broker_open_many_write, 253},
	{"broker, read-only, batch of 16", broker_open_many_read, 16},
	{"broker, read-only, batch of 64", broker_open_many_read, 64},
	{"broker, read-only, batch of 253", broker_open_many_read, 253},
};

static const struct job create_jobs[] = {
	{"POSIX shm, create and unlink", kernel_posix_create, 1},
	{"System V shm, create and remove", kernel_sysv_create, 1},
	{"minimal server, create and remove", minimal_create, 1},
	{"broker, create and remove", broker_create_remove, 1},
	{"without keeper, create and remove", unkept_create_remove, 1, .unkept = true},
	{"broker, create and close (lifetime used)", broker_create_close, 1},
	{"without keeper, create and close", unkept_create_close, 1, .unkept = true},
	{"broker, create and remove, batch of 16", broker_create_remove_many, 16},
	{"broker, create and remove, batch of 64", broker_create_remove_many, 64},
	{"without keeper, batch of 64", unkept_create_remove_many, 64, .unkept = true},
	{"broker, create and remove, batch of 253", broker_create_remove_many, 253},
};

static const struct job_group open_group = {
	.name = "open",
	.heading = "open, map, touch, unmap, close; us for one segment of 4 KiB",
	.jobs = open_jobs,
	.n_jobs = ARRAY_SIZE(open_jobs),
	.n_rounds = 40,
	.n_items = 400,
	.bases = {[RATIO_POSIX] = 0, [RATIO_MINIMAL] = 4, [RATIO_WRITE] = 7},
};

static const struct job_group create_group = {
	.name = "create",
	.heading = "create, map, touch, unmap, close, remove; us for one segment of 4 KiB",
	.jobs = create_jobs,
	.n_jobs = ARRAY_SIZE(create_jobs),
	.n_rounds = 40,
	.n_items = 300,
	.bases = {[RATIO_POSIX] = 0, [RATIO_MINIMAL] = 2, [RATIO_WRITE] = 3},
};

static void compare_job(const struct job_group *g, unsigned i, const struct series *series, double ratios[RATIO_N])
{
	for (unsigned k = 0; k < RATIO_N && !g->jobs[i].apart; k++)
		if (k != RATIO_UNKEPT)
			ratios[k] = series_ratio(&series[i], &series[g->bases[k]]);
	/* The keeper does its work for many requests at a time. */
	if (i + 1 < g->n_jobs && g->jobs[i + 1].unkept)
		ratios[RATIO_UNKEPT] = series_ratio_means(&series[i], &series[i + 1]);
}

static int report_jobs(struct bench *b, const struct job_group *g, enum place place, const struct series *series)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < g->n_jobs; i++) {
		const struct series *s = &series[i];
		struct figure f = FIGURE_INIT;

		f.group = g->name;
		f.name = g->jobs[i].name;
		f.place = place_name(place);
		f.unit = "us";
		f.median = series_quantile(s, 0.5);
		f.p99 = series_quantile(s, 0.99);
		f.worst = series_quantile(s, 1);
		f.quiet = series_quiet(s);
		compare_job(g, i, series, f.ratios);
		r = report_add(b->report, &f);
	}

	return r;
}

static int run_jobs_at(struct bench *b, const struct job_group *g, enum place place)
{
	struct series series[JOBS_MAX] = {0};
	const struct job *failed = NULL;
	int r;

	assert(g->n_jobs <= JOBS_MAX);
	r = bench_pin(b, place);
	if (r == 0)
		r = measure_jobs(b, g->jobs, g->n_jobs, bench_rounds(b, g->n_rounds), g->n_items, series, &failed);
	if (r == 0)
		r = report_jobs(b, g, place, series);

	for (unsigned i = 0; i < g->n_jobs; i++)
		series_done(&series[i]);
	return r < 0 ? bench_fail(failed ? failed->name : g->name, r) : 0;
}

static int run_jobs(struct bench *b, const struct job_group *g)
{
	int r = 0;

	report_heading(g->name, g->heading);
	for (enum place place = 0; r == 0 && place < PLACE_N; place++)
		if (place_server_cpu(place) >= 0)
			r = run_jobs_at(b, g, place);

	return r;
}

static int run_open(struct bench *b)
{
	return run_jobs(b, &open_group);
}

static int run_create(struct bench *b)
{
	return run_jobs(b, &create_group);
}

/* --- the whole run ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*run)(struct bench *b);
} groups[] = {
	{"open", run_open},   {"create", run_create},	{"load", load_run},	{"reclaim", kill_run},
	{"delay", delay_run}, {"survive", survive_run}, {"memory", memory_run},
};

static int start_minimal(struct bench *b)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = unixsock_listen(b->minimal_path, SOCK_SEQPACKET, 0600, SOMAXCONN, &fd);
	return r < 0 ? r : server_start(&b->minimal, minserver_run, fd);
}

static int start_unkept(struct bench *b)
{
	const struct daemon_options options = {
		.program = b->daemon_program, .dir = b->dir, .socket_path = b->unkept_path};

	return server_start_daemon(&b->unkept, &options);
}

static int start_servers(struct bench *b)
{
	int r;

	r = kept_start(b, "broker", &b->kept);
	if (r == 0)
		r = start_unkept(b);
	if (r < 0)
		return bench_fail(b->daemon_program, r);
	r = start_minimal(b);
	return r < 0 ? bench_fail("minimal server", r) : 0;
}

static int start_clients(struct bench *b)
{
	int r;

	r = kernel_new(b, &b->kernel);
	if (r < 0)
		return bench_fail("the kernel's shared memory", r);
	r = minimal_new(b, &b->client);
	if (r < 0)
		return bench_fail("minimal server", r);
	r = broker_new(b->kept.path, &b->broker);
	if (r == 0)
		r = broker_new(b->unkept_path, &b->unkept_broker);
	return r < 0 ? bench_fail("broker", r) : 0;
}

static int start(struct bench *b)
{
	const char *tmp = getenv("TMPDIR");
	int r;

	(void)snprintf(b->dir, sizeof(b->dir), "%s/shmbroker-bench-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(b->dir)) {
		b->dir[0] = '\0';
		return bench_fail("temporary directory", -errno);
	}
	(void)snprintf(b->unkept_path, sizeof(b->unkept_path), "%s/unkept.sock", b->dir);
	(void)snprintf(b->minimal_path, sizeof(b->minimal_path), "%s/minimal.sock", b->dir);

	r = start_servers(b);
	return r < 0 ? r : start_clients(b);
}

static void stop(struct bench *b)
{
	b->unkept_broker = broker_free(b->unkept_broker);
	b->broker = broker_free(b->broker);
	b->client = minimal_free(b->client);
	b->kernel = kernel_free(b->kernel);
	server_stop(&b->pair);
	server_stop(&b->minimal);
	server_stop(&b->unkept);
	kept_stop(&b->kept);

	if (!b->dir[0])
		return;
	(void)unlink(b->minimal_path);
	(void)unlink(b->unkept_path);
	(void)rmdir(b->dir);
}

static bool group_exists(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (strcmp(name, groups[i].name) == 0)
			return true;

	return false;
}

static int run_groups(struct bench *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(groups); i++)
		if (!b->only || strcmp(b->only, groups[i].name) == 0)
			r = groups[i].run(b);

	return r;
}

/*
 * Where the scheduler groups processes by session, a process' own priority only counts within the session: sched(7), on
 * autogroups. What is not permitted is not done.
 */
static void set_priority(int nice)
{
	FILE *f;

	(void)setpriority(PRIO_PROCESS, 0, nice);
	f = fopen("/proc/self/autogroup", "we");
	if (!f)
		return;
	(void)fprintf(f, "%d", nice);
	(void)fclose(f);
}

/* What a service manager gives to a broker: the hard limit. Whoever holds segments needs as many descriptors. */
static void raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void print_machine(void)
{
	struct utsname u;

	if (uname(&u) == 0)
		printf("shmbroker %s, Linux %s, %ld CPUs, priority %d\n", PACKAGE_VERSION, u.release,
		       sysconf(_SC_NPROCESSORS_ONLN), getpriority(PRIO_PROCESS, 0));
}

static int run(struct bench *b, const char *json_path)
{
	int r;

	r = report_new(&b->report);
	if (r < 0)
		return r;
	r = measure_catch_signals();
	if (r < 0)
		return r;

	set_priority(NICE);
	raise_nofile();
	print_machine();
	r = start(b);
	if (r == 0)
		r = run_groups(b);
	stop(b);
	if (r == 0) {
		report_summary(b->report);
		if (json_path)
			r = report_write_json(b->report, json_path);
	}

	set_priority(0);
	b->report = report_free(b->report);
	return r;
}

static const char help[] = "shmbroker-bench [OPTION...]\n"
			   "Measures a private broker beside the kernel's own shared memory and a minimal server.\n\n"
			   "  --quick          fewer rounds: under 40 seconds instead of some three minutes\n"
			   "  --only NAME      one group alone: open, create, load, reclaim, delay, survive, memory\n"
			   "  --json FILE      the figures as JSON as well\n"
			   "  --daemon PATH    the broker to measure (default: shmbrokerd from $PATH)\n"
			   "  --keeper PATH    its keeper (default: shmbroker-keeper from $PATH)\n"
			   "  --help           this text\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"quick", no_argument, NULL, 'q'},
		{"only", required_argument, NULL, 'o'},
		{"json", required_argument, NULL, 'j'},
		{"daemon", required_argument, NULL, 'd'},
		{"keeper", required_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct bench b = {
		.daemon_program = "shmbrokerd",
		.keeper_program = "shmbroker-keeper",
		.kept = KEPT_NONE,
		.unkept = SERVER_NONE,
		.minimal = SERVER_NONE,
		.pair = SERVER_NONE,
	};
	const char *json_path = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 'q':
			b.quick = true;
			break;
		case 'o':
			b.only = optarg;
			break;
		case 'j':
			json_path = optarg;
			break;
		case 'd':
			b.daemon_program = optarg;
			break;
		case 'k':
			b.keeper_program = optarg;
			break;
		case 'h':
			(void)fputs(help, stdout);
			return EXIT_SUCCESS;
		default:
			return 2;
		}
	if (b.only && !group_exists(b.only)) {
		(void)fprintf(stderr, "shmbroker-bench: no group \"%s\"\n", b.only);
		return 2;
	}
	if (optind < argc) {
		(void)fprintf(stderr, "shmbroker-bench: unexpected argument \"%s\"\n", argv[optind]);
		return 2;
	}

	return run(&b, json_path) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
