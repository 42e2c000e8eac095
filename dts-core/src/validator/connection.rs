//! Connection and identity: can both servers be reached, and are they who they should be.
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use crate::error::{Error, ErrorKind, Side};
use crate::server::{Flavor, ServerFacts};
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::fix;
use crate::validator::options::EndpointKind;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::wire::{Address, Connection, ConnectionOptions};

const GROUP: &str = "connection";
const NO_SERVER: &str = "nothing can be done without a connection";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "source_connect",
        source_connect,
        "The source answers over TCP (and TLS where asked for) and lets the account in. Fails otherwise, and tells apart: \
         name not resolved, refused, no answer (whitelist), wrong port, access denied, TLS. Other items of the source are \
         then blocked.",
    )
    .not_ignorable(NO_SERVER),
    Check::fails(GROUP, "target_connect", target_connect, "The same for the target.").not_ignorable(NO_SERVER),
    Check::fails(
        GROUP,
        "same_server",
        same_server,
        "Source and target are two servers: server_uuid differs (on MariaDB: server_id, host name, port and data folder \
         are not all equal). Fails otherwise.",
    )
    .not_ignorable("the task would overwrite the data that it reads"),
    Check::fails(
        GROUP,
        "server_id",
        server_id,
        "The source's server_id is not 0 and differs from the target's. Fails otherwise: with 0 a server sends no binary log, \
         and equal ids make servers drop each other's events.",
    ),
    Check::fails(
        GROUP,
        "source_is_primary",
        source_is_primary,
        "The source is one server, and the primary: two connections lead to the same server (an address that spreads \
         connections over several servers fails), and it is neither read-only nor a replica (warns). A replica without \
         log_slave_updates fails: what it gets from its own source is not in its binary log.",
    )
    .not_ignorable("changes would be lost without a trace"),
    Check::warns(
        GROUP,
        "latency",
        latency,
        "A round trip to either server takes at most 30 ms; warns otherwise. The times are shown in any case.",
    ),
    Check::fails(
        "version",
        "version",
        version,
        "The source is 5.6 or later, and the target's series (5.6, 5.7, 8, 9) is not older than the source's. Fails \
         otherwise. Warns when source and target are of different flavors (MySQL, MariaDB), when the target is an older \
         release of the same series, or when the task file's kind is another flavor than the server.",
    ),
];

fn source_connect(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Ok(survey.connect_verdict(Side::Source))
}

fn target_connect(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Ok(survey.connect_verdict(Side::Target))
}

const EXPECTED: &str = "a connection and a login";

/// What is said of a connection that was made.
pub(super) fn connected(connection: &Connection, facts: &ServerFacts) -> Verdict {
    let over = match (connection.addresses(), connection.is_tls()) {
        (Some((local, peer)), true) => format!("{peer} from {local} with TLS"),
        (Some((local, peer)), false) => format!("{peer} from {local} without TLS"),
        (None, _) => "a Unix socket".to_owned(),
    };
    Verdict::pass(EXPECTED, format!("{} {} at {over}", facts.flavor, facts.version_text)).message(format!(
        "logged in as '{}', which the server sees come from host '{}'",
        facts.current_user, facts.seen_from
    ))
}

