//! Makes the tables of every database once, in the image, so that no node waits for it.
//!
//! MariaDB runs in the tree without a network and without accounts; what it leaves is tables and
//! nothing that is secret: accounts are made on the node.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use firstboot::cmd::{self, Cmd};
use firstboot::files::{self, Ownership};
use firstboot::schema::{self, Record, Schema};
use firstboot::wait::{self, Probe};

use super::Engine;

/// How many programs run at once: each is busy with imports, of which a core does one at a time.
const PARALLEL: usize = 2;
/// Where the configurations of the programs are bound in the tree.
const CONFIGS: &str = "/run/cellboot-bake";
const SOCKET: &str = "/run/mysqld/mysqld.sock";
const START: Duration = Duration::from_secs(120);

/// MariaDB in a tree, ended with this value.
struct Database<'a> {
    engine: &'a Engine<'a>,
    tree: &'a Path,
    /// Of this host: bound over `/run/mysqld` and [`CONFIGS`] of each command.
    binds: [(PathBuf, &'static str); 2],
    server: Child,
}

impl Engine<'_> {
    /// Makes the tables of all databases and the record of their revisions.
    pub fn bake_schemas(&self, tree: &Path, work: &Path) -> Result<()> {
        let schemas = schema::all();
        let stage = self.report.begin(format!(
            "controller: making the tables of {} databases",
            schemas.len()
        ));
        let database = Database::start(self, tree, work)?;
        let create: String = schemas.iter().map(Schema::create).collect();
        database.sql(&create)?;
        let queue = Mutex::new(schemas.iter());
        let next = || queue.lock().map_err(|_| anyhow!("a thread panicked"));
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..PARALLEL)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        loop {
                            let Some(schema) = next()?.next() else {
                                return Ok(());
                            };
                            database.sync(schema)?;
                        }
                    })
                })
                .collect();
            for worker in workers {
                worker.join().map_err(|_| anyhow!("a thread panicked"))??;
            }
            Ok(())
        })?;
        let mut record: Record = BTreeMap::new();
        for schema in schemas {
            let revisions = database.sql(&schema.revisions())?;
            let revisions = revisions.lines().map(str::to_owned).collect();
            record.insert(schema.database.to_owned(), revisions);
        }
        database.stop()?;
        let path = tree.join(schema::RECORD.trim_start_matches('/'));
        let text = serde_json::to_vec_pretty(&record).context("writing the record of schemas")?;
        files::replace(&path, &text, Ownership::mode(0o644))?;
        stage.finish("done");
        Ok(())
    }
}

impl<'a> Database<'a> {
    fn start(engine: &'a Engine<'a>, tree: &'a Path, work: &Path) -> Result<Self> {
        let context = || format!("making {}", work.display());
        let (run, configs) = (work.join("mysqld"), work.join("configs"));
        fs::create_dir_all(&run).with_context(context)?;
        fs::create_dir_all(&configs).with_context(context)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).with_context(context)?;
        let user = &engine.platform.service("mariadb")?.user;
        let command = Cmd::new("mariadbd")
            .args(["--no-defaults", "--skip-networking", "--skip-grant-tables"])
            .arg(format!("--user={user}"))
            .arg(format!("--socket={SOCKET}"))
            .args(["--datadir=/var/lib/mysql", "--pid-file=/run/mysqld/pid"])
            // Nothing here is worth a wait for a disk: a build that is cut off begins again.
            .args([
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=0",
            ])
            .args(["--innodb-flush-method=nosync", "--skip-log-bin"]);
        let binds = [(run, "/run/mysqld"), (configs, CONFIGS)];
        let log = fs::File::create(engine.log("mariadb")).context("writing MariaDB's log")?;
        let errors = log.try_clone().context("writing MariaDB's log")?;
        let server = engine
            .namespace
            .inside(tree, &binds, command)
            .start(log.into(), errors.into())?;
        let mut database = Self {
            engine,
            tree,
            binds,
            server,
        };
        wait::until("MariaDB in the tree", START, || {
            if let Some(status) = database.server.try_wait().context("waiting for MariaDB")? {
                let log = database.engine.log("mariadb");
                return Err(anyhow!(
                    "MariaDB ended with {status} (log: {})",
                    log.display()
                ));
            }
            let ping = database.client("mariadb-admin").arg("ping");
            Ok(
                if database.binds[0].0.join("mysqld.sock").exists() && ping.succeeds()? {
                    Probe::Ready(())
                } else {
                    Probe::NotYet("it does not answer".to_owned())
                },
            )
        })?;
        Ok(database)
    }

    fn inside(&self, cmd: Cmd) -> Cmd {
        self.engine.namespace.inside(self.tree, &self.binds, cmd)
    }

    fn client(&self, program: &str) -> Cmd {
        let client = Cmd::new(program).arg("--no-defaults");
        self.inside(client.arg(format!("--socket={SOCKET}")))
    }

    fn sql(&self, sql: &str) -> Result<String> {
        let client = self
            .client("mariadb")
            .args(["--batch", "--skip-column-names"]);
        client.stdin(sql).read()
    }

    fn sync(&self, schema: &Schema) -> Result<()> {
        let name = format!("{}.conf", schema.database);
        let url = format!(
            "mysql+pymysql://root@localhost/{}?unix_socket={SOCKET}&charset=utf8",
            schema.database
        );
        let config = self.binds[1].0.join(&name);
        files::replace(
            &config,
            schema.config(&url).as_bytes(),
            Ownership::mode(0o644),
        )?;
        let command = schema.command(self.engine.platform, &Path::new(CONFIGS).join(&name))?;
        self.inside(command)
            .run_logged(&self.engine.new_log(schema.database)?)
            .with_context(|| format!("making the tables of {}", schema.database))
    }

    /// Stops it cleanly: the files it leaves need no recovery.
    fn stop(mut self) -> Result<()> {
        self.client("mariadb-admin").arg("shutdown").run()?;
        wait::until("MariaDB in the tree to stop", START, || {
            Ok(
                match self.server.try_wait().context("waiting for MariaDB")? {
                    Some(status) if status.success() => Probe::Ready(()),
                    Some(status) => return Err(anyhow!("MariaDB ended with {status}")),
                    None => Probe::NotYet("it is still writing".to_owned()),
                },
            )
        })
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if matches!(self.server.try_wait(), Ok(None)) {
            cmd::kill_group(&self.server);
            let _ = self.server.wait();
        }
    }
}
