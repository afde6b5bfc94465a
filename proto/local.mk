noinst_LTLIBRARIES += libshmb-proto.la

libshmb_proto_la_CFLAGS = $(AM_CFLAGS) -Wconversion -Wno-sign-conversion
libshmb_proto_la_SOURCES = \
	proto/codec.h \
	proto/name.h \
	proto/status.h \
	proto/wire.h
