# Everything but main.c is a library, so that tests can link it.
noinst_LTLIBRARIES += libshmb-daemon.la

libshmb_daemon_la_SOURCES =
libshmb_daemon_la_LIBADD = libshmb-proto.la libshmb-common.la $(UV_LIBS) $(SYSTEMD_LIBS) $(INIH_LIBS) $(NETTLE_LIBS)

#sbin_PROGRAMS += shmbrokerd
#shmbrokerd_SOURCES = daemon/main.c
#shmbrokerd_LDADD = libshmb-daemon.la
