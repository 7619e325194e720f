//! Both sides of the wire on loopback, with real TLS and a desk that says what it was asked.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

use super::*;
use crate::join::client::{Client, is_absent};
use crate::join::key::NodeKey;
use crate::join::tls::{pin_of, server_config};
use crate::join::token::Token;

/// A desk that lets in whoever comes with a token, and remembers who did what.
#[derive(Default)]
struct Scripted(Mutex<Vec<(KeyHash, &'static str)>>);

impl Scripted {
    fn note(&self, key: &KeyHash, what: &'static str) {
        self.0.lock().unwrap().push((key.clone(), what));
    }

    fn seen(&self) -> Vec<(KeyHash, &'static str)> {
        self.0.lock().unwrap().clone()
    }
}

impl Desk for Scripted {
    fn health(&self) -> Health {
        Health {
            version: VERSION,
            site: "example".into(),
            clock: 7,
        }
    }

    fn seed(&self, request: DescribeRequest) -> std::result::Result<Volume, Refusal> {
        let refused = || Refusal::new(Cause::UnknownToken, "no such token", "make one");
        (request.name != "nobody")
            .then(|| Volume {
                meta_data: request.name.clone(),
                user_data: request.address.to_string(),
                network_config: request.interface.clone(),
            })
            .ok_or_else(refused)
    }

    fn enrol(
        &self,
        key: &KeyHash,
        _peer: IpAddr,
        request: EnrolRequest,
    ) -> std::result::Result<Enrolled, Refusal> {
        self.note(key, "enrol");
        if request.name == "nobody" {
            return Err(Refusal::new(
                Cause::UnknownToken,
                "no such token",
                "make one",
            ));
        }
        Ok(Enrolled {
            version: VERSION,
            name: request.name,
        })
    }

    fn bundle(&self, key: &KeyHash) -> std::result::Result<Bundle, Refusal> {
        self.note(key, "bundle");
        Err(Refusal::new(Cause::UnknownKey, "not enrolled", "enrol"))
    }

    fn ready(&self, key: &KeyHash) -> std::result::Result<ReadyAnswer, Refusal> {
        self.note(key, "ready");
        Ok(ReadyAnswer::Waiting("nova-compute".into()))
    }
}

/// An authority of a site and its pin.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            params,
            key,
            certificate,
        }
    }

    fn pin(&self) -> String {
        pin_of(&self.certificate).unwrap()
    }

    /// A certificate for a registrar, changed as the test wants, and its key.
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let leaf = params.signed_by(&key, &issuer).unwrap().pem();
        (leaf, key.serialize_pem())
    }
}

