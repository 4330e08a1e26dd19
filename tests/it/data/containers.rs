//! Logs and metrics of real containers, with the disco that ships.

use super::SAMPLE;
use crate::support::{Container, DEADLINE, Image, dist_bin};

fn image() -> Image {
    Image::busybox()
        .program("/bin/disco", &dist_bin())
        .change("ENTRYPOINT [\"/bin/disco\"]")
        .build()
}

#[test]
#[ignore = "needs Docker"]
fn a33_the_line_of_the_seed_is_in_the_log_of_the_container() {
    let image = image();
    let out = Container::of(&image)
        .args(["sh", "-c", "echo 'INFO foobar' > /data/logs; echo result"])
        .run();
    out.assert_code(0).assert_stdout("result\n");
    assert!(
        out.stderr
            .lines()
            .any(|line| line.ends_with("Z INFO foobar")),
        "{}",
        out.stderr
    );
    let read_only = Container::of(&image)
        .option("--read-only")
        .option("--tmpfs=/data")
        .option("--cap-drop=ALL")
        .args(["sh", "-c", "echo 'INFO foobar' > /data/logs"])
        .run();
    assert!(
        read_only.stderr.contains("INFO foobar"),
        "{}",
        read_only.stderr
    );
}

#[test]
#[ignore = "needs Docker"]
fn a31_the_metrics_of_the_seed_are_told_from_inside() {
    let image = image();
    let line = format!(
        "echo '{SAMPLE}' >> /data/metrics/2.0; echo 'what=requests mtype=count unit=Req 3' > /data/metrics/2.0; echo INFO up > /data/logs; exec sleep 1000"
    );
    let container = Container::of(&image).args(["sh", "-c", &line]).start();
    container.wait_logs("INFO up");
    let out = container.exec(&["/bin/disco", "--metrics"]);
    out.assert_code(0)
        .assert_stdout_has("# TYPE diskspace_bytes gauge\n")
        .assert_stdout_has("# HELP diskspace_bytes agent=diamond processed_by=statsd2\n")
        .assert_stdout_has("requests_req_total 3")
        .assert_stdout_has("disco_container_memory_bytes ");
    container.stop(DEADLINE);
}

#[test]
#[ignore = "needs Docker"]
fn a30_a_volume_is_left_alone_unless_asked() {
    let image = image();
    let volume = format!("layer-cake-test-{}", std::process::id());
    let list = |cfg: &str| {
        Container::of(&image)
            .option(format!("--volume={volume}:/data"))
            .env("DISCO_CFG", cfg)
            .args(["ls", "/data"])
            .run()
    };
    let (plain, asked) = (list(""), list("disco.data=fifo"));
    let removed = std::process::Command::new("docker")
        .args(["volume", "rm", &volume])
        .output();
    assert!(removed.unwrap().status.success());
    plain.assert_stdout("");
    asked.assert_stdout("logs\nmetrics\n");
    // A volume that is the place itself is one as well, and what is in it somebody else's.
    for (path, line) in [
        ("/data/logs", "echo INFO x > /data/logs/app.log"),
        ("/data/metrics", "true"),
    ] {
        let volume = format!("layer-cake-test-{}-{}", std::process::id(), path.len());
        let out = Container::of(&image)
            .option(format!("--volume={volume}:{path}"))
            .args(["sh", "-c", &format!("{line}; ls -A {path}")])
            .run();
        let removed = std::process::Command::new("docker")
            .args(["volume", "rm", &volume])
            .output();
        assert!(removed.unwrap().status.success());
        assert!(
            out.stdout.is_empty() || out.stdout == "app.log\n",
            "{}",
            out.stdout
        );
        assert!(!out.stderr.contains("INFO x"), "{}", out.stderr);
    }
}

#[test]
#[ignore = "needs Docker"]
fn a30_a_user_without_rights_is_not_bothered_and_can_have_a_directory() {
    let plain = image();
    let out = Container::of(&plain).user("1234:1234").args(["true"]).run();
    out.assert_code(0);
    assert_eq!(out.stderr, "");
    let out = Container::of(&plain)
        .user("1234:1234")
        .option("--tmpfs=/data:mode=1777")
        .args(["sh", "-c", "echo INFO mine > /data/logs"])
        .run();
    assert!(out.stderr.contains("INFO mine"), "{}", out.stderr);
}

#[test]
#[ignore = "needs Docker"]
fn a_container_that_is_started_again_goes_on_in_its_files() {
    let image = image();
    let container = Container::of(&image)
        .env("DISCO_CFG", "disco.tail=/var/log/app.log")
        .args(["sh", "-c", "mkdir -p /var/log; echo \"INFO $(wc -l < /var/log/app.log || echo 0)\" >> /var/log/app.log; exec sleep 1000"])
        .start();
    container.wait_logs("INFO 0");
    container.stop(DEADLINE);
    container.start_again();
    container.wait_logs("INFO 1");
    let logs = container.logs();
    assert_eq!(logs.matches("INFO 0").count(), 1, "{logs}");
    container.stop(DEADLINE);
}