/// What is said of a connection that was not made.
pub(super) fn not_connected(
    error: &Error,
    side: Side,
    kind: EndpointKind,
    options: &ConnectionOptions,
) -> Verdict {
    let address = &options.address;
    let route = Route::of(address);
    let timeout = options.connect_timeout.as_secs_f32();
    let (actual, message, fix) = match error.kind() {
        ErrorKind::Resolve { host, source } => (
            format!("the name '{host}' has no address"),
            format!("this machine's resolver says: {source}"),
            format!("Check the name, then this machine's DNS: getent hosts {host}"),
        ),
        ErrorKind::Connect { address, source } if is_timeout(source) => (
            format!("no answer from {address} within {timeout} s"),
            format!("packets are dropped on the way: usually a whitelist, security group or firewall{route}"),
            let_in(kind, side, &route),
        ),
        ErrorKind::Connect { address, source } if source.kind() == std::io::ErrorKind::ConnectionRefused => (
            format!("{address} refuses connections"),
            format!("the machine answers, but nothing listens on that port{route}"),
            format!(
                "Check {side}.port, and that the server runs and listens on that address (bind_address)."
            ),
        ),
        ErrorKind::Connect { address, source } => (
            format!("cannot connect to {address}"),
            format!("the operating system says: {source}{route}"),
            error.hint().to_owned(),
        ),
        ErrorKind::Timeout { .. } => (
            format!("{address} accepts connections but does not answer within {timeout} s"),
            format!("the server hangs, or something else than a MySQL server listens there{route}"),
            format!("Check {side}.host and {side}.port, and that the server answers: mysqladmin ping"),
        ),
        ErrorKind::ConnectionLost(source) => (
            format!("{address} closed the connection during the login"),
            format!(
                "usually a whitelist without this machine's address, or a port that is not MySQL's ({source}){route}"
            ),
            let_in(kind, side, &route),
        ),
        ErrorKind::AccessDenied { user, source } if source.code == 1130 => (
            format!("the server does not let this host in: {}", source.message),
            format!(
                "no account, or no whitelist entry, has the host that the server sees '{user}' come from{route}"
            ),
            let_in(kind, side, &route),
        ),
        ErrorKind::AccessDenied { user, source } => (
            format!("access denied: {source}"),
            format!(
                "the server's text shows the host that it sees '{user}' come from; password and host part must fit it"
            ),
            format!("{} Account and password are {side}.user and {side}.password.", error.hint()),
        ),
        ErrorKind::Tls { address, why } => {
            (format!("no TLS with {address}"), why.clone(), error.hint().to_owned())
        }
        ErrorKind::Protocol { what } => (
            format!("{address} does not speak MySQL's protocol"),
            what.clone(),
            format!("Check {side}.port: this is the port of something else, or of a proxy."),
        ),
        _ => (error.to_string(), format!("while connecting to {address}{route}"), error.hint().to_owned()),
    };
    Verdict::fail(EXPECTED, actual).message(message).fix(fix)
}

/// What is said when the connection was not made within the item's deadline.
pub(super) fn late(side: Side, kind: EndpointKind, address: &Address, seconds: f32) -> Verdict {
    let route = Route { local: None, peer: None };
    Verdict::fail(EXPECTED, format!("no login at {address} within {seconds} s"))
        .message("the name server, the network or the server does not answer")
        .fix(let_in(kind, side, &route))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock)
}

fn let_in(kind: EndpointKind, side: Side, route: &Route) -> String {
    let ours = route.local.map_or_else(|| "this machine's address".to_owned(), |ip| ip.to_string());
    let nat = if route.local.is_some_and(is_private) && route.peer.is_some_and(|ip| !is_private(ip)) {
        " (behind NAT: this network's public address instead, which `curl ifconfig.me` shows)"
    } else {
        ""
    };
    match kind {
        EndpointKind::AliyunRds => format!(
            "In the RDS console: the instance > Whitelist and SecGroup: add {ours}{nat}; and check that the address is the \
             public one when access is public."
        ),
        EndpointKind::TencentDb => format!(
            "In the TencentDB console: the instance > Security Group: allow TCP {ours}{nat} to the instance's port."
        ),
        EndpointKind::MySql | EndpointKind::MariaDb => {
            format!("Allow {ours}{nat} in the {side}'s firewall, and check {side}.host and {side}.port.")
        }
    }
}

/// Which of our addresses leads to the server; known without sending anything.
struct Route {
    local: Option<IpAddr>,
    peer: Option<IpAddr>,
}

impl Route {
    fn of(address: &Address) -> Route {
        let Address::Tcp { host, port } = address else { return Route { local: None, peer: None } };
        // Only what needs no name server: a name was resolved a moment ago and is in the error's text.
        let peer = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port)).or_else(|| {
            (host.as_str(), *port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next())
        });
        let Some(peer) = peer else { return Route { local: None, peer: None } };
        let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let local = UdpSocket::bind(any)
            .and_then(|socket| socket.connect(peer).and_then(|()| socket.local_addr()))
            .ok()
            .map(|local| local.ip());
        Route { local, peer: Some(peer.ip()) }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.local, self.peer) {
            (Some(local), Some(peer)) => write!(f, "; tried {peer} from local address {local}"),
            _ => Ok(()),
        }
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

