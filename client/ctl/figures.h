/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The figures of stats: one table drives what people read, the JSON, the metrics, and --help. Each of these returns 0 or
 * -ENOMEM; whether it arrived is checked when the standard output is closed.
 */

#include <stdio.h>

#include "client/ctl/options.h"
#include "client/shmbroker.h"
#include "common/macro.h"

int figures_show(const struct shmb_stats *stats, const struct options *o) _must_check_;
int figures_show_json(const struct shmb_stats *stats) _must_check_;
/* As OpenMetrics has it, and in the words that are good in Prometheus' older format, too. */
void figures_show_openmetrics(const struct shmb_stats *stats);
void figures_help(FILE *out);
