bin_PROGRAMS += shmbrokerctl
shmbrokerctl_SOURCES = \
	client/ctl/columns.c \
	client/ctl/columns.h \
	client/ctl/ctl.h \
	client/ctl/figures.c \
	client/ctl/figures.h \
	client/ctl/json.c \
	client/ctl/options.c \
	client/ctl/options.h \
	client/ctl/progress.c \
	client/ctl/progress.h \
	client/ctl/report.c \
	client/ctl/shmbrokerctl.c \
	client/ctl/show.c \
	client/ctl/show.h \
	client/ctl/transfer.c \
	client/ctl/transfer.h \
	client/ctl/verbs_broker.c \
	client/ctl/verbs_change.c \
	client/ctl/verbs_data.c \
	client/ctl/verbs_hold.c \
	client/ctl/verbs_show.c
shmbrokerctl_LDADD = libshmbroker.la libshmb-common.la $(SMARTCOLS_LIBS) $(JANSSON_LIBS)

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = client/ctl/completion/shmbrokerctl.bash
