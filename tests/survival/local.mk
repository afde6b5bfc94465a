# What survives the broker: it is killed, stopped, replaced and upgraded under clients that go on.
survival_tests = \
	tests/survival/test-keeper \
	tests/survival/test-killer \
	tests/survival/test-points \
	tests/survival/test-restart \
	tests/survival/test-sessions \
	tests/survival/test-sizes \
	tests/survival/test-state \
	tests/survival/test-upgrade

test_programs += $(survival_tests)

tests_survival_test_points_SOURCES = \
	tests/survival/actor.c \
	tests/survival/actor.h \
	tests/survival/test-points.c

# Clients that know what they hold; see its --help.
check_PROGRAMS += tests/survival/shmb-load
tests_survival_shmb_load_SOURCES = \
	tests/survival/load-check.c \
	tests/survival/load-client.c \
	tests/survival/load-content.c \
	tests/survival/load-holder.c \
	tests/survival/load-item.c \
	tests/survival/load-step.c \
	tests/survival/load.h \
	tests/survival/shmb-load.c
tests_survival_shmb_load_LDADD = libshmb-client.la libshmb-common.la

# Two other daemons: one with fault points (common/fault.h), one of a version that is yet to come (daemon/registry.h).
check_PROGRAMS += tests/shmbrokerd-faults tests/shmbrokerd-next
daemon_libs = libshmb-proto.la libshmb-common.la $(UV_LIBS) $(SYSTEMD_LIBS) $(INIH_LIBS) $(NETTLE_LIBS)
tests_shmbrokerd_faults_SOURCES = daemon/main.c $(libshmb_daemon_la_SOURCES) common/fault.c
tests_shmbrokerd_faults_CPPFLAGS = $(libshmb_daemon_la_CPPFLAGS) -DSHMB_FAULTS
tests_shmbrokerd_faults_LDADD = $(daemon_libs)
tests_shmbrokerd_next_SOURCES = daemon/main.c $(libshmb_daemon_la_SOURCES)
tests_shmbrokerd_next_CPPFLAGS = $(libshmb_daemon_la_CPPFLAGS) -DREGISTRY_NEXT
tests_shmbrokerd_next_LDADD = $(daemon_libs)
