//! How a compute gets into its cell: a key, the registrar's leave, and a place.
//!
//! What is said on the wire is [`crate::join`]'s business; when to ask, how long to wait and what
//! to tell whoever stands before the console is decided here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{firewall, neutron};
use crate::clock;
use crate::config::Join;
use crate::files;
use crate::join::client::{self, Client};
use crate::join::kept;
use crate::join::key::NodeKey;
use crate::join::protocol::{
    Bundle, EnrolRequest, Enrolled, Membership, PORT, ReadyAnswer, Refusal, VERSION,
};
use crate::node::{Node, NotJoined};
use crate::paths;
use crate::resource::{config, unit};
use crate::step::{Check, Context, Step};
use crate::wait::Probe;

/// A compute may be powered on long before its controller, or while that is being mended.
const ABSENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a registrar that is there may go on waiting for something: services load for minutes
/// where the processor is emulated.
const MAPPING: Duration = Duration::from_secs(60 * 60);
/// How long a refusal that may pass by itself is taken for that: chrony steps a clock, a
/// controller that starts becomes able to answer.
const PASSING: Duration = Duration::from_secs(5 * 60);
/// Nova's conductor; nova-compute says nothing at all before that answers.
const CONDUCTOR: &str = "conductor";
/// The machine's UUID by its firmware; only root can read it, and not every machine has one.
const MACHINE: &str = "/sys/class/dmi/id/product_uuid";

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new("join/key", "the node has a key of its own")
            .needs(["base/preflight"])
            .hint("look whether /var/lib/cellboot can be written")
            .check(|_| {
                let key = NodeKey::read(Path::new(paths::JOIN_KEY))?;
                Ok(Check::of(key.is_some(), "there is none yet"))
            })
            .apply(|_| NodeKey::load_or_create(Path::new(paths::JOIN_KEY)).map(drop)),
        // The name is bound to the key from here on, and clocks are compared.
        Step::new("join/enrolled", "the registrar knows the node")
            .needs(["join/key", "base/hostname", "chrony/running"])
            .hint("on the controller, `firstboot node list` and `firstboot token list` tell more")
            .weight(5)
            .check(|context| {
                let bundle = kept::bundle(&context.config.name)?;
                Ok(Check::of(bundle.is_some(), NotJoined.to_string()))
            })
            .apply(enrol),
        // The seed may be older than the youngest of the other nodes.
        Step::new("join/neighbours", "the node knows those that joined before")
            .needs(["join/enrolled", "firewall/running"])
            .hint("compare /etc/hosts with `firstboot node list` on the controller")
            .check(
                |context| match config::check(context, &neighbours(context)?)? {
                    Check::Done => unit::check(firewall::SERVICE, context),
                    other => Ok(other),
                },
            )
            .apply(|context| meet_neighbours(context)),
        // At a later boot the controller may still be off: its services start when it is back,
        // and none of them has to be restarted then.
        Step::new("join/controller", "the controller listens to this node")
            .needs(["join/neighbours"])
            .hint("power the controller on, or look there: `firstboot check`")
            .weight(5)
            .check(|context| match listens(context)? {
                Probe::Ready(()) => Ok(Check::Done),
                Probe::NotYet(why) => Ok(Check::Todo(why)),
            })
            .apply(|context| context.wait(&controller(context)?, ABSENCE, || listens(context))),
        Step::new("join/mapped", "the host is in its cell and enabled")
            .needs(["nova/compute", "neutron/openvswitch-agent"])
            .hint("look on the controller: `openstack compute service list`")
            .weight(20)
            .check(|_| {
                let membership = kept::membership()?;
                Ok(Check::of(membership.is_some(), "no cell has this host yet"))
            })
            .apply(map),
    ]
}

/// Puts every node that this one knows of into its table of hosts and its packet filter.
///
/// # Errors
/// When a file cannot be written or the packet filter does not take it.
pub fn meet_neighbours(node: &Node) -> Result<()> {
    config::write(node, &neighbours(node)?)?;
    let say = &|_: &str| {};
    unit::start(firewall::SERVICE, &Context { node, say })
}

/// What of a node follows from who the others are.
fn neighbours(node: &Node) -> Result<Vec<&str>> {
    let mut paths = config::of_services(node, &[firewall::SERVICE])?;
    paths.push("/etc/hosts");
    Ok(paths)
}

