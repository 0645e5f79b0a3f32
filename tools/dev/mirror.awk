# Prints the address of a Debian mirror that apt's source lists name, in either of their formats; nothing
# where they name none. Of several the first whose suite has updates or backports beside it.

function consider(url, suites, components) {
    if (url !~ /^(https?|file):\/\/.*\/debian\/?$/ || !(" " components " " ~ / main /)) return
    if (!(" " suites " " ~ debian_suite)) return
    if (suites ~ /-(updates|backports)/ && best == "") best = url
    if (any == "") any = url
}

# The end of a paragraph of the newer format: "Types: deb", "URIs: ...", "Suites: ...", ...
function consider_fields(    count, number, urls) {
    if (" " fields["types"] " " ~ / deb / && tolower(fields["enabled"]) !~ /^ *(no|false|off|without|disable|0) *$/) {
        count = split(fields["uris"], urls, " ")
        for (number = 1; number <= count; ++number) consider(urls[number], fields["suites"], fields["components"])
    }
    split("", fields)
}

BEGIN {
    debian_suite = " (bookworm|trixie|forky|duke|oldstable|stable|testing|sid|unstable)(-updates|-backports)?/? "
}
FNR == 1 { consider_fields() }
/^#/ { next }
{ gsub(/[ \t\r]+/, " ") }
FILENAME ~ /\.sources$/ {
    if ($0 ~ /^ ?$/) {
        consider_fields()
    } else if ($0 ~ /^ /) {
        fields[name] = fields[name] $0
    } else {
        name = tolower(substr($0, 1, index($0, ":") - 1))
        fields[name] = substr($0, index($0, ":") + 1)
    }
    next
}
{
    sub(/ *#.*/, "")
    sub(/ \[[^]]*\]/, "")
}
$1 == "deb" {
    components = ""
    for (number = 4; number <= NF; ++number) components = components " " $number
    consider($2, $3, components)
}
END {
    consider_fields()
    if (best == "") best = any
    if (best != "") print best
}
