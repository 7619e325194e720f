"""The cloud of a lab, looked at from the host by a client that is not ours.

Prints `ok NAME` for each thing that holds. Ends with 1 at the first that does not, saying what
was seen. Uses openstacksdk and requests; changes nothing that it does not put back.
"""

import argparse
import hashlib
import os
import re
import socket
import sys
import time

import openstack
import requests

INTERFACES = {"public", "internal", "admin"}
SERVICES = {"identity", "image", "placement", "compute", "network"}
# A service answers its first request after more than a minute where the processor is emulated.
PATIENCE = 300
# What somebody would say first to whatever listens there.
GREETINGS = {3306: b"", 5672: b"AMQP\x00\x00\x09\x01", 11211: b"version\r\n"}


class Wrong(Exception):
    """Something is not as the table of the controller says."""


def expect(holds, seen):
    if not holds:
        raise Wrong(seen)


def fernet_token(cloud, _):
    token = cloud.session.get_token()
    expect(token.startswith("gAAAA"), "a token that begins with " + token[:5])


def catalog(cloud, _):
    access = cloud.session.auth.get_access(cloud.session)
    seen = {
        (service["type"], endpoint["interface"])
        for service in access.service_catalog.catalog
        for endpoint in service["endpoints"]
    }
    wanted = {(service, interface) for service in SERVICES for interface in INTERFACES}
    expect(seen == wanted, f"missing {wanted - seen}, unexpected {seen - wanted}")


def users(cloud, _):
    seen = {user.name for user in cloud.identity.users()}
    wanted = {"admin", "glance", "placement", "nova", "neutron"}
    expect(wanted <= seen, f"users {seen}")


def image_round_trip(cloud, _):
    content = os.urandom(1024 * 1024)
    image = cloud.image.create_image(
        name="round-trip", data=content, disk_format="raw", container_format="bare"
    )
    try:
        image = cloud.image.get_image(image.id)
        expect(image.status == "active", f"an image that is {image.status}")
        back = cloud.image.download_image(image).content
        sums = [hashlib.sha256(data).hexdigest() for data in (content, back)]
        expect(sums[0] == sums[1], f"{len(content)} bytes up, {len(back)} other bytes down")
    finally:
        cloud.image.delete_image(image)


def resource_classes(cloud, _):
    seen = {item.name for item in cloud.placement.resource_classes()}
    expect({"VCPU", "MEMORY_MB", "DISK_GB"} <= seen, f"resource classes {seen}")


def traits(cloud, _):
    seen = {item.name for item in cloud.placement.traits()}
    expect("HW_CPU_X86_VMX" in seen, f"{len(seen)} traits")


def compute_services(cloud, _):
    seen = {
        service.binary: (service.state, service.status) for service in cloud.compute.services()
    }
    for binary in ("nova-conductor", "nova-scheduler"):
        expect(seen.get(binary) == ("up", "enabled"), f"compute services {seen}")


def limits_and_quotas(cloud, _):
    limits = cloud.compute.get_limits()
    expect(limits.absolute.instances > 0, f"limits {limits}")
    quota = cloud.network.get_quota(cloud.current_project_id)
    expect(quota.networks != 0, f"quota {quota}")


def network_agents(cloud, _):
    seen = {agent.binary: agent.is_alive for agent in cloud.network.agents()}
    wanted = {
        "neutron-openvswitch-agent",
        "neutron-l3-agent",
        "neutron-dhcp-agent",
        "neutron-metadata-agent",
    }
    expect(set(seen) == wanted and all(seen.values()), f"agents {seen}")


def network_extensions(cloud, _):
    seen = {extension.alias for extension in cloud.network.extensions()}
    wanted = {"router", "security-group", "port-security", "provider", "agent"}
    expect(wanted <= seen, f"missing {wanted - seen}")


