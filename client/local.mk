# The library's objects, for libshmbroker itself and for tests that look inside.
noinst_LTLIBRARIES += libshmb-client.la

libshmb_client_la_SOURCES = \
	client/call.c \
	client/conn.c \
	client/connect.c \
	client/error.c \
	client/event.c \
	client/fork.c \
	client/internal.h \
	client/link.c \
	client/list.c \
	client/manage.c \
	client/map.c \
	client/open.c \
	client/reader.c \
	client/release.c \
	client/resume.c \
	client/segment.c \
	client/shmbroker.h \
	client/stats.c
libshmb_client_la_LIBADD = libshmb-proto.la libshmb-common.la

lib_LTLIBRARIES += libshmbroker.la
include_HEADERS += client/shmbroker.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = client/libshmbroker.pc

# -version-info C:R:A. A release that only mends: R+1. Functions added: C+1, R=0, A+1, and a new section in the map.
# Anything removed or changed: never.
libshmbroker_la_SOURCES =
libshmbroker_la_LIBADD = libshmb-client.la
libshmbroker_la_LDFLAGS = $(LINK_FLAGS) -version-info 0:0:0 -no-undefined \
	-Wl,--version-script=$(top_srcdir)/client/libshmbroker.map
EXTRA_libshmbroker_la_DEPENDENCIES = client/libshmbroker.map
EXTRA_DIST += client/libshmbroker.map
