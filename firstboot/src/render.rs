//! Configuration files from the image's templates, the node's values and the site's overrides.
//!
//! Templates are Jinja: a name that is not defined is an error with file and line, nothing is
//! escaped, a line that holds only a `{% block %}` or a comment leaves no line behind (and a block
//! at the end of a line takes the line's end with it), values print as in Python (`True`, `None`).
//! What a template may use is in [`crate::variables`]. Rendering writes nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use crate::files::{self, Ownership};
use crate::ini;
use crate::node::{Node, NotJoined};
use crate::overlay::{Entry, Overlay};
use crate::users;
use crate::variables::Variables;

/// What templates of a compute cannot use before the registrar has given it.
const GIVEN: [&str; 2] = ["secret", "broker_user"];

/// The templates of an image, by the path of the file that each makes.
#[derive(Debug)]
pub struct Templates {
    catalogue: Overlay,
    environment: Environment<'static>,
}

/// A file as it has to be on the node.
#[derive(Clone)]
pub struct Rendered {
    /// Where it goes.
    pub path: PathBuf,
    /// Its text; may hold secrets.
    pub content: String,
    /// Its owner and mode.
    pub ownership: Ownership,
}

/// Jinja as every template of this project is written, with the files of a directory.
///
/// # Errors
/// When the library refuses the syntax, which a test would show.
pub fn environment(directory: &Path) -> Result<Environment<'static>> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .context("choosing the syntax of templates")?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // Errors can then quote what was undefined; the values in them are never shown.
    environment.set_debug(true);
    environment.set_loader(minijinja::path_loader(directory));
    Ok(environment)
}

impl Templates {
    /// The templates below `directory`, as listed in the file `catalogue`.
    ///
    /// # Errors
    /// When the catalogue cannot be read. A template is read when it is first rendered.
    pub fn load(catalogue: &Path, directory: &Path) -> Result<Self> {
        let context = || format!("reading {}", catalogue.display());
        let text = files::read_if_exists(catalogue)?
            .context("no such file")
            .with_context(context)?;
        let overlay = toml::from_str(&text).with_context(context)?;
        Self::new(overlay, directory)
    }

    /// Templates below `directory` with this catalogue.
    pub fn new(catalogue: Overlay, directory: &Path) -> Result<Self> {
        Ok(Self {
            catalogue,
            environment: environment(directory)?,
        })
    }

    /// No templates, for tests of what needs none.
    pub fn none() -> Self {
        Self {
            catalogue: Overlay::default(),
            environment: Environment::new(),
        }
    }

    /// The paths of all files that this platform renders, in the order of the catalogue.
    pub fn paths(&self, platform: &str) -> Vec<&Path> {
        let entries = self.catalogue.files.iter();
        entries
            .filter(|entry| entry.is_for(platform))
            .map(|entry| entry.path.as_path())
            .collect()
    }

    /// The file at `path`, with its owner looked up on this machine.
    ///
    /// # Errors
    /// When the catalogue does not list it, the template is wrong or uses an undefined name, an
    /// override cannot be written, or the machine lacks the owner.
    pub fn render(&self, node: &Node, path: &str) -> Result<Rendered> {
        let entry = self.entry(node, path)?;
        let content = self.content(node, entry)?;
        let owner = users::owner(&entry.owner).with_context(|| format!("rendering {path}"))?;
        Ok(Rendered {
            path: entry.path.clone(),
            content,
            ownership: Ownership {
                mode: entry.mode_bits()?,
                owner: Some(owner),
            },
        })
    }

    /// The text of the file at `path`, without asking this machine for its owner: the builder
    /// can try templates that way.
    ///
    /// # Errors
    /// As [`Templates::render`], except for the owner.
    pub fn text(&self, node: &Node, path: &str) -> Result<String> {
        self.content(node, self.entry(node, path)?)
    }

    fn entry(&self, node: &Node, path: &str) -> Result<&Entry> {
        let mut entries = self.catalogue.files.iter();
        let found = entries
            .find(|entry| entry.path == Path::new(path) && entry.is_for(&node.platform.name));
        found.with_context(|| {
            format!(
                "rendering {path}: the image's catalogue has no such template for {}",
                node.platform.name
            )
        })
    }

