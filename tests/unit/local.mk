test_programs += \
	tests/unit/test-fd \
	tests/unit/test-siphash
