//! Episodes as animated GIFs: frames from the renderer, which draws few enough colours that a GIF keeps them all.

use crate::failure::Usage;
use anyhow::{Context, Result, bail};
use ddpg_wgpu::{Renderer, Trajectory};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Width and height of a frame unless asked for otherwise, pixels.
pub const SIZE: u32 = 240;

/// Hundredths of a second a frame: Pendulum's own time step.
const DELAY: u16 = 5;

/// That a picture can be written to `path`, as far as that can be known before there is one.
pub fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Usage(format!("--out {shown} is a directory; name a file, such as {}", path.join("policy.gif").display())).into());
    }
    // a name without an ending promises nothing
    if path.extension().is_some_and(|ending| !ending.eq_ignore_ascii_case("gif")) {
        let gif = path.with_extension("gif");
        return Err(Usage(format!("--out {shown}: a GIF is all that is written; name it so, such as {}", gif.display())).into());
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(Usage(format!("--out {shown}: there is no directory {}", parent.display())).into())
        }
        _ => Ok(()),
    }
}

/// Writes `episodes` one after another, forever repeated. A file appears under its name only once it is whole.
pub fn write(path: &Path, renderer: &Renderer, episodes: &[Trajectory]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    // where a link points to, not in its place
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        // a pipe or a device is there to be written to
        return File::create(path).map_err(Into::into).and_then(|file| encode(file, renderer, episodes)).with_context(cannot);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let file = File::create(&temporary).with_context(cannot)?;
    let written = encode(file, renderer, episodes).and_then(|()| Ok(fs::rename(&temporary, path)?));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(cannot)
}

fn encode(file: File, renderer: &Renderer, episodes: &[Trajectory]) -> Result<()> {
    let (width, height) = renderer.size();
    let (Ok(wide), Ok(high)) = (u16::try_from(width), u16::try_from(height)) else { bail!("{width} by {height} is too large") };
    let mut encoder = gif::Encoder::new(BufWriter::new(file), wide, high, &[])?;
    encoder.set_repeat(gif::Repeat::Infinite)?;
    for trajectory in episodes {
        for mut pixels in renderer.frames_blocking(trajectory)? {
            let mut frame = gif::Frame::from_rgba_speed(wide, high, &mut pixels, 10);
            frame.delay = DELAY;
            encoder.write_frame(&frame)?;
        }
    }
    Ok(encoder.into_inner()?.flush()?)
}