fn enrol(context: &Context) -> Result<()> {
    let (join, key, registrar) = registrar(context)?;
    let enrolled = ask(context, || {
        let request = request(context, join)?;
        registrar.enrol(&request).map(Probe::Ready)
    })?;
    let bundle = ask(context, || registrar.bundle().map(Probe::Ready))?;
    is_for(context, &enrolled, &bundle)?;
    kept::write(Path::new(paths::JOIN_BUNDLE), &key.hash(), &bundle)?;
    context.adopt(bundle)
}

fn map(context: &Context) -> Result<()> {
    let (_, key, registrar) = registrar(context)?;
    let membership: Membership = ask(context, || {
        Ok(match registrar.ready()? {
            ReadyAnswer::Joined(membership) => Probe::Ready(membership),
            ReadyAnswer::Waiting(what) => Probe::NotYet(what),
        })
    })?;
    kept::write(Path::new(paths::JOINED), &key.hash(), &membership)
}

fn registrar<'a>(context: &'a Context) -> Result<(&'a Join, NodeKey, Client)> {
    let join = context.config.join.as_ref().context(
        "the seed does not say how to join\n\
         hint: make the seed again with `cellboot seed`, attach it and power on again",
    )?;
    let key = NodeKey::read(Path::new(paths::JOIN_KEY))?.context("the node's key is gone")?;
    let address = SocketAddr::from((context.config.controller()?.address, PORT));
    let client = Client::new(address, &join.pin, &key)?;
    Ok((join, key, client))
}

fn request(context: &Context, join: &Join) -> Result<EnrolRequest> {
    let machine = files::read_if_exists(Path::new(MACHINE))?;
    Ok(EnrolRequest {
        version: VERSION,
        token: join.token.clone(),
        name: context.config.name.clone(),
        address: context.config.management.address.addr(),
        machine: machine.and_then(|text| machine_uuid(&text)),
        clock: clock::since_epoch(),
        agent: crate::version().to_owned(),
    })
}

fn machine_uuid(text: &str) -> Option<String> {
    let uuid = text.trim().to_ascii_lowercase();
    (!uuid.is_empty()).then_some(uuid)
}

/// Refuses what was meant for another node, or by another version of the protocol.
fn is_for(context: &Context, enrolled: &Enrolled, bundle: &Bundle) -> Result<()> {
    for (version, name) in [
        (enrolled.version, &enrolled.name),
        (bundle.version, &bundle.name),
    ] {
        ensure!(
            version == VERSION && *name == context.config.name,
            "the registrar answered for {name} in version {version} of the protocol\n\
             hint: build the images of the controller and of the computes with the same cellboot"
        );
    }
    Ok(())
}

/// Waits for the controller; true if it was away.
pub(super) fn was_away(context: &Context) -> Result<bool> {
    if matches!(listens(context)?, Probe::Ready(())) {
        return Ok(false);
    }
    context.wait(&controller(context)?, ABSENCE, || listens(context))?;
    Ok(true)
}

fn listens(context: &Context) -> Result<Probe<()>> {
    let [plugin, reports] = neutron::QUEUES;
    neutron::consumed(context, &[CONDUCTOR, plugin, reports])
}

fn controller(context: &Context) -> Result<String> {
    let address = context.config.controller()?.address;
    Ok(format!("the controller at {address}"))
}

