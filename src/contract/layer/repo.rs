//! Which git repositories a file may name, and how their URLs are shown. It does not speak to them.

/// How git gets at a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `https://`.
    Https,
    /// `ssh://`, or `user@host:path`.
    Ssh,
    /// `http://`: neither private nor authentic.
    Http,
    /// `file://` or a path on this machine.
    Local,
}

/// How git would get at what is named.
///
/// # Errors
/// What could make git run a program or take the name for an option, and what nobody vouches for.
pub fn transport(url: &str) -> Result<Transport, String> {
    let expected = "expected https://… or ssh://… or user@host:path";
    if url.is_empty() || url.starts_with('-') {
        return Err(format!("is no repository; {expected}"));
    }
    if url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(format!("holds blanks or control characters; {expected}"));
    }
    let head = url.split('/').next().unwrap_or_default();
    if head.contains("::") {
        return Err(format!("would run a helper program; {expected}"));
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if scheme != "file" && has_odd_port(host) {
            return Err(format!(
                "has a port that is no number; if that is a password, write its `/`, `?` and `#` as \
                 %2F, %3F and %23; {expected}"
            ));
        }
        let kind = match scheme {
            "https" => Transport::Https,
            "ssh" => Transport::Ssh,
            "http" => Transport::Http,
            "file" => return Ok(Transport::Local),
            _ => return Err(format!("`{scheme}` is not supported; {expected}")),
        };
        return match host.is_empty() || host.starts_with('-') || authority.starts_with('-') {
            true => Err(format!("names no host; {expected}")),
            false => Ok(kind),
        };
    }
    if login(url).is_some() {
        return Err(format!(
            "holds a password, which ssh does not take so; {expected}"
        ));
    }
    // As git tells them apart: a colon before the first slash makes it a host.
    match head.split_once(':') {
        None => Ok(Transport::Local),
        Some((host, _))
            if host
                .rsplit('@')
                .next()
                .is_none_or(|host| host.is_empty() || host.starts_with('-')) =>
        {
            Err(format!("names no host; {expected}"))
        }
        Some((host, path)) if host.is_empty() || (path.is_empty() && head == url) => {
            Err(format!("names no path; {expected}"))
        }
        Some(_) => Ok(Transport::Ssh),
    }
}

/// A URL without what opens doors: no password, for the web no user either (tokens stand there), no
/// query. So it may be shown and written down.
#[must_use]
pub fn shown(url: &str) -> String {
    let Some((scheme, mut rest)) = url.split_once("://") else {
        return match login(url) {
            Some((user, host)) => format!("{user}@{host}"),
            None => url.to_owned(),
        };
    };
    // A password with a `/`, `?` or `#` in it, that is; nothing uses such a URL.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !authority.contains('@')
        && has_odd_port(authority)
        && let Some((_, host)) = rest.rsplit_once('@')
    {
        rest = host;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        None => authority.to_owned(),
        Some((user, host)) if scheme == "ssh" => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}@{host}")
        }
        Some((_, host)) => host.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

/// Whether what follows the colon of a host is no port.
fn has_odd_port(host: &str) -> bool {
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':'),
        None => host.rsplit_once(':').map(|(_, port)| port),
    };
    port.is_some_and(|port| !port.chars().all(|c| c.is_ascii_digit()))
}

/// The user, and the rest without the password, of `user:password@host:path`. git would take the user for
/// the host.
fn login(url: &str) -> Option<(&str, &str)> {
    let (user, rest) = url.split_once(':')?;
    let is_user = !user.is_empty() && !user.contains(['/', '@']);
    let (_, host) = rest.rsplit_once('@')?;
    let is_host = host
        .split('/')
        .next()
        .is_some_and(|head| head.contains(':'));
    (is_user && is_host).then_some((user, host))
}

/// A text of others with every URL in it as [`shown`] has it.
#[must_use]
pub fn cleaned(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let before = rest.get(..at).unwrap_or_default();
        let start = before.trim_end_matches(is_scheme).len();
        let tail = rest.get(at..).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '<' | '>' | ')');
        let end = at + tail.find(ends).unwrap_or(tail.len());
        clean.push_str(rest.get(..start).unwrap_or_default());
        clean.push_str(&shown(rest.get(start..end).unwrap_or_default()));
        rest = rest.get(end..).unwrap_or_default();
    }
    clean.push_str(rest);
    clean
}