fn same_server(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let expected = "two different servers";
    let fix = "Correct source or target in the task file. If one server was made as a copy of the other's data folder: \
               delete auto.cnf in its data folder and restart it.";
    if let (Some(a), Some(b)) = (source.server_uuid(), target.server_uuid()) {
        let same = a.eq_ignore_ascii_case(b);
        let actual = if same { format!("both have server_uuid {a}") } else { format!("{a} and {b}") };
        return Ok(Verdict::fail_unless(!same, expected, actual).fix(fix));
    }
    if source.flavor != target.flavor {
        return Ok(Verdict::pass(expected, format!("{} and {}", source.flavor, target.flavor)));
    }
    // MariaDB has no server_uuid. A managed service may hide some of these; one that differs is enough.
    const IDENTITY: [&str; 5] = ["server_id", "hostname", "port", "datadir", "socket"];
    let pairs = IDENTITY.map(|name| (name, source.variable(name), target.variable(name)));
    let differing = pairs.iter().find(|(_, a, b)| a.is_some() && b.is_some() && a != b);
    if let Some((name, Some(a), Some(b))) = differing {
        return Ok(Verdict::pass(expected, format!("{name} {a} and {b}")));
    }
    if pairs.iter().any(|(_, a, b)| a.is_none() || b.is_none()) {
        return Ok(Verdict::hidden(expected, "its identity")
            .fix("Make sure that source and target are not the same server."));
    }
    Ok(Verdict::fail(expected, "server_id, host name, port and data folder are the same").fix(fix))
}

fn server_id(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let expected = "source's not 0 and not the target's";
    let (Some(a), b) = (source.number("server_id"), target.number("server_id")) else {
        return Ok(Verdict::hidden(expected, "the source's server_id"));
    };
    let actual =
        format!("source {a}, target {}", b.map_or_else(|| "unknown".to_owned(), |id| id.to_string()));
    let mut fix = String::new();
    if a == 0 {
        fix = fix::set_variable(survey.kind(Side::Source), source, "server_id", "a number of its own", None);
    } else if Some(a) == b {
        fix = fix::set_variable(survey.kind(Side::Target), target, "server_id", "another number", None);
    }
    let ours = u64::from(survey.options.source.server_id);
    if ours != 0 && ours == a {
        let verdict = Verdict::fail(expected, format!("source {a}, and dts is to use {ours} as well"));
        return Ok(
            verdict.fix("Let dts use another server_id (SourceOptions::server_id), or 0 for one of its own.")
        );
    }
    if a != 0 && b.is_none() {
        return Ok(Verdict::hidden(expected, "the target's server_id"));
    }
    let verdict = Verdict::fail_unless(a != 0 && Some(a) != b, expected, actual).fix(fix);
    Ok(if a == 0 { verdict.not_ignorable("the source sends no binary log") } else { verdict })
}

