//! Whether the packages of an image have what the platform's table says of them. A package that was
//! renamed, split or dropped is found out here, and not by a node that waits for its unit.

use anyhow::Result;
use firstboot::config::Role;
use firstboot::equipment;
use firstboot::platform::Platform;

use crate::fault::Class;
use crate::inspect::Image;

/// Where systemd looks for units; the last is another name of the second on most systems.
const UNITS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Judges the image of a role.
///
/// # Errors
/// Class `Refused` with a line for each unit, user and program that it lacks.
pub fn judge(image: &Image, platform: &Platform, role: Role) -> Result<()> {
    let lacks = lacks(image, platform, role)?;
    if lacks.is_empty() {
        return Ok(());
    }
    Err(Class::Refused.error(format!(
        "{} lacks what a {role} needs:\n  {}\n\
         hint: the packages of {} are others than this version of cellboot knows; build from an \
         older copy of them (mirrors of [platform]), or have the platform's table corrected",
        image.path().display(),
        lacks.join("\n  "),
        platform.title,
    )))
}

fn lacks(image: &Image, platform: &Platform, role: Role) -> Result<Vec<String>> {
    let needed = equipment::of(platform, role)?;
    let mut lacks = Vec::new();
    for (unit, service) in needed.units {
        let mut there = false;
        for directory in UNITS {
            there |= image.entry(&format!("{directory}/{unit}"))?.is_some();
        }
        if !there {
            lacks.push(format!("the unit {unit} of the service {service}"));
        }
    }
    let passwd = image.read("/etc/passwd")?;
    let passwd = String::from_utf8_lossy(&passwd);
    let accounts: Vec<&str> = passwd
        .lines()
        .filter_map(|line| line.split(':').next())
        .collect();
    for (user, service) in needed.users {
        if !accounts.contains(&user) {
            lacks.push(format!("the user {user} of the service {service}"));
        }
    }
    for program in needed.programs {
        if image.entry(&program.to_string_lossy())?.is_none() {
            lacks.push(format!("the program {}", program.display()));
        }
    }
    Ok(lacks)
}
