# SPDX-License-Identifier: MIT

# SHMB_NEED_PKG(VARIABLE, MODULE, DEBIAN-PACKAGE)
# As PKG_CHECK_MODULES, but remembers what is missing; SHMB_NEEDS_MET tells of all of it at once.
AC_DEFUN([SHMB_NEED_PKG], [
	PKG_CHECK_MODULES([$1], [$2], [], [shmb_missing="$shmb_missing $3"])
])

# SHMB_NEED_HEADER(HEADER, DEBIAN-PACKAGE)
AC_DEFUN([SHMB_NEED_HEADER], [
	AC_CHECK_HEADER([$1], [], [shmb_missing="$shmb_missing $2"])
])

AC_DEFUN([SHMB_NEEDS_MET], [
	AS_IF([test -n "$shmb_missing"],
		[AC_MSG_ERROR([missing libraries. On Debian: apt-get install$shmb_missing])])
])

# SHMB_ADD_CFLAGS(VARIABLE, FLAGS)
# Appends those of FLAGS that the compiler takes.
AC_DEFUN([SHMB_ADD_CFLAGS], [
	for shmb_flag in m4_normalize([$2]); do
		shmb_saved_CFLAGS=$CFLAGS
		CFLAGS="$CFLAGS -Werror $shmb_flag"
		AC_MSG_CHECKING([whether $CC takes $shmb_flag])
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM()],
			[AC_MSG_RESULT([yes]); $1="$$1 $shmb_flag"], [AC_MSG_RESULT([no])])
		CFLAGS=$shmb_saved_CFLAGS
	done
])

# SHMB_ADD_LDFLAGS(VARIABLE, FLAGS)
# Appends those of FLAGS that the linker takes.
AC_DEFUN([SHMB_ADD_LDFLAGS], [
	for shmb_flag in m4_normalize([$2]); do
		shmb_saved_LDFLAGS=$LDFLAGS
		LDFLAGS="$LDFLAGS $shmb_flag"
		AC_MSG_CHECKING([whether the linker takes $shmb_flag])
		AC_LINK_IFELSE([AC_LANG_PROGRAM()],
			[AC_MSG_RESULT([yes]); $1="$$1 $shmb_flag"], [AC_MSG_RESULT([no])])
		LDFLAGS=$shmb_saved_LDFLAGS
	done
])

# SHMB_WITH_DIR(VARIABLE, WHAT, DEFAULT)
# A directory below the prefix, unless --with-VARIABLE says where. With "no" nothing is installed there.
AC_DEFUN([SHMB_WITH_DIR], [
	AC_ARG_WITH([$1], [AS_HELP_STRING([--with-$1=DIR], [$2 (default: PREFIX/$3; no: do not install)])],
		[], [with_$1=yes])
	AS_CASE([$with_$1],
		[yes], [$1='${prefix}/$3'],
		[no], [$1=],
		[$1=$with_$1])
	AC_SUBST([$1])
])