    fn content(&self, node: &Node, entry: &Entry) -> Result<String> {
        let path = entry.path.display();
        let relative = entry.path.strip_prefix("/").unwrap_or(&entry.path);
        let name = format!("{}.j2", relative.display());
        let context = || format!("rendering {path}");
        let template = self.environment.get_template(&name);
        let template = template
            .map_err(|error| explain(&error))
            .with_context(context)?;
        if node.lacks_bundle() {
            let names = template.undeclared_variables(false);
            if GIVEN.iter().any(|name| names.contains(*name)) {
                return Err(NotJoined).with_context(context);
            }
        }
        let variables = Value::from(Serde(Variables::of(node)?));
        let rendered = template.render(variables);
        let text = rendered
            .map_err(|error| explain(&error))
            .with_context(context)?;
        let overrides = entry
            .overrides
            .as_ref()
            .and_then(|service| node.config.overrides.get(service));
        match overrides {
            Some(sections) => ini::set(&text, sections)
                .with_context(|| format!("rendering {path}: setting the site's overrides")),
            None => Ok(text),
        }
    }
}

/// What went wrong, with file, line and the words of the template, but never the values: those
/// may be secrets, so the library's own error (which can print them) goes no further.
fn explain(error: &minijinja::Error) -> anyhow::Error {
    let mut place = error.name().unwrap_or("template").to_owned();
    if let Some(line) = error.line() {
        place = format!("{place}:{line}");
    }
    let words = error
        .range()
        .and_then(|range| error.template_source()?.get(range));
    let what = match (error.kind(), error.detail()) {
        (minijinja::ErrorKind::UndefinedError, _) | (_, None) => error.kind().to_string(),
        (_, Some(detail)) => detail.to_owned(),
    };
    match words {
        Some(words) => anyhow!("{place}: {what}: {words}"),
        None => anyhow!("{place}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    /// Templates with one file, `/etc/x.conf`, whose options the service `nova` overrides.
    fn with(text: &str) -> (tempfile::TempDir, Templates) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("etc/x.conf.j2");
        files::replace(&file, text.as_bytes(), Ownership::mode(0o644)).unwrap();
        let entry = Entry {
            path: "/etc/x.conf".into(),
            mode: "0640".into(),
            source: None,
            owner: "root:root".into(),
            overrides: Some("nova".into()),
            platforms: None,
        };
        let catalogue = Overlay { files: vec![entry] };
        let templates = Templates::new(catalogue, directory.path()).unwrap();
        (directory, templates)
    }

    fn message(text: &str) -> String {
        let (_directory, templates) = with(text);
        let node = Node::example(Role::Controller);
        format!("{:#}", templates.text(&node, "/etc/x.conf").unwrap_err())
    }

    #[test]
    fn every_documented_name_is_there() {
        let text = "\
{{ node.name }} {{ node.fqdn }} {{ node.role }} {{ node.address }}
{{ site.name }} {{ site.region }} {{ site.domain }} {{ site.time_zone }}
{% for server in site.ntp_servers + site.dns_servers %}
{{ server }}
{% endfor %}
{{ controller.name }} {{ controller.fqdn }} {{ controller.address }}
{# a comment leaves no line #}
{% for node in nodes %}
{{ node.name }} {{ node.fqdn }} {{ node.address }} {{ node.role }}
{% endfor %}
{{ management.address }} {{ management.network }} {{ management.prefix }} {{ management.gateway }}
{{ provider.physical_network }} {{ provider.bridge }} {{ provider.kind }} {{ provider.vlan_id }}
{{ provider.network }} {{ provider.gateway }} {{ provider.interface }}
{{ overlay.vni_start }} {{ overlay.vni_end }}
{{ platform.name }} {{ platform.release }} {{ paths[\"nova-locks\"] }}
{{ processors >= workers and workers > 0 }}
{{ secret[\"admin\"] | length }} {{ broker_user }} {{ virt_type }}
a < b & \"c\"
";
        let expected = "\
control control.example.org controller 10.20.0.11
example RegionOne example.org Etc/UTC
ntp.example.org
10.20.0.1
control control.example.org 10.20.0.11
control control.example.org 10.20.0.11 controller
compute1 compute1.example.org 10.20.0.21 compute
10.20.0.11 10.20.0.0/24 24 10.20.0.1
provider br-provider flat None
203.0.113.0/24 203.0.113.1 ens4
1 1000
debian-12 zed /run/lock/nova
True
32 openstack None
a < b & \"c\"
";
        let (_directory, templates) = with(text);
        let node = Node::example(Role::Controller);
        assert_eq!(templates.text(&node, "/etc/x.conf").unwrap(), expected);
    }

    #[test]
    fn services_of_a_controller_have_as_many_workers_as_it_is_good_for() {
        let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/controller/etc");
        let environment = environment(&etc).unwrap();
        for (file, option) in [
            ("neutron/neutron.conf.j2", "\nrpc_workers = "),
            ("neutron/neutron.conf.j2", "\napi_workers = "),
            ("nova/nova.conf.j2", "[conductor]\nworkers = "),
            ("glance/glance-api.conf.j2", "[DEFAULT]\nworkers = "),
            ("neutron/metadata_agent.ini.j2", "\nmetadata_workers = "),
        ] {
            let template = std::fs::read_to_string(etc.join(file)).unwrap();
            let (_, rest) = template.split_once(option).unwrap();
            let value = rest.lines().next().unwrap();
            let seen = environment.render_str(value, minijinja::context!(workers => 5));
            assert_eq!(seen.unwrap(), "5", "{file}: {option}");
        }
    }

    #[test]
    fn a_site_without_provider_network_has_none() {
        let (_directory, templates) = with("{{ 'yes' if provider else 'no' }}\n");
        let mut node = Node::example(Role::Controller);
        node.config.provider = None;
        assert_eq!(templates.text(&node, "/etc/x.conf").unwrap(), "no\n");
    }

    #[test]
    fn an_undefined_name_is_an_error_with_file_line_and_words() {
        assert_eq!(
            message("one\ntwo {{ site.regoin }}\n"),
            "rendering /etc/x.conf: etc/x.conf.j2:2: undefined value: site.regoin"
        );
        assert_eq!(
            message("{{ secret['no-such'] }}\n"),
            "rendering /etc/x.conf: etc/x.conf.j2:1: undefined value: secret['no-such']"
        );
    }

    #[test]
    fn a_wrong_template_is_an_error_with_file_and_line() {
        let error = message("one\n{% if %}\n");
        assert!(
            error.starts_with("rendering /etc/x.conf: etc/x.conf.j2:2: "),
            "{error}"
        );
    }

    #[test]
    fn overrides_of_the_site_are_set_and_the_mode_is_the_catalogues() {
        let (_directory, templates) = with("[DEFAULT]\ncpu_allocation_ratio = 16.0\n");
        let mut node = Node::example(Role::Controller);
        let options = [("cpu_allocation_ratio".to_owned(), "4.0".to_owned())];
        let sections = [("DEFAULT".to_owned(), options.into())];
        node.config.overrides = [("nova".to_owned(), sections.into())].into();
        let rendered = templates.render(&node, "/etc/x.conf").unwrap();
        assert_eq!(rendered.content, "[DEFAULT]\ncpu_allocation_ratio = 4.0\n");
        assert_eq!(rendered.ownership.mode, 0o640);
        assert_eq!(rendered.ownership.owner, Some((0, 0)));
    }

    #[test]
    fn a_compute_renders_what_it_was_given_and_says_before_that_it_has_not_joined() {
        let (_directory, templates) = with("{{ broker_user }}:{{ secret['rabbitmq'] }}\n");
        let text = templates.text(&Node::example_member(), "/etc/x.conf");
        assert_eq!(text.unwrap(), "compute-compute1:given-rabbitmq\n");
        let error = templates.text(&Node::example(Role::Compute), "/etc/x.conf");
        let error = error.unwrap_err();
        assert!(error.is::<NotJoined>());
        assert_eq!(
            format!("{error:#}"),
            "rendering /etc/x.conf: the node has not joined yet"
        );
    }

    #[test]
    fn a_file_that_no_catalogue_lists_is_an_error() {
        let node = Node::example(Role::Controller);
        let error = Templates::none().text(&node, "/etc/y.conf").unwrap_err();
        assert_eq!(
            error.to_string(),
            "rendering /etc/y.conf: the image's catalogue has no such template for debian-12"
        );
    }
}