def tenant_network(cloud, _):
    network = cloud.network.create_network(name="round-trip")
    try:
        seen = (network.provider_network_type, network.provider_segmentation_id)
        expect(seen[0] == "vxlan" and 1 <= seen[1] <= 1000, f"a network of {seen}")
        expect(network.is_port_security_enabled, "a network without port security")
        subnet = cloud.network.create_subnet(
            network_id=network.id, ip_version=4, cidr="192.0.2.0/24", name="round-trip"
        )
        expect(subnet.gateway_ip == "192.0.2.1", f"a gateway {subnet.gateway_ip}")
    finally:
        cloud.network.delete_network(network)


def dashboard(cloud, doors):
    auth = cloud.config.config["auth"]
    root = doors.dashboard
    session = requests.Session()
    page = session.get(root + "auth/login/", timeout=PATIENCE)
    expect(page.status_code == 200, f"a login page with {page.status_code}")
    form = {"region": "default"}
    for tag in re.findall(r"<input[^>]*>", page.text):
        name = re.search(r'name="([^"]*)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name and 'type="hidden"' in tag:
            form[name[1]] = value[1] if value else ""
    expect("csrfmiddlewaretoken" in form, "a login page without a form")
    form.update(username=auth["username"], password=auth["password"], domain="Default")
    # The login leads on to the user's first page, which for admin is the overview of a project.
    page = session.post(page.url, data=form, headers={"Referer": page.url}, timeout=PATIENCE)
    expect(page.url == root + "project/", f"{page.status_code} at {page.url}")
    expect(page.status_code == 200, f"an overview with {page.status_code}")
    expect("Overview" in page.text, "a project page without its overview")
    expect("sessionid" in session.cookies, f"cookies {list(session.cookies.keys())}")


def console_proxy(_, doors):
    page = requests.get(doors.console + "vnc_lite.html", timeout=PATIENCE)
    expect(page.status_code == 200 and "noVNC" in page.text, f"{page.status_code}")


def closed_ports(_, doors):
    for guest, host in doors.closed:
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", host), timeout=10) as door:
                door.settimeout(10)
                door.sendall(GREETINGS.get(guest, b""))
                answer = door.recv(64)
        except (TimeoutError, ConnectionError):
            pass
        expect(answer == b"", f"port {guest} answers {answer!r}")


CHECKS = [
    fernet_token,
    catalog,
    users,
    image_round_trip,
    resource_classes,
    traits,
    compute_services,
    limits_and_quotas,
    network_agents,
    network_extensions,
    tenant_network,
    dashboard,
    console_proxy,
    closed_ports,
]


def connect():
    """The cloud of the file that OS_CLIENT_CONFIG_FILE names."""
    clouds = openstack.config.OpenStackConfig().get_cloud_names()
    return openstack.connect(cloud=sorted(clouds)[0], api_timeout=PATIENCE)


def run(checks, cloud, doors, seconds=None):
    """Whether all of them hold; ends with the first that does not."""
    for check in checks:
        began = time.monotonic()
        try:
            check(cloud, doors)
        except Wrong as wrong:
            print(f"FAILED {check.__name__}: saw {wrong}", flush=True)
            return False
        except Exception as error:  # whatever a client library throws is a finding
            print(f"FAILED {check.__name__}: {type(error).__name__}: {error}", flush=True)
            return False
        if seconds is not None:
            seconds[check.__name__] = round(time.monotonic() - began, 1)
        print(f"ok {check.__name__}", flush=True)
    return True


def door(text):
    return tuple(int(part) for part in text.split(":"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dashboard", required=True, help="its address, with a slash at the end")
    parser.add_argument("--console", required=True, help="likewise")
    parser.add_argument(
        "--closed",
        action="append",
        default=[],
        metavar="PORT:DOOR",
        type=door,
        help="a port of the controller that must not answer through its door on loopback",
    )
    doors = parser.parse_args()
    return 0 if run(CHECKS, connect(), doors) else 1


if __name__ == "__main__":
    sys.exit(main())
