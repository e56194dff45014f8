//! Stories in `testdata/zab_*.txt`: one server's part in Zab, packet by packet. The other servers are played by the story, the
//! disk answers when the story says so, and the clock is virtual.
//!
//! A story is made of blocks: commands, a line of four dashes, and what the server did then, each line with the time in ms.
//! `ZAB_STORIES=rewrite` writes down what was done instead of comparing it; read the difference. Zxids are written `epoch:counter`.
//! [`Stage::run`] knows the commands. Traps are named by their number in the list of B§14.

mod stage;

use std::path::Path;

use self::stage::Stage;

macro_rules! stories {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            tell(stringify!($name));
        })*

        #[test]
        fn every_story_is_told() {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/zab/testdata");
            for entry in std::fs::read_dir(dir).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if let Some(story) = name.strip_prefix("zab_") {
                    let story = story.trim_end_matches(".txt");
                    assert!([$(stringify!($name)),*].contains(&story), "nobody tells {name}");
                }
            }
        }
    };
}

stories! {
    commits cut_ack discovery leader_ends learner_diff learner_snap learner_trunc link_dies liveness observer refusals sync_rows
    sync_under_load
}

fn tell(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/zab/testdata/zab_{name}.txt"));
    let script = std::fs::read_to_string(&path).unwrap();
    let mut stage = Stage::default();
    let done: Vec<String> = script.trim_end().split("\n\n").map(|block| play(&mut stage, block)).collect();
    let done = done.join("\n\n") + "\n";
    if std::env::var("ZAB_STORIES").is_ok_and(|v| v == "rewrite") {
        return std::fs::write(&path, done).unwrap();
    }
    for (line, (expected, done)) in script.lines().zip(done.lines()).enumerate() {
        assert_eq!(done, expected, "line {} of zab_{name}.txt", line + 1);
    }
    assert_eq!(done.lines().count(), script.lines().count(), "zab_{name}.txt: something is missing");
}

/// The block as it should read: its commands and what was done.
fn play(stage: &mut Stage, block: &str) -> String {
    let Some((commands, _)) = block.split_once("\n----") else {
        assert!(block.lines().all(|line| line.starts_with('#')), "commands without ----: {block}");
        return block.to_owned();
    };
    for command in commands.lines().filter(|line| !line.starts_with('#')) {
        stage.run(command);
    }
    let mut text = format!("{commands}\n----");
    for line in stage.take_trace() {
        text.push('\n');
        text.push_str(&line);
    }
    text
}
