EXTRA_DIST += \
	docs/architecture.md \
	docs/decisions/001-linear-hash-index.md \
	docs/decisions/002-seqpacket.md \
	docs/decisions/003-descriptors-in-flight.md \
	docs/decisions/004-freeze-off-the-loop.md \
	docs/decisions/005-closing-off-the-loop.md \
	docs/decisions/006-unpublished-and-persistent.md \
	docs/decisions/007-which-process.md \
	docs/decisions/008-releases-through-memory.md \
	docs/decisions/009-keeper.md \
	docs/decisions/010-registry-import-and-repeats.md \
	docs/limits.md \
	docs/performance.md \
	docs/security.md
