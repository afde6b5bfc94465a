# Fuzz targets. With --enable-fuzzing they are libFuzzer programs to be run by hand, as in
#     tests/fuzz/fuzz-codec -max_total_time=600 NEW-CORPUS tests/fuzz/corpus/fuzz-codec
# else tests that replay their corpus. A new target is a line in fuzz_programs and its _LDADD = $(fuzz_ldadd).
fuzz_programs = \
	tests/fuzz/fuzz-client \
	tests/fuzz/fuzz-codec \
	tests/fuzz/fuzz-config \
	tests/fuzz/fuzz-keeper \
	tests/fuzz/fuzz-peer \
	tests/fuzz/fuzz-registry
tests_fuzz_fuzz_client_LDADD = $(fuzz_ldadd)
tests_fuzz_fuzz_codec_LDADD = $(fuzz_ldadd)
tests_fuzz_fuzz_config_LDADD = $(fuzz_ldadd)
tests_fuzz_fuzz_keeper_LDADD = libshmb-keeper.la $(fuzz_ldadd)
tests_fuzz_fuzz_peer_LDADD = $(fuzz_ldadd)
tests_fuzz_fuzz_registry_LDADD = $(fuzz_ldadd)

# What the corpora began with; see there.
EXTRA_PROGRAMS += tests/fuzz/seeds
CLEANFILES += tests/fuzz/seeds
tests_fuzz_seeds_SOURCES = tests/fuzz/seeds.c tests/fuzz/seeds-registry.c tests/fuzz/seeds.h
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/input.h

if ENABLE_FUZZING
noinst_PROGRAMS += $(fuzz_programs)
fuzz_ldadd = $(FUZZER_LIBS) $(LDADD)
else
test_programs += $(fuzz_programs)
check_LTLIBRARIES += libshmb-replay.la
libshmb_replay_la_SOURCES = tests/fuzz/replay.c
fuzz_ldadd = libshmb-replay.la $(LDADD)
endif
