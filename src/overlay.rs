//! The overlay trees of a role, as `overlay.toml` describes them, read for the build.
//!
//! What the files say is none of its business; who owns them and that none is forgotten is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use firstboot::overlay::{CATALOGUE, Entry, Overlay, TEMPLATES};
use flate2::{Compression, GzBuilder};

use crate::disk::TIMESTAMP_SECONDS;
use crate::disk::place::{Content, Placed};

/// Where the agent is in an image.
pub const AGENT: &str = "/usr/libexec/cellboot/firstboot";
const ROOT: &str = "root:root";
const DESCRIPTION: &str = "overlay.toml";
const TEMPLATE: &str = "j2";

/// A file of an overlay, with what is said about it.
#[derive(Debug, Clone, PartialEq)]
struct File {
    entry: Entry,
    template: bool,
    content: Vec<u8>,
}

/// Every overlay file of a role on a platform, by its path on the node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Files {
    files: BTreeMap<PathBuf, File>,
}

impl Files {
    /// Reads `common` and the role's own tree below `root`; the role's file wins.
    ///
    /// # Errors
    /// When a file is not described or a description has no file.
    pub fn load(root: &Path, role: Role, platform: &str) -> Result<Self> {
        let mut all = Self::default();
        for name in ["common", role.as_str()] {
            let tree = root.join(name);
            if tree.is_dir() {
                all.read(&tree, platform)?;
            }
        }
        Ok(all)
    }

    fn read(&mut self, tree: &Path, platform: &str) -> Result<()> {
        let description = tree.join(DESCRIPTION);
        let text = files::read_if_exists(&description)?.unwrap_or_default();
        let overlay: Overlay =
            toml::from_str(&text).with_context(|| format!("reading {}", description.display()))?;
        let mut found = BTreeSet::new();
        walk(tree, &mut found)?;
        found.remove(&description);
        let mut forgotten = found.clone();
        for mut entry in overlay.files {
            let source = entry.source.take().unwrap_or_else(|| entry.path.clone());
            let place = tree.join(source.strip_prefix("/").unwrap_or(&source));
            let template = PathBuf::from(format!("{}.{TEMPLATE}", place.display()));
            let is_template = found.contains(&template);
            let is_plain = found.contains(&place);
            forgotten.remove(&template);
            forgotten.remove(&place);
            if is_template == is_plain {
                let how = if is_plain { "two files" } else { "no file" };
                bail!(
                    "{}: {how} for {}",
                    description.display(),
                    entry.path.display()
                );
            }
            entry.mode_bits()?;
            if !entry.is_for(platform) {
                continue;
            }
            let source = if is_template { template } else { place };
            let content =
                fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
            let path = entry.path.clone();
            let file = File {
                entry,
                template: is_template,
                content,
            };
            self.files.insert(path, file);
        }
        match forgotten.first() {
            Some(path) => bail!("{} is not described in {DESCRIPTION}", path.display()),
            None => Ok(()),
        }
    }

    /// Everything that decides what an image gets from here, by a name that people understand.
    pub fn inputs(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.files.iter().map(|(path, file)| {
            let mut bytes = format!("{:?} {}\n", file.entry, file.template).into_bytes();
            bytes.extend_from_slice(&file.content);
            (format!("overlay {}", path.display()), bytes)
        })
    }

    /// Who owns files, as `user:group`; each is named once.
    pub fn owners(&self) -> BTreeSet<&str> {
        self.files
            .values()
            .map(|file| file.entry.owner.as_str())
            .collect()
    }

    /// True if a systemd unit of this name is among the files.
    pub fn has_unit(&self, name: &str) -> bool {
        self.files
            .contains_key(&Path::new("/usr/lib/systemd/system").join(name))
    }

