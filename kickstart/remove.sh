# Removes what these patterns name: remove.sh PATTERN ... A pattern with a slash at its end
# keeps the directories below it. Most are there only after a service has run, or in one role.
# Every platform's build runs it, with the tree as its root.
set -eu
IFS=
for pattern in "$@"; do
    # shellcheck disable=SC2086 # it is a pattern
    case $pattern in
    */) for directory in $pattern; do [ ! -d "$directory" ] || find "$directory" ! -type d -delete; done ;;
    *) rm -rf -- $pattern ;;
    esac
done
