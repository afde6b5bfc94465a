lint_scripts = \
	tests/lint/api-docs.awk \
	tests/lint/headers.sh \
	tests/lint/layers.sh \
	tests/lint/man.sh \
	tests/lint/needed-libs.sh \
	tests/lint/no-sleep.sh \
	tests/lint/style.sh \
	tests/lint/symbols.sh \
	tests/lint/text.sh \
	tests/lint/units.sh

# Once is enough for what looks at the sources; and sanitizers bring libraries and symbols of their own.
if !ENABLE_SANITIZERS
test_scripts += $(lint_scripts)
endif

EXTRA_DIST += $(lint_scripts) \
	tests/lint/c99-header.c \
	tests/lint/codespell-ignore \
	tests/lint/cxx-header.cpp \
	tests/lint/lib.sh
