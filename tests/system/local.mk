# The real daemon, several processes, several users.
test_programs += \
	tests/system/test-config \
	tests/system/test-crash \
	tests/system/test-exhaustion \
	tests/system/test-faults \
	tests/system/test-fork \
	tests/system/test-keeper \
	tests/system/test-keeper-limits \
	tests/system/test-lifetime \
	tests/system/test-limits \
	tests/system/test-model \
	tests/system/test-publish \
	tests/system/test-raw \
	tests/system/test-readonly \
	tests/system/test-releases \
	tests/system/test-requests \
	tests/system/test-rights \
	tests/system/test-values
test_scripts += \
	tests/system/test-ctl.sh \
	tests/system/test-stats.sh
EXTRA_DIST += tests/lib/ctl.sh

tests_system_test_model_SOURCES = tests/system/test-model.c tests/system/model.c tests/system/model.h

# A broker that speaks bytes to the keeper.
rawkeeper = tests/lib/rawkeeper.c tests/lib/rawkeeper.h
tests_system_test_keeper_SOURCES = tests/system/test-keeper.c $(rawkeeper)
tests_system_test_keeper_limits_SOURCES = tests/system/test-keeper-limits.c $(rawkeeper)
