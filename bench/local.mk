# The benchmark: one program, built and run by `make bench` only. BENCH_FLAGS=--quick for a short look.
EXTRA_PROGRAMS += shmbroker-bench
shmbroker_bench_SOURCES = \
	bench/bench.c bench/bench.h \
	bench/broker.c bench/broker.h \
	bench/delay.c bench/delay.h \
	bench/kernel.c bench/kernel.h \
	bench/kept.c bench/kept.h \
	bench/kill.c bench/kill.h \
	bench/load.c bench/load.h \
	bench/measure.c bench/measure.h \
	bench/memory.c bench/memory.h \
	bench/minclient.c \
	bench/minserver.c bench/minserver.h \
	bench/packet.c bench/packet.h \
	bench/report.c bench/report.h \
	bench/server.c bench/server.h \
	bench/survive.c bench/survive.h \
	bench/victim.c bench/victim.h \
	bench/watcher.c bench/watcher.h
shmbroker_bench_LDADD = libshmbroker.la libshmb-proto.la libshmb-common.la $(UV_LIBS) $(JANSSON_LIBS) -lm

CLEANFILES += shmbroker-bench
EXTRA_DIST += bench/README.md bench/table.jq

.PHONY: bench
bench: shmbroker-bench$(EXEEXT) shmbrokerd$(EXEEXT) shmbroker-keeper$(EXEEXT)
	./shmbroker-bench$(EXEEXT) --daemon ./shmbrokerd$(EXEEXT) --keeper ./shmbroker-keeper$(EXEEXT) \
		$(BENCH_FLAGS)
