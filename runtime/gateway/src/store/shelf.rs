//! The store as it is when the gateway starts.

use super::*;

impl Shelf for Store {
    fn load(&mut self, sha256: &[u8; 32], overrides: &Overrides) -> Result<Loaded, String> {
        self.load_module(sha256, overrides)
    }

    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>> {
        let found = files(&self.commands).unwrap_or_default().into_iter();
        let mut found: Vec<_> =
            found.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).collect();
        found.sort();
        let read = |(came, path): (SystemTime, PathBuf)| {
            let text = file::read(&path, ORDER_MAX_BYTES).ok()?;
            // A clock that is not set yet is behind.
            let kept = self.authorize(&text, unix_s(SystemTime::now().max(came)));
            let claimed = match &kept {
                Ok(Authorized { order, .. }) => Some(order),
                Err(Unauthorized { claimed, .. }) => claimed.as_ref(),
            };
            // Under another name it would never go.
            (claimed.map(|order| self.command(&order.nonce)) == Some(path)).then_some(kept)
        };
        found.into_iter().take(COMMANDS_MAX).filter_map(read).collect()
    }

    fn audit(&mut self, lines: &mut dyn Iterator<Item = &str>) {
        let before = before(&self.audit);
        let text = [&before, &self.audit].map(|path| fs::read_to_string(path).unwrap_or_default());
        for line in lines.filter(|line| !text.iter().any(|text| text.lines().any(|known| known == *line))) {
            if let Err(error) = note(&self.audit, line) {
                tracing::error!(%error, "the audit log cannot be written; check the disk under data_dir");
            }
        }
    }

    fn parts(&mut self) -> Vec<Part> {
        let part = |path: &PathBuf| {
            let (push, number) = name(path).split_once('.')?;
            let (push, number) = (parse_sha256(push)?, number.parse().ok()?);
            Some(Part { push, number, bytes: fs::metadata(path).ok()?.len() })
        };
        files(&self.parts).unwrap_or_default().iter().filter_map(part).collect()
    }

    fn node_parts(&mut self, node: u8) -> Vec<Part> {
        self.nodes.get_mut(usize::from(node)).map(|store| store.parts()).unwrap_or_default()
    }

    fn retain(&mut self, sha256: &[[u8; 32]]) {
        let may_be_replaced = !self.trust.grants.is_empty() || self.trust.allow_unsigned;
        let configured: Vec<[u8; 32]> = self.configured.iter().map(|(sha256, _)| *sha256).collect();
        let configured = if may_be_replaced { configured } else { Vec::new() };
        let kept: Vec<PathBuf> = sha256.iter().chain(&configured).map(|sha256| self.module(sha256)).collect();
        for path in files(&self.modules).unwrap_or_default() {
            if self.is_ours(&path) && !kept.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
        // Now, while the files are what runs: who builds a new version there and pushes it is to have a way back.
        for sha256 in &configured {
            if let Err(reason) = self.keep_configured(sha256) {
                tracing::warn!(%reason, "a configured module is not kept for the way back from what is pushed over it");
            }
        }
    }
}
