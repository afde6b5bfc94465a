noinst_LTLIBRARIES += libshmb-proto.la

libshmb_proto_la_CFLAGS = $(AM_CFLAGS) -Wconversion -Wno-sign-conversion
libshmb_proto_la_SOURCES = \
	proto/codec-read.c \
	proto/codec-write.c \
	proto/codec.c \
	proto/codec.h \
	proto/keep.h \
	proto/name.c \
	proto/name.h \
	proto/status.c \
	proto/status.h \
	proto/wire.h

EXTRA_DIST += docs/protocol.md
