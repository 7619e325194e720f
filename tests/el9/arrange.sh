# Arranges a Debian tree as RDO's packages arrange Stream 9, inside the tree: /run/el9 is this
# directory and /run/python a virtual environment with OpenStack's code from PyPI.
set -eu

# OpenStack's code, without its tests, which are packages of their own in RDO too. It goes before
# Debian's libraries.
site=/usr/local/lib/python3.11/dist-packages
mkdir -p "$site"
(cd /run/python/lib/python3.11/site-packages && find . \( -name tests -o -name __pycache__ \
    -o -path './pip' -o -path './pip-*' -o -name 'netifaces*' \) -prune -o -print0 |
    tar --create --null --no-recursion --files-from -) |
    tar --extract --no-same-owner --directory "$site"
for program in /run/python/bin/*; do
    [ -f "$program" ] || continue
    case $(head -c 64 "$program" | head -n 1) in
    '#!'*python*) sed '1s|.*|#!/usr/bin/python3 -s|' "$program" >"/usr/bin/${program##*/}" ;;
    *) continue ;;
    esac
    chmod 0755 "/usr/bin/${program##*/}"
done
rm -f /usr/bin/pip*
cp -r /run/python/etc/. /etc

# Users, with RDO's numbers where they have one.
system_user() { # NAME HOME [NUMBER]
    # Debian's novnc makes one for nova.
    getent group "$1" >/dev/null || groupadd --system ${3:+--gid "$3"} "$1"
    getent passwd "$1" >/dev/null || useradd --system ${3:+--uid "$3"} --gid "$1" --home-dir "$2" --shell /usr/sbin/nologin "$1"
}
for name in 161:glance:/var/lib/glance 162:nova:/var/lib/nova 163:keystone:/var/lib/keystone \
    :placement:/ :neutron:/var/lib/neutron 48:apache:/usr/share/httpd :chrony:/var/lib/chrony \
    :memcached:/run/memcached :openvswitch:/ 107:qemu:/; do
    number=${name%%:*} rest=${name#*:}
    # Some of the numbers are Debian's own for others.
    ! getent passwd "${number:-none}" >/dev/null || number=
    ! getent group "${number:-none}" >/dev/null || number=
    system_user "${rest%%:*}" "${rest#*:}" "$number"
done
groupadd --system hugetlbfs
usermod --append --groups qemu,libvirt nova
usermod --append --groups kvm qemu

directory() { # MODE OWNER PATH ...
    mode=$1 owner=$2
    shift 2
    mkdir -p "$@"
    chown "$owner" "$@"
    chmod "$mode" "$@"
}
directory 0750 root:keystone /etc/keystone
directory 0755 keystone:keystone /var/lib/keystone
directory 0750 keystone:keystone /var/log/keystone
directory 0755 root:root /etc/glance
directory 0755 glance:nogroup /var/lib/glance
directory 0750 glance:glance /var/log/glance
directory 0755 root:placement /etc/placement
directory 0750 placement:root /var/log/placement
directory 0755 root:root /etc/nova /etc/nova/rootwrap.d
directory 0755 nova:nova /var/lib/nova /var/lib/nova/buckets /var/lib/nova/instances \
    /var/lib/nova/keys /var/lib/nova/networks /var/lib/nova/tmp
directory 0750 nova:root /var/log/nova
directory 0755 root:root /etc/neutron /etc/neutron/conf.d /etc/neutron/conf.d/common \
    /etc/neutron/plugins /etc/neutron/plugins/ml2 /usr/share/neutron/server \
    /usr/share/neutron/l3_agent
directory 0755 neutron:neutron /var/lib/neutron
directory 0750 neutron:neutron /var/log/neutron
for service in neutron-server neutron-openvswitch-agent neutron-dhcp-agent neutron-l3-agent \
    neutron-metadata-agent; do
    directory 0755 root:root "/etc/neutron/conf.d/$service"
done
ln -s /etc/neutron/l3_agent.ini /usr/share/neutron/l3_agent/l3_agent.conf
: >/var/log/keystone/keystone.log
chown root:keystone /var/log/keystone/keystone.log
chmod 0660 /var/log/keystone/keystone.log
for service in keystone nova placement; do echo '{}' >"/etc/$service/policy.json"; done
directory 0750 chrony:chrony /var/lib/chrony /var/log/chrony
directory 0700 root:root /var/log/httpd
directory 0750 mysql:mysql /var/log/mariadb
directory 0755 root:root /var/www/html

# The files of packages that are not Debian's.
rm -rf /etc/mysql/* /var/lib/mysql
cp -r /run/el9/root/. /
chmod 0440 /etc/sudoers.d/*
directory 0755 mysql:mysql /var/lib/mysql
ln -s /usr/sbin/mariadbd /usr/libexec/mariadbd
ln -s /usr/lib/apache2/modules /etc/httpd/modules
ln -s ../../var/log/httpd /etc/httpd/logs
ln -s /run/httpd /etc/httpd/run
ln -s qemu-system-x86_64 /usr/bin/qemu-kvm
ln -s /usr/bin/qemu-system-x86_64 /usr/libexec/qemu-kvm
ln -s xorrisofs /usr/bin/mkisofs
rm -f /usr/lib/systemd/system/ssh.service /usr/lib/systemd/system/chrony.service \
    /usr/lib/systemd/system/openvswitch-switch.service
# Where a unit is gone, its other names are in the way, and systemd would make one of Debian's script.
find /etc/systemd/system -xtype l -delete
rm -rf /etc/init.d /etc/rc?.d
sed -i 's/openvswitch-switch\.service/openvswitch.service/' \
    /usr/lib/systemd/system/ovsdb-server.service /usr/lib/systemd/system/ovs-vswitchd.service
# Stream 9 has none of it, and cloud-init would take it before NetworkManager.
rm -f /usr/lib/systemd/systemd-networkd /usr/bin/networkctl

# The dashboard, as RDO's package lays it out.
dashboard=/usr/share/openstack-dashboard
# Its name is that of a stand-in until the build is done.
mv "$dashboard/manage.py" "$dashboard/manage.py.real"
mv "$site/openstack_dashboard" "$dashboard/"
directory 0755 root:root "$dashboard/openstack_dashboard/local/local_settings.d"
directory 0750 root:apache /etc/openstack-dashboard
local=$dashboard/openstack_dashboard/local
# What RDO's package changes in the example, and the key that it makes when it is installed. It means to
# set WEBROOT and POLICY_FILES_PATH too, but the example has neither.
sed -e 's/^DEBUG = .*/DEBUG = False/' \
    -e "s/^#*ALLOWED_HOSTS = .*/ALLOWED_HOSTS = ['horizon.example.com', 'localhost']/" \
    -e "s|^LOCAL_PATH = .*|LOCAL_PATH = '/tmp'|" \
    -e '/^from horizon.utils import secret_key$/d' \
    -e "/^SECRET_KEY = /{N;s/.*/SECRET_KEY='$(od -An -N 10 -t x1 /dev/urandom | tr -d ' ')'/}" \
    "$local/local_settings.py.example" >/etc/openstack-dashboard/local_settings
sed -i '/^COMPRESS_PARSER = /a COMPRESS_OFFLINE = True' "$dashboard/openstack_dashboard/settings.py"
chown root:apache /etc/openstack-dashboard/local_settings
chmod 0640 /etc/openstack-dashboard/local_settings
ln -s /etc/openstack-dashboard/local_settings "$local/local_settings.py"
mv "$dashboard/openstack_dashboard/conf/"* /etc/openstack-dashboard/
directory 0755 root:root "$dashboard/static" /var/log/horizon

# What programs and documentation carry of keys is published with them.
mkdir -p /usr/share/cellboot
{ grep --recursive --files-with-matches --null --text 'PRIVATE KEY-----' /usr/local || true; } |
    xargs --null --no-run-if-empty sha256sum >/usr/share/cellboot/packaged-keys.sum

# SELinux, with the smallest policy that a kernel enforces: Stream 9's is nowhere to be had here.
mkdir -p /etc/selinux/targeted/contexts/files /etc/selinux/targeted/policy \
    /var/lib/selinux/targeted/active/modules
semodule --noreload --store targeted --install /run/el9/policy.cil