/// How the source gets its own data from elsewhere; `None` when it does not, or the account may not ask.
pub(super) fn is_replica(connection: &mut Connection, facts: &ServerFacts) -> Result<Option<bool>, Blocked> {
    // The old words are gone from 8.4 on; MariaDB knows them all.
    let sql = match facts.flavor {
        Flavor::MariaDb => "SHOW ALL SLAVES STATUS",
        Flavor::MySql if facts.is_mysql_at_least(8, 0, 22) => "SHOW REPLICA STATUS",
        Flavor::MySql => "SHOW SLAVE STATUS",
    };
    match connection.query(sql, "asking whether the source is a replica") {
        Ok(rows) => Ok(Some(!rows.is_empty())),
        Err(error) if error.server_error().is_some_and(crate::error::ServerError::is_privilege) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What tells one server from another.
fn identity(connection: &mut Connection, facts: &ServerFacts) -> Result<String, Blocked> {
    let name = if facts.server_uuid().is_some() {
        "@@server_uuid"
    } else {
        "CONCAT(@@server_id, @@hostname, @@port)"
    };
    let row = connection.query_row(format!("SELECT {name}"), "asking who the server is")?;
    Ok(row.map(|row| row.string(0)).unwrap_or_default())
}

fn source_is_primary(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let facts = survey.facts(Side::Source)?;
    let expected = "one server, a primary";
    let own_address = match survey.kind(Side::Source) {
        EndpointKind::AliyunRds => {
            "Use the primary instance's own address (RDS console: the instance > Database Connection), not that of a read-only \
             instance or of a proxy."
        }
        _ => "Use the primary server's own address, not that of a replica or a proxy.",
    };
    let (mut one, mut other) = (survey.connect(Side::Source, stop)?, survey.connect(Side::Source, stop)?);
    let identities = [identity(&mut one, facts)?, identity(&mut other, facts)?];
    let of_facts = facts.server_uuid().is_none_or(|uuid| uuid == identities[0]);
    if identities[0] != identities[1] || !of_facts {
        return Ok(Verdict::fail(expected, "several servers behind one address")
            .message("connections to the source reach different servers: each has a binary log of its own")
            .fix(own_address));
    }
    let is_replica = is_replica(&mut one, facts)?;
    let logs_all = facts.is_on("log_slave_updates").or_else(|| facts.is_on("log_replica_updates"));
    if is_replica == Some(true) && logs_all == Some(false) && survey.options.needs_binlog() {
        return Ok(Verdict::fail(expected, "a replica without log_slave_updates")
            .message("what the replica gets from its own source is not in its binary log")
            .fix(own_address));
    }
    let is_read_only = ["innodb_read_only", "super_read_only", "read_only"]
        .into_iter()
        .find(|name| facts.variable(name).is_some_and(|value| value != "OFF" && value != "0"));
    if is_replica == Some(true) {
        return Ok(Verdict::warn(expected, "a replica")
            .message(
                "it may lag behind its own source, and the cut-over must stop the writes there, not here",
            )
            .fix(own_address));
    }
    if let Some(name) = is_read_only {
        return Ok(Verdict::warn(expected, format!("{name} is ON"))
            .message("a server that nobody may write is usually a replica or a read-only instance")
            .fix(own_address));
    }
    if facts.variable("read_only").is_none() {
        return Ok(Verdict::hidden(expected, "read_only").fix(own_address));
    }
    let actual = match is_replica {
        Some(_) => "one server, no replica",
        None => "one server, writable; the account may not ask whether it is a replica",
    };
    Ok(Verdict::pass(expected, actual))
}

/// The median of a few round trips.
fn round_trip(connection: &mut Connection) -> Result<std::time::Duration, Blocked> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = std::time::Instant::now();
        connection.execute("DO 0", "measuring the round trip")?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn latency(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    const MOST: std::time::Duration = std::time::Duration::from_millis(30);
    let mut texts = Vec::new();
    let mut worst = std::time::Duration::ZERO;
    for side in [Side::Source, Side::Target] {
        let time = round_trip(&mut survey.connect(side, stop)?)?;
        worst = worst.max(time);
        texts.push(format!("{side} {:.1} ms", time.as_secs_f64() * 1000.0));
    }
    let (expected, actual) = ("a round trip of at most 30 ms to either server", texts.join(", "));
    if worst <= MOST {
        return Ok(Verdict::pass(expected, actual));
    }
    Ok(Verdict::warn(expected, actual)
        .message("every statement waits that long: many small changes are carried slowly")
        .fix("Run dts near the target: reading tolerates distance better than writing. More apply.workers help, too."))
}

/// 5.6, 5.7, 8 and 9; MariaDB 10, 11, 12.
fn series(facts: &ServerFacts) -> (u16, u16) {
    match facts.version.0 {
        5 => (5, facts.version.1),
        major => (major, 0),
    }
}

fn version(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let expected = "source 5.6 or later, target not older";
    let actual = format!(
        "source {} {}, target {} {}",
        source.flavor, source.version_text, target.flavor, target.version_text
    );
    if source.flavor == target.flavor && series(target) < series(source) {
        return Ok(Verdict::fail(expected, actual)
            .message("an older series cannot hold all that the source can")
            .fix("Choose a target of the source's series or a later one."));
    }
    // What it means and what to do.
    let mut doubts: Vec<(String, String)> = Vec::new();
    for side in [Side::Source, Side::Target] {
        let (flavor, kind) = (survey.facts(side)?.flavor, survey.kind(side));
        if (kind == EndpointKind::MariaDb) != (flavor == Flavor::MariaDb) {
            doubts.push((
                format!("the task file says {side}.kind = \"{kind}\", but the server is {flavor}"),
                format!("Correct {side}.kind in the task file: thresholds and advice depend on it."),
            ));
        }
    }
    if source.flavor != target.flavor {
        doubts.push((
            "MySQL and MariaDB differ in types, collations and SQL: what is tried on the target decides"
                .to_owned(),
            "Look at the upgrade items; check the data with `dts check --mode full` before the cut-over."
                .to_owned(),
        ));
    } else if target.version < source.version {
        doubts.push((
            "the target is an older release of the same series: new features of the source may be missing there".to_owned(),
            "Look at upgrade.tables, upgrade.views and upgrade.syntax; or choose a target that is not older.".to_owned(),
        ));
    }
    if doubts.is_empty() {
        return Ok(Verdict::pass(expected, actual));
    }
    let (meanings, fixes): (Vec<String>, Vec<String>) = doubts.into_iter().unzip();
    Ok(Verdict::warn(expected, actual).message(meanings.join("; ")).fix(fixes.join(" ")))
}