    /// What decides about the plain file at this path on the node.
    pub fn input(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.plain(path)?.content.clone())
    }

    fn plain(&self, path: &Path) -> Result<&File> {
        let file = self.files.get(path).filter(|file| !file.template);
        file.with_context(|| format!("no plain overlay file for {}", path.display()))
    }

    /// Lays one plain file into a tree, for a command of the build that reads or is it.
    pub fn lay(&self, path: &Path, tree: &Path) -> Result<()> {
        let file = self.plain(path)?;
        let place = tree.join(path.strip_prefix("/").unwrap_or(path));
        files::replace(
            &place,
            &file.content,
            Ownership::mode(file.entry.mode_bits()?),
        )
    }

    /// The systemd units among the plain files: name and text.
    pub fn unit(&self, name: &str) -> Option<String> {
        let path = Path::new("/")
            .join(crate::engine::units::PACKAGED)
            .join(name);
        let file = self.plain(&path).ok()?;
        String::from_utf8(file.content.clone()).ok()
    }

    /// What is laid into the image of a role with these users and groups.
    pub fn placed(&self, passwd: &str, group: &str) -> Result<Vec<Placed>> {
        // A template's owner must exist on the node; better to learn it here.
        for (path, file) in &self.files {
            owner(&file.entry.owner, passwd, group)
                .with_context(|| format!("laying down {}", path.display()))?;
        }
        let place = |laid: Laid<'_>| {
            let (uid, gid) = owner(laid.owner, passwd, group)?;
            Ok(Placed {
                path: laid.path,
                content: Content::File(laid.content),
                mode: laid.mode,
                uid,
                gid,
            })
        };
        self.laid()?.into_iter().map(place).collect()
    }

    /// The same with the agent as a compressed archive, for an installation that only later has
    /// the users and groups. Equal overlays and agents give equal archives.
    pub fn archive(&self, agent: &[u8]) -> Result<Vec<u8>> {
        let mut laid = self.laid()?;
        laid.push(Laid {
            path: AGENT.into(),
            content: agent.to_vec(),
            mode: 0o755,
            owner: ROOT,
        });
        let compressor = GzBuilder::new().write(Vec::new(), Compression::default());
        let mut archive = tar::Builder::new(compressor);
        for file in laid {
            let context = || format!("archiving {}", file.path.display());
            let (user, group) = user_and_group(file.owner)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(file.content.len() as u64);
            header.set_mode(file.mode);
            header.set_mtime(TIMESTAMP_SECONDS);
            // By name: the numbers are the installation's.
            header.set_username(user).with_context(context)?;
            header.set_groupname(group).with_context(context)?;
            header.set_uid(0);
            header.set_gid(0);
            let relative = file.path.strip_prefix("/").unwrap_or(&file.path);
            let added = archive.append_data(&mut header, relative, file.content.as_slice());
            added.with_context(context)?;
        }
        let compressor = archive
            .into_inner()
            .context("ending the overlay's archive")?;
        compressor
            .finish()
            .context("compressing the overlay's archive")
    }

    /// Every file as it lies in an image: templates where the agent looks for them, and their
    /// catalogue.
    fn laid(&self) -> Result<Vec<Laid<'_>>> {
        let mut catalogue = Overlay::default();
        let mut laid = Vec::new();
        for (path, file) in &self.files {
            let content = file.content.clone();
            if file.template {
                catalogue.files.push(file.entry.clone());
                let name = path.strip_prefix("/").unwrap_or(path);
                let path = format!("{TEMPLATES}/{}.{TEMPLATE}", name.display()).into();
                laid.push(Laid {
                    path,
                    content,
                    mode: 0o644,
                    owner: ROOT,
                });
            } else {
                laid.push(Laid {
                    path: path.clone(),
                    content,
                    mode: file.entry.mode_bits()?,
                    owner: &file.entry.owner,
                });
            }
        }
        let text = toml::to_string(&catalogue).context("writing the catalogue of templates")?;
        laid.push(Laid {
            path: CATALOGUE.into(),
            content: text.into_bytes(),
            mode: 0o644,
            owner: ROOT,
        });
        Ok(laid)
    }
}

/// A file as it lies in an image, its owner by name.
struct Laid<'a> {
    path: PathBuf,
    content: Vec<u8>,
    mode: u32,
    owner: &'a str,
}

/// A file of root's.
pub fn root_file(path: impl Into<PathBuf>, content: Vec<u8>, mode: u32) -> Placed {
    Placed {
        path: path.into(),
        content: Content::File(content),
        mode,
        uid: 0,
        gid: 0,
    }
}

fn walk(directory: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let context = || format!("reading {}", directory.display());
    for entry in fs::read_dir(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        if entry.file_type().with_context(context)?.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found.insert(entry.path());
        }
    }
    Ok(())
}

fn user_and_group(owner: &str) -> Result<(&str, &str)> {
    let parts = owner.split_once(':');
    parts.with_context(|| format!("the owner {owner:?} is not user:group"))
}

