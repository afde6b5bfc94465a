# The programs of ./run-demo, which are examples of using the library as well.
noinst_PROGRAMS += demo/hello demo/producer demo/consumer demo/reclaim demo/posix
demo_cppflags = $(AM_CPPFLAGS) -I$(top_srcdir)/client

demo_hello_SOURCES = demo/hello.c
demo_hello_CPPFLAGS = $(demo_cppflags)
demo_hello_LDADD = libshmbroker.la

demo_producer_SOURCES = demo/producer.c demo/demo.h
demo_producer_CPPFLAGS = $(demo_cppflags)
demo_producer_LDADD = libshmbroker.la

demo_consumer_SOURCES = demo/consumer.c demo/demo.h
demo_consumer_CPPFLAGS = $(demo_cppflags)
demo_consumer_LDADD = libshmbroker.la $(NETTLE_LIBS)

demo_reclaim_SOURCES = demo/reclaim.c demo/demo.h
demo_reclaim_CPPFLAGS = $(demo_cppflags)
demo_reclaim_LDADD = libshmbroker.la

demo_posix_SOURCES = demo/posix.c demo/demo.h
demo_posix_CPPFLAGS = $(demo_cppflags)
demo_posix_LDADD =

EXTRA_DIST += demo/story run-demo
