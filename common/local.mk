noinst_LTLIBRARIES += libshmb-common.la

libshmb_common_la_CFLAGS = $(AM_CFLAGS) -Wconversion -Wno-sign-conversion
libshmb_common_la_SOURCES = \
	common/cleanup.h \
	common/fault.c \
	common/fault.h \
	common/fd.c \
	common/fd.h \
	common/macro.h \
	common/memfd.c \
	common/memfd.h \
	common/parse.c \
	common/parse.h \
	common/peercred.c \
	common/peercred.h \
	common/scm.c \
	common/scm.h \
	common/siphash.c \
	common/siphash.h \
	common/unixsock.c \
	common/unixsock.h
