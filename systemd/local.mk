# Units of the service manager. Those that name programs are made here, so that they follow a prefix given to make.
system_services = \
	systemd/system/shmbroker-keeper.service \
	systemd/system/shmbrokerd.service
user_services = \
	systemd/user/shmbroker-keeper.service \
	systemd/user/shmbrokerd.service

nodist_systemdsystemunit_DATA = $(system_services)
dist_systemdsystemunit_DATA = \
	systemd/system/shmbroker-keeper.socket \
	systemd/system/shmbroker.slice \
	systemd/system/shmbrokerd-admin.socket \
	systemd/system/shmbrokerd.socket
nodist_systemduserunit_DATA = $(user_services)
dist_systemduserunit_DATA = \
	systemd/user/shmbroker-keeper.socket \
	systemd/user/shmbrokerd.socket
dist_sysusers_DATA = systemd/sysusers.d/shmbroker.conf
dist_tmpfiles_DATA = systemd/tmpfiles.d/shmbroker.conf
dist_systemdcatalog_DATA = systemd/shmbroker.catalog

CLEANFILES += $(system_services) $(user_services)
EXTRA_DIST += $(system_services:=.in) $(user_services:=.in)

SUFFIXES += .service.in .service
.service.in.service:
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(SED) -e 's|[@]sbindir@|$(sbindir)|' -e 's|[@]pkglibexecdir@|$(pkglibexecdir)|' <$< >$@.tmp && mv $@.tmp $@

$(system_services) $(user_services): Makefile
