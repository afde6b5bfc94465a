# The real daemon, several processes, several users.
test_programs += \
	tests/system/test-raw \
	tests/system/test-values
