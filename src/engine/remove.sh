# Removes what these patterns name: remove.sh PATTERN ... A pattern with a slash at its end
# keeps the directories below it.
set -eu
IFS=
for pattern in "$@"; do
    case $pattern in
    */) for directory in $pattern; do [ ! -d "$directory" ] || find "$directory" ! -type d -delete; done ;;
    *) rm -rf -- $pattern ;;
    esac
done
