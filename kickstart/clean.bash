# Most of these are there only after a service has run, or in one role.
shopt -s nullglob
for pattern in "${remove[@]}"; do
    # shellcheck disable=SC2086 # it is a pattern
    for path in ${pattern%/}; do
        case $pattern in
        */) [ ! -d "$path" ] || find "$path" -mindepth 1 ! -type d -delete ;;
        *) rm -rf -- "$path" ;;
        esac
    done
done
