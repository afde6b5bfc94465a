/* SPDX-License-Identifier: MIT */
/*
 * A client of the load: a process with one connection, whose workers do what they like until the driver says stop. Then
 * all of them stand still, everything is verified, and what they have is told to the driver.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/survival/load.h"

#define STABLE_BYTES 5000u

/* --- words -------------------------------------------------------------------------------------------------------- */

void client_say(struct client *c, enum word word)
{
	char byte = (char)word;

	if (send(c->control, &byte, 1, MSG_NOSIGNAL) != 1)
		_exit(EXIT_FAILURE);
}

/* Whether @fd has something to read within @timeout_usec. */
static bool readable(int fd, uint64_t timeout_usec)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_usec / USEC_PER_SEC),
		.tv_nsec = (long)(timeout_usec % USEC_PER_SEC) * 1000,
	};
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return ppoll(&p, 1, &timeout, NULL) > 0;
}

int client_hear(struct client *c, uint64_t timeout_usec)
{
	char byte;

	if (!readable(c->control, timeout_usec))
		return 0;
	/* The driver has gone: so do we. */
	if (recv(c->control, &byte, 1, 0) != 1)
		_exit(EXIT_FAILURE);
	return byte;
}

/* --- the connection and what is there for all --------------------------------------------------------------------- */

void client_connect(struct client *c)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct worker *w = &c->workers[0];
	struct shmb_error error;
	int r;

	options.socket_path = c->options->socket;
	options.timeout_usec = 60 * USEC_PER_SEC;
	options.flags = c->forks ? SHMB_CONNECT_FORK : 0;
	note(w, "connect");
	r = shmb_connect(&options, &c->conn, &error);
	expect(w, r, 0, &error);
	c->entry->session = shmb_conn_session(c->conn);
	if (shmb_conn_uid(c->conn) != c->entry->uid)
		DISAGREE(w, "it is uid %u to the broker", shmb_conn_uid(c->conn));
}

static void open_common(struct client *c)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct worker *w = &c->workers[0];
	struct shmb_error error;
	char name[64];
	void *p;
	int r;

	load_name(name, sizeof(name), c->board->run, "common", 0, 0);
	options.access = SHMB_ACCESS_WRITE;
	note(w, "open %s", name);
	r = shmb_open(c->conn, name, &options, &c->common, &error);
	expect(w, r, 0, &error);
	r = shmb_map(c->common, SHMB_MAP_WRITE, &p, &c->n_common_mapped);
	expect(w, r, 0, NULL);
	c->common_map = p;
}

static void create_stable(struct client *c)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct worker *w = &c->workers[0];
	struct shmb_error error;
	char name[64];
	size_t n;
	void *p;
	int r;

	load_name(name, sizeof(name), c->board->run, "stable", c->index, 0);
	options.lifetime = SHMB_LIFETIME_PERSISTENT;
	options.mode = 0644;
	note(w, "create %s", name);
	r = shmb_create(c->conn, name, STABLE_BYTES, &options, &c->stable, &error);
	expect(w, r, 0, &error);
	r = shmb_map(c->stable, SHMB_MAP_WRITE, &p, &n);
	expect(w, r, 0, NULL);
	content_fill(p, STABLE_BYTES, content_seed(c->index, 0));
	(void)shmb_unmap(p, n);
}

static void reopen_stable(struct client *c)
{
	struct worker *w = &c->workers[0];
	struct shmb_error error;
	char name[64];
	int r;

	load_name(name, sizeof(name), c->board->run, "stable", c->index, 0);
	note(w, "open %s again", name);
	r = shmb_open(c->conn, name, NULL, &c->stable, &error);
	expect(w, r, 0, &error);
}

/* Ends the connection, which takes the holds with it, and makes another. */
void client_reconnect(struct worker *w)
{
	struct client *c = w->client;

	if (pick(w, 8) != 0)
		return;
	note(w, "disconnect");
	c->conn = shmb_disconnect(c->conn);
	worker_forget_holds(w);
	c->stable = shmb_close(c->stable);
	c->common = shmb_close(c->common);
	(void)shmb_unmap(c->common_map, c->n_common_mapped);
	client_connect(c);
	open_common(c);
	reopen_stable(c);
}