/// A registrar that runs until it is dropped.
struct Running {
    address: SocketAddr,
    desk: Arc<Scripted>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn with(certificates: &str, key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Scripted::default());
        let stop = Arc::new(AtomicBool::new(false));
        let tls = server_config(certificates, key).unwrap();
        let (shared, stopped): (Arc<dyn Desk>, _) = (desk.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let stop = || stopped.load(Ordering::SeqCst);
            serve_until(&listener, &tls, &shared, stop).unwrap();
        });
        Self {
            address,
            desk,
            stop,
            thread: Some(thread),
        }
    }

    fn of(authority: &Authority) -> Self {
        let (leaf, key) = authority.issue(|_| {});
        Self::with(&format!("{leaf}{}", authority.certificate), &key)
    }

    fn client(&self, pin: &str) -> Client {
        Client::new(self.address, pin, &key()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn key() -> NodeKey {
    let directory = tempfile::tempdir().unwrap();
    NodeKey::load_or_create(&directory.path().join("key.pem")).unwrap()
}

fn request(name: &str) -> EnrolRequest {
    EnrolRequest {
        version: VERSION,
        token: Token::generate().unwrap(),
        name: name.into(),
        address: Ipv4Addr::LOCALHOST,
        machine: None,
        clock: 7,
        agent: "0".into(),
    }
}

/// Why a client of this pin gets nothing from such a registrar; the desk must not have heard it.
fn stranger(running: &Running, pin: &str) -> String {
    let error = running.client(pin).enrol(&request("one")).unwrap_err();
    assert!(!is_absent(&error), "{error:#}");
    assert_eq!(running.desk.seen(), []);
    format!("{error:#}")
}

#[test]
fn the_pinned_registrar_answers_and_knows_the_key() {
    let authority = Authority::new();
    let running = Running::of(&authority);
    let key = key();
    let client = Client::new(running.address, &authority.pin(), &key).unwrap();
    assert_eq!(client.health().unwrap().site, "example");
    assert_eq!(client.enrol(&request("one")).unwrap().name, "one");
    let waiting = ReadyAnswer::Waiting("nova-compute".into());
    assert_eq!(client.ready().unwrap(), waiting);
    let error = client.bundle().unwrap_err();
    let refusal: &Refusal = error.downcast_ref().unwrap();
    assert_eq!(refusal.cause, Cause::UnknownKey);
    let seen = running.desk.seen();
    assert!(seen.iter().all(|(seen, _)| *seen == key.hash()), "{seen:?}");
    let asked: Vec<&str> = seen.iter().map(|(_, what)| *what).collect();
    assert_eq!(asked, ["enrol", "ready", "bundle"]);
}

#[test]
fn a_seed_is_told_to_who_has_a_token_and_guessing_is_slowed_down() {
    let authority = Authority::new();
    let running = Running::of(&authority);
    let client = running.client(&authority.pin());
    let request = |name: &str| DescribeRequest {
        version: VERSION,
        token: Token::generate().unwrap(),
        name: name.into(),
        address: Ipv4Addr::LOCALHOST,
        interface: "ens3".into(),
        provider_interface: None,
    };
    let volume = client.seed(&request("late")).unwrap();
    let told = (volume.meta_data.as_str(), volume.network_config.as_str());
    assert_eq!(told, ("late", "ens3"));
    let refused = |_| {
        let error = client.seed(&request("nobody")).unwrap_err();
        error.downcast::<Refusal>().unwrap().cause
    };
    let causes: Vec<Cause> = (0..12).map(refused).collect();
    assert!(
        causes[..10].iter().all(|it| *it == Cause::UnknownToken),
        "{causes:?}"
    );
    assert_eq!(causes[11], Cause::Busy);
    // It is one account for both: who guesses here cannot enrol either.
    let error = client.enrol(&self::request("late")).unwrap_err();
    assert_eq!(error.downcast::<Refusal>().unwrap().cause, Cause::Busy);
}

#[test]
fn nothing_is_sent_to_a_registrar_of_another_pin() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let running = Running::of(&theirs);
    let told = stranger(&running, &ours.pin());
    assert!(
        told.contains(&format!(
            "it is not the registrar that this node was made for: none of its certificates has \
             the key {}",
            ours.pin()
        )),
        "{told}"
    );
}

#[test]
fn the_pinned_certificate_alone_proves_nothing() {
    // Whoever once talked to the registrar has its public certificates.
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (leaf, key) = theirs.issue(|_| {});
    let running = Running::with(&format!("{leaf}{}", ours.certificate), &key);
    let told = stranger(&running, &ours.pin());
    assert!(told.contains("its certificate does not hold"), "{told}");
}

#[test]
fn a_certificate_for_another_address_is_refused() {
    let authority = Authority::new();
    let elsewhere = SanType::IpAddress(Ipv4Addr::new(192, 0, 2, 1).into());
    let (leaf, key) = authority.issue(|params| params.subject_alt_names = vec![elsewhere]);
    let running = Running::with(&format!("{leaf}{}", authority.certificate), &key);
    let told = stranger(&running, &authority.pin());
    assert!(told.contains("its certificate does not hold"), "{told}");
    assert!(told.contains("192.0.2.1"), "{told}");
}

#[test]
fn a_certificate_of_another_time_points_to_the_clock() {
    let authority = Authority::new();
    for (from, to) in [(2000, 2001), (2990, 2991)] {
        let (leaf, key) = authority.issue(|params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        });
        let running = Running::with(&format!("{leaf}{}", authority.certificate), &key);
        let told = stranger(&running, &authority.pin());
        assert!(
            told.contains("is not good at the time that this node's clock shows"),
            "{told}"
        );
    }
}

