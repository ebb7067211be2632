//! Browsers compile WGSL with front ends of their own, which reject more than naga does: a barrier, say, behind anything
//! that they cannot prove to be the same for all invocations.

use super::pipelines::{Pipeline, environments, of_bench, of_drawing, of_programs, of_simulation, of_specialised_programs, of_transfer};
use crate::environment::Environment;
use crate::kernels::Tile;
use crate::vectors::Medium;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What begins the page's lines in the browser's log.
const MARK: &str = "ddpg-wgpu:";

/// Most seconds between two of the page's lines.
const PATIENCE: Duration = Duration::from_secs(120);

/// Compiles the pipelines, of which each is a script `N.js` that calls `check`, one after the other.
const PAGE: &str = r#"<!doctype html><script>
const say = text => console.log("ddpg-wgpu:" + text);
let device, last;
async function check(pipeline) {
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code: pipeline.source });
    const problems = (await module.getCompilationInfo()).messages
        .filter(message => message.type == "error").map(message => `line ${message.lineNum}: ${message.message}`);
    const refused = await device.popErrorScope();
    if (refused && !problems.length) problems.push(refused.message);
    if (!problems.length) {
        const compute = { module, entryPoint: pipeline.entry, constants: pipeline.constants };
        await device.createComputePipelineAsync({ layout: "auto", compute }).catch(error => problems.push(error.message));
    }
    say(JSON.stringify({ what: pipeline.what, problems }));
    pipeline.next < last ? load(pipeline.next) : say("done");
}
function load(number) {
    document.head.appendChild(Object.assign(document.createElement("script"), { src: number + ".js" }));
}
async function begin(count) {
    last = count;
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return say("no WebGPU adapter");
    device = await adapter.requestDevice();
    load(0);
}
</script>"#;

/// Whatever needs no more than WebGPU has: all programs of one environment, and what else has the others' code in it.
fn pipelines() -> Vec<Pipeline> {
    let needs_no_features = |pipeline: &Pipeline| pipeline.tile.features().is_empty();
    let tiles = Tile::ALL.into_iter().filter(|tile| tile.features().is_empty());
    let programs = tiles.flat_map(|tile| of_programs(&Environment::pendulum_v1(), tile));
    let programs = programs.chain(of_specialised_programs(&Environment::pendulum_v1()));
    let simulations = environments().flat_map(|environment| of_simulation(&environment));
    let drawings = environments().filter_map(|environment| of_drawing(&environment));
    programs.chain(simulations).chain(drawings).chain(of_transfer(Medium::Buffer)).chain(of_bench().filter(needs_no_features)).collect()
}

/// The browser, ended with the test.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Opens `page` and hands on what it says.
fn open(page: &Path) -> (Browser, Receiver<String>) {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let mut profile = std::ffi::OsString::from("--user-data-dir=");
    profile.push(page.with_file_name("profile"));
    let mut browser = Command::new(&chromium)
        .args(["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"])
        .args(["--enable-features=Vulkan", "--enable-logging=stderr", "--allow-file-access-from-files"])
        .arg(profile)
        .arg(page)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{chromium}: {error}; on Debian `apt-get install chromium`, elsewhere set CHROMIUM"));
    let log = browser.stderr.take().expect("its log is piped");
    let (say, said) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            // [...:INFO:CONSOLE:1] "MARK...", source: file://... (2)
            let text = line.split_once(MARK).and_then(|(_, text)| text.rsplit_once("\", source: ")).map(|(text, _)| text.to_owned());
            if text.is_some_and(|text| say.send(text).is_err()) {
                break;
            }
        }
    });
    (Browser(browser), said)
}

#[test]
#[ignore = "needs Chromium: cargo test --release --lib -- --ignored browser"]
fn a_browser_compiles_every_pipeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipelines = pipelines();
    for (number, pipeline) in pipelines.iter().enumerate() {
        let Pipeline { what, source, entry, constants, .. } = pipeline;
        let constants: serde_json::Map<_, _> = constants.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let next = number + 1;
        let pipeline = json!({ "what": what, "source": source, "entry": entry, "constants": constants, "next": next });
        std::fs::write(folder.path().join(format!("{number}.js")), format!("check({pipeline})")).expect("it is written");
    }
    let page = folder.path().join("index.html");
    std::fs::write(&page, format!("{PAGE}<script>begin({})</script>", pipelines.len())).expect("it is written");

    let (browser, said) = open(&page);
    let mut refused = Vec::new();
    let mut seen = 0;
    loop {
        let text = said.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("after {seen} of {}: {error}", pipelines.len()));
        if text == "done" {
            break;
        }
        let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        seen += 1;
        if report["problems"].as_array().is_none_or(|problems| !problems.is_empty()) {
            refused.push(report);
        }
    }
    drop(browser);
    assert_eq!(seen, pipelines.len());
    assert!(refused.is_empty(), "{} of {seen}, the first of them: {:#}", refused.len(), refused[0]);
}
