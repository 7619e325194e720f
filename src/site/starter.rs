//! The `site.toml` that `cellboot init` writes: commented, and a working site as it is.

/// What differs between two fresh sites.
#[derive(Debug, Clone)]
pub struct Starter {
    /// Two random bytes that the MAC addresses of this site have in common.
    pub id: [u8; 2],
    /// Files of public keys, as they are written into the file.
    pub authorized_key_files: Vec<String>,
}

impl Starter {
    /// The text of the file.
    pub fn text(&self) -> String {
        let keys: Vec<_> = self
            .authorized_key_files
            .iter()
            .map(|file| toml::Value::String(file.clone()).to_string())
            .collect();
        let keys = keys.join(", ");
        let mac = |card: u8| {
            let [first, second] = self.id;
            // 52:54:00 is what QEMU uses: locally administered, no maker's own.
            format!("52:54:00:{first:02x}:{second:02x}:{card:02x}")
        };
        let (controller, controller_provider) = (mac(0x00), mac(0x01));
        let compute = |number: u8| {
            let (interface, provider_interface) = (mac(number * 0x10), mac(number * 0x10 + 1));
            format!(
                "[[compute]]\nname = \"compute{number}\"\naddress = \"10.20.0.2{number}\"\n\
                 interface = \"{interface}\"\nprovider_interface = \"{provider_interface}\"\n"
            )
        };
        let computes = [1, 2].map(compute).join("\n");
        format!(
            r#"# One cloud. This file works as it is: `make images`, then `cellboot lab up`.
# `cellboot check` says everything that is wrong with it; docs/site.md explains every key.

[site]
name = "cell"
region = "RegionOne"
domain = "cell.internal"
time_zone = "UTC"
ntp_servers = ["pool.ntp.org"]
# For the nodes and, through DHCP, for instances.
dns_servers = ["9.9.9.9", "1.1.1.1"]

[platform]
# "centos-stream-9", "debian-12", or "auto": the first where its mirror answers, else the second.
name = "auto"

# Nodes talk to each other here, and every API answers here.
[management]
network = "10.20.0.0/24"
gateway = "10.20.0.1"

# Interfaces by MAC address, or by name as the kernel names them ("ens3"). The addresses below
# were made up for this site; give them to your machines, or put those of your machines here.
[controller]
name = "controller"
address = "10.20.0.11"
interface = "{controller}"
provider_interface = "{controller_provider}"

# One table for each compute. Many that are alike are shorter as one [computes] table with a count.
{computes}
# The network that reaches the outside. 203.0.113.0/24 is for documentation: put yours here, or
# remove the table for a cloud that has none.
[provider]
physical_network = "provider"
kind = "flat"
network = "203.0.113.0/24"
gateway = "203.0.113.1"
allocation_start = "203.0.113.101"
allocation_end = "203.0.113.250"

[overlay]
vni_range = "1:1000"

# Who may log in to the nodes as root, besides the site's own key in secrets/ssh_ed25519.
[ssh]
authorized_key_files = [{keys}]

[image]
disk_size_gib = 20

# Options of services that are yours to set: [override.SERVICE.SECTION].
# [override.nova.DEFAULT]
# cpu_allocation_ratio = 4.0
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use std::path::Path;

    #[test]
    fn a_fresh_site_has_no_problem() {
        let starter = Starter {
            id: [0xab, 0x01],
            authorized_key_files: Vec::new(),
        };
        let site = Site::parse(&starter.text(), Path::new("site.toml")).unwrap();
        let site = site.unwrap();
        let names: Vec<&str> = site.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["controller", "compute1", "compute2"]);
        assert_eq!(site.controller().interface, "52:54:00:ab:01:00");
        assert_eq!(
            site.nodes[2].provider_interface.as_deref(),
            Some("52:54:00:ab:01:21")
        );
        assert_eq!(site.nodes[2].address.to_string(), "10.20.0.22");
        assert_eq!(
            site.provider.map(|p| p.network.to_string()).as_deref(),
            Some("203.0.113.0/24")
        );
    }
}
