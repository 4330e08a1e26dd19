//! Whom a command may become and what it keeps, for made-up processes and accounts.

use super::*;
use crate::contract::account::Spec;
use crate::contract::capability::List;

const CHOWN: Set = Set(1);
const KILL: Set = Set(1 << 5);

fn ids(id: u32) -> Ids {
    Ids {
        real: id,
        effective: id,
        saved: id,
    }
}

/// A user with these capabilities, and limits of 100.
fn user(id: u32, held: Set) -> Present {
    Present {
        users: ids(id),
        groups: ids(id),
        capabilities: Capabilities {
            effective: held,
            permitted: held,
            inheritable: Set::EMPTY,
        },
        bounding: Set(0xffff),
        nice: 0,
        limit: |resource| {
            let (soft, hard) = (10, 100);
            Some(Limit {
                resource,
                soft,
                hard,
            })
        },
    }
}

fn root() -> Present {
    user(0, Set(0xffff))
}

fn asked(change: impl FnOnce(&mut ExecSettings)) -> ExecSettings {
    let mut settings = ExecSettings::default();
    change(&mut settings);
    settings
}

fn become_app() -> ExecSettings {
    asked(|s| s.user = Some(Spec::parse("app").unwrap()))
}

fn planned(settings: &ExecSettings, present: &Present) -> Result<ExecContext, Vec<String>> {
    let passwd = b"root:x:0:0::/root:\napp:x:1000:1001::/home/app:\n";
    let accounts = Accounts::parse(passwd, b"app:x:1001:\nvideo:x:44:app\n");
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    plan(settings, &accounts, present).map_err(told)
}

#[track_caller]
fn assert_refused(settings: &ExecSettings, present: &Present, expected: &[&str]) {
    let told = planned(settings, present).unwrap_err();
    assert_eq!(told, expected);
}

fn drop_and_add(drop: &str, add: &str) -> ExecSettings {
    asked(|s| {
        s.cap_drop = List::parse(drop).unwrap();
        s.cap_add = List::parse(add).unwrap();
    })
}

#[test]
fn nothing_asked_is_nothing_done() {
    let context = planned(&ExecSettings::default(), &root()).unwrap();
    assert!(context.is_default());
    assert_eq!(context.apply(), Ok(()));
}

#[test]
fn p39_a_user_comes_with_groups_home_and_no_capability() {
    let context = planned(&become_app(), &root()).unwrap();
    let change = context.change.clone().unwrap();
    assert_eq!((change.uid, change.gid), (1000, 1001));
    assert_eq!(change.groups, [44, 1001]);
    assert!(change.gives_streams);
    let rights = context.rights.unwrap();
    assert_eq!(rights.sets, Capabilities::default());
    assert!(!rights.carried);
    let variables: Vec<_> = context.environment().collect();
    assert_eq!(
        variables,
        [
            ("HOME", OsStr::new("/home/app")),
            ("USER", OsStr::new("app")),
            ("LOGNAME", OsStr::new("app")),
        ]
    );
}

#[test]
fn groups_that_are_named_replace_those_of_the_file() {
    let groups = |settings: ExecSettings| {
        let context = planned(&settings, &root()).unwrap();
        context.change.unwrap().groups
    };
    let mut settings = become_app();
    settings.groups = Some(vec!["7".to_owned()]);
    assert_eq!(groups(settings.clone()), [7, 1001]);
    settings.user = None;
    assert_eq!(groups(settings.clone()), [0, 7]);
    settings.groups = Some(Vec::new());
    assert_eq!(groups(settings), [0]);
}

#[test]
fn who_is_that_user_already_needs_no_right() {
    let mut present = user(1000, Set::EMPTY);
    present.groups = ids(1001);
    let context = planned(&become_app(), &present).unwrap();
    assert_eq!(context.change, None);
    assert_eq!(context.rights, None);
    assert_eq!(context.environment().count(), 3);
}

#[test]
fn p39_a_user_that_cannot_be_had_is_told_before_the_start() {
    let remedy = "or as this user (`docker run --user 1000:1001`)";
    assert_refused(
        &become_app(),
        &user(5, Set::EMPTY),
        &[&format!(
            "`disco.user`: cannot become `app` (1000:1001) from 5:5 without CAP_SETGID, CAP_SETUID; start the container as root with CAP_SETGID, CAP_SETUID, {remedy}"
        )],
    );
    let mut present = user(0, Set(0xffff).without(Set::SETGID));
    assert_refused(
        &become_app(),
        &present,
        &[&format!(
            "`disco.user`: cannot become `app` (1000:1001) from 0:0 without CAP_SETGID; start the container as root with CAP_SETGID, {remedy}"
        )],
    );
    present.users.saved = 1000;
    let groups = asked(|s| s.groups = Some(vec!["video".to_owned()]));
    assert_refused(
        &groups,
        &present,
        &[
            "`disco.groups`: cannot set groups without CAP_SETGID; start the container as root, or with these groups (`docker run --group-add`)",
        ],
    );
}

