test_programs += \
	tests/unit/test-client \
	tests/unit/test-client-calls \
	tests/unit/test-client-segment \
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
