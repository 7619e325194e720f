//! What `cellboot build` says at its end: what there is, and what to type next.

use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::plan::Plan;

/// What a build left.
pub struct Built<'a> {
    /// What it set out to do.
    pub plan: &'a Plan,
    /// What there is.
    pub manifest: &'a Manifest,
    /// Where it is.
    pub results: &'a Path,
    /// The seeds.
    pub seeds: &'a [PathBuf],
    /// How long it took.
    pub seconds: f64,
}

impl Built<'_> {
    /// The table and the next commands.
    pub fn table(&self) -> String {
        let mut rows = vec![["file", "size", "sha256", "state"].map(str::to_owned)];
        for (role, image) in &self.manifest.images {
            let layer = self.plan.layer("image", Some(*role));
            let state = match layer {
                Ok(layer) if !layer.cached => "built",
                _ => "unchanged",
            };
            let path = self.results.join(&image.disk.file);
            rows.push([
                path.display().to_string(),
                format!("{} MiB", image.disk.bytes >> 20),
                image.disk.sha256[..12].to_owned(),
                state.to_owned(),
            ]);
        }
        for seed in self.seeds {
            let bytes = std::fs::metadata(seed).map_or(0, |seed| seed.len());
            rows.push([
                seed.display().to_string(),
                format!("{} KiB", bytes >> 10),
                "-".to_owned(),
                "secret".to_owned(),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths = [0, 1, 2].map(width);
        let mut text = String::from("\n");
        for [file, size, hash, state] in &rows {
            let [first, second, third] = widths;
            text.push_str(&format!(
                "{file:<first$}  {size:>second$}  {hash:<third$}  {state}\n"
            ));
        }
        text.push_str(&format!(
            "\n{:.1} s in all. Next:\n  \
             cellboot lab up                       boots them as a cell on this machine\n  \
             cellboot inspect {}/controller.qcow2\n  \
             README.md                             libvirt, Proxmox, bare metal\n",
            self.seconds,
            self.results.display()
        ));
        text
    }
}
