# What keeps the broker's descriptors: on libc alone. Everything but main.c is a library, so that tests can link it.
keeper_sources = \
	daemon/keeper/closer.c \
	daemon/keeper/closer.h \
	daemon/keeper/keeper.c \
	daemon/keeper/keeper.h \
	daemon/keeper/kept.c \
	daemon/keeper/kept.h \
	daemon/keeper/link.c \
	daemon/keeper/link.h

pkglibexec_PROGRAMS = shmbroker-keeper
shmbroker_keeper_SOURCES = daemon/keeper/main.c
shmbroker_keeper_LDADD = libshmb-keeper.la

noinst_LTLIBRARIES += libshmb-keeper.la
libshmb_keeper_la_SOURCES = $(keeper_sources)
libshmb_keeper_la_LIBADD = libshmb-common.la

# The same with fault points: see common/fault.h.
check_PROGRAMS += tests/shmbroker-keeper-faults
tests_shmbroker_keeper_faults_SOURCES = daemon/keeper/main.c $(keeper_sources) common/fault.c
tests_shmbroker_keeper_faults_CPPFLAGS = $(AM_CPPFLAGS) -DSHMB_FAULTS
tests_shmbroker_keeper_faults_LDADD = libshmb-common.la
