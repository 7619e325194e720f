#!/bin/busybox sh
# shellcheck shell=sh
# All that the tiny instance of the tests runs: process 1, and udhcpc's script. What the host looks
# for begins with "guest: ".

# How long a cloud may take to answer, where the processor is emulated twice over.
PATIENCE=900
METADATA=http://169.254.169.254/openstack/latest
NEWLINE='
'

say() { echo "guest: $*"; }

# persist NAME COMMAND...: tries until it succeeds, or until so long after power-on; says why it
# did not whenever that changes.
persist() {
	what=$1 said=
	shift
	until why=$("$@" 2>&1); do
		why=${why##*"$NEWLINE"}
		read -r uptime _ </proc/uptime
		if [ "${uptime%.*}" -ge $PATIENCE ]; then
			say "$what failed: ${why:-no answer}"
			return 1
		fi
		[ "$why" = "$said" ] || say "no $what yet: ${why:-no answer}"
		said=$why
		sleep 2
	done
}

# What udhcpc says, by its environment.
configure() {
	: "${interface:?}" "${ip:?}" "${mask:?}"
	ip address flush dev "$interface"
	ip address add "$ip/$mask" dev "$interface"
	[ -z "$mtu" ] || ip link set dev "$interface" mtu "$mtu"
	# Static routes, where the server sends any, stand in for the router (RFC 3442).
	# shellcheck disable=SC2086 # they are pairs of words
	set -- ${staticroutes:-${router:+0.0.0.0/0 ${router%% *}}}
	while [ $# -ge 2 ]; do
		case $2 in
		0.0.0.0) ip route replace "$1" dev "$interface" ;;
		*) ip route replace "$1" via "$2" dev "$interface" ;;
		esac
		case $1 in 0.0.0.0/*) gateway=$2 ;; esac
		shift 2
	done
	read -r mtu <"/sys/class/net/$interface/mtu"
	say "address $ip/$mask mtu $mtu gateway ${gateway:-none}" >/dev/console
}

# fetch WHAT FILE
fetch() { timeout 60 wget -q -O "$2" "$METADATA/$1"; }

# An empty file where there is no user data.
fetch_user_data() {
	error=$(fetch user_data /user_data 2>&1) && return
	case $error in
	*" 404 "*) : >/user_data ;;
	*) echo "$error" && return 1 ;;
	esac
}

if [ $$ != 1 ]; then
	case $1 in bound | renew) configure ;; esac
	exit
fi

# With this one, the shell finds the programs that are in itself.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
	insmod "$module"
done
ip link set lo up
ip link set eth0 up
say up

persist address udhcpc -i eth0 -n -q -t 5 -T 3 -O mtu -O staticroutes -s /init

name=unknown
if persist metadata fetch meta_data.json /meta_data.json; then
	# One line of JSON; to start another program for it takes longer.
	read -r json </meta_data.json
	uuid=${json#*\"uuid\": \"} name=${json#*\"name\": \"}
	uuid=${uuid%%\"*} name=${name%%\"*}
	say "metadata uuid=$uuid name=$name"
fi

# Before the user data, because another guest's may ask this one.
nc -ll -p 7 -e echo "guest: hello from $name" &
say listening

if [ -n "$uuid" ] && persist "user data" fetch_user_data && [ -s /user_data ]; then
	sh /user_data 2>&1
	say "user data ended with $?"
fi

say ready
while :; do
	sleep 86400
done
