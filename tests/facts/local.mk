# What the kernel does, as far as the design rests on it: see docs/decisions/.
test_programs += \
	tests/facts/test-flight \
	tests/facts/test-seals
