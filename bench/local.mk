# Programs of `make bench`, built only for it: name them here.
bench_programs =
EXTRA_PROGRAMS += $(bench_programs)
