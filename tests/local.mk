# Every test prints TAP, so that single checks are counted. A test of one source file is one line in test_programs:
# tests/unit/test-fd is built from tests/unit/test-fd.c and linked with LDADD. A script is one line in test_scripts.
test_programs =
test_scripts =

include tests/facts/local.mk
include tests/unit/local.mk
include tests/inproc/local.mk
include tests/system/local.mk
include tests/survival/local.mk
include tests/fuzz/local.mk
include tests/lint/local.mk
include tests/box/local.mk

check_PROGRAMS += $(test_programs)
TESTS += $(test_programs) $(test_scripts)
EXTRA_DIST += $(test_scripts)

check_LTLIBRARIES += libshmb-test.la
libshmb_test_la_SOURCES = \
	tests/lib/ask.c \
	tests/lib/asuser.c \
	tests/lib/asuser.h \
	tests/lib/fakebroker.c \
	tests/lib/fakebroker.h \
	tests/lib/fakeserver.c \
	tests/lib/fakeserver.h \
	tests/lib/fdcheck.c \
	tests/lib/fdcheck.h \
	tests/lib/harness.c \
	tests/lib/harness.h \
	tests/lib/loader.c \
	tests/lib/loader.h \
	tests/lib/rawpeer.c \
	tests/lib/rawpeer.h \
	tests/lib/sample.c \
	tests/lib/sample.h \
	tests/lib/suite.c \
	tests/lib/suite.h \
	tests/lib/survivor.c \
	tests/lib/survivor.h

LDADD = libshmb-test.la libshmb-client.la libshmb-daemon.la $(CHECK_LIBS)

LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
AWK_LOG_DRIVER = $(LOG_DRIVER)
AWK_LOG_COMPILER = $(AWK) -f
TEST_EXTENSIONS = .sh .awk

# Where a test finds the sources and what was built.
AM_TESTS_ENVIRONMENT = \
	export top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
		SHMBROKERD='$(abs_top_builddir)/shmbrokerd' SHMBROKERCTL='$(abs_top_builddir)/shmbrokerctl' \
		SHMBROKER_KEEPER='$(abs_top_builddir)/shmbroker-keeper' \
		SHMB_LOAD='$(abs_top_builddir)/tests/survival/shmb-load' \
		CC='$(CC)' CXX='$(CXX)' SANITIZERS='$(SANITIZERS)';
