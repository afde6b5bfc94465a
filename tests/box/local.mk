# The service under a real systemd. All tests use one installation.
box_scripts = \
	tests/box/test-journal.sh \
	tests/box/test-many.sh \
	tests/box/test-sandbox.sh \
	tests/box/test-service.sh \
	tests/box/test-survival.sh \
	tests/box/test-user.sh

# A sandbox and sanitizers do not go together.
if !ENABLE_SANITIZERS
test_scripts += $(box_scripts)
endif

check_PROGRAMS += tests/box/offend
tests_box_offend_LDADD = libshmb-common.la

EXTRA_DIST += $(box_scripts) \
	tests/box/lib.sh \
	tests/box/scenes.sh \
	tests/box/systemd-box

# Where the box's systemd finds it, whatever the prefix is.
box_stage = $(abs_builddir)/tests/box/stage
tests/box/installed: $(PROGRAMS) $(LTLIBRARIES) $(DATA)
	$(AM_V_GEN)rm -rf $(box_stage); $(MAKE) $(AM_MAKEFLAGS) install DESTDIR=$(box_stage) \
		systemdsystemunitdir=/usr/local/lib/systemd/system systemduserunitdir=/usr/local/lib/systemd/user \
		sysusersdir=/usr/local/lib/sysusers.d tmpfilesdir=/usr/local/lib/tmpfiles.d >$@.log 2>&1 && \
		touch $@ || { cat $@.log >&2; exit 1; }
$(box_scripts:.sh=.log): tests/box/installed $(check_PROGRAMS)

CLEANFILES += tests/box/installed tests/box/installed.log
clean-local:
	rm -rf $(box_stage)