/// A path inside a repository, without `.` and doubled slashes; `None` is its top.
///
/// # Errors
/// A path that is absolute, leaves the repository, or is none.
pub fn subpath(path: &str) -> Result<Option<String>, String> {
    let expected = "expected a path below the top of the repository, such as `layers/mysql`";
    if path.starts_with('/') {
        return Err(format!("{path:?} is absolute; {expected}"));
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Err(format!("{path:?} is no plain path; {expected}"));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return Err(format!("{path:?} holds `..`; {expected}"));
    }
    if parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
        return Err(format!("{path:?} is git's own; {expected}"));
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transports_are_told_apart_as_git_does() {
        use Transport::{Http, Https, Local, Ssh};
        for (url, expected) in [
            ("https://example.com/a.git", Https),
            ("https://u:p@example.com/a", Https),
            ("ssh://git@example.com:22/a", Ssh),
            ("git@example.com:a/b.git", Ssh),
            ("example.com:a", Ssh),
            ("http://example.com/a", Http),
            ("file:///srv/a.git", Local),
            ("/srv/a.git", Local),
            ("./a", Local),
            ("a/b:c", Local),
            ("https://[::1]:8443/a@b", Https),
            ("https://h:8443/a@b", Https),
            ("host:a@b", Ssh),
        ] {
            assert_eq!(transport(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn nothing_that_runs_a_program_or_is_an_option_passes() {
        for url in [
            "",
            "-uhttps://x/y",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c id",
            "ext::sh%20-c%20id",
            "fd::17/foo",
            "git://example.com/a",
            "ftp://example.com/a",
            "ssh://-oProxyCommand=id/x",
            "ssh://u@-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "u@-oProxyCommand=id:x",
            "https:///a",
            "https://a b/c",
            "https://a/\nb",
            "host:",
            "https://u:p/w@h/a",
            "https://u:p#w@h/a",
            "u:pw@h:a",
            ":x",
        ] {
            assert!(transport(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn secrets_in_urls_are_not_shown() {
        assert_eq!(shown("https://u:p@h:1/a?token=x#y"), "https://h:1/a");
        assert_eq!(shown("https://tok@h/a@b"), "https://h/a@b");
        assert_eq!(shown("ssh://git:pw@h/a"), "ssh://git@h/a");
        assert_eq!(shown("git@h:a"), "git@h:a");
        assert_eq!(shown("u:pw@h:a/b"), "u@h:a/b");
        for password in ["p/w", "p?w", "p#w", "p/w?#w"] {
            assert_eq!(shown(&format!("https://u:{password}@h/a")), "https://h/a");
        }
        assert_eq!(shown("https://h:8443/a@b"), "https://h:8443/a@b");
        assert_eq!(shown("https://[::1]:8443/a@b"), "https://[::1]:8443/a@b");
        assert_eq!(
            cleaned("fatal: unable to access 'https://u:p@h/a/': no\nsee ssh://x:y@z"),
            "fatal: unable to access 'https://h/a/': no\nsee ssh://x@z"
        );
    }

    #[test]
    fn c31_a_subpath_stays_in_the_repository() {
        assert_eq!(subpath("a/./b//c/"), Ok(Some("a/b/c".into())));
        assert_eq!(subpath("."), Ok(None));
        for bad in [
            "/etc", "..", "a/../..", "a/..", ".git", "a/.GIT/x", "a\\b", "a\nb",
        ] {
            assert!(subpath(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_password_survives(user in "[a-z]{0,3}", host in "[a-z.]{1,5}", path in "(/[a-z@:]{0,4}){0,3}",
                                before in "[a-z ':]{0,5}", after in "[ '\n][a-z]{0,5}") {
            let text = format!("{before}https://{user}:PASSWORD@{host}{path}{after}");
            prop_assert!(!cleaned(&text).contains("PASSWORD"), "{}", cleaned(&text));
        }
    }
}