/* --- forks -------------------------------------------------------------------------------------------------------- */

/* A child has the same holds, and can use them; what it does with its own changes nothing for its parent. */
_Noreturn static void child_run(struct worker *w)
{
	struct client *c = w->client;
	char name[64];

	worker_verify(w);
	load_name(name, sizeof(name), c->board->run, "child", c->index, ++w->n_created);
	note(w, "create %s in a child", name);
	for (unsigned i = 0; i < 2; i++) {
		struct shmb_segment *s;
		struct shmb_error error;
		int r;

		r = shmb_create(c->conn, name, 1, NULL, &s, &error);
		expect(w, r, 0, &error);
		shmb_close(s);
	}
	if (pick(w, 2))
		shmb_disconnect(c->conn);
	_exit(EXIT_SUCCESS);
}

void client_fork(struct worker *w)
{
	int status;
	pid_t pid;

	note(w, "fork");
	pid = fork();
	if (pid == 0)
		child_run(w);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		DISAGREE(w, "%s", strerror(errno));
	/* The child has said why. */
	if (status != 0)
		_exit(EXIT_FAILURE);
	note(w, "ping after a fork");
	expect(w, shmb_ping(w->client->conn, NULL), 0, NULL);
	w->n_created++;
}

/* --- waits -------------------------------------------------------------------------------------------------------- */

static void wait_name(const struct client *c, char *buf, size_t n)
{
	load_name(buf, n, c->board->run, "wait", c->index, c->wait_serial);
}

static void *waiter_run(void *userdata)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct client *c = userdata;
	struct shmb_segment *s;
	char name[64];
	int r;

	options.timeout_usec = SHMB_FOREVER;
	pthread_mutex_lock(&c->lock);
	while (c->waiter_state != WAITER_QUIT) {
		if (c->waiter_state != WAITER_WAITING) {
			pthread_cond_wait(&c->cond, &c->lock);
			continue;
		}
		wait_name(c, name, sizeof(name));
		snprintf(c->entry->doing[WORKERS_MAX], DOING_MAX, "wait for %s", name);
		pthread_mutex_unlock(&c->lock);
		s = NULL;
		r = shmb_open(c->conn, name, &options, &s, NULL);
		pthread_mutex_lock(&c->lock);
		c->wait_result = r;
		c->waited_for = s;
		c->waiter_state = WAITER_DONE;
		pthread_cond_broadcast(&c->cond);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Makes what the other thread waits for, which must go on with just that. */
static void end_wait(struct worker *w)
{
	struct client *c = w->client;
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];
	int r;

	wait_name(c, name, sizeof(name));
	note(w, "create %s, which is waited for", name);
	r = shmb_create(c->conn, name, 1, NULL, &s, &error);
	expect(w, r, 0, &error);
	note(w, "who waits for %s goes on", name);
	pthread_mutex_lock(&c->lock);
	while (c->waiter_state != WAITER_DONE)
		pthread_cond_wait(&c->cond, &c->lock);
	c->waiter_state = WAITER_IDLE;
	pthread_mutex_unlock(&c->lock);
	expect(w, c->wait_result, 0, NULL);
	if (shmb_segment_id(c->waited_for) != shmb_segment_id(s))
		DISAGREE(w, "with another segment");
	c->waited_for = shmb_close(c->waited_for);
	shmb_close(s);
	c->entry->n_waits = 0;
}

