//! `dts accounts`: the list, and logins with passwords from a file and from a terminal.
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::program::{Dts, Pair, text};

/// A password that is in nothing that anybody could read afterwards.
const SECRET: &str = "Typed-Login-1";

fn pair() -> Pair {
    let pair = Pair::start();
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); CREATE USER app@'%' IDENTIFIED BY 'x'; \
         GRANT SELECT ON shop.* TO app@'%'; CREATE USER far@'10.9.%' IDENTIFIED BY 'x'; GRANT SELECT ON shop.* TO far@'10.9.%'; \
         CREATE USER open@'%'; GRANT SELECT ON shop.t TO open@'%'",
    );
    pair.target.exec("GRANT GRANT OPTION ON *.* TO dts");
    pair
}

/// Runs the program on a terminal of its own, and answers a question when it was asked.
fn on_a_terminal(dts: &Dts, args: &str, answers: &[(&str, &str)]) -> (i32, String) {
    let program = format!("{} {args}", env!("CARGO_BIN_EXE_dts"));
    // `script` gives it a terminal; what is typed there comes from our pipe.
    let mut child = Command::new("script")
        .args(["-qec", &program, "/dev/null"])
        .env("DTS_HOME", dts.path("home"))
        .current_dir(dts.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program `script` of bsdutils");
    let seen = Arc::new(Mutex::new(String::new()));
    let mut output = child.stdout.take().unwrap();
    let reader = std::thread::spawn({
        let seen = seen.clone();
        move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        }
    });
    let mut input = child.stdin.take().unwrap();
    for (question, answer) in answers {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !seen.lock().unwrap().contains(question) {
            assert!(Instant::now() < deadline, "'{question}' is not in: {}", seen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        input.write_all(answer.as_bytes()).unwrap();
        input.flush().unwrap();
    }
    let status = child.wait().unwrap();
    drop(input);
    reader.join().unwrap();
    let text = seen.lock().unwrap().clone();
    (status.code().unwrap_or(-1), text)
}

#[test]
fn accounts_are_listed_and_their_logins_are_tried() {
    let (dts, pair) = (Dts::new(), pair());
    let file = pair.task(&dts, "accounts = true\n[check]\nmode = \"none\"\n");
    let validated = dts
        .run(&["validate", text(&file), "--item", "accounts", "--item", "accounts_readable", "--json"])
        .ends_with(0);
    let items = validated.json()["items"].clone();
    assert_eq!(
        (items[0]["result"].as_str(), items[1]["result"].as_str()),
        (Some("pass"), Some("warn")),
        "{items}"
    );
    let run = dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    assert!(run.out.contains("account 'app'@'%': degraded"), "{run:?}");

    let document = dts.run(&["accounts", "shop", "--json"]).ends_with(1).json();
    let account = |name: &str| {
        document["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|account| account["account"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(account("'app'@'%'")["result"], "degraded");
    assert_eq!(account("'open'@'%'")["result"], "normal");
    assert_eq!(account("'dts'@'%'")["result"], "skipped");
    let statement = account("'app'@'%'")["statements"][0].as_str().unwrap().to_owned();
    let listed = dts.run(&["accounts", "shop"]).ends_with(1);
    assert!(listed.out.contains(&statement) && listed.out.contains("dts accounts shop verify"), "{listed:?}");

    // Before anybody set the passwords.
    let passwords = dts.write("passwords.toml", &format!("app = \"{SECRET}\"\n\"open@%\" = \"\"\n"));
    let verify = ["accounts", "shop", "verify", "--passwords", text(&passwords)];
    let ended = dts.run(&verify).ends_with(1);
    assert!(ended.out.contains("locked") && ended.err.contains("chmod 600"), "{ended:?}");
    pair.target.exec(&statement.replace('…', SECRET));
    pair.target.exec("ALTER USER far@'10.9.%' IDENTIFIED BY 'x' ACCOUNT UNLOCK");
    let document = dts.run(&[&verify[..], &["--json"]].concat()).ends_with(0).json();
    assert_eq!(document["conclusion"], "incomplete", "{document}");
    let login = |name: &str| {
        document["accounts"].as_array().unwrap().iter().find(|account| account["account"] == name).unwrap()["login"].clone()
    };
    assert_eq!(
        (login("'app'@'%'"), login("'open'@'%'"), login("'far'@'10.9.%'")),
        ("ok".into(), "ok".into(), "not_tried".into())
    );

    // Typed, and not shown.
    let right = format!("{SECRET}\n");
    let questions = |answer| [("password of 'app'@'%'", answer), ("password of 'open'@'%'", "\n")];
    let (code, seen) = on_a_terminal(&dts, "accounts shop verify", &questions(&right));
    assert!(code == 0 && seen.contains("1 logged in, 0 failed, 2 not tried"), "{code}: {seen}");
    assert!(!seen.contains(SECRET), "{seen}");
    let (code, seen) = on_a_terminal(&dts, "accounts shop verify", &questions("wrong\n"));
    assert!(code == 1 && seen.contains("wrong password") && !seen.contains("wrong\r\n"), "{code}: {seen}");
    let (code, seen) = on_a_terminal(&dts, "accounts shop verify", &[("password of 'app'@'%'", "\u{3}")]);
    assert!(code == 130, "{code}: {seen}");

    // Wrong inputs.
    let mut alone = Command::new("setsid");
    alone
        .args(["--wait", env!("CARGO_BIN_EXE_dts"), "accounts", "shop", "verify"])
        .env("DTS_HOME", dts.path("home"));
    let ended = alone.stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(2) && err.contains("no terminal"), "{err}");
    let mistyped = dts.write("mistyped.toml", "ap = \"secret-word\"\n");
    let ended = dts.run(&["accounts", "shop", "verify", "--passwords", text(&mistyped)]).ends_with(2);
    assert!(ended.err.contains("'ap'") && !ended.err.contains("secret-word"), "{ended:?}");
    dts.run(&["accounts", "nothing"]).ends_with(2);
    dts.run(&["accounts", "shop", "--passwords", text(&passwords)]).ends_with(2);
    let found = Command::new("grep").args(["-rl", SECRET]).arg(dts.path("home")).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));

    // The cut-over logs in, too, before it closes anything.
    pair.source.exec("GRANT CREATE USER, SUPER, PROCESS ON *.* TO dts");
    let cutover = ["cutover", "shop", "--gate", "lock-accounts", "--passwords", text(&passwords)];
    let done = dts.run(&cutover).ends_with(0);
    assert!(done.out.contains("accounts") && done.out.contains("login 'app'@'%': ok"), "{done:?}");
    assert!(!done.out.contains(SECRET));
}
