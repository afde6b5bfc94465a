#bin_PROGRAMS += shmbrokerctl
#shmbrokerctl_SOURCES = client/ctl/shmbrokerctl.c
#shmbrokerctl_LDADD = libshmbroker.la libshmb-common.la $(SMARTCOLS_LIBS) $(JANSSON_LIBS)