/// The numbers of a `user:group`.
fn owner(owner: &str, passwd: &str, group: &str) -> Result<(u32, u32)> {
    let (user, group_name) = user_and_group(owner)?;
    Ok((
        number(passwd, user).with_context(|| format!("the image has no user {user}"))?,
        number(group, group_name)
            .with_context(|| format!("the image has no group {group_name}"))?,
    ))
}

/// The third field of the line that begins with this name, in `passwd` and `group` alike.
fn number(table: &str, name: &str) -> Option<u32> {
    let line = table
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nnova:x:113:117::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nnova:x:117:\n";

    fn write(path: PathBuf, text: &str) {
        files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    }

    #[test]
    fn plain_files_keep_their_owner_and_templates_wait_for_the_node() {
        let root = tempfile::tempdir().unwrap();
        let common = root.path().join("common");
        write(
            common.join(DESCRIPTION),
            "[[file]]\npath = \"/etc/a\"\nmode = \"0640\"\nowner = \"root:nova\"\n\
             [[file]]\npath = \"/etc/b\"\nmode = \"0600\"\nowner = \"nova:nova\"\n\
             [[file]]\npath = \"/etc/c\"\nmode = \"0600\"\nowner = \"root:root\"\n\
             platforms = [\"other\"]\n\
             [[file]]\npath = \"/etc/d\"\nmode = \"0644\"\nowner = \"root:root\"\n\
             source = \"/etc/a\"\n",
        );
        write(common.join("etc/a"), "A");
        write(common.join("etc/b.j2"), "{{ b }}");
        write(common.join("etc/c"), "C");
        let overlay = Files::load(root.path(), Role::Compute, "debian-12").unwrap();
        let placed = overlay.placed(PASSWD, GROUP).unwrap();
        let seen: Vec<_> = placed
            .iter()
            .map(|file| (file.path.to_str().unwrap(), file.mode, file.uid, file.gid))
            .collect();
        assert_eq!(
            seen,
            [
                ("/etc/a", 0o640, 0, 117),
                ("/usr/share/cellboot/templates/etc/b.j2", 0o644, 0, 0),
                ("/etc/d", 0o644, 0, 0),
                ("/usr/share/cellboot/templates.toml", 0o644, 0, 0),
            ]
        );
        let bytes = overlay.archive(b"agent").unwrap();
        assert_eq!(bytes, overlay.archive(b"agent").unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let members = archive.entries().unwrap().map(|member| {
            let member = member.unwrap();
            let header = member.header();
            let name = |name: Option<&str>| name.unwrap().to_owned();
            (
                member.path().unwrap().display().to_string(),
                header.mode().unwrap(),
                name(header.username().unwrap()),
                name(header.groupname().unwrap()),
            )
        });
        let expected = [
            ("etc/a", 0o640, "root", "nova"),
            (
                "usr/share/cellboot/templates/etc/b.j2",
                0o644,
                "root",
                "root",
            ),
            ("etc/d", 0o644, "root", "root"),
            ("usr/share/cellboot/templates.toml", 0o644, "root", "root"),
            ("usr/libexec/cellboot/firstboot", 0o755, "root", "root"),
        ]
        .map(|(path, mode, user, group)| {
            (path.to_owned(), mode, user.to_owned(), group.to_owned())
        });
        assert_eq!(members.collect::<Vec<_>>(), expected);
        // A command of the build may be such a file itself.
        let tree = root.path().join("tree");
        overlay.lay(Path::new("/etc/a"), &tree).unwrap();
        assert!(files::is(&tree.join("etc/a"), b"A", Ownership::mode(0o640)).unwrap());
    }

    #[test]
    fn forgotten_files_and_unknown_owners_are_errors() {
        let root = tempfile::tempdir().unwrap();
        let common = root.path().join("common");
        write(common.join("etc/a"), "A");
        let load = || Files::load(root.path(), Role::Compute, "debian-12");
        let error = load().unwrap_err().to_string();
        let path = common.join("etc/a");
        assert_eq!(
            error,
            format!("{} is not described in overlay.toml", path.display())
        );
        let entry = "[[file]]\npath = \"/etc/a\"\nmode = \"0640\"\nowner = \"root:glance\"\n";
        write(common.join(DESCRIPTION), entry);
        let error = load().unwrap().placed(PASSWD, GROUP).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "laying down /etc/a: the image has no group glance"
        );
    }
}
