# The broker in the test's process. The daemon's library comes first: the harness of tests/system has functions of the
# same names. A new test is a line in inproc_programs and its _LDADD = $(inproc_ldadd).
check_LTLIBRARIES += libshmb-inproc.la
libshmb_inproc_la_SOURCES = \
	tests/lib/inproc.c \
	tests/lib/inproc.h \
	tests/lib/keeperend.c \
	tests/lib/keeperend.h \
	tests/lib/restart.c \
	tests/lib/restart.h
inproc_ldadd = libshmb-inproc.la libshmb-daemon.la libshmb-test.la $(CHECK_LIBS)

test_programs += \
	tests/inproc/test-batch \
	tests/inproc/test-claim \
	tests/inproc/test-events \
	tests/inproc/test-fork \
	tests/inproc/test-freeze \
	tests/inproc/test-import \
	tests/inproc/test-import-sessions \
	tests/inproc/test-keeping \
	tests/inproc/test-linger \
	tests/inproc/test-list \
	tests/inproc/test-nofds \
	tests/inproc/test-oom \
	tests/inproc/test-orphan \
	tests/inproc/test-outflow \
	tests/inproc/test-reload \
	tests/inproc/test-restore \
	tests/inproc/test-resume \
	tests/inproc/test-slices \
	tests/inproc/test-token \
	tests/inproc/test-wait

tests_inproc_test_batch_LDADD = $(inproc_ldadd)
tests_inproc_test_claim_LDADD = $(inproc_ldadd)
tests_inproc_test_events_LDADD = $(inproc_ldadd)
tests_inproc_test_fork_LDADD = $(inproc_ldadd)
tests_inproc_test_freeze_LDADD = $(inproc_ldadd)
tests_inproc_test_import_LDADD = $(inproc_ldadd)
tests_inproc_test_import_sessions_LDADD = $(inproc_ldadd)
tests_inproc_test_keeping_LDADD = $(inproc_ldadd)
tests_inproc_test_linger_LDADD = $(inproc_ldadd)
tests_inproc_test_list_LDADD = $(inproc_ldadd)
tests_inproc_test_nofds_LDADD = $(inproc_ldadd)
tests_inproc_test_oom_LDADD = $(inproc_ldadd)
tests_inproc_test_orphan_LDADD = $(inproc_ldadd)
tests_inproc_test_outflow_LDADD = $(inproc_ldadd)
tests_inproc_test_reload_LDADD = $(inproc_ldadd)
tests_inproc_test_restore_LDADD = $(inproc_ldadd)
tests_inproc_test_resume_LDADD = $(inproc_ldadd)
tests_inproc_test_slices_LDADD = $(inproc_ldadd)
tests_inproc_test_token_LDADD = $(inproc_ldadd)
tests_inproc_test_wait_LDADD = $(inproc_ldadd)
tests_inproc_test_outflow_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
tests_inproc_test_oom_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=strdup
