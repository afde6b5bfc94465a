/* SPDX-License-Identifier: MIT */
/*
 * Clock, places, rounds, quantiles.
 */

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/parse.h"

#include "bench/measure.h"

static volatile sig_atomic_t interrupted;

static void on_signal(_unused_ int signo)
{
	interrupted = 1;
}

int measure_catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: a blocking read shall come back */

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &sa, NULL) < 0)
			return -errno;

	return 0;
}

bool measure_interrupted(void)
{
	return interrupted;
}

const char *place_name(enum place place)
{
	return place == PLACE_SAME ? "same CPU" : "one CPU each";
}

/* The CPUs that this process was allowed at first, or NULL. */
static const cpu_set_t *allowed_cpus(void)
{
	static cpu_set_t allowed;
	static bool known;

	if (!known && sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return NULL;
	known = true;
	return &allowed;
}

/* Number @nth of them, or -1. */
static int allowed_cpu(int nth)
{
	const cpu_set_t *allowed = allowed_cpus();

	for (int cpu = 0; allowed && cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, allowed) && nth-- == 0)
			return cpu;

	return -1;
}

int place_driver_cpu(void)
{
	return allowed_cpu(0);
}

int place_server_cpu(enum place place)
{
	return allowed_cpu(place == PLACE_SAME ? 0 : 1);
}

int place_keeper_cpu(enum place place)
{
	int third = allowed_cpu(2);

	return place == PLACE_SPLIT && third >= 0 ? third : place_server_cpu(place);
}

static int pin_threads(DIR *tasks, const cpu_set_t *set)
{
	const struct dirent *d;

	while ((d = readdir(tasks))) {
		uint32_t tid;

		if (parse_u32(d->d_name, &tid) != 0) /* "." and ".." */
			continue;
		/* A thread may have ended since. */
		if (sched_setaffinity((pid_t)tid, sizeof(*set), set) < 0 && errno != ESRCH)
			return -errno;
	}

	return 0;
}

int place_pin(pid_t pid, int cpu)
{
	char path[sizeof("/proc/-2147483648/task")];
	cpu_set_t set;
	DIR *tasks;
	int r;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pid == 0)
		return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;

	r = pin_threads(tasks, &set);
	closedir(tasks);
	return r;
}

int place_unpin(void)
{
	const cpu_set_t *allowed = allowed_cpus();

	return !allowed || sched_setaffinity(0, sizeof(*allowed), allowed) < 0 ? -errno : 0;
}

uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

double now_usec(void)
{
	return (double)now_nsec() / 1e3;
}

int series_add(struct series *s, double sample)
{
	if (s->n_samples == s->n_allocated) {
		size_t n = MAX(s->n_allocated * 2, (size_t)1024);
		float *samples = realloc(s->samples, n * sizeof(*samples));

		if (!samples)
			return -ENOMEM;
		s->samples = samples;
		s->n_allocated = n;
	}

	s->samples[s->n_samples++] = (float)sample;
	return 0;
}

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const float *samples, size_t n, double share)
{
	float *sorted;
	double v;

	if (n == 0)
		return NAN;
	sorted = malloc(n * sizeof(*sorted));
	if (!sorted)
		return NAN;

	memcpy(sorted, samples, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare_floats);
	v = sorted[(size_t)(share * (double)(n - 1))];
	free(sorted);
	return v;
}

static double mean(const float *samples, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += samples[i];

	return n > 0 ? sum / (double)n : NAN;
}

int series_end_round(struct series *s)
{
	const float *samples = s->samples + s->round_start;
	size_t n_samples = s->n_samples - s->round_start, n = (s->n_rounds + 1) * sizeof(double);
	double *grown;

	grown = realloc(s->rounds, n);
	if (!grown)
		return -ENOMEM;
	s->rounds = grown;
	grown = realloc(s->means, n);
	if (!grown)
		return -ENOMEM;
	s->means = grown;

	s->rounds[s->n_rounds] = quantile(samples, n_samples, 0.5);
	s->means[s->n_rounds] = mean(samples, n_samples);
	s->n_rounds++;
	s->round_start = s->n_samples;
	return 0;
}

void series_done(struct series *s)
{
	free(s->samples);
	free(s->rounds);
	free(s->means);
	*s = (struct series){0};
}

double series_quantile(const struct series *s, double share)
{
	return quantile(s->samples, s->n_samples, share);
}

double series_quiet(const struct series *s)
{
	double lowest = NAN;

	for (unsigned i = 0; i < s->n_rounds; i++)
		lowest = fmin(lowest, s->rounds[i]);

	return lowest;
}

static double ratio(const double *rounds, const double *base, unsigned n)
{
	double *ratios, v;

	if (n == 0)
		return NAN;
	ratios = malloc(n * sizeof(*ratios));
	if (!ratios)
		return NAN;

	for (unsigned i = 0; i < n; i++)
		ratios[i] = rounds[i] / base[i];
	qsort(ratios, n, sizeof(*ratios), compare_doubles);
	v = ratios[n / 2];
	free(ratios);
	return v;
}

double series_ratio(const struct series *s, const struct series *base)
{
	return ratio(s->rounds, base->rounds, MIN(s->n_rounds, base->n_rounds));
}

double series_ratio_means(const struct series *s, const struct series *base)
{
	return ratio(s->means, base->means, MIN(s->n_rounds, base->n_rounds));
}

/* Runs one job for one round; the first calls after another job's turn are not counted. */
static int run_round(struct bench *b, const struct job *job, unsigned n_items, struct series *s)
{
	unsigned n = MAX(n_items / job->n_items, 8u);
	unsigned n_warm = MIN(n / 4, 16u);
	int r;

	for (unsigned i = 0; i < n_warm + n; i++) {
		uint64_t start = now_nsec();

		r = job->run(b, job->n_items);
		if (r < 0)
			return r;
		if (measure_interrupted())
			return -EINTR;
		if (i < n_warm)
			continue;

		r = series_add(s, (double)(now_nsec() - start) / 1e3 / job->n_items);
		if (r < 0)
			return r;
	}

	return series_end_round(s);
}

int measure_jobs(struct bench *b, const struct job *jobs, unsigned n_jobs, unsigned n_rounds, unsigned n_items,
		 struct series *ret_series, const struct job **ret_failed)
{
	int r;

	memset(ret_series, 0, n_jobs * sizeof(*ret_series));

	for (unsigned round = 0; round < n_rounds; round++)
		for (unsigned i = 0; i < n_jobs; i++) {
			/* Each round begins with another job, so that no job always follows the same one. */
			unsigned at = (i + round) % n_jobs;

			r = run_round(b, &jobs[at], n_items, &ret_series[at]);
			if (r < 0) {
				*ret_failed = &jobs[at];
				return r;
			}
		}

	return 0;
}
