# Pages are written for scdoc, and shipped built. A page's date is that of its last change.
man_pages = \
	man/shmbroker-keeper.8 \
	man/shmbroker.3 \
	man/shmbrokerctl.1 \
	man/shmbrokerd.8 \
	man/shmbrokerd.conf.5

dist_man_MANS += $(man_pages)
EXTRA_DIST += $(man_pages:=.scd)

SUFFIXES = .scd
.scd:
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	epoch=$${SOURCE_DATE_EPOCH:-$$(git -C $(srcdir) log -1 --format=%ct -- $@.scd 2>/dev/null || :)} && \
	SOURCE_DATE_EPOCH=$${epoch:-$$(date -r $< +%s)} $(SCDOC) <$< >$@.tmp && mv $@.tmp $@

maintainer-clean-local:
	rm -f $(dist_man_MANS)
