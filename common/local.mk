noinst_LTLIBRARIES += libshmb-common.la

libshmb_common_la_CFLAGS = $(AM_CFLAGS) -Wconversion -Wno-sign-conversion
libshmb_common_la_SOURCES = \
	common/cleanup.h \
	common/fd.h \
	common/macro.h \
	common/memfd.h \
	common/parse.h \
	common/peercred.h \
	common/scm.h \
	common/siphash.h \
	common/unixsock.h
