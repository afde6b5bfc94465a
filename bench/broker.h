/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The broker through its library, as a program uses it: with a keeper unless said. All jobs are those of struct job.
 */

#include "common/macro.h"

struct bench;
struct broker;
struct shmb_conn;

/* Most segments of one job. */
#define BROKER_ITEMS_MAX 253u

/* Every name begins with it: a place where anybody may create. */
#define BROKER_PREFIX "pub/shmbroker-bench/"

/* A connection to the broker that listens at @path. */
int broker_connect(const char *path, struct shmb_conn **ret_conn) _must_check_;

/* Connects, and makes the segments that are opened; another connection holds them all the time. */
int broker_new(const char *path, struct broker **ret) _must_check_;
struct broker *broker_free(struct broker *br);

int broker_open_write(struct bench *b, unsigned n_items) _must_check_;
int broker_open_read(struct bench *b, unsigned n_items) _must_check_;
int broker_open_many_write(struct bench *b, unsigned n_items) _must_check_;
int broker_open_many_read(struct bench *b, unsigned n_items) _must_check_;
int broker_one_shot(struct bench *b, unsigned n_items) _must_check_;
int broker_connect_disconnect(struct bench *b, unsigned n_items) _must_check_;
/* Of lifetime "persistent", so that closing and removing are two things, as with POSIX. */
int broker_create_remove(struct bench *b, unsigned n_items) _must_check_;
int broker_create_remove_many(struct bench *b, unsigned n_items) _must_check_;
/* Of lifetime "used": closing is enough. */
int broker_create_close(struct bench *b, unsigned n_items) _must_check_;

/* The same with a broker that has no keeper. */
int unkept_open_write(struct bench *b, unsigned n_items) _must_check_;
int unkept_one_shot(struct bench *b, unsigned n_items) _must_check_;
int unkept_connect_disconnect(struct bench *b, unsigned n_items) _must_check_;
int unkept_create_remove(struct bench *b, unsigned n_items) _must_check_;
int unkept_create_remove_many(struct bench *b, unsigned n_items) _must_check_;
int unkept_create_close(struct bench *b, unsigned n_items) _must_check_;
