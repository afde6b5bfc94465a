test_programs += \
	tests/unit/test-client \
	tests/unit/test-client-calls \
	tests/unit/test-client-reconnect \
	tests/unit/test-client-releases \
	tests/unit/test-client-resume \
	tests/unit/test-client-segment \
	tests/unit/test-client-stale \
	tests/unit/test-client-threads \
	tests/unit/test-codec \
	tests/unit/test-codec-write \
	tests/unit/test-fd \
	tests/unit/test-memfd \
	tests/unit/test-name \
	tests/unit/test-parse \
	tests/unit/test-peercred \
	tests/unit/test-scm \
	tests/unit/test-siphash \
	tests/unit/test-status \
	tests/unit/test-unixsock

# The daemon's modules.
test_programs += \
	tests/unit/test-access \
	tests/unit/test-config \
	tests/unit/test-config-rules \
	tests/unit/test-hugepages \
	tests/unit/test-index \
	tests/unit/test-jobs \
	tests/unit/test-journal \
	tests/unit/test-log \
	tests/unit/test-notify \
	tests/unit/test-options \
	tests/unit/test-quota \
	tests/unit/test-reaper \
	tests/unit/test-registry \
	tests/unit/test-service