void client_wait_step(struct worker *w)
{
	struct client *c = w->client;

	if (c->entry->n_waits > 0) {
		end_wait(w);
		return;
	}
	c->wait_serial++;
	c->entry->n_waits = 1;
	pthread_mutex_lock(&c->lock);
	c->waiter_state = WAITER_WAITING;
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void waiter_quit(struct worker *w)
{
	struct client *c = w->client;

	if (c->entry->n_waits > 0)
		end_wait(w);
	pthread_mutex_lock(&c->lock);
	c->waiter_state = WAITER_QUIT;
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
	(void)pthread_join(c->waiter, NULL);
}

/* --- stopping ----------------------------------------------------------------------------------------------------- */

/* A worker that is told to stop; false when it is to end. */
static bool stand_still(struct client *c)
{
	bool go_on;

	pthread_mutex_lock(&c->lock);
	c->n_stopped++;
	pthread_cond_broadcast(&c->cond);
	while (c->stopping && !c->quitting)
		pthread_cond_wait(&c->cond, &c->lock);
	c->n_stopped--;
	go_on = !c->quitting;
	pthread_mutex_unlock(&c->lock);
	return go_on;
}

static void *worker_run(void *userdata)
{
	struct worker *w = userdata;
	struct client *c = w->client;

	do
		while (!readable(c->bell, pick(w, 2 * c->options->pace_usec + 1)))
			worker_step(w);
	while (stand_still(c));
	return NULL;
}

static void tell_shared(struct client *c)
{
	const struct item stable = {
		.id = shmb_segment_id(c->stable),
		.generation = shmb_segment_generation(c->stable),
		.n_bytes = STABLE_BYTES,
		.max_bytes = STABLE_BYTES,
		.named = true,
	};

	tell(c, &(struct hold){.segment = c->stable}, &stable);
	tell(c, &(struct hold){.segment = c->common}, NULL);
}

/* All workers stop; what they have is verified and told. Returns the driver's next word. */
static int stop(struct client *c)
{
	uint64_t one = 1;
	int word;

	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	(void)!write(c->bell, &one, sizeof(one));
	while (c->n_stopped < c->n_workers - 1)
		pthread_cond_wait(&c->cond, &c->lock);
	pthread_mutex_unlock(&c->lock);

	do {
		c->entry->n_told = 0;
		for (unsigned i = 0; i < c->n_workers; i++) {
			worker_verify(&c->workers[i]);
			worker_tell(&c->workers[i]);
		}
		tell_shared(c);
		client_say(c, WORD_STOPPED);
		while ((word = client_hear(c, USEC_PER_SEC)) == 0)
			;
	} while (word == WORD_STOP);

	pthread_mutex_lock(&c->lock);
	c->stopping = false;
	c->quitting = word == WORD_QUIT;
	(void)!read(c->bell, &one, sizeof(one));
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
	return word;
}

static void finish(struct client *c)
{
	struct worker *w = &c->workers[0];
	struct shmb_error error;
	char name[64];
	int r;

	for (unsigned i = 1; i < c->n_workers; i++)
		(void)pthread_join(c->threads[i], NULL);
	if (c->waits)
		waiter_quit(w);
	for (unsigned i = 0; i < c->n_workers; i++)
		worker_finish(&c->workers[i]);
	load_name(name, sizeof(name), c->board->run, "stable", c->index, 0);
	note(w, "remove %s", name);
	r = shmb_remove(c->conn, name, NULL, &error);
	expect(w, r, 0, &error);
	shmb_close(c->stable);
	shmb_close(c->common);
	(void)shmb_unmap(c->common_map, c->n_common_mapped);
	c->conn = shmb_disconnect(c->conn);
	close(c->bell);
	client_say(c, WORD_GONE);
}

void client_run(struct client *c)
{
	struct worker *w = &c->workers[0];
	int word;

	c->bell = eventfd(0, EFD_CLOEXEC);
	for (unsigned i = 0; i < c->n_workers; i++)
		worker_init(&c->workers[i], c, i);
	client_connect(c);
	open_common(c);
	create_stable(c);
	client_say(c, WORD_READY);
	while (client_hear(c, USEC_PER_SEC) != WORD_GO)
		;
	for (unsigned i = 1; i < c->n_workers; i++)
		if (pthread_create(&c->threads[i], NULL, worker_run, &c->workers[i]) != 0)
			disagree(c, "begin", "no thread");
	if (c->waits && pthread_create(&c->waiter, NULL, waiter_run, c) != 0)
		disagree(c, "begin", "no thread");

	do {
		while ((word = client_hear(c, pick(w, 2 * c->options->pace_usec + 1))) == 0)
			worker_step(w);
		word = stop(c);
	} while (word != WORD_QUIT);
	finish(c);
	_exit(EXIT_SUCCESS);
}
