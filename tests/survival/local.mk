# What survives the broker: it is killed, stopped, replaced and upgraded under clients that go on.

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