#[test]
fn who_shows_no_key_gets_only_the_health() {
    let authority = Authority::new();
    let running = Running::of(&authority);
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.certificate.as_bytes();
    use rustls::pki_types::pem::PemObject;
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let ask = |text: &str| {
        let name = rustls::pki_types::ServerName::IpAddress(running.address.ip().into());
        let mut connection = rustls::ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = TcpStream::connect(running.address).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        tls.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].to_owned(), body.to_owned())
    };
    let get = |path: &str| ask(&format!("GET {path} HTTP/1.1\r\n\r\n"));
    let post = |path: &str, body: &str| {
        let length = body.len();
        ask(&format!(
            "POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    assert_eq!(get("/v1/health").0, "200");
    let (status, body) = get("/v1/bundle");
    assert_eq!(status, "401");
    assert!(body.contains("the connection shows no key"), "{body}");
    assert_eq!(get("/v2/health").0, "404");
    assert_eq!(get("/v1/enrol").0, "405");
    assert_eq!(post("/v1/health", "").0, "405");
    assert_eq!(ask("nonsense\r\n\r\n").0, "400");
    let huge = "POST /v1/enrol HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(ask(&format!("{huge}{}", "x".repeat(10_000))).0, "413");
    assert_eq!(running.desk.seen(), []);
}

#[test]
fn a_body_of_another_version_or_with_more_in_it_is_refused() {
    let visit = |body: &str| Visit {
        peer: Ipv4Addr::LOCALHOST.into(),
        key: Some(KeyHash("k".into())),
        request: wire::Request {
            method: "POST".into(),
            path: path::READY.into(),
            body: body.as_bytes().to_vec(),
        },
    };
    let answer = |body: &str| {
        let (status, body) = visit(body).answer(&Hall::default(), &Scripted::default());
        (status, String::from_utf8(body).unwrap())
    };
    assert_eq!(answer(r#"{"version":1}"#).0, 200);
    let (status, body) = answer(r#"{"version":2,"new":"hunter2"}"#);
    assert_eq!(status, 400);
    assert!(body.contains("the node speaks version 2, this controller version 1"));
    let (status, body) = answer(r#"{"version":1,"new":"hunter2"}"#);
    assert_eq!(status, 400);
    assert!(
        body.contains("the body is wrong at line 1, column"),
        "{body}"
    );
    assert!(!body.contains("hunter2") && !body.contains("new"), "{body}");
}

#[test]
fn refusals_are_counted_and_good_nodes_are_not() {
    let authority = Authority::new();
    let running = Running::of(&authority);
    let client = running.client(&authority.pin());
    for _ in 0..20 {
        client.enrol(&request("one")).unwrap();
    }
    let causes: Vec<Cause> = (0..12)
        .map(|_| {
            let error = client.enrol(&request("nobody")).unwrap_err();
            error.downcast_ref::<Refusal>().unwrap().cause
        })
        .collect();
    assert_eq!(causes[..9], [Cause::UnknownToken; 9]);
    assert_eq!(causes[11], Cause::Busy);
}

#[test]
fn two_hundred_nodes_come_at_once() {
    let authority = Authority::new();
    let running = Running::of(&authority);
    let (address, pin) = (running.address, authority.pin());
    std::thread::scope(|scope| {
        for number in 0..200 {
            let pin = &pin;
            scope.spawn(move || {
                let name = format!("compute{number}");
                let client = Client::new(address, pin, &key()).unwrap();
                assert_eq!(client.enrol(&request(&name)).unwrap().name, name);
            });
        }
    });
    let mut keys: Vec<_> = running.desk.seen().into_iter().map(|it| it.0).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 200);
}

#[test]
fn a_registrar_that_is_not_there_is_absent() {
    let authority = Authority::new();
    let gone = Running::of(&authority).address;
    let client = Client::new(gone, &authority.pin(), &key()).unwrap();
    let error = client.health().unwrap_err();
    assert!(is_absent(&error), "{error:#}");
}
