//! Episodes as animated GIFs: frames from the renderer, which draws few enough colours that a GIF keeps them all.

use anyhow::{Context, Result, bail};
use ddpg_wgpu::{Renderer, Trajectory};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Width and height of a frame unless asked for otherwise, pixels.
pub const SIZE: u32 = 240;

/// Hundredths of a second a frame: Pendulum's own time step.
const DELAY: u16 = 5;

/// Writes `episodes` one after another, forever repeated. The file appears under its name only once it is whole.
pub fn write(path: &Path, renderer: &Renderer, episodes: &[Trajectory]) -> Result<()> {
    let shown = path.display();
    let (width, height) = renderer.size();
    let (Ok(wide), Ok(high)) = (u16::try_from(width), u16::try_from(height)) else { bail!("{shown}: {width} by {height} is too large") };
    let temporary = path.with_extension(format!("gif.{}.tmp", std::process::id()));
    let file = File::create(&temporary).with_context(|| format!("cannot write {shown}"))?;
    let mut encoder = gif::Encoder::new(BufWriter::new(file), wide, high, &[]).with_context(|| shown.to_string())?;
    encoder.set_repeat(gif::Repeat::Infinite).with_context(|| shown.to_string())?;
    for trajectory in episodes {
        for mut pixels in renderer.frames_blocking(trajectory)? {
            let mut frame = gif::Frame::from_rgba_speed(wide, high, &mut pixels, 10);
            frame.delay = DELAY;
            encoder.write_frame(&frame).with_context(|| shown.to_string())?;
        }
    }
    encoder.into_inner().and_then(|mut file| Ok(file.flush()?)).with_context(|| shown.to_string())?;
    fs::rename(&temporary, path).with_context(|| shown.to_string())
}