#[test]
fn every_problem_comes_at_once() {
    let settings = asked(|s| {
        s.user = Some(Spec::parse("ap").unwrap());
        s.groups = Some(vec!["vidoe".to_owned()]);
        s.cap_drop = List::parse("KILL").unwrap();
        s.cap_add = List::parse("BPF").unwrap();
        s.nice = Some(-1);
        s.ulimits = rlimit::parse_list("nofile=101,nproc=100").unwrap();
        s.workdir = Some("/dev/null".into());
    });
    assert_refused(
        &settings,
        &user(5, Set::EMPTY),
        &[
            "`disco.user`: there is no user `ap` in /etc/passwd; did you mean `app`?; add one to the image, or give a number",
            "`disco.groups`: there is no group `vidoe` in /etc/group; did you mean `video`?; add one to the image, or give a number",
            "`disco.cap_drop`: cannot drop CAP_KILL without CAP_SETPCAP; start the container as root, or without them (`docker run --cap-drop`)",
            "`disco.cap_add`: cannot add CAP_BPF, which disco does not have itself; start the container as root with it, and let disco become the user (`disco.user=5`), who then keeps it",
            "`disco.ulimits`: the hard limit of `nofile` is 100 and cannot be raised without CAP_SYS_RESOURCE; take at most that, or start the container with more (`docker run --ulimit nofile=…`)",
            "`disco.nice`: cannot go from the nice value 0 to -1 without CAP_SYS_NICE; start the container with it (`docker run --cap-add=SYS_NICE`)",
            "`disco.workdir`: `/dev/null` is not a directory",
        ],
    );
}

#[test]
fn a_nice_value_within_its_limit_needs_no_right() {
    let present = user(5, Set::EMPTY);
    let nice = |value, limits: &str| {
        let settings = asked(|s| {
            s.nice = Some(value);
            s.ulimits = rlimit::parse_list(limits).unwrap();
        });
        planned(&settings, &present).is_ok()
    };
    assert!(nice(0, "") && nice(19, "") && !nice(-1, ""));
    assert!(nice(-5, "nice=25") && !nice(-6, "nice=25"));
}

#[test]
fn a100_a_root_command_is_bounded_by_what_is_dropped() {
    let context = planned(&drop_and_add("ALL", "CHOWN"), &root()).unwrap();
    assert_eq!(context.dropped, Set(0xfffe));
    let rights = context.rights.unwrap();
    assert_eq!(rights.sets.permitted, CHOWN);
    assert_eq!(rights.sets.effective, CHOWN);
    assert_eq!(rights.ambient, Set::EMPTY);
    let nothing = planned(&drop_and_add("", ""), &root()).unwrap();
    assert_eq!((nothing.dropped, nothing.rights), (Set::EMPTY, None));
}

#[test]
fn a100_another_user_keeps_exactly_what_is_added() {
    for (drop, add, kept, dropped) in [
        ("ALL", "CHOWN", CHOWN, Set(0xfffe)),
        ("", "KILL", KILL, Set::EMPTY),
        ("KILL", "", Set::EMPTY, KILL),
        ("KILL", "ALL", Set(0xffff).without(KILL), KILL),
    ] {
        let mut settings = drop_and_add(drop, add);
        settings.user = Some(Spec::parse("app").unwrap());
        let context = planned(&settings, &root()).unwrap();
        let rights = context.rights.unwrap();
        assert_eq!(rights.sets.permitted, kept, "-{drop} +{add}");
        assert_eq!(rights.sets.inheritable, kept, "-{drop} +{add}");
        assert_eq!(rights.ambient, kept, "-{drop} +{add}");
        assert_eq!(rights.carried, !kept.is_empty(), "-{drop} +{add}");
        assert_eq!(context.dropped, dropped, "-{drop} +{add}");
    }
}

#[test]
fn what_is_not_there_needs_no_right_to_be_dropped() {
    let mut present = user(5, Set::EMPTY);
    present.bounding = Set::EMPTY;
    assert!(planned(&drop_and_add("ALL", ""), &present).is_ok());
}

#[test]
fn failures_travel_by_pipe() {
    for step in step::ALL {
        for (which, error) in [(0, libc::EPERM), (40, libc::ENOENT), (u16::MAX, i32::MIN)] {
            let failed = Failed { step, which, error };
            assert_eq!(Failed::from_bytes(failed.to_bytes()), failed);
            assert_eq!(failed.is_of_exec(), step == step::EXECUTE);
        }
    }
    assert_eq!(Failed::from_bytes([0xff; 8]).step, step::EXECUTE);
}

#[test]
fn failures_are_told_with_the_setting_and_its_value() {
    let mut settings = become_app();
    settings.workdir = Some("/no/such".into());
    let context = planned(&settings, &root()).unwrap();
    let told = |step, which| {
        let failed = Failed {
            step,
            which,
            error: libc::EPERM,
        };
        context.explain(failed).to_string()
    };
    for (step, which, expected) in [
        (
            step::LIMIT,
            7,
            "`disco.ulimits`: cannot set the limit `nofile`: ",
        ),
        (step::NICE, 0, "`disco.nice`: cannot set the nice value: "),
        (
            step::USER,
            0,
            "`disco.user`: cannot change the user (user 1000, group 1001): ",
        ),
        (
            step::BOUNDING,
            5,
            "`disco.cap_drop`: cannot drop CAP_KILL from the bounding set: ",
        ),
        (
            step::AMBIENT,
            5,
            "`disco.cap_add`: cannot keep CAP_KILL for a user",
        ),
        (
            step::NO_NEW_PRIVS,
            0,
            "`disco.no_new_privs`: cannot forbid new privileges: ",
        ),
        (
            step::WORKDIR,
            0,
            "`disco.workdir`: cannot change to `/no/such`: ",
        ),
        (
            step::VERIFY_USER,
            0,
            "`disco.user`: cannot confirm the change of user",
        ),
    ] {
        assert!(
            told(step, which).starts_with(expected),
            "{}",
            told(step, which)
        );
    }
}
