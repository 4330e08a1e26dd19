//! Any value that a schema of a shipped layer lets through: what reads the file gets it as it was given.

use proptest::prelude::*;
use serde_json::json;

use super::{formats, only, rendered};

/// Texts that formats stumble over.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "\"", "'", "\\", "#", " ", "%", ":", ";", "=", "$", "`", "!", "*", "[", "]", "{", "}", "&",
        "?", "@", "/", "\\n", "%41", "$HOME", "${x}", "$(id)", "a", "Z", "0", "~", ",", "<", "|",
    ]);
    prop::collection::vec(parts, 1..12).prop_map(|parts| parts.concat())
}

/// The same with characters from all over the world, on one line.
fn line() -> impl Strategy<Value = String> {
    let parts = prop_oneof![hostile(), "\\PC{1,3}"];
    prop::collection::vec(parts, 1..4).prop_map(|parts| parts.concat())
}

/// The same with what only some formats can hold.
fn wild() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        hostile(),
        "\\PC{1,3}",
        Just("\n".to_owned()),
        Just("\r\t".to_owned())
    ];
    prop::collection::vec(parts, 1..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn mysql_gives_back_what_it_was_given(username in wild(), password in wild(), database in wild()) {
        let data = json!({"host": "h", "username": username, "password": password, "database": database});
        let text = only("mysql", &data, "/etc/mysql/conf.d/50-layercake.cnf");
        let read = formats::mysql(&text);
        prop_assert_eq!(&read["client"]["user"], &username);
        prop_assert_eq!(&read["client"]["password"], &password);
        prop_assert_eq!(&read["client"]["port"], "3306");
        prop_assert_eq!(&read["mysql"]["database"], &database);
        prop_assert_eq!(read.len(), 2);
    }

    #[test]
    fn postgres_gives_back_what_it_takes(user in hostile(), password in wild(), database in hostile()) {
        let data = json!({"host": "h", "username": user, "password": password, "database": database});
        let is_line = |text: &str| !text.ends_with(' ');
        match rendered("postgres", &data) {
            Ok(files) => {
                let pass = formats::pgpass(&files["/root/.pgpass"]);
                prop_assert_eq!(pass, vec![vec!["h".to_owned(), "5432".into(), database.clone(), user.clone(), password]]);
                let service = &formats::pg_service(&files["/etc/postgresql-common/pg_service.conf"])["default"];
                prop_assert_eq!(&service["user"], &user);
                prop_assert_eq!(&service["dbname"], &database);
            }
            Err(told) => prop_assert!(
                password.contains(['\n', '\r']) || !is_line(&user) || !is_line(&database),
                "{told:?}"
            ),
        }
    }

    #[test]
    fn redis_urls_are_read_as_they_were_meant(user in line(), password in line()) {
        let data = json!({"host": "h", "username": user, "password": password, "database": "3", "tls": "yes"});
        let text = only("redis", &data, "/etc/redis/client.url");
        let url = reqwest::Url::parse(text.strip_suffix('\n').unwrap()).unwrap();
        let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned();
        prop_assert_eq!((url.scheme(), url.host_str(), url.port(), url.path()), ("rediss", Some("h"), Some(6379), "/3"));
        prop_assert_eq!(decoded(url.username()), user);
        prop_assert_eq!(decoded(url.password().unwrap()), password);
    }

    #[test]
    fn kafka_gives_back_what_it_takes(user in hostile(), password in hostile(), group in hostile()) {
        let data = json!({"bootstrap_servers": "a:1,[::1]:2", "security_protocol": "SASL_SSL", "username": user,
            "password": password, "properties": {"group.id": group}});
        let text = only("kafka", &data, "/etc/kafka/client.properties");
        let read = formats::properties(&text);
        let login = formats::jaas(&read["sasl.jaas.config"]);
        prop_assert_eq!((&login["username"], &login["password"]), (&user, &password));
        prop_assert_eq!(&read["group.id"], &group);
        prop_assert_eq!(&read["bootstrap.servers"], "a:1,[::1]:2");
    }

    #[test]
    fn smtp_gives_back_what_it_takes(user in hostile(), password in hostile()) {
        let data = json!({"host": "h", "username": user, "password": password});
        let read = formats::msmtp(&only("smtp", &data, "/etc/msmtprc"));
        prop_assert_eq!((&read["user"], &read["password"]), (&user, &password));
        prop_assert_eq!(&read["tls_starttls"], "on");
    }

    #[test]
    fn s3_gives_back_what_it_takes(secret in hostile()) {
        let data = json!({"access_key_id": "k", "secret_access_key": secret});
        match rendered("s3", &data) {
            Ok(files) => {
                let read = formats::aws(&files["/root/.aws/credentials"]);
                prop_assert_eq!(&read["default"]["aws_secret_access_key"], &secret);
            }
            Err(_) => prop_assert!(secret.contains(' ')),
        }
    }

    #[test]
    fn nginx_gives_back_what_it_takes(path in hostile(), header in hostile()) {
        let root = format!("/{path}");
        let data = json!({"vhosts": {"a": {"root": root, "headers": {"X-A": header}}}});
        match rendered("nginx", &data) {
            Ok(files) => {
                let read = formats::nginx(&files["/etc/nginx/nginx.conf"]);
                prop_assert!(read.contains(&vec!["root".into(), root]));
                prop_assert!(read.contains(&vec!["add_header".into(), "X-A".into(), header, "always".into()]));
            }
            Err(_) => prop_assert!(root.contains('$') || header.contains('$')),
        }
    }
}

proptest! {
    // Each of them starts shells.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn shells_read_variables_as_they_were_given(value in wild(), password in line()) {
        let data = json!({"A": value, "B": 8080, "C": true, "D": ""});
        let files = rendered("env", &data).unwrap();
        for path in ["/etc/layercake/env.sh", "/etc/layercake/env"] {
            let read = formats::shell(&files[path], &["A", "B", "C", "D"]);
            prop_assert_eq!(&read["A"], &value, "{}", path);
            prop_assert_eq!((&*read["B"], &*read["C"], &*read["D"]), ("8080", "true", ""));
        }
        let redis = json!({"host": "::1", "password": password});
        let read = formats::shell(&only("redis", &redis, "/etc/redis/client.env"), &["REDISCLI_AUTH", "REDIS_URL"]);
        prop_assert_eq!(&read["REDISCLI_AUTH"], &password);
        prop_assert!(read["REDIS_URL"].ends_with("@[::1]:6379/0"), "{}", read["REDIS_URL"]);
    }
}
