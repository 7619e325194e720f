# Times host discovery on a controller: nothing new, then many new hosts at once, then nothing new
# among as many. The hosts are rows that a nova-compute would have written. A line for each: how many
# were new, milliseconds. Of the rows none is left.
set -eu
sql() { mariadb --skip-column-names --execute "$1"; }
cell=$(sql "SELECT uuid FROM nova_api.cell_mappings WHERE name = 'cell1'")
forget() {
    sql "DELETE FROM nova_api.host_mappings WHERE host LIKE 'discovered-%';
        DELETE FROM nova.services WHERE host LIKE 'discovered-%'"
}
trap forget EXIT
discover() { # NEW
    began=$(date +%s%3N)
    runuser -u nova -- nova-manage cell_v2 discover_hosts --by-service --cell_uuid "$cell" >&2
    echo "$1 $(($(date +%s%3N) - began))"
}
# What the first run finds cold is not what is compared.
discover 0 >/dev/null
discover 0
for new in 1 50 200; do
    forget
    sql "INSERT INTO nova.services (created_at, deleted, host, \`binary\`, topic, report_count,
        disabled, forced_down, version, uuid, last_seen_up)
        SELECT NOW(), 0, CONCAT('discovered-', seq), 'nova-compute', 'compute', 1, 1, 0,
        (SELECT MAX(version) FROM nova.services), UUID(), NOW() FROM nova.seq_1_to_$new"
    discover "$new"
    mapped=$(sql "SELECT COUNT(*) FROM nova_api.host_mappings WHERE host LIKE 'discovered-%'")
    [ "$mapped" = "$new" ] || { echo "$mapped of $new were mapped" >&2; exit 1; }
done
discover 0
