# Everything but main.c is a library, so that tests can link it.
noinst_LTLIBRARIES += libshmb-daemon.la

libshmb_daemon_la_SOURCES = \
	daemon/access.c \
	daemon/access.h \
	daemon/broker.c \
	daemon/broker.h \
	daemon/clock.h \
	daemon/config.c \
	daemon/config.h \
	daemon/crash.c \
	daemon/crash.h \
	daemon/defaults.h \
	daemon/detached.c \
	daemon/detached.h \
	daemon/dispatch.c \
	daemon/dispatch.h \
	daemon/dispatch_list.c \
	daemon/dispatch_manage.c \
	daemon/dispatch_open.c \
	daemon/dispatch_resume.c \
	daemon/grant.c \
	daemon/grant.h \
	daemon/hold.c \
	daemon/hold.h \
	daemon/hugepages.c \
	daemon/hugepages.h \
	daemon/import.c \
	daemon/import.h \
	daemon/import_session.c \
	daemon/index.c \
	daemon/index.h \
	daemon/jobs.c \
	daemon/jobs.h \
	daemon/journal.c \
	daemon/journal.h \
	daemon/keeper_start.c \
	daemon/keeping.c \
	daemon/keeping.h \
	daemon/keeping_catch.c \
	daemon/keeping_open.c \
	daemon/listener.c \
	daemon/listener.h \
	daemon/log.c \
	daemon/log.h \
	daemon/messages.h \
	daemon/notify.c \
	daemon/notify.h \
	daemon/open.c \
	daemon/open.h \
	daemon/options.c \
	daemon/options.h \
	daemon/outflow.c \
	daemon/outflow.h \
	daemon/peer.c \
	daemon/peer.h \
	daemon/quota.c \
	daemon/quota.h \
	daemon/reaper.c \
	daemon/reaper.h \
	daemon/registry.c \
	daemon/registry.h \
	daemon/releases.c \
	daemon/releases.h \
	daemon/restore.c \
	daemon/restore.h \
	daemon/resume.c \
	daemon/resume.h \
	daemon/segment.c \
	daemon/segment.h \
	daemon/segment_life.c \
	daemon/segment_life.h \
	daemon/service.c \
	daemon/service.h \
	daemon/session.c \
	daemon/session.h \
	daemon/stats.c \
	daemon/wait.c \
	daemon/wait.h
libshmb_daemon_la_CPPFLAGS = $(AM_CPPFLAGS) -DKEEPER_PROGRAM='"$(pkglibexecdir)/shmbroker-keeper"'
libshmb_daemon_la_LIBADD = libshmb-proto.la libshmb-common.la $(UV_LIBS) $(SYSTEMD_LIBS) $(INIH_LIBS) $(NETTLE_LIBS)

sbin_PROGRAMS += shmbrokerd
shmbrokerd_SOURCES = daemon/main.c
shmbrokerd_LDADD = libshmb-daemon.la
