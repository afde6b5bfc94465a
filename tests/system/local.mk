# The real daemon, several processes, several users.
test_programs += \
	tests/system/test-crash \
	tests/system/test-exhaustion \
	tests/system/test-faults \
	tests/system/test-lifetime \
	tests/system/test-limits \
	tests/system/test-publish \
	tests/system/test-raw \
	tests/system/test-readonly \
	tests/system/test-rights \
	tests/system/test-values
test_scripts += \
	tests/system/test-ctl.sh
