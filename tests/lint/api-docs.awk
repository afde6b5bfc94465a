# Every function of the public header is documented: a kernel-doc comment right above it that names it, each of its
# arguments, what it returns, and since when it is there. A test: reads client/shmbroker.h, prints TAP.

BEGIN {
	top = ENVIRON["top_srcdir"]
	ARGV[1] = (top ? top : ".") "/client/shmbroker.h"
	ARGC = 2
}

function check(name, arguments, n, list, i, argument, faults)
{
	if (!(doc ~ "^/\\*\\* \\* " name "\\(\\) - "))
		faults = faults "# no comment that begins \"" name "() - \"\n"
	n = split(arguments, list, /, */)
	for (i = 1; i <= n; i++) {
		argument = list[i]
		sub(/\[.*/, "", argument)
		sub(/.*[ *]/, "", argument)
		if (argument != "void" && index(doc, " * @" argument ":") == 0)
			faults = faults "# says nothing of @" argument "\n"
	}
	if (index(doc, " * Return:") == 0 && prototype !~ /^void [^*]/)
		faults = faults "# no Return:\n"
	if (doc !~ / \* Since: +[0-9]/)
		faults = faults "# no Since:\n"
	printf "%sok %d - %s\n%s", faults ? "not " : "", ++n_checks, name, faults
}

/^\/\*\*/ { doc = ""; in_doc = 1 }
in_doc {
	line = $0
	sub(/^\t* ?\*/, " *", line)
	gsub(/[ \t]+/, " ", line)
	doc = doc line
	if (/\*\//) {
		in_doc = 0
	}
	next
}

# A prototype, perhaps over several lines; a comment belongs to the first one that follows it.
/^[a-z].*[ *]shmb_[a-z0-9_]*\(/ && !/^typedef/ { prototype = ""; in_prototype = 1 }
in_prototype {
	prototype = prototype " " $0
	if (/;/) {
		in_prototype = 0
		sub(/^ /, "", prototype)
		name = prototype
		sub(/\(.*/, "", name)
		sub(/.*[ *]/, "", name)
		arguments = prototype
		sub(/^[^(]*\(/, "", arguments)
		sub(/\);.*/, "", arguments)
		check(name, arguments)
		doc = ""
	}
	next
}
/^$/ { doc = "" }

END {
	if (n_checks)
		printf "1..%d\n", n_checks
	else
		print "Bail out! no function found"
}