/// Asks the registrar until it gives a value. An absent controller is waited for, so are things
/// that the registrar itself waits for and refusals that may pass; any other refusal is the end.
fn ask<T>(context: &Context, mut request: impl FnMut() -> Result<Probe<T>>) -> Result<T> {
    let controller = controller(context)?;
    let mut told = controller.clone();
    let mut say = |what: &str| {
        if told != what {
            (context.say)(what);
            what.clone_into(&mut told);
        }
    };
    // What is being waited for, by its limit, and since when.
    let mut stage: Option<(Duration, Instant)> = None;
    context.wait(&controller, ABSENCE, || {
        let (limit, what, refused) = match request() {
            Ok(Probe::Ready(value)) => return Ok(Probe::Ready(value)),
            Ok(Probe::NotYet(what)) => (MAPPING, what, None),
            Err(error) if client::is_absent(&error) => {
                stage = None;
                say(&controller);
                return Ok(Probe::NotYet(format!("{error:#}")));
            }
            Err(error) => match error.downcast_ref::<Refusal>() {
                Some(it) if it.cause.may_pass() => (PASSING, it.reason.clone(), Some(error)),
                _ => return Err(error),
            },
        };
        let since = match stage {
            Some((known, since)) if known == limit => since,
            _ => Instant::now(),
        };
        stage = Some((limit, since));
        if since.elapsed() >= limit {
            match refused {
                Some(error) => return Err(error),
                None => bail!("waited {} s for {what}", limit.as_secs()),
            }
        }
        say(&what);
        Ok(Probe::NotYet(what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::join::protocol::Cause;
    use std::io::{Error, ErrorKind};
    use std::sync::Mutex;

    /// Asks a registrar that gives these answers; gives what came of it and what was said.
    fn asked(answers: Vec<Result<Probe<u32>>>) -> (Result<u32>, Vec<String>) {
        let node = Node::example(Role::Compute);
        let said = Mutex::new(Vec::new());
        let say = |text: &str| said.lock().unwrap().push(text.to_owned());
        let context = Context {
            node: &node,
            say: &say,
        };
        let mut answers = answers.into_iter();
        let result = ask(&context, || answers.next().unwrap());
        assert_eq!(answers.count(), 0);
        (result, said.into_inner().unwrap())
    }

    fn absent() -> Result<Probe<u32>> {
        Err(Error::from(ErrorKind::ConnectionRefused).into())
    }

    fn refused(cause: Cause) -> Result<Probe<u32>> {
        let refusal = Refusal::new(cause, "no", "do this");
        Err(anyhow::Error::new(refusal).context("enrolling"))
    }

    #[test]
    fn an_absent_controller_is_waited_for_and_named_once() {
        let waiting = || Ok(Probe::NotYet("nova-compute to report".to_owned()));
        let answers = vec![
            absent(),
            absent(),
            waiting(),
            waiting(),
            absent(),
            Ok(Probe::Ready(7)),
        ];
        let (result, said) = asked(answers);
        assert_eq!(result.unwrap(), 7);
        let controller = "the controller at 10.20.0.11";
        assert_eq!(said, [controller, "nova-compute to report", controller, ""]);
    }

    #[test]
    fn a_refusal_that_may_pass_is_waited_for() {
        let (result, said) = asked(vec![refused(Cause::Busy), Ok(Probe::Ready(1))]);
        assert_eq!(result.unwrap(), 1);
        assert_eq!(said, ["the controller at 10.20.0.11", "no", ""]);
    }

    #[test]
    fn any_other_refusal_is_the_end_with_its_reason_and_hint() {
        let (result, _) = asked(vec![absent(), refused(Cause::UsedToken)]);
        let failure = crate::failure::Failure::of(&result.unwrap_err());
        assert_eq!(failure.reason, "enrolling: no");
        assert_eq!(failure.hint, "do this");
    }

    #[test]
    fn a_seed_without_a_way_in_has_to_be_made_again() {
        let node = Node::example(Role::Compute);
        let context = Context {
            node: &node,
            say: &|_| {},
        };
        assert_eq!(
            enrol(&context).unwrap_err().to_string(),
            "the seed does not say how to join\n\
             hint: make the seed again with `cellboot seed`, attach it and power on again"
        );
    }

    #[test]
    fn an_answer_for_another_node_is_refused() {
        let node = Node::example_member();
        let context = Context {
            node: &node,
            say: &|_| {},
        };
        let bundle = node.bundle.get().unwrap();
        let mut enrolled = Enrolled {
            version: VERSION,
            name: "compute1".into(),
        };
        is_for(&context, &enrolled, bundle).unwrap();
        enrolled.name = "compute2".into();
        assert_eq!(
            is_for(&context, &enrolled, bundle).unwrap_err().to_string(),
            "the registrar answered for compute2 in version 1 of the protocol\n\
             hint: build the images of the controller and of the computes with the same cellboot"
        );
    }

    #[test]
    fn a_machine_without_a_uuid_has_none() {
        assert_eq!(machine_uuid("\n"), None);
        let uuid = machine_uuid("4C4C4544-0042\n");
        assert_eq!(uuid.as_deref(), Some("4c4c4544-0042"));
    }
}
